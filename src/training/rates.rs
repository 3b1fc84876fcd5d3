//! Rates of a step: the learning rate's schedule, and what Adam and the moving average take.
use super::options::TrainingOptions;
use crate::ops::{Adam, Fall, RateDecay, TrainingRow};
use serde::{Deserialize, Serialize};

/// How a learning rate falls, if `decay_steps` says that it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    /// Along a line, to zero.
    #[default]
    Linear,
    /// Along half a cosine, to zero.
    Cosine,
    /// By the inverse root of the steps, from `decay_steps` on.
    InverseSqrt,
}

impl RateSchedule {
    pub(super) fn is_linear(&self) -> bool {
        *self == Self::Linear
    }
}

impl TrainingOptions {
    /// The op that gives the rates of a step, and that which lowers the learning rate, if one is needed.
    pub(super) fn rates(&self) -> (TrainingRow, Option<RateDecay>) {
        let fall = match self.rate_schedule {
            RateSchedule::Linear => None,
            RateSchedule::Cosine => Some(Fall::Cosine),
            RateSchedule::InverseSqrt => Some(Fall::InverseSqrt),
        };
        let linear = if fall.is_none() { self.decay_steps } else { None };
        let row = TrainingRow {
            learning_rate: self.learning_rate.into(),
            warmup: self.warmup,
            decay_steps: linear.unwrap_or(0),
            beta1: self.betas.0.into(),
            beta2: self.betas.1.into(),
            ema_decay: self.ema_decay.into(),
            ema_warmup: self.ema_warmup,
        };
        let decay = fall.zip(self.decay_steps);
        (row, decay.map(|(fall, steps)| RateDecay { fall, warmup: self.warmup, steps }))
    }

    /// The learning rate of a step, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let (row, decay) = self.rates();
        let step = step as f64;
        row.rate(step) * decay.map_or(1.0, |decay| decay.factor(step))
    }

    /// The step from which on the learning rate is 0, if there is one.
    pub fn last_rate(&self) -> Option<u32> {
        self.decay_steps.filter(|_| self.rate_schedule != RateSchedule::InverseSqrt)
    }

    /// The op that moves the weights.
    pub(super) fn adam(&self) -> Adam {
        Adam {
            beta1: self.betas.0.into(),
            beta2: self.betas.1.into(),
            epsilon: self.epsilon.into(),
            weight_decay: self.weight_decay.into(),
            decoupled: self.decoupled,
            ema: true,
        }
    }
}
