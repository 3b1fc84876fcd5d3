//! What changes from step to step, read from the counter at the beginning of a step. Everything
//! else of a plan is compiled in.
use super::{
    Case, Input, Lowering, Operator, display, operands,
    random::{Counter, check_key},
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::row as shader,
    value::{Float, TensorType},
};
use bytemuck::Zeroable;
use std::fmt;

/// Begins a training step: from `counter u32[8]`, `key u32[8]` (its copy) and
/// `row f32[4] = (learning rate, 1 - beta1^t, 1 - beta2^t, 1 - ema decay)` with `t = step + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrainingRow {
    /// The learning rate after the warm-up.
    pub learning_rate: Float,
    /// Steps in which the rate grows to that, linearly; the first has `learning_rate / warmup`.
    pub warmup: u32,
    /// Steps at whose end the rate has fallen to zero, linearly from the warm-up on; 0 keeps it.
    pub decay_steps: u32,
    /// Adam's decay of the first moment.
    pub beta1: Float,
    /// Adam's decay of the second moment.
    pub beta2: Float,
    /// Decay of the moving average of the weights.
    pub ema_decay: Float,
    /// Whether the decay is `min(ema_decay, (1 + step) / (10 + step))`.
    pub ema_warmup: bool,
}

/// Begins a sampling step: from `counter u32[8]` and `table f32[steps, 16]`, `key u32[8]` (the
/// counter's copy), `row f32[16]` (the table's row of this step, as
/// [`SamplingStep`](super::SamplingStep) reads it), `timesteps f32[batch]`, all its first number, and
/// `steps u32[batch]`, all the row's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SamplingRow {
    /// Images.
    pub batch: usize,
}

/// `timesteps f32[steps]` of all rows of `table f32[steps, 16]`: its first column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AllTimesteps;

impl SamplingRow {
    /// Numbers in a row of the table.
    pub const COLUMNS: usize = 16;
}

impl fmt::Display for TrainingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { learning_rate, warmup, decay_steps, beta1, beta2, ema_decay, ema_warmup } = self;
        write!(f, "training_row{{learning_rate={learning_rate} warmup={warmup} ")?;
        write!(f, "decay_steps={decay_steps} ")?;
        write!(f, "betas={beta1},{beta2} ema_decay={ema_decay} ema_warmup={ema_warmup}}}")
    }
}

display!("sampling_row", SamplingRow { batch });

display!("all_timesteps", AllTimesteps);

/// Checks that an operand has the type that it must have.
pub(super) fn check(
    op: &str,
    name: &str,
    found: TensorType,
    expected: TensorType,
    inputs: &[TensorType],
) -> Result<(), ShapeError> {
    if found == expected {
        return Ok(());
    }
    Err(ShapeError::operand(op, name, expected, found, inputs))
}

/// Bytes of a few operands, which are all that these ops cost.
pub(super) fn bytes(inputs: &[TensorType]) -> Cost {
    Cost { flops: 0, bytes: inputs.iter().map(TensorType::bytes).sum() }
}

pub(super) const ONE_WORKGROUP: [u32; 3] = [1, 1, 1];

/// Invocations of a workgroup that has more than one.
const LANES: usize = 64;

impl Operator for TrainingRow {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [counter] = operands("training_row", inputs)?;
        check_key("training_row", counter, inputs)?;
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0 < beta.get() && beta.get() < 1.0) {
                return Err(ShapeError::operand("training_row", name, "in (0, 1)", beta, inputs));
            }
        }
        Ok(vec![Counter::of(), TensorType::f32(&[4])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let step = f64::from(Counter::read(inputs[0]).step);
        let warmed = ((step + 1.0) / f64::from(self.warmup.max(1))).min(1.0);
        let [end, warmup] = [self.decay_steps, self.warmup].map(f64::from);
        let left = ((end - step) / (end - warmup).max(1.0)).clamp(0.0, 1.0);
        let left = if self.decay_steps == 0 { 1.0 } else { left };
        let correction = |beta: Float| -((step + 1.0) * beta.get().ln()).exp_m1();
        let decay = self.ema_decay.get();
        let decay = if self.ema_warmup { decay.min((1.0 + step) / (10.0 + step)) } else { decay };
        let row = vec![
            self.learning_rate.get() * warmed * left,
            correction(self.beta1),
            correction(self.beta2),
            1.0 - decay,
        ];
        vec![inputs[0].clone(), Tensor::new(TensorType::f32(&[4]).shape, row)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let params = shader::Params {
            learning_rate: self.learning_rate.get() as f32,
            warmup: self.warmup,
            decay_steps: self.decay_steps,
            first_log: self.beta1.get().ln() as f32,
            second_log: self.beta2.get().ln() as f32,
            ema_rate: (1.0 - self.ema_decay.get()) as f32,
            ema_warmup: self.ema_warmup.into(),
            ..shader::Params::zeroed()
        };
        let kernel = shader::Training {
            counter: equation.inputs[0],
            key: equation.outputs[0],
            row: equation.outputs[1],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        bytes(inputs)
    }
}

impl Operator for SamplingRow {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [counter, table] = operands("sampling_row", inputs)?;
        check_key("sampling_row", counter, inputs)?;
        check(
            "sampling_row",
            "table",
            table,
            TensorType::f32(&[table.shape[0], SamplingRow::COLUMNS]),
            inputs,
        )?;
        let (timesteps, steps) = (TensorType::f32(&[self.batch]), TensorType::u32(&[self.batch]));
        Ok(vec![Counter::of(), TensorType::f32(&[Self::COLUMNS]), timesteps, steps])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [counter, table] = inputs else { unreachable!("two operands, as infer found") };
        let step = (Counter::read(counter).step as usize).min(table.shape[0] - 1);
        let row = table.data[Self::COLUMNS * step..][..Self::COLUMNS].to_vec();
        let timesteps = vec![row[0]; self.batch];
        vec![
            (*counter).clone(),
            Tensor::new(TensorType::f32(&[Self::COLUMNS]).shape, row),
            Tensor::new(TensorType::f32(&[self.batch]).shape, timesteps),
            Tensor::new(TensorType::u32(&[self.batch]).shape, vec![step as f64; self.batch]),
        ]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let table = equation.inputs[1];
        let params = shader::Params {
            steps: lowering.type_of(table).rows() as u32,
            batch: self.batch as u32,
            ..shader::Params::zeroed()
        };
        let kernel = shader::Sampling {
            counter: equation.inputs[0],
            table,
            key: equation.outputs[0],
            row: equation.outputs[1],
            timesteps: equation.outputs[2],
            steps: equation.outputs[3],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        bytes(&inputs[..1])
    }
}

impl Operator for AllTimesteps {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [table] = operands("all_timesteps", inputs)?;
        check(
            "all_timesteps",
            "table",
            table,
            TensorType::f32(&[table.shape[0], SamplingRow::COLUMNS]),
            inputs,
        )?;
        Ok(vec![TensorType::f32(&[table.shape[0]])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let column: Vec<f64> =
            inputs[0].data.chunks(SamplingRow::COLUMNS).map(|row| row[0]).collect();
        vec![Tensor::new(TensorType::f32(&[column.len()]).shape, column)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (table, timesteps) = (equation.inputs[0], equation.outputs[0]);
        let steps = lowering.type_of(table).rows();
        let params = shader::Params { steps: steps as u32, ..shader::Params::zeroed() };
        let grid = fold(steps.div_ceil(4 * LANES));
        let kernel = shader::AllTimesteps { table, timesteps };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        bytes(inputs)
    }
}

/// A counter at this step.
fn at(step: u32) -> Input {
    let counter = Counter { seed: 3 << 32 | 1, step, first_image: 8, ..Counter::default() };
    Input::values(Counter::of(), counter.tensor().data)
}

pub(super) fn cases() -> Vec<Case> {
    let training = TrainingRow {
        learning_rate: 0.5.into(),
        warmup: 100,
        decay_steps: 0,
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        ema_decay: 0.99.into(),
        ema_warmup: true,
    };
    let constant = TrainingRow { warmup: 0, ema_warmup: false, ..training };
    let decaying = TrainingRow { decay_steps: 1100, ..training };
    let table = Input::normal(TensorType::f32(&[5, SamplingRow::COLUMNS]));
    let mut all: Vec<Case> =
        [0, 1, 9, 99, 1000, 100_000].map(|step| Case::new(training, vec![at(step)])).into();
    all.extend([0, 99, 100, 600, 1099, 1100, 5000].map(|step| Case::new(decaying, vec![at(step)])));
    all.extend([
        Case::new(constant, vec![at(0)]),
        Case::new(SamplingRow { batch: 3 }, vec![at(4), table.clone()]),
        Case::new(SamplingRow { batch: 300 }, vec![at(0), table.clone()]),
        Case::new(AllTimesteps, vec![table]),
        Case::new(AllTimesteps, vec![Input::normal(TensorType::f32(&[260, SamplingRow::COLUMNS]))]),
    ]);
    all
}
