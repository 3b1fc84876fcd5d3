//! What changes from one training step to the next, read from the counter at the beginning of a step.
//! Everything else of a plan is compiled in.
use crate::{
    ops::{kit::random::counter_at, prelude::*},
    shaders::row as shader,
};
use bytemuck::Zeroable;

/// Begins a training step: from `counter u32[8]`, `key u32[8]` (its copy) and
/// `row f32[4] = (learning rate, 1 - beta1^t, 1 - beta2^t, 1 - ema decay)` with `t = step + 1`.
///
/// ```
/// use ddim::ops::TrainingRow;
///
/// let row = TrainingRow {
///     learning_rate: 0.5.into(),
///     warmup: 4,
///     decay_steps: 0,
///     beta1: 0.9.into(),
///     beta2: 0.999.into(),
///     ema_decay: 0.9999.into(),
///     ema_warmup: true,
/// };
/// assert_eq!([0.0, 1.0, 3.0, 9.0].map(|step| row.rate(step)), [0.125, 0.25, 0.5, 0.5]);
/// ```
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

display!(
    TrainingRow { learning_rate, warmup, decay_steps, beta1, beta2, ema_decay, ema_warmup }:
    "training_row{{learning_rate={learning_rate} warmup={warmup} decay_steps={decay_steps} \
     betas={beta1},{beta2} ema_decay={ema_decay} ema_warmup={ema_warmup}}}"
);

impl TrainingRow {
    /// The learning rate of a step, counted from 0.
    pub fn rate(&self, step: f64) -> f64 {
        let warmed = ((step + 1.0) / f64::from(self.warmup.max(1))).min(1.0);
        let [end, warmup] = [self.decay_steps, self.warmup].map(f64::from);
        let left = ((end - step) / (end - warmup).max(1.0)).clamp(0.0, 1.0);
        let left = if self.decay_steps == 0 { 1.0 } else { left };
        self.learning_rate.get() * warmed * left
    }
}

impl Operator for TrainingRow {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [counter] = check.operands()?;
        check.key(counter)?;
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check.that(0.0 < beta.get() && beta.get() < 1.0, name, "in (0, 1)", beta)?;
        }
        Ok(vec![Counter::of(), TensorType::f32(&[4])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let step = f64::from(Counter::read(inputs[0]).step);
        let correction = |beta: Float| -((step + 1.0) * beta.get().ln()).exp_m1();
        let decay = self.ema_decay.get();
        let decay = if self.ema_warmup { decay.min((1.0 + step) / (10.0 + step)) } else { decay };
        let row =
            vec![self.rate(step), correction(self.beta1), correction(self.beta2), 1.0 - decay];
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
        let [key, row] = fitted(&equation.outputs);
        let kernel = shader::Training { counter: equation.inputs[0], key, row };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
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
    let case = |op, step| Case::new(op, vec![counter_at(step)]);
    let warming = [0, 1, 9, 99, 1000, 100_000].map(|step| case(training, step));
    let falling = [0, 99, 100, 600, 1099, 1100, 5000].map(|step| case(decaying, step));
    warming.into_iter().chain(falling).chain([case(constant, 0)]).collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
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
    Case::new(op, vec![dice.counter()])
}
