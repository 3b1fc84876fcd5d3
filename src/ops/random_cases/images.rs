//! Ops that work on each element, pixel or row.
use super::Dice;
use crate::{
    ops::{
        Add, AddEmbedding, AveragePool, AveragePoolBackward, Case, Cast, Concat, Constant,
        GatherRows, GatherRowsBackward, Geglu, GegluBackward, Gelu, GeluBackward, Input, Modulate,
        ModulateBackward, PadChannels, Scale, Silu, SiluBackward, SliceChannels, SumPixels,
        SumRows, TimestepEmbedding, UpsampleNearest, UpsampleNearestBackward,
    },
    value::{ElementType, TensorType},
};

pub fn add(dice: &mut Dice) -> Case {
    let of = dice.tensor();
    Case::new(Add, vec![Input::normal(of); 2]).half(&[0, 1])
}

/// `[batch, factor channels]`
fn row_of(x: TensorType, factor: usize) -> TensorType {
    x.with_shape(&[x.shape[0], factor * x.shape.last()])
}

pub fn add_embedding(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    Case::new(AddEmbedding, vec![Input::normal(x), Input::normal(row_of(x, 1))]).half(&[0, 1])
}

pub fn sum_pixels(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    let x1 = Input::shifted(x, dice.float(-2.0, 2.0), 1.0);
    Case::new(SumPixels, vec![x1]).terms(x.rows() / x.shape[0]).half(&[0])
}

pub fn sum_rows(dice: &mut Dice) -> Case {
    let x = dice.tensor();
    Case::new(SumRows, vec![Input::shifted(x, dice.float(-2.0, 2.0), 1.0)])
        .terms(x.rows())
        .half(&[0])
}

fn element(dice: &mut Dice) -> ElementType {
    dice.pick([ElementType::F32, ElementType::F16])
}

pub fn cast(dice: &mut Dice) -> Case {
    let (x, to) = (dice.tensor().with_element(element(dice)), element(dice));
    Case::new(Cast { to }, vec![Input::normal(x)])
}

pub fn concat(dice: &mut Dice) -> Case {
    let x = dice.tensor();
    let mut shape = x.shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last = dice.extent(70);
    }
    let other = Input::normal(x.with_shape(&shape));
    Case::new(Concat, vec![Input::normal(x), other]).half(&[0, 1])
}

pub fn slice_channels(dice: &mut Dice) -> Case {
    let x = dice.tensor();
    let start = dice.below(x.shape.last());
    let count = dice.extent(x.shape.last() - start);
    Case::new(SliceChannels { start, count }, vec![Input::normal(x)]).half(&[0])
}

pub fn pad_channels(dice: &mut Dice) -> Case {
    let (before, after) = (dice.below(20), dice.below(20));
    Case::new(PadChannels { before, after }, vec![Input::normal(dice.tensor())]).half(&[0])
}

pub fn constant(dice: &mut Dice) -> Case {
    let (of, number) = (dice.tensor().with_element(element(dice)), dice.float(-9.0, 9.0).into());
    Case::new(Constant { of, number }, Vec::new())
}

pub fn scale(dice: &mut Dice) -> Case {
    let [scale, shift] = [(); 2].map(|()| dice.float(-3.0, 3.0).into());
    Case::new(Scale { scale, shift }, vec![Input::normal(dice.tensor())]).terms(2).half(&[0])
}

/// Operands of every size, from where nothing is left of an exponential to where it overflows. The
/// first is positive: far below zero alone a result is as exact as the exponent, not as its digits.
fn wide(dice: &mut Dice, of: TensorType) -> Input {
    let deviation = dice.pick([0.1, 1.0, 4.0, 30.0, 1000.0]);
    let mut numbers = Input::shifted(of, 0.0, deviation).tensor(dice.word()).data;
    numbers[0] = deviation.max(1.0);
    Input::values(of, numbers)
}

/// Gradients that arrive: normal numbers, the first of them 1.
fn arriving(dice: &mut Dice, of: TensorType) -> Input {
    let mut numbers = Input::normal(of).tensor(dice.word()).data;
    numbers[0] = 1.0;
    Input::values(of, numbers)
}

pub fn silu(dice: &mut Dice) -> Case {
    let of = dice.tensor();
    Case::new(Silu, vec![wide(dice, of)]).half(&[0])
}

pub fn silu_backward(dice: &mut Dice) -> Case {
    let of = dice.tensor();
    Case::new(SiluBackward, vec![wide(dice, of), arriving(dice, of)]).half(&[0, 1])
}

pub fn gelu(dice: &mut Dice) -> Case {
    let of = dice.tensor();
    Case::new(Gelu, vec![wide(dice, of)]).half(&[0])
}

pub fn gelu_backward(dice: &mut Dice) -> Case {
    let of = dice.tensor();
    Case::new(GeluBackward, vec![wide(dice, of), arriving(dice, of)]).half(&[0, 1])
}

/// Both halves, and one.
fn gated(dice: &mut Dice) -> [TensorType; 2] {
    let y = dice.tensor();
    let mut shape = y.shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last *= 2;
    }
    [y.with_shape(&shape), y]
}

pub fn geglu(dice: &mut Dice) -> Case {
    let [x, _] = gated(dice);
    Case::new(Geglu, vec![Input::shifted(x, 0.0, 2.0)]).half(&[0])
}

pub fn geglu_backward(dice: &mut Dice) -> Case {
    let [x, y] = gated(dice);
    Case::new(GegluBackward, vec![Input::shifted(x, 0.0, 2.0), Input::normal(y)]).half(&[0, 1])
}

pub fn timestep_embedding(dice: &mut Dice) -> Case {
    let op = TimestepEmbedding {
        width: 4 + dice.extent(200),
        flip_sin_to_cos: dice.flip(),
        freq_shift: dice.pick([0.0, 1.0]).into(),
        max_period: 10_000.0.into(),
        element: element(dice),
    };
    let times = TensorType::f32(&[dice.extent(70)]);
    let times =
        if dice.flip() { Input::below(times, 1000) } else { Input::uniform(times, 0.0, 1000.0) };
    Case::new(op, vec![times])
}

pub fn gather_rows(dice: &mut Dice) -> Case {
    let [batch, classes, width] = dice.extents([70, 300, 200], 10_000);
    let labels = Input::below(TensorType::u32(&[batch]), classes as u32);
    let table = Input::normal(TensorType::f32(&[classes, width]));
    Case::new(GatherRows { element: element(dice) }, vec![labels, table])
}

pub fn gather_rows_backward(dice: &mut Dice) -> Case {
    let [batch, classes, width] = dice.extents([300, 70, 200], 10_000);
    let labels = Input::below(TensorType::u32(&[batch]), classes as u32);
    let dy = Input::normal(TensorType::f32(&[batch, width]));
    Case::new(GatherRowsBackward { classes }, vec![labels, dy]).terms(batch).half(&[1])
}

pub fn modulate(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    Case::new(Modulate, vec![Input::normal(x), Input::normal(row_of(x, 2))]).half(&[0, 1])
}

pub fn modulate_backward(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    let inputs = [x, row_of(x, 2), x].map(Input::normal).into();
    Case::new(ModulateBackward, inputs).half(&[0, 1, 2]).terms(x.rows() / x.shape[0])
}

pub fn upsample(dice: &mut Dice) -> Case {
    Case::new(UpsampleNearest, vec![Input::normal(dice.image())]).terms(4).half(&[0])
}

pub fn upsample_backward(dice: &mut Dice) -> Case {
    let [batch, height, width, channels] = dice.extents([5, 20, 20, 70], 2000);
    let y = TensorType::f32(&[batch, 2 * height, 2 * width, channels]);
    Case::new(UpsampleNearestBackward, vec![Input::normal(y)]).terms(4).half(&[0])
}

pub fn average_pool(dice: &mut Dice) -> Case {
    let [batch, height, width, channels] = dice.extents([5, 40, 40, 70], 6000);
    let x = TensorType::f32(&[batch, height + 1, width + 1, channels]);
    Case::new(AveragePool, vec![Input::normal(x)]).terms(4).half(&[0])
}

pub fn average_pool_backward(dice: &mut Dice) -> Case {
    let y = dice.image();
    let [height, width] = [1, 2].map(|axis| 2 * y.shape[axis] + usize::from(dice.flip()));
    Case::new(AveragePoolBackward { height, width }, vec![Input::normal(y)]).terms(4).half(&[0])
}
