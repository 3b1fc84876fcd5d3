//! A scale and a shift of every channel of every image, and SiLU after it.
use super::affine::affine_type;
use crate::{
    error::Error,
    graph::Equation,
    ops::{
        Backward, Case, Input, Lowering, Operator, ShapeError, Silu, elementwise_cost, operands,
        pixel_tile::Images,
    },
    plan::Cost,
    reference::Tensor,
    shaders::group_norm as shader,
    value::{TensorType, Value},
};
use std::fmt;

/// `y = x scale + shift`, or [`Silu`] of that.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]` |
/// | `affine` | `[batch, 2, channels]` = (scale, shift), f32, as [`GroupAffine`](super::GroupAffine) gives |
/// | output `y` | as `x` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplyAffine {
    /// Whether SiLU follows.
    pub silu: bool,
}

impl ApplyAffine {
    /// Applies `affine` to `x`.
    pub(super) fn push(
        self,
        lowering: &mut Lowering,
        x: Value,
        affine: Value,
        y: Value,
    ) -> Result<(), Error> {
        let images = Images::unchecked(lowering.type_of(x));
        let tile_pixels = images.strip(lowering.target());
        let tiles = images.pixels.div_ceil(tile_pixels);
        let params = shader::Params {
            pixels: images.pixels as u32,
            channels4: images.channels4() as u32,
            tiles: tiles as u32,
            tile_pixels: tile_pixels as u32,
            ..shader::Params::default()
        };
        let overrides = shader::Overrides { silu: self.silu, ..Default::default() };
        let grid = images.grid_of(tiles, overrides.workgroup);
        Ok(lowering.push(shader::Apply { x, affine, y }.dispatch(params, overrides, grid))?)
    }
}

impl fmt::Display for ApplyAffine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apply_affine{{silu={}}}", self.silu)
    }
}

impl Operator for ApplyAffine {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x, affine] = operands("apply_affine", inputs)?;
        let images = Images::of("apply_affine", x, inputs)?;
        let expected = affine_type(images.batch, images.channels);
        if affine != expected {
            let message = format!("affine must be {expected}, found {affine}");
            return Err(ShapeError::new("apply_affine", message, inputs));
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, affine] = [inputs[0], inputs[1]];
        let (image, channels) = (x.data.len() / x.shape[0], x.shape.last());
        let mut y = x.clone();
        for (i, y) in y.data.iter_mut().enumerate() {
            let scale = i / image * 2 * channels + i % channels;
            *y = *y * affine.data[scale] + affine.data[scale + channels];
        }
        if self.silu { Silu.reference(&[&y]) } else { vec![y] }
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        self.push(lowering, equation.inputs[0], equation.inputs[1], equation.outputs[0])
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(if self.silu { 6 } else { 2 }, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [(&[usize], _); 3] = [
        (&[2, 7, 5, 5], "odd channels"),
        (&[1, 49, 1], "one channel of tokens"),
        (&[3, 8, 8, 32], ""),
    ];
    let case = |silu, (shape, note): (&[usize], &str)| {
        let x = TensorType::f32(shape);
        let affine = affine_type(shape[0], x.shape.last());
        let inputs = vec![Input::normal(x), Input::normal(affine)];
        Case::new(ApplyAffine { silu }, inputs).half(&[0]).name(note)
    };
    [false, true].into_iter().flat_map(|silu| shapes.map(|shape| case(silu, shape))).collect()
}
