//! Equations over a picture that is larger than the device's largest binding, as equations over bands of its rows.
//!
//! A picture alone in its batch lies row by row, so a band is a range of its bytes: kernels bind that range of the one
//! buffer, and nothing is copied. A convolution reads the rows beside its band from the same buffer. The moments of
//! bands stand one after another, as those of the picture would, so a norm still sees all of it. Gradients that sum
//! over pixels are added up.
use crate::{
    graph::Equation,
    ops::{
        ApplyAffine, FusedConv2d, FusedConv2dWeightGradient, GroupMoments, GroupNorm, Load,
        Lowering, Op, Operator,
    },
    value::{TensorType, Value},
};
use std::ops::Range;

mod band;
mod convolutions;

pub(super) use band::Band;
use band::{Operand, cuts, moments};
use convolutions::{convolution, input_gradient, summed, weight_gradient};

/// Bands begin at multiples of so many rows, but for a shift: whole tiles of [`GroupMoments`] whatever the width, and
/// whole alignments of their moments.
const STEP: usize = 16;

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

/// The equation in bands of so many rows of its result, or of what it sums over.
fn split(lowering: &mut Lowering, equation: &Equation, rows: usize) -> Option<Vec<Band>> {
    let (inputs, outputs) = (&equation.inputs[..], &equation.outputs[..]);
    let &x = inputs.first()?;
    if !is_picture(lowering.type_of(x)) {
        return None;
    }
    if let Some(conv) = FusedConv2d::of(&equation.op, inputs.len()) {
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
