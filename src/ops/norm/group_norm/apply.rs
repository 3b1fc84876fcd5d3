//! A center, a scale and a shift of every channel of every image, and SiLU after them.
use super::affine::{affine_type, sources};
use crate::{
    ops::{Concat, Silu, kit::pixel_tile::Images, prelude::*},
    shaders::group_norm as shader,
};

/// `y = (x - center) scale + shift`, or [`Silu`] of that.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]`; two for a concatenation, the first with a multiple of 4 channels |
/// | `affine` | `[batch, 3, channels]` = (center, scale, shift), f32, as [`GroupAffine`](super::GroupAffine) gives |
/// | output `y` | as `x`, or the concatenation |
///
/// Example: [`crate::ops::GroupAffine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplyAffine {
    /// Whether SiLU follows.
    pub silu: bool,
}

/// Sources, one or two; centers, scales and shifts.
fn split<T: Copy>(inputs: &[T]) -> Option<(&[T], T)> {
    match inputs {
        [sources @ .., affine] if (1..=2).contains(&sources.len()) => Some((sources, *affine)),
        _ => None,
    }
}

impl ApplyAffine {
    /// Applies `affine` to one or two sources.
    pub(super) fn push(
        self,
        lowering: &mut Lowering,
        sources: &[Value],
        affine: Value,
        y: Value,
    ) -> Result<(), Error> {
        let images = Images::unchecked(lowering.type_of(y));
        let tile_pixels = images.strip(lowering.target());
        let tiles = images.pixels.div_ceil(tile_pixels);
        let params = shader::Params {
            batch: images.batch as u32,
            pixels: images.pixels as u32,
            channels4: images.channels4() as u32,
            split4: lowering.type_of(sources[0]).pitch() as u32 / 4,
            tiles: tiles as u32,
            tile_pixels: tile_pixels as u32,
            ..shader::Params::default()
        };
        let overrides = shader::Overrides { silu: self.silu, ..Default::default() };
        let grid = images.grid_of(tiles, overrides.workgroup);
        let kernel = shader::Apply { x0: sources[0], x1: sources.get(1).copied(), affine, y };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }
}

display!("apply_affine", ApplyAffine { silu });

impl Operator for ApplyAffine {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let Some((sources, affine)) = split(inputs) else {
            return Err(check.count("2 or 3"));
        };
        if sources.len() == 2 && !sources[0].shape.last().is_multiple_of(4) {
            let message = format!("x0 must have a multiple of 4 channels, found {}", sources[0]);
            return Err(check.conflict(message));
        }
        let y = if let [x] = *sources { x } else { Concat.infer(sources)?[0] };
        let images = Images::of(check, "x", y)?;
        check.is("affine", affine, affine_type(images.batch, images.channels))?;
        Ok(vec![y])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (sources, affine) = split(inputs).expect("operands fit, as infer found");
        let mut y =
            if let [x] = *sources { x.clone() } else { Concat.reference(sources).swap_remove(0) };
        let (image, channels) = (y.data.len() / y.shape[0], y.shape.last());
        for (i, y) in y.data.iter_mut().enumerate() {
            let first = i / image * 3 * channels + i % channels;
            let [center, scale, shift] = [0, 1, 2].map(|row| affine.data[first + row * channels]);
            *y = (*y - center) * scale + shift;
        }
        if self.silu { Silu.reference(&[&y]) } else { vec![y] }
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (sources, affine) = split(&equation.inputs).expect("operands fit, as infer found");
        self.push(lowering, sources, affine, equation.outputs[0])
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let outputs = self.infer(inputs).unwrap_or_default();
        elementwise_cost(if self.silu { 7 } else { 3 }, inputs, &outputs)
    }
}

fn case(silu: bool, shape: &[usize], sources: &[usize]) -> Case {
    let of = |channels: usize| TensorType::f32(&[shape, &[channels]].concat());
    let affine = affine_type(shape[0], sources.iter().sum());
    let inputs = sources.iter().map(|&channels| of(channels)).chain([affine]);
    let half: &[usize] = if sources.len() == 2 { &[0, 1] } else { &[0] };
    Case::new(ApplyAffine { silu }, inputs.map(Input::normal).collect()).half(half)
}

pub(super) fn cases() -> Vec<Case> {
    let both = |silu| {
        [
            case(silu, &[2, 7, 5], &[5]).name("odd channels"),
            case(silu, &[1, 49], &[1]).name("one channel of tokens"),
            case(silu, &[3, 8, 8], &[32]),
            case(silu, &[2, 7, 5], &[8, 5]).name("two sources, the second of odd channels"),
            case(silu, &[1, 49], &[4, 16]).name("two sources of tokens"),
        ]
    };
    [both(false), both(true)].concat()
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let sources = sources(dice);
    let shape = dice.extents([5, 300], 10_000 / sources.iter().sum::<usize>());
    case(dice.flip(), &shape, &sources).terms(3)
}
