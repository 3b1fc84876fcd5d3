//! Convolutions, linear layers and attention.
use super::Dice;
use crate::{
    ops::{
        Attention, AttentionBackward, Case, Conv2d, Conv2dInputGradient, Conv2dWeightGradient,
        FusedConv2d, FusedConv2dWeightGradient, FusedLinear, Input, JointAttention, Linear,
        LinearInputGradient, LinearWeightGradient, Load, Operator, Prologue,
    },
    value::TensorType,
};

/// Products behind the largest case.
const PRODUCTS: usize = 1 << 20;

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
pub fn convolution(dice: &mut Dice, which: usize) -> Case {
    let [inputs, outputs] = dice.extents([130, 130], PRODUCTS / 512);
    let [batch, height, width] = dice.extents([3, 40, 40], PRODUCTS / 9 / inputs / outputs);
    let (kernel, stride, padding) = geometry(dice, height, width);
    let conv = Conv2d { stride, padding };
    let x = TensorType::f32(&[batch, height, width, inputs]);
    let weight = TensorType::f32(&[kernel[0], kernel[1], inputs, outputs]);
    let dy = convolved(conv, x, weight);
    let (taps, pixels) = (kernel[0] * kernel[1], dy.rows());
    let [x, weight, dy] = [x, weight, dy].map(Input::normal);
    match which {
        0 => {
            let bias = dice.flip().then(|| Input::normal(TensorType::f32(&[outputs])));
            let operands = [x, weight].into_iter().chain(bias).collect();
            Case::new(conv, operands).terms(taps * inputs + 1).half(&[0, 1])
        }
        1 => {
            let op = Conv2dInputGradient { stride, padding, height, width };
            Case::new(op, vec![dy, weight]).terms(taps * outputs).half(&[0, 1])
        }
        _ => {
            let op = Conv2dWeightGradient { stride, padding, kernel };
            Case::new(op, vec![x, dy]).terms(pixels).half(&[0, 1])
        }
    }
}

/// A fused convolution, or the gradient of its weight.
pub fn fused_convolution(dice: &mut Dice, of_weight: bool) -> Case {
    let load = Load {
        concat: dice.flip(),
        prologue: dice.pick([Prologue::Identity, Prologue::Affine, Prologue::AffineSilu]),
        upsample: dice.flip(),
    };
    let [first, second, outputs] = dice.extents([40, 40, 70], 1 << 13);
    let (first, second) = if load.concat { (4 * first.div_ceil(4), second) } else { (first, 0) };
    let channels = first + second;
    let [batch, height, width] = dice.extents([3, 24, 24], PRODUCTS / 36 / channels / outputs);
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
    if of_weight {
        let gradient = Conv2dWeightGradient { stride, padding, kernel };
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

/// A linear layer, a fused one, the gradient of its input or that of its weight.
pub fn linear(dice: &mut Dice, which: usize) -> Case {
    let [batch, tokens, channels, outputs] = dice.extents([5, 130, 260, 260], PRODUCTS / 2);
    let rank2 = dice.flip();
    let rows: &[usize] = if rank2 { &[tokens] } else { &[batch, tokens] };
    let of = |last| TensorType::f32(&[rows, &[last]].concat());
    let count = of(channels).rows();
    let weight = TensorType::f32(&[channels, outputs]);
    let [x, dy, weight, bias] =
        [of(channels), of(outputs), weight, TensorType::f32(&[outputs])].map(Input::normal);
    match which {
        0 => {
            let operands = [x, weight].into_iter().chain(dice.flip().then_some(bias)).collect();
            Case::new(Linear, operands).terms(channels + 1).half(&[0, 1])
        }
        1 => {
            let [has_bias, residual, silu] = [(); 3].map(|()| dice.flip());
            let op = FusedLinear { bias: has_bias, residual, silu };
            let mut operands = vec![x, weight];
            operands.extend(has_bias.then_some(bias));
            operands.extend(residual.then_some(dy));
            let half: &[usize] = match (has_bias, residual) {
                (true, true) => &[0, 1, 3],
                (false, true) => &[0, 1, 2],
                _ => &[0, 1],
            };
            Case::new(op, operands).terms(channels + 2).half(half)
        }
        2 => Case::new(LinearInputGradient, vec![dy, weight]).terms(outputs).half(&[0, 1]),
        _ => Case::new(LinearWeightGradient, vec![x, dy]).terms(count).half(&[0, 1]),
    }
}

/// `q`, `k`, heads and channels of a head.
fn attended(dice: &mut Dice) -> ([TensorType; 2], usize, usize) {
    let [heads, size] = dice.extents([5, 130], 260);
    let [batch, queries, keys] = dice.extents([3, 130, 130], PRODUCTS / 2 / heads / size);
    let of = |tokens| TensorType::f32(&[batch, tokens, heads * size]);
    ([of(queries), of(keys)], heads, size)
}

pub fn attention(dice: &mut Dice) -> Case {
    let ([q, k], heads, size) = attended(dice);
    // An error of a score is an error of the weight's exponent.
    let terms = 2 * (k.shape[1] + size);
    Case::new(Attention { heads }, [q, k, k].map(Input::normal).into())
        .half(&[0, 1, 2])
        .terms(terms)
}

pub fn attention_backward(dice: &mut Dice) -> Case {
    let ([q, k], heads, size) = attended(dice);
    let log_sum_exp = TensorType::f32(&[q.shape[0], heads, q.shape[1]]);
    let inputs = vec![
        Input::shifted(q, 0.0, 0.5),
        Input::normal(k),
        Input::normal(k),
        Input::normal(q),
        Input::uniform(log_sum_exp, 2.0, 4.0),
        Input::normal(q),
    ];
    let terms = q.shape[1].max(k.shape[1]) + size;
    Case::new(AttentionBackward { heads }, inputs).half(&[0, 1, 2, 3, 5]).terms(terms)
}

pub fn joint_attention(dice: &mut Dice) -> Case {
    let ([q, _], heads, size) = attended(dice);
    // What lowering reads in place: heads that begin at a vec4.
    let size = size.next_multiple_of(4);
    let of = q.with_shape(&[q.shape[0], q.shape[1], 3 * heads * size]);
    let op = JointAttention { heads };
    debug_assert!(op.infer(&[of]).is_ok());
    Case::new(op, vec![Input::normal(of)]).half(&[0]).terms(2 * (q.shape[1] + size))
}
