//! The blocks of the U-Net, each a few equations under its scope.
use super::{
    UNetConfig,
    config::TimeScaleShift,
    parameters::{Initial, ParameterSpec},
};
use crate::{
    error::Error,
    graph::Graph,
    ops::{
        Add, AddEmbedding, Attention, AveragePool, Conv2d, Dropout, GroupNorm, Linear, Modulate,
        Scale, Silu, UpsampleNearest,
    },
    value::{TensorType, Value},
};

/// Where the builder finds the value of a parameter.
pub type Source<'a> = &'a mut dyn FnMut(&mut Graph, ParameterSpec) -> Result<Value, Error>;

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

/// Builds a model, asking for its parameters by name.
pub struct Builder<'a> {
    pub graph: &'a mut Graph,
    pub source: Source<'a>,
    pub config: &'a UNetConfig,
    /// The step's key: dropout is built if it is given.
    pub key: Option<Value>,
    /// Random streams used so far.
    pub stream: u32,
    /// `silu(time embedding)`, `[batch, width]`.
    pub embedding: Value,
}

impl Builder<'_> {
    /// Builds under `name`, a part of the parameters' names; the empty name adds nothing.
    pub fn scope<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        if name.is_empty() {
            return build(self);
        }
        self.graph.enter(name);
        let result = build(self);
        self.graph.leave();
        result
    }

    /// The parameter `name` of the current scope.
    pub fn parameter(
        &mut self,
        name: &str,
        of: TensorType,
        initial: Initial,
    ) -> Result<Value, Error> {
        let scope = self.graph.scope().replace('/', ".");
        let separator = if scope.is_empty() { "" } else { "." };
        let name = format!("{scope}{separator}{name}");
        (self.source)(self.graph, ParameterSpec { name, of, initial })
    }

    /// Weight and bias with PyTorch's default start.
    fn affine(&mut self, shape: &[usize]) -> Result<[Value; 2], Error> {
        let (&outputs, inner) = shape.split_last().expect("a weight has axes");
        let bound = (inner.iter().product::<usize>() as f64).sqrt().recip();
        let initial = Initial::Uniform(bound);
        Ok([
            self.parameter("weight", TensorType::f32(shape), initial)?,
            self.parameter("bias", TensorType::f32(&[outputs]), initial)?,
        ])
    }

    fn channels(&self, x: Value) -> usize {
        self.graph.type_of(x).shape.last()
    }

    /// Square convolution with bias; `padding` is top, bottom, left, right.
    pub fn conv(
        &mut self,
        name: &str,
        x: Value,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: [usize; 4],
    ) -> Result<Value, Error> {
        self.scope(name, |b| {
            let [weight, bias] = b.affine(&[kernel, kernel, b.channels(x), outputs])?;
            b.graph.push(Conv2d { stride, padding }, &[x, weight, bias])
        })
    }

    /// Linear map of the innermost axis, with bias.
    pub fn linear(&mut self, name: &str, x: Value, outputs: usize) -> Result<Value, Error> {
        self.scope(name, |b| {
            let [weight, bias] = b.affine(&[b.channels(x), outputs])?;
            b.graph.push(Linear, &[x, weight, bias])
        })
    }

    /// Group norm with weight and bias.
    pub fn group_norm(&mut self, name: &str, x: Value, groups: usize) -> Result<Value, Error> {
        self.scope(name, |b| {
            let of = TensorType::f32(&[b.channels(x)]);
            let weight = b.parameter("weight", of, Initial::Constant(1.0))?;
            let bias = b.parameter("bias", of, Initial::Constant(0.0))?;
            let norm = GroupNorm { groups, eps: b.config.norm_eps.into() };
            b.graph.push(norm, &[x, weight, bias])
        })
    }

    /// Resolution doubled or halved.
    pub fn resample(&mut self, x: Value, how: Resample) -> Result<Value, Error> {
        match how {
            Resample::None => Ok(x),
            Resample::Down => self.graph.push(AveragePool, &[x]),
            Resample::Up => self.graph.push(UpsampleNearest, &[x]),
        }
    }

    /// Divides by `factor`.
    fn divide(&mut self, x: Value, factor: f64) -> Result<Value, Error> {
        if factor == 1.0 {
            return Ok(x);
        }
        self.graph.push(Scale { scale: factor.recip().into(), shift: 0.0.into() }, &[x])
    }

    /// diffusers' `ResnetBlock2D`; the sum is divided by `factor`.
    pub fn resnet(
        &mut self,
        name: &str,
        x: Value,
        outputs: usize,
        factor: f64,
        resample: Resample,
    ) -> Result<Value, Error> {
        self.scope(name, |b| {
            let (groups, inputs) = (b.config.norm_num_groups, b.channels(x));
            let scale_shift = b.config.resnet_time_scale_shift == TimeScaleShift::ScaleShift;
            let mut h = b.group_norm("norm1", x, groups)?;
            h = b.graph.push(Silu, &[h])?;
            // After norm and activation, before the convolution, on both branches.
            h = b.resample(h, resample)?;
            let mut shortcut = b.resample(x, resample)?;
            h = b.conv("conv1", h, outputs, 3, 1, [1; 4])?;
            let width = if scale_shift { 2 * outputs } else { outputs };
            let embedding = b.linear("time_emb_proj", b.embedding, width)?;
            if scale_shift {
                h = b.group_norm("norm2", h, groups)?;
                h = b.graph.push(Modulate, &[h, embedding])?;
            } else {
                h = b.graph.push(AddEmbedding, &[h, embedding])?;
                h = b.group_norm("norm2", h, groups)?;
            }
            h = b.graph.push(Silu, &[h])?;
            if let (Some(key), true) = (b.key, b.config.dropout > 0.0) {
                b.stream += 1;
                let dropout = Dropout { rate: b.config.dropout.into(), stream: b.stream };
                h = b.graph.push(dropout, &[h, key])?;
            }
            h = b.conv("conv2", h, outputs, 3, 1, [1; 4])?;
            if inputs != outputs {
                shortcut = b.conv("conv_shortcut", shortcut, outputs, 1, 1, [0; 4])?;
            }
            let sum = b.graph.push(Add, &[shortcut, h])?;
            b.divide(sum, factor)
        })
    }

    /// diffusers' `Attention` of a U-Net: norm, self-attention over the pixels, projection,
    /// residual; the sum is divided by `factor`.
    pub fn attention(
        &mut self,
        name: &str,
        x: Value,
        groups: Option<usize>,
        factor: f64,
    ) -> Result<Value, Error> {
        self.scope(name, |b| {
            let channels = b.channels(x);
            let h = match groups {
                Some(groups) => b.group_norm("group_norm", x, groups)?,
                None => x,
            };
            let q = b.linear("to_q", h, channels)?;
            let k = b.linear("to_k", h, channels)?;
            let v = b.linear("to_v", h, channels)?;
            let attention = Attention { heads: b.config.heads(channels) };
            let h = b.graph.push(attention, &[q, k, v])?;
            let h = b.scope("to_out", |b| b.linear("0", h, channels))?;
            let sum = b.graph.push(Add, &[h, x])?;
            b.divide(sum, factor)
        })
    }
}
