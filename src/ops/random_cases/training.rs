//! Ops of training: losses, arenas, the optimizer, what a step begins and ends with.
use super::Dice;
use crate::{
    ops::{
        Adam, Advance, Case, Counter, DrawImportant, DropLabels, Dropout, GlobalNorm,
        ImageSquaredError, ImageSquaredErrorBackward, Input, MeanLoss, MeanLossBackward,
        MeanSquaredError, MeanSquaredErrorBackward, Operator, Pack, Record, Reduction, Remember,
        SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward, TimestepProbabilities, TrainingRow,
        VariationalBound, View, loss::variational_bound,
    },
    value::TensorType,
};

/// Four numbers: a row of the schedule, or what `GlobalNorm` gives.
fn four(numbers: [f64; 4]) -> Input {
    Input::values(TensorType::f32(&[4]), numbers.into())
}

/// Norm, factor, and whether the step is good, two of three times.
fn norm(dice: &mut Dice) -> Input {
    four([dice.float(0.1, 9.0), dice.float(0.1, 1.0), dice.pick([0.0, 1.0, 1.0]), 0.0])
}

pub fn adam(dice: &mut Dice) -> Case {
    let op = Adam {
        beta1: dice.float(0.5, 0.99).into(),
        beta2: dice.float(0.9, 0.9999).into(),
        epsilon: 1e-8.into(),
        weight_decay: dice.pick([0.0, 0.01, 0.1]).into(),
        decoupled: dice.flip(),
        ema: dice.flip(),
    };
    let of = TensorType::f32(&[dice.extent(6000)]);
    let rates = four([(); 4].map(|()| dice.float(0.001, 0.3)));
    let mut operands = vec![rates, norm(dice)];
    operands.extend([Input::normal(of), Input::normal(of), Input::shifted(of, 0.0, 0.1)]);
    operands.push(Input::uniform(of, 0.0, 0.01));
    operands.extend(op.ema.then(|| Input::normal(of)));
    Case::new(op, operands)
}

pub fn view(dice: &mut Dice) -> Case {
    let of = dice.tensor();
    let (offset, after) = (View::ALIGNMENT * dice.below(9), View::ALIGNMENT * dice.below(9));
    // As in every arena, the tensor's pad lanes are zero.
    let elements = offset + of.physical_elements().next_multiple_of(View::ALIGNMENT) + after;
    let tensor = Input::normal(of).tensor(dice.word());
    let arena = Pack { offsets: vec![offset], elements }.reference(&[&tensor]).swap_remove(0);
    Case::new(View { offset, of }, vec![Input::values(TensorType::f32(&[elements]), arena.data)])
}

/// Tensors without gaps between them, which would keep what they held.
pub fn pack(dice: &mut Dice) -> Case {
    let (mut offsets, mut elements, mut inputs) = (Vec::new(), 0, Vec::new());
    for _ in 0..dice.extent(5) {
        let of = TensorType::f32(&[View::ALIGNMENT / 4 * dice.extent(9), dice.extent(70)]);
        offsets.push(elements);
        inputs.push(Input::normal(of));
        elements += of.physical_elements();
    }
    Case::new(Pack { offsets, elements }, inputs)
}

/// A counter that perhaps had a bad step before.
fn counter(dice: &mut Dice) -> Input {
    let step = 1 + dice.below(1000) as u32;
    let bad_step = dice.flip().then(|| dice.below(step as usize) as u32);
    let counter =
        Counter { seed: dice.below(1 << 40) as u64, step, bad_step, ..Counter::default() };
    Input::values(Counter::of(), counter.tensor().data)
}

pub fn advance(dice: &mut Dice) -> Case {
    let (guarded, counter) = (dice.flip(), counter(dice));
    let operands = [counter.clone(), counter].into_iter().chain(guarded.then(|| norm(dice)));
    Case::new(Advance { guarded }, operands.collect())
}

pub fn record(dice: &mut Dice) -> Case {
    let history = Input::normal(TensorType::f32(&[dice.extent(40), 4]));
    let loss = Input::normal(TensorType::f32(&[1]));
    Case::new(Record, vec![history, counter(dice), loss, norm(dice)])
}

pub fn row(dice: &mut Dice) -> Case {
    let warmup = dice.below(300) as u32;
    let op = TrainingRow {
        learning_rate: dice.float(1e-5, 1.0).into(),
        warmup,
        decay_steps: dice.pick([0, warmup + 700]),
        beta1: dice.float(0.5, 0.99).into(),
        beta2: dice.float(0.9, 0.9999).into(),
        ema_decay: dice.float(0.5, 0.9999).into(),
        ema_warmup: dice.flip(),
    };
    Case::new(op, vec![counter(dice)])
}

pub fn drop_labels(dice: &mut Dice) -> Case {
    let op = DropLabels { probability: dice.float(0.0, 1.0).into(), null: 10, stream: 7 };
    let labels = Input::below(TensorType::u32(&[dice.extent(300)]), 10);
    Case::new(op, vec![labels, dice.key()])
}

pub fn dropout(dice: &mut Dice) -> Case {
    let x = dice.image();
    let op = Dropout { rate: dice.float(0.0, 0.9).into(), stream: 9 };
    Case::new(op, vec![Input::normal(x), dice.key()]).half(&[0])
}

pub fn global_norm(dice: &mut Dice) -> Case {
    let op = GlobalNorm {
        clip: dice.flip().then(|| dice.float(0.1, 100.0).into()),
        guarded: dice.flip(),
    };
    let mut operands = Vec::new();
    if op.guarded {
        operands.extend([Input::normal(TensorType::f32(&[1])), counter(dice)]);
    }
    let gradients: Vec<TensorType> = (0..dice.extent(5)).map(|_| dice.tensor()).collect();
    let terms = gradients.iter().map(|of| of.shape.elements()).sum();
    operands.extend(gradients.into_iter().map(Input::normal));
    Case::new(op, operands).terms(terms)
}

fn reduction(dice: &mut Dice) -> Reduction {
    dice.pick([Reduction::Mean, Reduction::ImageSum])
}

pub fn image_squared_error(dice: &mut Dice, backward: bool) -> Case {
    let (of, timesteps, reduction) = (dice.image(), dice.extent(60), reduction(dice));
    let batch = TensorType::f32(&of.shape[..1]);
    let mut inputs = vec![
        Input::normal(of),
        Input::normal(of),
        Input::below(batch, timesteps as u32),
        Input::uniform(TensorType::f32(&[timesteps]), 0.1, 5.0),
    ];
    if backward {
        inputs.push(Input::normal(batch));
        return Case::new(ImageSquaredErrorBackward { reduction }, inputs).half(&[0, 1]);
    }
    let terms = of.shape.elements() / of.shape[0];
    Case::new(ImageSquaredError { reduction }, inputs).terms(terms).half(&[0, 1])
}

pub fn mean_squared_error(dice: &mut Dice, backward: bool) -> Case {
    let (of, reduction) = (dice.image(), reduction(dice));
    let mut inputs = vec![Input::normal(of), Input::normal(of)];
    if backward {
        inputs.push(Input::normal(TensorType::f32(&[1])));
        return Case::new(MeanSquaredErrorBackward { reduction }, inputs).half(&[0, 1]);
    }
    Case::new(MeanSquaredError { reduction }, inputs).terms(of.shape.elements()).half(&[0, 1])
}

pub fn mean_loss(dice: &mut Dice) -> Case {
    let batch = TensorType::f32(&[dice.extent(600)]);
    let factors = dice.flip().then(|| Input::uniform(batch, 0.1, 9.0));
    let inputs = [Input::uniform(batch, 0.1, 2.0)].into_iter().chain(factors).collect();
    Case::new(MeanLoss, inputs).terms(batch.shape[0])
}

pub fn mean_loss_backward(dice: &mut Dice) -> Case {
    let batch = dice.extent(600);
    let factors = dice.flip().then(|| Input::uniform(TensorType::f32(&[batch]), 0.1, 9.0));
    let dloss = Input::normal(TensorType::f32(&[1]));
    Case::new(MeanLossBackward { batch }, [dloss].into_iter().chain(factors).collect())
}

/// Losses of so many timesteps, and how many there are of each: up to all.
fn memory(dice: &mut Dice, timesteps: usize, full: bool) -> Input {
    let of = TimestepProbabilities::memory(timesteps);
    let losses = of.shape.last() - 1;
    let mut numbers = Vec::new();
    for _ in 0..timesteps {
        let number = if full { losses } else { dice.below(losses + 4) };
        numbers.extend((0..losses).map(|i| if i < number { dice.float(0.01, 1.5) } else { 0.0 }));
        numbers.push(number as f64);
    }
    Input::values(of, numbers)
}

pub fn timestep_probabilities(dice: &mut Dice) -> Case {
    let (timesteps, full) = (dice.extent(1500), dice.flip());
    Case::new(TimestepProbabilities, vec![memory(dice, timesteps, full)]).terms(timesteps)
}

/// Powers of two, so that their sums, and with them the draws, are exact.
pub fn draw_important(dice: &mut Dice) -> Case {
    let of = TensorType::f32(&[dice.extent(1500)]);
    let numbers = (0..of.shape[0]).map(|_| dice.pick([0.5, 1.0, 2.0]) / 2048.0).collect();
    let op = DrawImportant { batch: dice.extent(130), stream: 1 };
    Case::new(op, vec![dice.key(), Input::values(of, numbers)]).terms(of.shape[0])
}

pub fn remember(dice: &mut Dice) -> Case {
    let (timesteps, batch) = (dice.extent(300), TensorType::f32(&[dice.extent(130)]));
    let memory = memory(dice, timesteps, false);
    let told = Input::below(batch, timesteps as u32);
    Case::new(Remember, vec![memory, told, Input::uniform(batch, 0.1, 2.0), norm(dice)])
}

pub fn cross_entropy(dice: &mut Dice, backward: bool) -> Case {
    let of = loop {
        let of = dice.tensor();
        if of.shape.len() > 1 {
            break of;
        }
    };
    let logits = Input::shifted(of, 1.0, dice.pick([1.0, 4.0]));
    let labels = Input::below(TensorType::u32(&[of.rows()]), of.shape.last() as u32);
    let mut inputs = vec![logits, labels];
    if backward {
        inputs.push(Input::normal(TensorType::f32(&[1])));
        return Case::new(SoftmaxCrossEntropyBackward, inputs).terms(of.shape.last()).half(&[0]);
    }
    Case::new(SoftmaxCrossEntropy, inputs).terms(of.shape.elements()).half(&[0])
}

pub fn variational_bound(dice: &mut Dice, backward: bool) -> Case {
    let (learned, levels) = (dice.flip(), dice.pick([16.0, 255.0]));
    let op = VariationalBound {
        learned,
        clip: dice.flip().then(|| 1.0.into()),
        half_bin: (1.0 / levels).into(),
        frozen_mean: learned && dice.flip(),
    };
    let x = dice.spatial();
    let cases = variational_bound::at(op, x, levels, dice.pick([0.0, 0.9]));
    let index = if backward { dice.below(cases.len() - 1) } else { cases.len() - 1 };
    cases.into_iter().nth(index).unwrap_or_else(|| unreachable!("one of these"))
}
