//! Samplers by name.
use super::{
    DdimOptions, Table, VariancePreserving, annealed_langevin_table, ddim_table, ddpm_table,
    dpm_solver_table, heun_table, predictor_corrector_table, probability_flow_table,
    schedule_levels, variance_exploding_table,
};
use crate::{
    diffusion::schedule::{
        BetaSchedule, Level, Prediction, Respacing, Schedule, SchedulerConfig, Spacing, StepRule,
        Variance, given_timesteps,
    },
    error::ScheduleError,
};
use std::{fmt, str::FromStr};

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

/// End time of the continuous process: Song et al. 2021, appendix C.
const END: f64 = 1e-3;

/// A sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SamplerKind {
    /// Song, Meng, Ermon 2021: *Denoising Diffusion Implicit Models*.
    #[default]
    Ddim,
    /// Ho, Jain, Abbeel 2020: *Denoising Diffusion Probabilistic Models*.
    Ddpm,
    /// DDIM with the larger noise of its appendix D.3.
    SigmaHat,
    /// The probability flow by Euler's method.
    ProbabilityFlow,
    /// The probability flow by Heun's method.
    Heun,
    /// DPM-Solver++ (2M).
    DpmSolver,
    /// The reverse variance-preserving process.
    VpSde,
    /// Its probability flow.
    VpFlow,
    /// The reverse variance-exploding process.
    VeSde,
    /// The same with Langevin steps.
    PredictorCorrector,
    /// Annealed Langevin dynamics.
    Langevin,
}

/// Options of a sampling run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplerOptions {
    /// Steps; `None` is all timesteps for DDPM and 50 for the others.
    pub steps: Option<usize>,
    /// Noise that DDIM adds in every step: see [`DdimOptions`].
    pub eta: f64,
    /// Spacing of the timesteps; `None` is the scheduler's.
    pub spacing: Option<Spacing>,
    /// Timesteps in place of steps and spacing.
    pub timesteps: Option<Vec<usize>>,
    /// The same as guided-diffusion writes it.
    pub respacing: Option<Respacing>,
    /// Leave the predicted image unclipped.
    pub unclipped: bool,
}

/// Inputs of the functions that make tables.
struct Run<'a> {
    scheduler: &'a SchedulerConfig,
    schedule: Schedule,
    prediction: Prediction,
    steps: usize,
    timesteps: Vec<usize>,
    rule: StepRule,
    eta: f64,
}

/// A sampler: kind, name, line of help, whether the same start always gives the same image (if eta is
/// 0), and the function that makes its table.
type Entry = (SamplerKind, &'static str, &'static str, bool, MakeTable);
type MakeTable = fn(&Run) -> Result<Table, ScheduleError>;

/// All samplers, in the order of [`SamplerKind`].
const SAMPLERS: &[Entry] = {
    use SamplerKind::*;
    &[
        (Ddim, "ddim", "Song, Meng, Ermon 2021, with --eta; 20 to 100 steps", true, |run| {
            run.ddim(run.eta, false, run.rule)
        }),
        (Ddpm, "ddpm", "Ancestral: Ho, Jain, Abbeel 2020; all timesteps", false, |run| {
            run.ddpm(run.scheduler.variance_type)
        }),
        (
            SigmaHat,
            "sigma-hat",
            "The larger noise of DDIM's appendix D.3; with clipping, the released code's \
                ddpm_noisy; all timesteps",
            false,
            |run| match run.prediction.clip {
                Some(_) => run.ddpm(Variance::FixedLarge),
                None => run.ddim(1.0, true, StepRule::NextEntry),
            },
        ),
        (
            ProbabilityFlow,
            "probability-flow",
            "The flow by Euler's method, in the variables of DDIM's equation 14; 50 to 100 steps",
            true,
            |run| probability_flow_table(&run.schedule, &run.timesteps, &run.prediction),
        ),
        (
            Heun,
            "heun",
            "The same by Heun's method, two evaluations a step but in the last; 18 to 40 steps",
            true,
            |run| heun_table(&run.schedule, &run.timesteps, &run.prediction),
        ),
        (
            DpmSolver,
            "dpm-solver++",
            "DPM-Solver++ (2M): Lu et al. 2022; 15 to 25 steps",
            true,
            |run| dpm_solver_table(&run.schedule, &run.timesteps, &run.prediction),
        ),
        (
            VpSde,
            "vp-sde",
            "The reverse variance-preserving process: Song et al. 2021; 1,000 steps",
            false,
            |run| run.continuous(false),
        ),
        (
            VpFlow,
            "vp-flow",
            "Its probability flow by Euler's method; 100 steps or more",
            true,
            |run| run.continuous(true),
        ),
        (
            VeSde,
            "ve-sde",
            "The reverse variance-exploding process: Song et al. 2021; 1,000 steps",
            false,
            |run| variance_exploding_table(&run.levels()?, &run.prediction),
        ),
        (
            PredictorCorrector,
            "predictor-corrector",
            "The same with a step of Langevin dynamics at each level: two evaluations a step",
            false,
            |run| {
                let (levels, prediction) = (run.levels()?, &run.prediction);
                predictor_corrector_table(&levels, CORRECTORS, CORRECTOR_SNR, prediction)
            },
        ),
        (
            Langevin,
            "langevin",
            "Annealed Langevin dynamics: Song, Ermon 2019; ten evaluations a step",
            false,
            |run| {
                let levels = run.levels()?;
                let last = levels.last().map_or(1.0, |level| level.sigma_over_alpha());
                let size = LANGEVIN_SIZE * last * last;
                annealed_langevin_table(&levels, LANGEVIN_STEPS, size, &run.prediction)
            },
        ),
    ]
};

impl SamplerKind {
    /// All samplers.
    pub fn all() -> impl Iterator<Item = Self> {
        SAMPLERS.iter().map(|entry| entry.0)
    }

    fn entry(self) -> &'static Entry {
        &SAMPLERS[self as usize]
    }

    /// Its name, like `dpm-solver++`.
    pub fn name(self) -> &'static str {
        let (_, name, ..) = *self.entry();
        name
    }

    /// Its description, a line of help.
    pub fn about(self) -> &'static str {
        let (_, _, about, ..) = *self.entry();
        about
    }

    /// Whether the same start always gives the same image.
    pub fn is_deterministic(self, eta: f64) -> bool {
        let (.., deterministic, _) = *self.entry();
        deterministic && eta == 0.0
    }

    /// Whether it steps along timesteps of the schedule, or along times of its own.
    pub fn takes_timesteps(self) -> bool {
        !matches!(self, Self::VpSde | Self::VpFlow)
    }

    /// The table of a run.
    ///
    /// # Errors
    /// If the options do not fit the schedule, or the sampler does not go with it.
    pub fn table(
        self,
        scheduler: &SchedulerConfig,
        options: &SamplerOptions,
    ) -> Result<Table, ScheduleError> {
        let mut prediction = scheduler.prediction();
        if options.unclipped {
            prediction = prediction.unclipped();
        }
        let whole = scheduler.num_train_timesteps;
        let all = if self == Self::Ddpm { whole } else { STEPS.min(whole) };
        let steps = options.steps.unwrap_or(all);
        let spacing = options.spacing.unwrap_or(scheduler.timestep_spacing);
        let (timesteps, rule) = match (&options.timesteps, &options.respacing) {
            (Some(list), _) => (given_timesteps(list, whole)?, StepRule::NextEntry),
            (None, Some(respacing)) => (respacing.timesteps(whole)?, StepRule::NextEntry),
            (None, None) => {
                (spacing.timesteps(whole, steps, scheduler.steps_offset)?, spacing.rule())
            }
        };
        let (schedule, eta) = (scheduler.schedule()?, options.eta);
        let run = Run { scheduler, schedule, prediction, steps, timesteps, rule, eta };
        let (.., table) = *self.entry();
        table(&run)
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        // The name of the family too.
        let name = if text == "dpm-solver" { "dpm-solver++" } else { text };
        Self::all().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = SAMPLERS.iter().map(|entry| entry.1).collect::<Vec<_>>().join(", ");
            ScheduleError::value("sampler", format!("one of {names}"), text)
        })
    }
}

impl Run<'_> {
    fn ddim(&self, eta: f64, sigma_hat: bool, rule: StepRule) -> Result<Table, ScheduleError> {
        let final_alpha = self.scheduler.final_alpha()?;
        let options = DdimOptions { eta, rule, final_alpha, sigma_hat, ..DdimOptions::default() };
        ddim_table(&self.schedule, &self.timesteps, &self.prediction, &options)
    }

    fn ddpm(&self, variance: Variance) -> Result<Table, ScheduleError> {
        ddpm_table(&self.schedule, &self.timesteps, &self.prediction, variance)
    }

    fn levels(&self) -> Result<Vec<Level>, ScheduleError> {
        schedule_levels(&self.schedule, &self.timesteps)
    }

    /// A run of the continuous process whose steps are the schedule's.
    fn continuous(&self, flow: bool) -> Result<Table, ScheduleError> {
        let of = self.scheduler;
        let changed = of.trained_betas.is_some() || of.rescale_betas_zero_snr;
        if of.beta_schedule != BetaSchedule::Linear || changed {
            let expected = "linear betas, for the samplers vp-sde and vp-flow";
            let found = if changed { "trained or rescaled ones" } else { "another schedule" };
            return Err(ScheduleError::value("beta_schedule", expected, found));
        }
        let count = of.num_train_timesteps as f64;
        let (beta_min, beta_max) = (count * of.beta_start, count * of.beta_end);
        let last_timestep = count - 1.0;
        let process = VariancePreserving { beta_min, beta_max, end: END, last_timestep };
        process.table(self.steps, &self.prediction, flow, true)
    }
}
