//! Arguments of the optimizer beside its rate.
use super::{below_one, not_negative, positive};
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use ddim::training::{Average, RateSchedule, TrainingOptions};

/// Adam, its learning rate on the way, and averages of the weights.
#[derive(Args)]
pub struct OptimizerArguments {
    /// How the learning rate goes on after its warm-up: it stays, or it falls along a line or half a cosine to zero at
    /// the end of --decay-steps [default: the last step], or by the inverse root of the steps from --decay-steps on
    #[arg(long, value_enum, value_name = "NAME")]
    pub lr_schedule: Option<LrSchedule>,
    /// Adam's decays of the two moments [default: 0.9,0.999]
    #[arg(long, value_name = "B1,B2", value_parser = betas)]
    pub betas: Option<(f64, f64)>,
    /// What Adam adds to the root of the second moment [default: 1e-8]
    #[arg(long, value_name = "EPSILON", value_parser = positive)]
    pub eps: Option<f64>,
    /// AdamW: how fast weights shrink, in units of the learning rate [default: 0]
    #[arg(long, value_name = "W", value_parser = not_negative)]
    pub weight_decay: Option<f64>,
    /// More moving averages of the weights, such as 0.999,power-0.05,power-0.10: decays, and power functions of a
    /// relative length, whose values at every checkpoint are kept in averages/; `ddim average` makes models of them
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = average)]
    pub averages: Vec<Average>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LrSchedule {
    Constant,
    Linear,
    Cosine,
    InverseSqrt,
}

fn betas(text: &str) -> Result<(f64, f64), String> {
    let (one, other) = text.split_once(',').ok_or("two numbers, with a comma between them")?;
    Ok((below_one(one)?, below_one(other)?))
}

/// `0.999`, `decay-0.999` or `power-0.05`.
pub fn average(text: &str) -> Result<Average, String> {
    match text.strip_prefix("power-") {
        Some(length) => below_one(length).map(Average::Power),
        None => below_one(text.strip_prefix("decay-").unwrap_or(text)).map(Average::Decay),
    }
}

impl OptimizerArguments {
    /// The options with those that the arguments name, for a run of so many steps.
    pub fn options(&self, others: TrainingOptions, steps: u32) -> Result<TrainingOptions, Failure> {
        let end = others.decay_steps;
        let (rate_schedule, decay_steps) = match self.lr_schedule {
            None => (others.rate_schedule, end),
            Some(LrSchedule::Constant) => (RateSchedule::Linear, None),
            Some(LrSchedule::Linear) => (RateSchedule::Linear, end.or(Some(steps))),
            Some(LrSchedule::Cosine) => (RateSchedule::Cosine, end.or(Some(steps))),
            Some(LrSchedule::InverseSqrt) if end.is_some() => (RateSchedule::InverseSqrt, end),
            Some(LrSchedule::InverseSqrt) => {
                let text = "--lr-schedule inverse-sqrt: give --decay-steps, from which on it falls";
                return Err(Failure::Usage(text.into()));
            }
        };
        let averages =
            if self.averages.is_empty() { others.averages } else { self.averages.clone() };
        Ok(TrainingOptions {
            rate_schedule,
            decay_steps,
            betas: self.betas.unwrap_or(others.betas),
            epsilon: self.eps.unwrap_or(others.epsilon),
            weight_decay: self.weight_decay.unwrap_or(others.weight_decay),
            decoupled: self.weight_decay.is_some() || others.decoupled,
            averages,
            ..others
        })
    }
}
