//! Equations over a picture that is larger than the device's largest binding, as equations over bands of its rows.
//!
//! A picture alone in its batch lies row by row, so a band is a range of its bytes: kernels bind that range of the one
//! buffer, and nothing is copied. A convolution reads the rows beside its band from the same buffer. The moments of
//! bands stand one after another, as those of the picture would, so a norm still sees all of it. Gradients that sum
//! over pixels are added up.
use super::rewrite::{fused, load_of};
use crate::{
    graph::Equation,
    ops::{
        ApplyAffine, FusedConv2dWeightGradient, GroupMoments, GroupNorm, Load, Lowering, Op,
        Operator,
    },
    plan::Scope,
    value::{TensorType, Value},
};
use std::ops::Range;

mod convolutions;

use convolutions::{convolution, input_gradient, summed, weight_gradient};

/// Bands begin at multiples of so many rows, but for a shift: whole tiles of [`GroupMoments`] whatever the width, and
/// whole alignments of their moments.
const STEP: usize = 16;

/// Pixels of a tile of [`GroupMoments`].
const TILE: usize = 16;

/// What a band reads or writes: these rows of a value, or all of it.
#[derive(Clone)]
struct Operand {
    value: Value,
    rows: Option<Range<usize>>,
}

impl Operand {
    fn whole(value: Value) -> Self {
        Self { value, rows: None }
    }

    fn of(value: Value, rows: &Range<usize>) -> Self {
        Self { value, rows: Some(rows.clone()) }
    }

    fn type_in(&self, lowering: &Lowering) -> TensorType {
        let of = lowering.type_of(self.value);
        self.rows.as_ref().map_or(of, |rows| of.with_extent(1, rows.len()))
    }

    /// Whether the device binds it.
    fn fits(&self, lowering: &Lowering) -> bool {
        let (of, target) = (lowering.type_of(self.value), lowering.target());
        let offset = self.rows.as_ref().map_or(0, |rows| rows.start as u64 * row_bytes(of));
        self.type_in(lowering).bytes() <= target.max_binding
            && offset.is_multiple_of(target.storage_alignment.max(1))
    }

    fn place(self, lowering: &mut Lowering) -> Value {
        match self.rows {
            Some(rows) => lowering.rows(self.value, rows),
            None => self.value,
        }
    }
}

/// Bytes of a row of a picture alone in its batch.
fn row_bytes(of: TensorType) -> u64 {
    of.with_extent(1, 1).bytes()
}

/// A part of an equation.
pub(super) struct Band {
    op: Op,
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
}

impl Band {
    fn whole(op: impl Into<Op>, inputs: &[Value], outputs: &[Value]) -> Self {
        let all = |values: &[Value]| values.iter().copied().map(Operand::whole).collect();
        Self { op: op.into(), inputs: all(inputs), outputs: all(outputs) }
    }

    /// Whether the device binds all that it reads and writes, and what a kernel that reads nothing in place is given.
    fn fits(&self, lowering: &Lowering) -> bool {
        let read = load_of(&self.op).and_then(|load| {
            let given = self.inputs[..load.arity()].iter();
            load.infer(&given.map(|x| x.type_in(lowering)).collect::<Vec<_>>()).ok()
        });
        read.is_none_or(|of| of.bytes() <= lowering.target().max_binding)
            && self.inputs.iter().chain(&self.outputs).all(|x| x.fits(lowering))
    }

    /// Whether the op takes and makes what the band says.
    fn is_sound(&self, lowering: &Lowering) -> bool {
        let types = |all: &[Operand]| all.iter().map(|x| x.type_in(lowering)).collect::<Vec<_>>();
        self.op.infer(&types(&self.inputs)).is_ok_and(|made| made == types(&self.outputs))
    }

    /// The equation that it is.
    pub fn equation(self, lowering: &mut Lowering, scope: &Scope) -> Equation {
        let mut all = |operands: Vec<Operand>| {
            operands.into_iter().map(|x| x.place(lowering)).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (all(self.inputs), all(self.outputs));
        Equation { op: self.op, inputs, outputs, scope: scope.clone(), section: 0 }
    }
}

/// The bands of an equation: none if the device binds all its tensors, or if they cannot be cut so that it does.
pub(super) fn of(lowering: &mut Lowering, equation: &Equation) -> Option<Vec<Band>> {
    let whole = Band::whole(equation.op.clone(), &equation.inputs, &equation.outputs);
    if whole.fits(lowering) {
        return None;
    }
    if matches!(equation.op, Op::GroupNormBackward(_)) {
        // Its own lowering does it.
        return Some(vec![whole]);
    }
    let values = || equation.inputs.iter().chain(&equation.outputs);
    let height = values().map(|x| lowering.type_of(*x)).filter(|of| is_picture(*of));
    let steps = height.map(|of| of.shape[1]).max()?.div_ceil(STEP);
    (2..=steps).find_map(|count| {
        let bands = split(lowering, equation, steps.div_ceil(count) * STEP)?;
        bands.iter().all(|band| band.fits(lowering) && band.is_sound(lowering)).then_some(bands)
    })
}

/// Whether rows of it are a range of its bytes.
fn is_picture(of: TensorType) -> bool {
    of.shape.len() >= 3 && of.shape[0] == 1
}

/// `height` rows in bands of `rows`, of which the first has `shift` less.
fn cuts(height: usize, rows: usize, shift: usize) -> impl Iterator<Item = Range<usize>> {
    let end = move |k: usize| (k * rows).saturating_sub(shift).min(height);
    (0..).map(move |k| end(k)..end(k + 1)).take_while(|cut| !cut.is_empty())
}

/// The equation in bands of so many rows of its result, or of what it sums over.
fn split(lowering: &mut Lowering, equation: &Equation, rows: usize) -> Option<Vec<Band>> {
    let (inputs, outputs) = (&equation.inputs[..], &equation.outputs[..]);
    let &x = inputs.first()?;
    if !is_picture(lowering.type_of(x)) {
        return None;
    }
    if let Some(conv) = fused(equation) {
        return convolution(lowering, conv, inputs, outputs, rows);
    }
    match &equation.op {
        Op::GroupNorm(norm) => norm_in_parts(lowering, *norm, inputs, outputs, rows),
        Op::GroupMoments(_) => moments(lowering, x, outputs[0], rows),
        Op::UpsampleNearest(_) | Op::UpsampleNearestBackward(_) | Op::AveragePool(_) => {
            Some(resampled(lowering, &equation.op, x, outputs[0], rows))
        }
        Op::Conv2dInputGradient(op) => input_gradient(lowering, *op, inputs, outputs[0], rows),
        Op::Conv2dWeightGradient(op) => {
            let op = FusedConv2dWeightGradient { gradient: *op, load: Load::default() };
            weight_gradient(lowering, op, inputs, outputs, rows)
        }
        Op::FusedConv2dWeightGradient(op) => weight_gradient(lowering, *op, inputs, outputs, rows),
        Op::LinearWeightGradient(_) | Op::SumRows(_) | Op::SumPixels(_) => {
            let part = |cut| {
                let inputs = inputs.iter().map(|x| Operand::of(*x, &cut)).collect();
                (equation.op.clone(), inputs)
            };
            let parts = cuts(lowering.type_of(x).shape[1], rows, 0).map(part).collect();
            Some(summed(lowering, parts, outputs))
        }
        op if is_pixelwise(op) => Some(pixelwise(lowering, equation, rows)),
        _ => None,
    }
}

/// Whether each pixel of the result follows from that pixel of the operands, and from operands that have none.
fn is_pixelwise(op: &Op) -> bool {
    match op {
        Op::FusedLinear(linear) => !linear.moments,
        Op::Add(_)
        | Op::AddEmbedding(_)
        | Op::ApplyAffine(_)
        | Op::Cast(_)
        | Op::Concat(_)
        | Op::Gelu(_)
        | Op::GeluBackward(_)
        | Op::Linear(_)
        | Op::LinearInputGradient(_)
        | Op::Modulate(_)
        | Op::PadChannels(_)
        | Op::QuickGelu(_)
        | Op::QuickGeluBackward(_)
        | Op::Relu(_)
        | Op::ReluBackward(_)
        | Op::Scale(_)
        | Op::Silu(_)
        | Op::SiluBackward(_)
        | Op::SliceChannels(_) => true,
        _ => false,
    }
}

fn pixelwise(lowering: &Lowering, equation: &Equation, rows: usize) -> Vec<Band> {
    let pixels = |of: TensorType| of.with_last(1).shape;
    let of = lowering.type_of(equation.outputs[0]);
    let band = |cut: Range<usize>| {
        let operand = |&value: &Value| match pixels(lowering.type_of(value)) == pixels(of) {
            true => Operand::of(value, &cut),
            false => Operand::whole(value),
        };
        let inputs = equation.inputs.iter().map(operand).collect();
        let outputs = equation.outputs.iter().map(operand).collect();
        Band { op: equation.op.clone(), inputs, outputs }
    };
    cuts(of.shape[1], rows, 0).map(band).collect()
}

/// Tiles of [`GroupMoments`] over these rows of pixels, of a picture's tiles.
fn tiles(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width / TILE..(rows.end * width).div_ceil(TILE)
}

/// Whether the tiles of bands are those of the picture: runs of pixels, or squares of 4x4 in both.
fn keeps_tiles(of: TensorType) -> bool {
    of.shape.len() == 3 || of.shape[1].is_multiple_of(4) || !of.shape[2].is_multiple_of(4)
}

fn moments(lowering: &Lowering, x: Value, result: Value, rows: usize) -> Option<Vec<Band>> {
    let of = lowering.type_of(x);
    let width = of.rows() / of.shape[1];
    let band = |cut: Range<usize>| Band {
        op: GroupMoments.into(),
        inputs: vec![Operand::of(x, &cut)],
        outputs: vec![Operand::of(result, &tiles(&cut, width))],
    };
    keeps_tiles(of).then(|| cuts(of.shape[1], rows, 0).map(band).collect())
}

/// Between a picture and one of half its height, whose rows are cut.
fn resampled(lowering: &Lowering, op: &Op, x: Value, y: Value, rows: usize) -> Vec<Band> {
    let heights = [x, y].map(|value| lowering.type_of(value).shape[1]);
    let part = |value, cut: &Range<usize>, is_small| match is_small {
        true => Operand::of(value, cut),
        false => Operand::of(value, &(2 * cut.start..2 * cut.end)),
    };
    let up = heights[0] < heights[1];
    let band = |cut: Range<usize>| Band {
        op: op.clone(),
        inputs: vec![part(x, &cut, up)],
        outputs: vec![part(y, &cut, !up)],
    };
    cuts(heights[0].min(heights[1]), rows / 2, 0).map(band).collect()
}

fn norm_in_parts(
    lowering: &mut Lowering,
    norm: GroupNorm,
    inputs: &[Value],
    outputs: &[Value],
    rows: usize,
) -> Option<Vec<Band>> {
    let (&[x, weight, bias], &[y, statistics]) = (inputs, outputs) else { return None };
    let of = lowering.type_of(x);
    let partial = lowering.scratch(*GroupMoments.infer(&[of]).ok()?.first()?);
    let fold = norm.affine(of);
    let types = [partial, weight, bias].map(|value| lowering.type_of(value));
    let affine = lowering.scratch(*fold.infer(&types).ok()?.first()?);
    let mut bands = moments(lowering, x, partial, rows)?;
    bands.push(Band::whole(fold, &[partial, weight, bias], &[affine, statistics]));
    bands.extend(cuts(of.shape[1], rows, 0).map(|cut| Band {
        op: ApplyAffine { silu: false }.into(),
        inputs: vec![Operand::of(x, &cut), Operand::whole(affine)],
        outputs: vec![Operand::of(y, &cut)],
    }));
    Some(bands)
}
