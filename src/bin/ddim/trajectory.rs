//! The table of a sampling run from the arguments that name it.
use crate::{
    cli::{Guided, Method, Trajectory},
    failure::Failure,
};
use ddim::{
    diffusion::{
        Guidance,
        schedule::{
            BetaSchedule, DdimOptions, SchedulerConfig, StepRule, Table, Variance,
            VariancePreserving, annealed_langevin_table, ddim_table, ddpm_table, dpm_solver_table,
            given_timesteps, heun_table, predictor_corrector_table, probability_flow_table,
            schedule_levels, variance_exploding_table,
        },
    },
    nn::Model,
    training::Pipeline,
};
use std::path::Path;

/// Steps unless the user says otherwise.
const STEPS: usize = 50;

/// Langevin steps at each level of the predictor-corrector sampler, and their signal-to-noise
/// ratio: Song et al. 2021, appendix G.
const CORRECTORS: usize = 1;
const CORRECTOR_SNR: f64 = 0.16;

/// Langevin steps at each level of annealed Langevin dynamics, and their size relative to the last
/// level's variance: Song and Ermon 2019 take 100 steps of 2e-5 / 0.01^2.
const LANGEVIN_STEPS: usize = 10;
const LANGEVIN_SIZE: f64 = 0.2;

/// Where the continuous process ends: Song et al. 2021, appendix C.
const END: f64 = 1e-3;

impl Trajectory {
    /// The run that these arguments describe, with the schedule of a model.
    pub fn table(&self, scheduler: &SchedulerConfig) -> Result<Table, Failure> {
        if self.eta != 0.0 && self.sampler != Method::Ddim {
            return Err(Failure::Usage("--eta is of the sampler ddim".into()));
        }
        let listed = self.spacing.is_some() || self.timesteps.is_some() || self.respacing.is_some();
        if listed && matches!(self.sampler, Method::VpSde | Method::VpFlow) {
            let text = "the samplers vp-sde and vp-flow spread their own times: give --steps alone";
            return Err(Failure::Usage(text.into()));
        }
        let (schedule, mut output) = (scheduler.schedule()?, scheduler.prediction());
        if self.no_clip {
            output = output.unclipped();
        }
        let whole = scheduler.num_train_timesteps;
        let steps = match (self.steps, self.sampler) {
            (Some(steps), _) => steps,
            (None, Method::Ddpm) => whole,
            (None, _) => STEPS.min(whole),
        };
        let spacing = self.spacing.unwrap_or(scheduler.timestep_spacing);
        let (timesteps, rule) = match (&self.timesteps, &self.respacing) {
            (Some(list), _) => (given_timesteps(list, whole)?, StepRule::NextEntry),
            (None, Some(respacing)) => (respacing.timesteps(whole)?, StepRule::NextEntry),
            (None, None) => {
                (spacing.timesteps(whole, steps, scheduler.steps_offset)?, spacing.rule())
            }
        };
        let levels = || schedule_levels(&schedule, &timesteps);
        let ddim = |eta: f64, sigma_hat: bool, rule: StepRule| {
            let final_alpha = scheduler.final_alpha()?;
            let options =
                DdimOptions { eta, rule, final_alpha, sigma_hat, ..DdimOptions::default() };
            ddim_table(&schedule, &timesteps, &output, &options)
        };
        Ok(match self.sampler {
            Method::Ddim => ddim(self.eta, false, rule)?,
            Method::SigmaHat if output.clip.is_some() => {
                ddpm_table(&schedule, &timesteps, &output, Variance::FixedLarge)?
            }
            Method::SigmaHat => ddim(1.0, true, StepRule::NextEntry)?,
            Method::Ddpm => ddpm_table(&schedule, &timesteps, &output, scheduler.variance_type)?,
            Method::ProbabilityFlow => probability_flow_table(&schedule, &timesteps, &output)?,
            Method::Heun => heun_table(&schedule, &timesteps, &output)?,
            Method::DpmSolver => dpm_solver_table(&schedule, &timesteps, &output)?,
            Method::VpSde | Method::VpFlow => {
                let flow = self.sampler == Method::VpFlow;
                continuous(scheduler)?.table(steps, &output, flow, true)?
            }
            Method::VeSde => variance_exploding_table(&levels()?, &output)?,
            Method::PredictorCorrector => {
                predictor_corrector_table(&levels()?, CORRECTORS, CORRECTOR_SNR, &output)?
            }
            Method::Langevin => {
                let levels = levels()?;
                let last = levels.last().map_or(1.0, |level| level.sigma_over_alpha());
                let size = LANGEVIN_SIZE * last * last;
                annealed_langevin_table(&levels, LANGEVIN_STEPS, size, &output)?
            }
        })
    }

    /// Whether the same start always gives the same image.
    pub fn is_deterministic(&self) -> bool {
        match self.sampler {
            Method::Ddim => self.eta == 0.0,
            Method::ProbabilityFlow | Method::Heun | Method::DpmSolver | Method::VpFlow => true,
            Method::Ddpm
            | Method::SigmaHat
            | Method::VpSde
            | Method::VeSde
            | Method::PredictorCorrector
            | Method::Langevin => false,
        }
    }
}

/// The continuous process whose steps are the schedule's.
fn continuous(scheduler: &SchedulerConfig) -> Result<VariancePreserving, Failure> {
    let linear = scheduler.beta_schedule == BetaSchedule::Linear
        && scheduler.trained_betas.is_none()
        && !scheduler.rescale_betas_zero_snr;
    if !linear {
        let text = "the samplers vp-sde and vp-flow need a model with a linear schedule";
        return Err(Failure::Usage(text.into()));
    }
    let count = scheduler.num_train_timesteps as f64;
    let (beta_min, beta_max) = (count * scheduler.beta_start, count * scheduler.beta_end);
    Ok(VariancePreserving { beta_min, beta_max, end: END, last_timestep: count - 1.0 })
}

impl Guided {
    /// Guidance of the model in `folder`, which must have a label that stands for none.
    pub fn guidance(
        &self,
        pipeline: &Pipeline,
        folder: &Path,
    ) -> Result<Option<Guidance>, Failure> {
        let rescale = self.guidance_rescale;
        let (number, formula): (f64, fn(f64, u32) -> Guidance) =
            match (self.guidance_scale, self.guidance_weight) {
                (Some(scale), _) => (scale, Guidance::of_scale),
                (None, Some(weight)) => (weight, Guidance::ho_salimans),
                (None, None) if rescale == 0.0 => return Ok(None),
                (None, None) => {
                    let text = "--guidance-rescale goes with --guidance-scale or --guidance-weight";
                    return Err(Failure::Usage(text.into()));
                }
            };
        if pipeline.unet.label_type(1).is_none() {
            return Err(Failure::Usage("guidance: the model has no classes".into()));
        }
        match pipeline.null_label {
            Some(null_label) => Ok(Some(Guidance { rescale, ..formula(number, null_label) })),
            None => {
                let text = "label_drop: guidance expects a model that was trained with \
                            --label-drop, so that a label stands for none; found none dropped";
                Err(Failure::file(folder.join("training/settings.json"), text))
            }
        }
    }
}
