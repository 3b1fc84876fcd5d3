//! The blocks of the U-Net, each a few layers under its scope.
use super::{TimeScaleShift, UNetConfig};
use crate::{
    error::Error,
    nn::Layers,
    ops::{Add, AddEmbedding, AveragePool, Conv2d, Modulate, Scale, UpsampleNearest},
    value::Value,
};

/// A change of resolution by a factor of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// None.
    None,
    /// 2x2 mean.
    Down,
    /// Nearest neighbour.
    Up,
}

/// Resolution doubled or halved.
pub fn resample(layers: &mut Layers, x: Value, how: Resample) -> Result<Value, Error> {
    match how {
        Resample::None => Ok(x),
        Resample::Down => layers.push(AveragePool, &[x]),
        Resample::Up => layers.push(UpsampleNearest, &[x]),
    }
}

/// Divides by `factor`.
fn divide(layers: &mut Layers, x: Value, factor: f64) -> Result<Value, Error> {
    if factor == 1.0 {
        return Ok(x);
    }
    layers.push(Scale { scale: factor.recip().into(), shift: 0.0.into() }, &[x])
}

/// A 3x3 convolution that keeps the resolution.
pub const SAME: Conv2d = Conv2d { stride: 1, padding: [1; 4] };

/// The blocks of one U-Net.
#[derive(Clone, Copy)]
pub struct Blocks<'a> {
    pub config: &'a UNetConfig,
    /// `silu(time embedding)`, `[batch, width]`.
    pub embedding: Value,
}

impl Blocks<'_> {
    fn group_norm(
        self,
        layers: &mut Layers,
        name: &str,
        x: Value,
        groups: usize,
    ) -> Result<Value, Error> {
        layers.group_norm(name, x, groups, self.config.norm_eps)
    }

    /// diffusers' `ResnetBlock2D`; the sum is divided by `factor`.
    pub fn resnet(
        self,
        layers: &mut Layers,
        x: Value,
        outputs: usize,
        factor: f64,
        how: Resample,
    ) -> Result<Value, Error> {
        let (config, inputs) = (self.config, layers.channels(x));
        let groups = config.norm_num_groups;
        let scale_shift = config.resnet_time_scale_shift == TimeScaleShift::ScaleShift;
        let mut h = self.group_norm(layers, "norm1", x, groups)?;
        h = layers.silu(h)?;
        // After norm and activation, before the convolution, on both branches.
        h = resample(layers, h, how)?;
        let mut shortcut = resample(layers, x, how)?;
        h = layers.conv2d("conv1", h, outputs, 3, SAME)?;
        let width = if scale_shift { 2 * outputs } else { outputs };
        let embedding = layers.linear("time_emb_proj", self.embedding, width)?;
        if scale_shift {
            h = self.group_norm(layers, "norm2", h, groups)?;
            h = layers.push(Modulate, &[h, embedding])?;
        } else {
            h = layers.push(AddEmbedding, &[h, embedding])?;
            h = self.group_norm(layers, "norm2", h, groups)?;
        }
        h = layers.silu(h)?;
        h = layers.dropout(h, config.dropout)?;
        h = layers.conv2d("conv2", h, outputs, 3, SAME)?;
        if inputs != outputs {
            let pointwise = Conv2d { stride: 1, padding: [0; 4] };
            shortcut = layers.conv2d("conv_shortcut", shortcut, outputs, 1, pointwise)?;
        }
        let sum = layers.push(Add, &[shortcut, h])?;
        divide(layers, sum, factor)
    }

    /// diffusers' `Attention` of a U-Net: norm, self-attention over the pixels, projection,
    /// residual; the sum is divided by `factor`.
    pub fn attention(
        self,
        layers: &mut Layers,
        x: Value,
        groups: Option<usize>,
        factor: f64,
    ) -> Result<Value, Error> {
        let heads = self.config.heads(layers.channels(x));
        let h = match groups {
            Some(groups) => self.group_norm(layers, "group_norm", x, groups)?,
            None => x,
        };
        let h = layers.self_attention(h, heads)?;
        let sum = layers.push(Add, &[h, x])?;
        divide(layers, sum, factor)
    }
}
