//! The blocks of U-Nets and autoencoders, each a few layers under its scope, and the levels that they stand in: diffusers'
//! `down_blocks`, `mid_block` and `up_blocks`.
use crate::{
    error::Error,
    nn::Layers,
    ops::{
        Add, AddEmbedding, AveragePool, Concat, Conv2d, Modulate, Scale, SumPixels, UpsampleNearest,
    },
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
fn resample(layers: &mut Layers, x: Value, how: Resample) -> Result<Value, Error> {
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

/// The mean of each image's pixels, `[batch, channels]`.
pub fn mean(layers: &mut Layers, x: Value) -> Result<Value, Error> {
    let of = layers.graph.type_of(x);
    let pixels = of.rows() / of.shape[0];
    let sum = layers.push(SumPixels, &[x])?;
    layers.push(Scale { scale: (1.0 / pixels as f64).into(), shift: 0.0.into() }, &[sum])
}

/// diffusers' `TimestepEmbedding`: two linear layers, SiLU between them.
pub fn two_layers(layers: &mut Layers, name: &str, x: Value, width: usize) -> Result<Value, Error> {
    layers.scope(name, |layers| {
        let h = layers.linear("linear_1", x, width)?;
        let h = layers.silu(h)?;
        layers.linear("linear_2", h, width)
    })
}

/// A 3x3 convolution that keeps the resolution.
pub const SAME: Conv2d = Conv2d { stride: 1, padding: [1; 4] };

/// A 1x1 convolution.
pub const POINTWISE: Conv2d = Conv2d { stride: 1, padding: [0; 4] };

/// Appends what follows a residual block, given the block's number in its level and its result.
pub type Attend<'a> = Box<dyn Fn(&mut Layers, usize, Value) -> Result<Value, Error> + 'a>;

/// A level: all blocks of one resolution.
pub struct Level<'a> {
    /// Channels.
    pub width: usize,
    /// Residual blocks.
    pub layers: usize,
    /// What follows each, in the scope `attentions.NUMBER`.
    pub attend: Option<Attend<'a>>,
    /// Does a whole residual block change the resolution? Otherwise a convolution does.
    pub whole_block: bool,
}

/// What the residual blocks of one network have in common.
#[derive(Clone, Copy)]
pub struct Blocks {
    /// Groups of every group norm.
    pub groups: usize,
    /// Added to the variance in every group norm.
    pub eps: f64,
    /// Share of the activations that training drops.
    pub dropout: f64,
    /// Does the time embedding scale and shift the second norm's result? Otherwise it is added before it.
    pub scale_shift: bool,
    /// `silu(time embedding)`, `[batch, width]`; an autoencoder has none.
    pub embedding: Option<Value>,
}

impl Blocks {
    /// diffusers' `ResnetBlock2D`; the sum is divided by `factor`.
    pub fn resnet(
        self,
        layers: &mut Layers,
        x: Value,
        outputs: usize,
        factor: f64,
        how: Resample,
    ) -> Result<Value, Error> {
        let (inputs, Self { groups, eps, .. }) = (layers.channels(x), self);
        let mut h = layers.group_norm("norm1", x, groups, eps)?;
        h = layers.silu(h)?;
        // After norm and activation, before the convolution, on both branches.
        h = resample(layers, h, how)?;
        let mut shortcut = resample(layers, x, how)?;
        h = layers.conv2d("conv1", h, outputs, 3, SAME)?;
        let width = if self.scale_shift { 2 * outputs } else { outputs };
        let embedding = self.embedding.map(|e| layers.linear("time_emb_proj", e, width));
        let embedding = embedding.transpose()?;
        if let Some(embedding) = embedding.filter(|_| !self.scale_shift) {
            h = layers.push(AddEmbedding, &[h, embedding])?;
        }
        h = layers.group_norm("norm2", h, groups, eps)?;
        if let Some(embedding) = embedding.filter(|_| self.scale_shift) {
            h = layers.push(Modulate, &[h, embedding])?;
        }
        h = layers.silu(h)?;
        h = layers.dropout(h, self.dropout)?;
        h = layers.conv2d("conv2", h, outputs, 3, SAME)?;
        if inputs != outputs {
            shortcut = layers.conv2d("conv_shortcut", shortcut, outputs, 1, POINTWISE)?;
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
        heads: usize,
        groups: Option<usize>,
        factor: f64,
    ) -> Result<Value, Error> {
        let h = match groups {
            Some(groups) => layers.group_norm("group_norm", x, groups, self.eps)?,
            None => x,
        };
        let h = layers.self_attention(h, heads)?;
        let sum = layers.push(Add, &[h, x])?;
        divide(layers, sum, factor)
    }

    /// A residual block, and an attention if the level has any.
    fn layer(
        self,
        layers: &mut Layers,
        level: &Level,
        number: usize,
        x: Value,
    ) -> Result<Value, Error> {
        let h = layers.scope(&format!("resnets.{number}"), |layers| {
            self.resnet(layers, x, level.width, 1.0, Resample::None)
        })?;
        match &level.attend {
            None => Ok(h),
            Some(attend) => {
                layers.scope(&format!("attentions.{number}"), |layers| attend(layers, number, h))
            }
        }
    }

    /// The levels on the way down, finest first, after the first convolution's result `h`. Returns `h`
    /// and the result of each block: the skip connections, the last of them the encoder's result. Halving
    /// convolutions pad right and bottom, and with `padding` 1 also left and top.
    pub fn encoder(
        self,
        layers: &mut Layers,
        mut h: Value,
        levels: &[Level],
        padding: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut skips = vec![h];
        for (index, level) in levels.iter().enumerate() {
            layers.scope(&format!("down_blocks.{index}"), |layers| {
                for number in 0..level.layers {
                    h = self.layer(layers, level, number, h)?;
                    skips.push(h);
                }
                if index + 1 == levels.len() {
                    return Ok::<_, Error>(());
                }
                h = layers.scope("downsamplers.0", |layers| {
                    if level.whole_block {
                        return self.resnet(layers, h, level.width, 1.0, Resample::Down);
                    }
                    let halving = Conv2d { stride: 2, padding: [padding, 1, padding, 1] };
                    layers.conv2d("conv", h, level.width, 3, halving)
                })?;
                skips.push(h);
                Ok(())
            })?;
        }
        Ok(skips)
    }

    /// A residual block, what `attend` appends, a residual block. The sums of the residual blocks are
    /// divided by `factor`.
    pub fn middle(
        self,
        layers: &mut Layers,
        h: Value,
        factor: f64,
        attend: Option<Attend>,
    ) -> Result<Value, Error> {
        let width = layers.channels(h);
        let resnet = |layers: &mut Layers, name, x| {
            layers.scope(name, |layers| self.resnet(layers, x, width, factor, Resample::None))
        };
        layers.scope("mid_block", |layers| {
            let mut h = resnet(layers, "resnets.0", h)?;
            if let Some(attend) = attend {
                h = layers.scope("attentions.0", |layers| attend(layers, 0, h))?;
            }
            resnet(layers, "resnets.1", h)
        })
    }

    /// The levels on the way up, coarsest first. Each block takes the last of `skips`, as long as there are
    /// any, beside its input.
    pub fn decoder(
        self,
        layers: &mut Layers,
        mut h: Value,
        mut skips: Vec<Value>,
        levels: &[Level],
    ) -> Result<Value, Error> {
        for (index, level) in levels.iter().enumerate() {
            h = layers.scope(&format!("up_blocks.{index}"), |layers| {
                for number in 0..level.layers {
                    if let Some(skip) = skips.pop() {
                        h = layers.push(Concat, &[h, skip])?;
                    }
                    h = self.layer(layers, level, number, h)?;
                }
                if index + 1 == levels.len() {
                    return Ok(h);
                }
                layers.scope("upsamplers.0", |layers| {
                    if level.whole_block {
                        return self.resnet(layers, h, level.width, 1.0, Resample::Up);
                    }
                    let h = resample(layers, h, Resample::Up)?;
                    layers.conv2d("conv", h, level.width, 3, SAME)
                })
            })?;
        }
        Ok(h)
    }

    /// Norm, SiLU and the last convolution: `conv_norm_out`, `conv_out`.
    pub fn output(self, layers: &mut Layers, h: Value, outputs: usize) -> Result<Value, Error> {
        let h = layers.group_norm("conv_norm_out", h, self.groups, self.eps)?;
        let h = layers.silu(h)?;
        layers.conv2d("conv_out", h, outputs, 3, SAME)
    }
}
