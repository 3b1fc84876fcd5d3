//! Ops of samplers.
use super::Dice;
use crate::{
    ops::{
        AddDrawnNoise, AddNoise, AddNumberedNoise, AllTimesteps, Case, CorrectorSize, DrawNormal,
        DrawTimesteps, DynamicThreshold, Guide, Input, SamplingRow, SamplingStep, Twice,
        sampling::step::wide,
    },
    shaders::shared::coefficients::Coefficients,
    value::TensorType,
};

/// Image, timesteps, a table of their coefficients.
fn noised(dice: &mut Dice) -> (TensorType, Vec<Input>) {
    let (x, timesteps) = (dice.image(), dice.extent(60));
    let operands = vec![
        Input::normal(x),
        Input::below(TensorType::f32(&x.shape[..1]), timesteps as u32),
        Input::uniform(TensorType::f32(&[timesteps, 2]), 0.0, 1.0),
    ];
    (x, operands)
}

pub fn add_noise(dice: &mut Dice) -> Case {
    let (x, mut operands) = noised(dice);
    operands.push(Input::normal(x));
    Case::new(AddNoise, operands).terms(2).half(&[0, 3])
}

pub fn add_drawn_noise(dice: &mut Dice) -> Case {
    let (_, mut operands) = noised(dice);
    operands.push(dice.key());
    Case::new(AddDrawnNoise { stream: dice.below(9) as u32 }, operands).terms(2).half(&[0])
}

pub fn add_numbered_noise(dice: &mut Dice) -> Case {
    let (x, mut operands) = noised(dice);
    operands.push(dice.key());
    operands.push(Input::below(TensorType::u32(&x.shape[..1]), 100_000));
    Case::new(AddNumberedNoise { stream: dice.below(9) as u32 }, operands).terms(2).half(&[0])
}

pub fn corrector_size(dice: &mut Dice) -> Case {
    let (output, given_noise) = (dice.image(), dice.flip());
    let width = output.shape.last();
    let channels = if width.is_multiple_of(2) && dice.flip() { width / 2 } else { width };
    let op = CorrectorSize { stream: 2, channels, given_noise };
    let mut operands = vec![Input::normal(output), dice.key()];
    operands.extend(given_noise.then(|| Input::normal(op.image(output))));
    Case::new(op, operands).terms(output.shape.elements() / output.shape[0]).half(&[0])
}

pub fn draw_normal(dice: &mut Dice) -> Case {
    let of = if dice.flip() { dice.image() } else { TensorType::f16(&dice.image().shape) };
    Case::new(DrawNormal { of, stream: dice.below(9) as u32 }, vec![dice.key()])
}

pub fn draw_timesteps(dice: &mut Dice) -> Case {
    let (batch, count, antithetic) = (dice.extent(300), dice.extent(1 << 16) as u32, dice.flip());
    Case::new(DrawTimesteps { batch, count, antithetic, stream: 1 }, vec![dice.key()])
}

pub fn dynamic_threshold(dice: &mut Dice) -> Case {
    let x = dice.image();
    let op =
        DynamicThreshold { ratio: dice.float(0.0, 1.0).into(), limit: dice.float(1.0, 5.0).into() };
    let output = if dice.flip() { wide(x) } else { x };
    let row = step_row(dice);
    Case::new(op, vec![Input::normal(x), Input::normal(output), row]).terms(4).half(&[1])
}

pub fn twice(dice: &mut Dice) -> Case {
    Case::new(Twice, vec![Input::normal(dice.image())]).half(&[0])
}

pub fn guide(dice: &mut Dice) -> Case {
    let [batch, height, width, channels] = dice.extents([3, 30, 30, 40], 3000);
    let predictions = TensorType::f32(&[2 * batch, height, width, channels]);
    let op = Guide {
        scale: dice.float(0.0, 8.0).into(),
        rescale: dice.pick([0.0, 0.0, 0.7, 1.0]).into(),
        channels: dice.extent(channels),
    };
    // The largest weight is `scale`; the deviations are sums over an image.
    let terms = 64 + predictions.shape.elements() / batch;
    Case::new(op, vec![Input::normal(predictions)]).terms(terms).half(&[0])
}

/// A table of so many steps.
fn table(steps: usize) -> Input {
    Input::normal(TensorType::f32(&[steps, SamplingRow::COLUMNS]))
}

pub fn all_timesteps(dice: &mut Dice) -> Case {
    Case::new(AllTimesteps, vec![table(dice.extent(600))])
}

pub fn row(dice: &mut Dice) -> Case {
    let steps = dice.extent(60);
    Case::new(SamplingRow { batch: dice.extent(300) }, vec![dice.key(), table(steps)])
}

/// A row of a sampler's table, as `SamplingStep` reads it.
fn step_row(dice: &mut Dice) -> Input {
    let numbers = [(); SamplingRow::COLUMNS].map(|()| dice.float(-1.5, 1.5));
    let row = Coefficients {
        timestep: dice.below(1000) as f64,
        clip: dice.pick([0.7, 1.0, 1e30]),
        sigma: dice.pick([0.0, 0.3]),
        adaptive: dice.pick([0.0, 1.0]),
        zero: 0.0,
        ..Coefficients::read(&numbers)
    };
    Input::values(TensorType::f32(&[SamplingRow::COLUMNS]), row.write().into())
}

pub fn step(dice: &mut Dice) -> Case {
    let [memory, given_noise, bounded, sized] = [(); 4].map(|()| dice.flip());
    let op = SamplingStep { stream: 1, memory, given_noise, bounded, sized };
    let x = dice.image();
    let output = if dice.flip() { wide(x) } else { x };
    let mut operands = vec![Input::normal(x), Input::normal(output), step_row(dice), dice.key()];
    operands
        .extend([memory, given_noise].into_iter().filter(|there| *there).map(|_| Input::normal(x)));
    let each = Input::uniform(TensorType::f32(&x.shape[..1]), 0.5, 2.0);
    operands.extend([bounded, sized].into_iter().filter(|there| *there).map(|_| each.clone()));
    Case::new(op, operands).terms(16).half(&[1])
}
