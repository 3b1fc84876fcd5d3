//! diffusers' `Transformer2DModel`: Rombach et al. 2022, appendix E.2.1.
use crate::{
    error::Error,
    models::blocks::POINTWISE,
    nn::Layers,
    ops::{Add, Geglu},
    value::Value,
};

/// Added to the variance in the norms, whatever that of the residual blocks is.
const GROUP_NORM_EPS: f64 = 1e-6;
const LAYER_NORM_EPS: f64 = 1e-5;

/// Width of the feed-forward layer, relative to the channels.
const FEED_FORWARD: usize = 4;

/// A transformer over the pixels of an image.
#[derive(Clone, Copy, Debug)]
pub struct Transformer {
    /// Groups of its norm.
    pub groups: usize,
    pub heads: usize,
    /// Number of its blocks.
    pub blocks: usize,
    /// Are its first and last layer linear, and not 1x1 convolutions?
    pub linear: bool,
    /// Do both attentions of a block see the text? Otherwise the first sees the pixels.
    pub only_text: bool,
    /// The text, `[batch, tokens, width]`.
    pub context: Value,
}

impl Transformer {
    /// `x` and what the blocks make of it; the shape is that of `x`.
    pub fn build(self, layers: &mut Layers, x: Value) -> Result<Value, Error> {
        let mut h = layers.group_norm("norm", x, self.groups, GROUP_NORM_EPS)?;
        h = self.project(layers, "proj_in", h)?;
        for number in 0..self.blocks {
            h = layers
                .scope(&format!("transformer_blocks.{number}"), |layers| self.block(layers, h))?;
        }
        h = self.project(layers, "proj_out", h)?;
        layers.push(Add, &[h, x])
    }

    fn project(self, layers: &mut Layers, name: &str, x: Value) -> Result<Value, Error> {
        let channels = layers.channels(x);
        match self.linear {
            true => layers.linear(name, x, channels),
            false => layers.conv2d(name, x, channels, 1, POINTWISE),
        }
    }

    /// diffusers' `BasicTransformerBlock`: attention to the pixels, attention to the text, and a feed-forward
    /// layer, each after a norm and added to its input.
    fn block(self, layers: &mut Layers, x: Value) -> Result<Value, Error> {
        let Self { heads, context, .. } = self;
        let attend = |layers: &mut Layers, number: usize, x: Value, text: bool| {
            let h = layers.layer_norm(&format!("norm{number}"), x, LAYER_NORM_EPS)?;
            let seen = if text { context } else { h };
            let h = layers
                .scope(&format!("attn{number}"), |layers| layers.cross_attention(h, seen, heads))?;
            layers.push(Add, &[h, x])
        };
        let h = attend(layers, 1, x, self.only_text)?;
        let x = attend(layers, 2, h, true)?;
        let h = layers.layer_norm("norm3", x, LAYER_NORM_EPS)?;
        let channels = layers.channels(x);
        let h = layers.scope("ff", |layers| {
            let h = layers.linear("net.0.proj", h, 2 * FEED_FORWARD * channels)?;
            let h = layers.push(Geglu, &[h])?;
            layers.linear("net.2", h, channels)
        })?;
        layers.push(Add, &[h, x])
    }
}
