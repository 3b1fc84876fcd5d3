//! From the pixels of the coarsest level to logits, in three ways.
use crate::{
    error::Error,
    models::{blocks::mean, unet2d::UNetConfig},
    nn::{Initial, Layers},
    ops::{Attention, Concat, FirstToken, PoolTokens, Relu, SliceChannels},
    value::Value,
};

/// Width of the hidden layer after a spatial pool.
const HIDDEN: usize = 2048;

fn normalised(layers: &mut Layers, config: &UNetConfig, h: Value) -> Result<Value, Error> {
    let h = layers.group_norm("0", h, config.norm_num_groups, config.norm_eps)?;
    layers.silu(h)
}

/// Norm, SiLU, mean, linear layer.
pub fn adaptive(
    layers: &mut Layers,
    config: &UNetConfig,
    h: Value,
    classes: usize,
) -> Result<Value, Error> {
    let h = normalised(layers, config, h)?;
    let h = mean(layers, h)?;
    layers.linear("3", h, classes)
}

/// Norm, SiLU, and attention of the mean to itself and every pixel: Radford et al. 2021 (CLIP), section 2.4.
pub fn attention(
    layers: &mut Layers,
    config: &UNetConfig,
    h: Value,
    classes: usize,
) -> Result<Value, Error> {
    let h = normalised(layers, config, h)?;
    layers.scope("2", |layers| {
        let of = layers.graph.type_of(h);
        let (tokens, channels) = (1 + of.rows() / of.shape[0], of.shape.last());
        let initial = Initial::Uniform((channels as f64).sqrt().recip());
        let position = layers.parameter("positional_embedding", &[tokens, channels], initial)?;
        let h = layers.push(PoolTokens, &[h, position])?;
        let joint = layers.linear("qkv_proj", h, 3 * channels)?;
        let mut third = |part: usize| {
            layers.push(SliceChannels { start: part * channels, count: channels }, &[joint])
        };
        let [q, k, v] = [third(0)?, third(1)?, third(2)?];
        let h = layers.push(Attention::to_all(config.heads(channels)), &[q, k, v])?;
        let h = layers.push(FirstToken, &[h])?;
        layers.linear("c_proj", h, classes)
    })
}

/// The means of every block of the encoder and of the middle side by side, two linear layers.
pub fn spatial(
    layers: &mut Layers,
    skips: &[Value],
    h: Value,
    classes: usize,
) -> Result<Value, Error> {
    let mut all = mean(layers, skips[0])?;
    for &block in skips[1..].iter().chain([&h]) {
        let next = mean(layers, block)?;
        all = layers.push(Concat, &[all, next])?;
    }
    let h = layers.linear("0", all, HIDDEN)?;
    let h = layers.push(Relu, &[h])?;
    layers.linear("2", h, classes)
}
