//! A run of a sampler: the options that the user gave, with the scheduler's in the place of others.
use super::{Churn, SamplerKind, SamplerOptions, lcm::lcm_timesteps};
use crate::{
    diffusion::schedule::{
        Prediction, Process, Schedule, SchedulerConfig, SigmaSpacing, Spacing, StepRule,
        given_timesteps,
    },
    error::ScheduleError,
};

/// Steps unless the user says otherwise, and of a latent consistency model.
const STEPS: usize = 50;
const CONSISTENCY_STEPS: usize = 4;

/// Inputs of the functions that make tables.
pub(super) struct Run<'a> {
    pub scheduler: &'a SchedulerConfig,
    pub schedule: Option<Schedule>,
    pub prediction: Prediction,
    pub steps: usize,
    pub timesteps: Vec<usize>,
    /// Whether the user chose the timesteps, not a spacing.
    pub is_listed: bool,
    pub spacing: Spacing,
    pub sigmas: Option<SigmaSpacing>,
    pub rule: StepRule,
    pub eta: f64,
    pub churn: Option<Churn>,
    pub classifier: bool,
}

impl<'a> Run<'a> {
    /// The run of a sampler with these options.
    pub fn new(
        kind: SamplerKind,
        scheduler: &'a SchedulerConfig,
        options: &SamplerOptions,
    ) -> Result<Self, ScheduleError> {
        let mut prediction = scheduler.prediction();
        if options.unclipped {
            prediction = prediction.unclipped();
        }
        let whole = scheduler.num_train_timesteps;
        let usual = match kind {
            SamplerKind::Ddpm => whole,
            SamplerKind::Euler => STEPS.min(whole),
            _ if scheduler.process() == Process::Exploding => whole,
            SamplerKind::Lcm => CONSISTENCY_STEPS,
            _ => STEPS.min(whole),
        };
        let mut steps = options.steps.unwrap_or(usual);
        let spacing = options.spacing.unwrap_or(scheduler.timestep_spacing);
        let original = scheduler.solver.original_inference_steps;
        let (timesteps, rule) = match (&options.timesteps, &options.respacing) {
            (Some(list), _) => (given_timesteps(list, whole)?, StepRule::NextEntry),
            (None, Some(respacing)) => (respacing.timesteps(whole)?, StepRule::NextEntry),
            (None, None) if kind == SamplerKind::Lcm => {
                (lcm_timesteps(whole, original, steps)?, StepRule::NextEntry)
            }
            (None, None) => {
                (spacing.timesteps(whole, steps, scheduler.steps_offset)?, spacing.rule())
            }
        };
        let is_listed = options.timesteps.is_some() || options.respacing.is_some();
        if is_listed {
            steps = timesteps.len();
        }
        let betas = scheduler.process() == Process::Betas;
        let schedule = if betas { Some(scheduler.schedule()?) } else { None };
        let SamplerOptions { eta, churn, sigmas, classifier, .. } = *options;
        Ok(Self {
            scheduler,
            schedule,
            prediction,
            steps,
            timesteps,
            is_listed,
            spacing,
            sigmas,
            rule,
            eta,
            churn,
            classifier,
        })
    }

    /// The schedule of betas.
    pub fn betas(&self) -> Result<&Schedule, ScheduleError> {
        let found = || &self.scheduler.class_name;
        let none = || ScheduleError::value("_class_name", "a scheduler with betas", found());
        self.schedule.as_ref().ok_or_else(none)
    }
}
