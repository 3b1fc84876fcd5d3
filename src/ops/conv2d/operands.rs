//! What the kernels of convolutions and linear layers read and write, and what runs around them.
use super::{Extents, families::Part};
use crate::{
    error::Error,
    ops::{ApplyAffine, Concat, GroupMoments, Lowering, SumRows, UpsampleNearest},
    plan::{Dispatch, Packed},
    shaders::conv2d_turn_weight,
    value::{TensorType, Value},
};

/// What a convolution or linear layer reads and writes, fused or not; and a gradient of weights,
/// the product of `x` and `dy`.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Operands {
    /// Input; its first `split4` vec4s of channels if there is an `x1`.
    pub x0: Value,
    /// The other channels of the input.
    pub x1: Option<Value>,
    /// vec4s of channels in `x0`.
    pub split4: usize,
    /// Center, scale and shift of the input, `[batch, 3, channels]`.
    pub affine: Option<Value>,
    /// Whether SiLU follows them.
    pub silu: bool,
    /// Whether every pixel of the input stands for 2x2.
    pub upsample: bool,
    /// Taps of matrices; `dy` of a gradient of weights.
    pub weight: Value,
    /// Whether `weight` is that of the other direction, to be transposed and turned.
    pub turned: bool,
    /// Added to every pixel.
    pub bias: Option<Value>,
    /// Channels of it are added to every pixel of an image, `[batch, channels]`.
    pub embedding: Option<Value>,
    /// vec4s of channels before those.
    pub embedding_first4: usize,
    /// Added to the output.
    pub residual: Option<Value>,
    /// Output: `y`, `dx` or `dweight`.
    pub y: Value,
    /// Whether SiLU of it is written.
    pub activated: bool,
    /// Its moments.
    pub moments: Option<Value>,
    /// Of a gradient of weights: the output that is the gradient of the bias, the sum of `dy`.
    pub dbias: Option<Value>,
}

impl Operands {
    /// Those of `y = x weight`, where `x` has this many channels.
    pub fn new(x: Value, channels: usize, weight: Value, y: Value) -> Self {
        Self {
            x0: x,
            x1: None,
            split4: channels.div_ceil(4),
            affine: None,
            silu: false,
            upsample: false,
            weight,
            turned: false,
            bias: None,
            embedding: None,
            embedding_first4: 0,
            residual: None,
            y,
            activated: false,
            moments: None,
            dbias: None,
        }
    }

    /// vec4s of a row of the embedding.
    pub(super) fn embedding_pitch4(&self, lowering: &Lowering) -> u32 {
        self.embedding.map_or(0, |value| lowering.type_of(value).pitch() as u32 / 4)
    }

    /// The same operands with an input that stands in one tensor as it is, and what makes that.
    pub(super) fn dense(&self, lowering: &mut Lowering) -> Result<(Vec<Dispatch>, Self), Error> {
        let (before, x) = lowering.captured(|lowering| {
            let sources = [Some(self.x0), self.x1, self.affine];
            let sources: Vec<Value> = sources.into_iter().flatten().collect();
            let mut x = self.x0;
            if self.affine.is_some() {
                x = lowering.nested(ApplyAffine { silu: self.silu }, &sources)?;
            } else if self.x1.is_some() {
                x = lowering.nested(Concat, &sources)?;
            }
            if self.upsample {
                x = lowering.nested(UpsampleNearest, &[x])?;
            }
            Ok(x)
        })?;
        let split4 = lowering.type_of(x).pitch() / 4;
        let (x1, affine) = (None, None);
        let dense = Self { x0: x, x1, split4, affine, silu: false, upsample: false, ..*self };
        Ok((before, dense))
    }

    /// What computes the moments of `y`, where a kernel does not along the way.
    pub(super) fn moments_of_output(
        &self,
        lowering: &mut Lowering,
    ) -> Result<Vec<Dispatch>, Error> {
        let Some(moments) = self.moments else { return Ok(Vec::new()) };
        Ok(lowering.captured(|lowering| GroupMoments.compute(lowering, self.y, moments))?.0)
    }

    /// What computes the gradient of the bias, where a kernel does not along the way.
    pub(super) fn bias_gradient(&self, lowering: &mut Lowering) -> Result<Vec<Dispatch>, Error> {
        let Some(dbias) = self.dbias else { return Ok(Vec::new()) };
        Ok(lowering.captured(|lowering| SumRows.compute(lowering, self.weight, dbias))?.0)
    }

    /// The same operands with the weight of this direction, and the form that it then is.
    pub(super) fn straight(
        &self,
        lowering: &mut Lowering,
        extents: &Extents,
    ) -> (Option<Packed>, Self) {
        if !self.turned {
            return (None, *self);
        }
        let Extents { in_channels, out_channels, .. } = *extents;
        let of = TensorType::f32(&[extents.taps(), in_channels, out_channels]);
        let of = of.with_element(lowering.type_of(self.weight).element);
        let form = lowering.packed(self.weight, "turned", of, true);
        let params = conv2d_turn_weight::Params {
            taps: extents.taps() as u32,
            in_channels: out_channels as u32,
            out_channels: in_channels as u32,
        };
        let blocks = extents.taps() * out_channels.div_ceil(4) * in_channels.div_ceil(4);
        let kernel = conv2d_turn_weight::Forward { weight: self.weight, turned: form };
        let dispatch = kernel.over(params, blocks);
        let packed = Packed { of: self.weight, form, dispatch, kept: true };
        (Some(packed), Self { weight: form, turned: false, ..*self })
    }

    /// Whether fusion put this around the convolution.
    pub(super) fn has(&self, part: Part) -> bool {
        match part {
            Part::Concat => self.x1.is_some(),
            Part::Affine => self.affine.is_some(),
            Part::Upsample => self.upsample,
            Part::Turned => self.turned,
            Part::Embedding => self.embedding.is_some(),
            Part::Residual => self.residual.is_some(),
            Part::Activation => self.activated,
            Part::Moments => self.moments.is_some(),
            Part::BiasGradient => self.dbias.is_some(),
        }
    }
}
