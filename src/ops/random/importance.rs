//! Timesteps drawn by the second moment of their losses: Nichol and Dhariwal 2021, *Improved
//! Denoising Diffusion Probabilistic Models*, section 3.3, with the constants of its released code.
use crate::{ops::prelude::*, shaders::importance as shader};
use bytemuck::Zeroable;

/// Losses that are remembered of each timestep.
const LOSSES: usize = 10;

/// `probabilities f32[timesteps]` from `memory f32[timesteps, 11]`, as [`Remember`] keeps it:
/// `0.999 w / sum(w) + 0.001 / timesteps` with `w = sqrt(mean(loss^2))`; all alike until every
/// timestep has ten losses.
///
/// ```
/// use ddim::{ops::{Counter, DrawImportant, Operator, TimestepProbabilities}, reference::Tensor};
///
/// // No loss is known: all timesteps are alike, and no factor is needed.
/// let memory = Tensor::zeros(TimestepProbabilities::memory(4).shape);
/// let probabilities = &TimestepProbabilities.reference(&[&memory])[0];
/// assert_eq!(probabilities.data, [0.25; 4]);
/// let key = Tensor::zeros(Counter::of().shape);
/// let drawn = DrawImportant { batch: 2, stream: 1 }.reference(&[&key, probabilities]);
/// assert_eq!(drawn[1].data, [1.0; 2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimestepProbabilities;

/// `timesteps f32[batch]` drawn by `probabilities f32[timesteps]`, and `factors f32[batch]`, which
/// are `1 / (timesteps p)` and leave the expected loss as it is; operands `key u32[8]` and
/// `probabilities`.
///
/// Example: [`TimestepProbabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawImportant {
    /// How many to draw.
    pub batch: usize,
    /// Which of the model's random streams.
    pub stream: u32,
}

/// Keeps the last ten losses of each timestep, in place, unless the step was bad; operands
/// `memory f32[timesteps, 11]`, `timesteps f32[batch]`, `losses f32[batch]`, `norm f32[4]` of
/// [`GlobalNorm`](crate::ops::GlobalNorm). A timestep past the memory is left out. A row holds ten losses and, last, their number: up to 10
/// while they are being collected, then 10 to 19, the last digit being where the next one goes.
///
/// ```
/// use ddim::{ops::{Operator, Remember, TimestepProbabilities}, reference::Tensor, value::Shape};
///
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let memory = Tensor::zeros(TimestepProbabilities::memory(2).shape);
/// let (timestep, loss) = (tensor(&[1.0]), tensor(&[0.5]));
/// let norm = tensor(&[3.0, 1.0, 1.0, 0.0]);
/// let memory = &Remember.reference(&[&memory, &timestep, &loss, &norm])[0];
/// // The second row begins with the loss and ends with their number.
/// assert_eq!((memory.data[11], memory.data[21]), (0.5, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remember;

impl TimestepProbabilities {
    /// Type of the memory of so many timesteps.
    pub fn memory(timesteps: usize) -> TensorType {
        TensorType::f32(&[timesteps, LOSSES + 1])
    }
}

display!("timestep_probabilities", TimestepProbabilities);

display!("draw_important", DrawImportant { batch, stream });

display!("remember", Remember);

impl Operator for TimestepProbabilities {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [memory] = check.operands()?;
        check.is("memory", memory, Self::memory(memory.shape[0]))?;
        Ok(vec![TensorType::f32(&[memory.shape[0]])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let rows = || inputs[0].data.chunks(LOSSES + 1);
        let count = rows().len();
        let moment = |row: &[f64]| {
            let squares: f64 = row[..LOSSES].iter().map(|loss| loss * loss).sum();
            (squares / LOSSES as f64).sqrt()
        };
        let total: f64 = rows().map(moment).sum();
        let uniform = 1.0 / count as f64;
        let informed = total > 0.0 && rows().all(|row| row[LOSSES] >= LOSSES as f64);
        let probability = |row: &[f64]| match informed {
            true => 0.999 * moment(row) / total + 0.001 * uniform,
            false => uniform,
        };
        vec![Tensor::new(TensorType::f32(&[count]).shape, rows().map(probability).collect())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let memory = equation.inputs[0];
        let count = lowering.type_of(memory).rows() as u32;
        let params = shader::Params { count, ..shader::Params::zeroed() };
        let kernel = shader::Probabilities { memory, probabilities_out: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }
}

impl Operator for DrawImportant {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [key, probabilities] = check.operands()?;
        check.key(key)?;
        check.is("probabilities", probabilities, TensorType::f32(&[probabilities.shape[0]]))?;
        Ok(vec![TensorType::f32(&[self.batch]); 2])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (counter, probabilities) = (Counter::read(inputs[0]), &inputs[1].data);
        let (total, count) = (probabilities.iter().sum::<f64>(), probabilities.len());
        let draw = |image| {
            let [word, ..] = counter.random_words(0, image as u32, self.stream);
            let place = f64::from(word >> 8) * 2_f64.powi(-24) * total;
            let mut end = 0.0;
            let behind = probabilities.iter().position(|p| {
                end += p;
                end > place
            });
            behind.unwrap_or(count - 1)
        };
        let drawn: Vec<usize> = (0..self.batch).map(draw).collect();
        let shape = TensorType::f32(&[self.batch]).shape;
        let factor = |&t: &usize| 1.0 / (count as f64 * probabilities[t]);
        vec![
            Tensor::new(shape, drawn.iter().map(|&t| t as f64).collect()),
            Tensor::new(shape, drawn.iter().map(factor).collect()),
        ]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [key, known] = fitted(&equation.inputs);
        let [timesteps_out, factors] = fitted(&equation.outputs);
        let params = shader::Params {
            count: lowering.type_of(known).shape[0] as u32,
            batch: self.batch as u32,
            stream: self.stream,
        };
        let kernel = shader::Draw { key, known, timesteps_out, factors };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }
}

impl Operator for Remember {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [memory, timesteps, losses, norm] = check.operands()?;
        check.is("memory", memory, TimestepProbabilities::memory(memory.shape[0]))?;
        let batch = TensorType::f32(&[timesteps.shape[0]]);
        check.is("timesteps", timesteps, batch)?;
        check.is("losses", losses, batch)?;
        check.is("norm", norm, TensorType::f32(&[4]))?;
        Ok(vec![memory])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [memory, timesteps, losses, norm] = fitted(inputs);
        let mut memory = (*memory).clone();
        if norm.data[2] == 1.0 {
            let known = |(t, _): &(&f64, &f64)| (**t as usize) < memory.shape[0];
            for (&t, &loss) in timesteps.data.iter().zip(&losses.data).filter(known) {
                let row = &mut memory.data[(LOSSES + 1) * t as usize..][..=LOSSES];
                let number = row[LOSSES] as usize;
                row[number % LOSSES] = loss;
                row[LOSSES] = if number == 2 * LOSSES - 1 { LOSSES } else { number + 1 } as f64;
            }
        }
        vec![memory]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [_, timesteps, losses, norm] = fitted(&equation.inputs);
        let kept = equation.outputs[0];
        let overrides = shader::Overrides::default();
        let params = shader::Params {
            count: lowering.type_of(kept).rows() as u32,
            batch: lowering.type_of(timesteps).shape[0] as u32,
            stream: 0,
        };
        let kernel = shader::Remember { timesteps, losses, norm, kept };
        let grid = [params.count.div_ceil(overrides.workgroup), 1, 1];
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    // Losses that fall with the timestep by a factor of a hundred, and how many there are of each.
    let memory = |timesteps: usize, number: &dyn Fn(usize) -> usize| {
        let of = TimestepProbabilities::memory(timesteps);
        let losses = Input::uniform(of, 0.5, 1.5).tensor(3).data;
        let numbers = losses.into_iter().enumerate().map(|(i, loss)| {
            let (t, place) = (i / (LOSSES + 1), i % (LOSSES + 1));
            match number(t) {
                number if place == LOSSES => number as f64,
                number if place >= number => 0.0,
                _ => loss * 100_f64.powf(-(t as f64) / timesteps as f64),
            }
        });
        Input::values(of, numbers.collect())
    };
    let mut all = Vec::new();
    for timesteps in [1, 20, 1000, 1337] {
        let full = memory(timesteps, &|t| 10 + t % 10);
        let partly = memory(timesteps, &|t| if t == timesteps - 1 { 9 } else { 12 });
        let probabilities = TimestepProbabilities.reference(&[&full.tensor(0)]).remove(0);
        let known = Input::values(TensorType::f32(&[timesteps]), probabilities.data);
        let draw = DrawImportant { batch: 67, stream: 1 };
        all.extend([
            Case::new(TimestepProbabilities, vec![full]).terms(timesteps),
            Case::new(TimestepProbabilities, vec![partly]).name("too few losses"),
            Case::new(draw, vec![example_key(), known]).terms(timesteps).selecting(&[1]),
        ]);
    }
    let batch = TensorType::f32(&[40]);
    let norm = |good| Input::row([3.0, 0.5, good, 0.0]);
    // Several images share a timestep, and some rows wrap round.
    let inputs = |good| {
        let losses = Input::uniform(batch, 0.1, 2.0);
        vec![memory(9, &|t| 17 * t % 20), Input::below(batch, 9), losses, norm(good)]
    };
    all.push(Case::new(Remember, inputs(1.0)).selecting(&[0, 1]));
    all.push(Case::new(Remember, inputs(0.0)).selecting(&[0, 1]).name("after a bad step"));
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    // Losses of so many timesteps, and how many there are of each: up to all.
    let memory = |dice: &mut Dice, timesteps: usize, full: bool| {
        let mut numbers = Vec::new();
        for _ in 0..timesteps {
            let number = if full { LOSSES } else { dice.below(LOSSES + 4) };
            let loss = |i| if i < number { dice.float(0.01, 1.5) } else { 0.0 };
            numbers.extend((0..LOSSES).map(loss));
            numbers.push(number as f64);
        }
        Input::values(TimestepProbabilities::memory(timesteps), numbers)
    };
    let timesteps = dice.extent(1500);
    match dice.below(3) {
        0 => {
            let full = dice.flip();
            let memory = memory(dice, timesteps, full);
            Case::new(TimestepProbabilities, vec![memory]).terms(timesteps)
        }
        // Powers of two, so that their sums, and with them the draws, are exact.
        1 => {
            let numbers = (0..timesteps).map(|_| dice.pick([0.5, 1.0, 2.0]) / 2048.0).collect();
            let known = Input::values(TensorType::f32(&[timesteps]), numbers);
            let op = DrawImportant { batch: dice.extent(130), stream: 1 };
            Case::new(op, vec![dice.key(), known]).terms(timesteps)
        }
        _ => {
            let (timesteps, batch) = (dice.extent(300), TensorType::f32(&[dice.extent(130)]));
            let told = Input::below(batch, timesteps as u32);
            let memory = memory(dice, timesteps, false);
            Case::new(Remember, vec![memory, told, Input::uniform(batch, 0.1, 2.0), dice.norm()])
        }
    }
}
