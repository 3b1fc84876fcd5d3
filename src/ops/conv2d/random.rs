//! Random convolutions.
use super::{
    Conv2d, Conv2dInputGradient, Conv2dWeightGradient, FusedConv2d, FusedConv2dWeightGradient,
    Load, Prologue,
};
use crate::{
    ops::{Case, Dice, Input, Operator},
    value::TensorType,
};

/// A convolution that fits images of this size: kernel, stride, padding.
fn geometry(dice: &mut Dice, height: usize, width: usize) -> ([usize; 2], usize, [usize; 4]) {
    let kernel: [usize; 2] = dice.pick([[3, 3], [3, 3], [1, 1], [2, 2], [3, 1]]);
    let stride = dice.pick([1, 1, 2]);
    let padding = dice.pick([[1; 4], [1; 4], [0, 1, 0, 1], [0, 2, 2, 1], [0; 4]]);
    let fits = |axis: usize, extent: usize| {
        let added = [padding[2 * axis], padding[2 * axis + 1]];
        added.iter().all(|&more| more < kernel[axis])
            && extent + added[0] + added[1] >= kernel[axis]
    };
    if !(fits(0, height) && fits(1, width)) {
        return ([1, 1], stride, [0; 4]);
    }
    (kernel, stride, padding)
}

/// Type of what a convolution gives.
fn convolved(conv: Conv2d, x: TensorType, weight: TensorType) -> TensorType {
    conv.infer(&[x, weight]).unwrap_or_else(|error| unreachable!("{error}"))[0]
}

/// The convolution itself, the gradient of its input or that of its weight.
fn plain(dice: &mut Dice) -> Case {
    let [inputs, outputs] = dice.extents([130, 130], Dice::PRODUCTS / 512);
    let [batch, height, width] = dice.extents([3, 40, 40], Dice::PRODUCTS / 9 / inputs / outputs);
    let (kernel, stride, padding) = geometry(dice, height, width);
    let conv = Conv2d { stride, padding };
    let x = TensorType::f32(&[batch, height, width, inputs]);
    let weight = TensorType::f32(&[kernel[0], kernel[1], inputs, outputs]);
    let dy = convolved(conv, x, weight);
    let (taps, pixels) = (kernel[0] * kernel[1], dy.rows());
    let [x, weight, dy] = [x, weight, dy].map(Input::normal);
    match dice.below(3) {
        0 => {
            let bias = dice.flip().then(|| Input::normal(TensorType::f32(&[outputs])));
            let operands = [x, weight].into_iter().chain(bias).collect();
            Case::new(conv, operands).terms(taps * inputs + 1).half(&[0, 1])
        }
        1 => {
            let residual = dice.flip();
            let op = Conv2dInputGradient { stride, padding, height, width, residual };
            let half: &[usize] = if residual { &[0, 1, 2] } else { &[0, 1] };
            let operands = [dy, weight].into_iter().chain(residual.then_some(x)).collect();
            Case::new(op, operands).terms(taps * outputs + 1).half(half)
        }
        _ => {
            let op = Conv2dWeightGradient { stride, padding, kernel, bias: dice.flip() };
            Case::new(op, vec![x, dy]).terms(pixels).half(&[0, 1])
        }
    }
}

/// A fused convolution, or the gradient of its weight.
fn fused(dice: &mut Dice) -> Case {
    let load = Load {
        concat: dice.flip(),
        prologue: dice.pick([Prologue::Identity, Prologue::Affine, Prologue::AffineSilu]),
        upsample: dice.flip(),
    };
    let [first, second, outputs] = dice.extents([40, 40, 70], 1 << 13);
    let (first, second) = if load.concat { (4 * first.div_ceil(4), second) } else { (first, 0) };
    let channels = first + second;
    let [batch, height, width] =
        dice.extents([3, 24, 24], Dice::PRODUCTS / 36 / channels / outputs);
    let factor = if load.upsample { 2 } else { 1 };
    let read = TensorType::f32(&[batch, factor * height, factor * width, channels]);
    let (kernel, stride, padding) = geometry(dice, read.shape[1], read.shape[2]);
    let conv = Conv2d { stride, padding };
    let weight = TensorType::f32(&[kernel[0], kernel[1], channels, outputs]);
    let y = convolved(conv, read, weight);
    let image = |channels| TensorType::f32(&[batch, height, width, channels]);
    let mut types = vec![image(first)];
    types.extend(load.concat.then(|| image(second)));
    types.extend(
        (load.prologue != Prologue::Identity).then(|| TensorType::f32(&[batch, 3, channels])),
    );
    if dice.flip() {
        let gradient = Conv2dWeightGradient { stride, padding, kernel, bias: dice.flip() };
        types.push(y);
        let inputs = types.into_iter().map(Input::normal).collect();
        return Case::new(FusedConv2dWeightGradient { gradient, load }, inputs).terms(4 * y.rows());
    }
    let [bias, embedding, residual, moments] = [(); 4].map(|()| dice.flip());
    // A part of an embedding is one of whole vec4s.
    let start = if outputs.is_multiple_of(4) { 4 * dice.below(3) } else { 0 };
    let embedded =
        if outputs.is_multiple_of(4) { start + outputs + dice.below(9) } else { outputs };
    types.push(weight);
    types.extend(bias.then(|| TensorType::f32(&[outputs])));
    types.extend(embedding.then(|| TensorType::f32(&[batch, embedded])));
    types.extend(residual.then_some(y));
    let embedding = embedding.then_some(start);
    let op = FusedConv2d { conv, load, bias, embedding, residual, moments };
    let inputs = types.into_iter().map(Input::normal).collect();
    // The prologue's terms, and the squares of the moments.
    Case::new(op, inputs).terms(4 * kernel[0] * kernel[1] * channels)
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    if dice.below(5) < 3 { plain(dice) } else { fused(dice) }
}
