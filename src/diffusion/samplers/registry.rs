//! All samplers, a row each: name, help, what a model must have, diffusers' classes, and the table.
use super::{
    Churn, SamplerKind, Table, annealed_langevin_table, euler_ancestral_table, levels::Rounding,
    predictor_corrector_table, probability_flow_table, run::Run, variance_exploding_table,
};
use crate::{
    diffusion::schedule::{DpmAlgorithm, Process, StepRule, Variance},
    error::ScheduleError,
};

/// Langevin steps at each level of the predictor-corrector sampler, and their signal-to-noise
/// ratio: Song et al. 2021, appendix G.
const CORRECTORS: usize = 1;
const CORRECTOR_SNR: f64 = 0.16;

/// Langevin steps at each level of annealed Langevin dynamics, and their size relative to the last
/// level's variance: Song and Ermon 2019 take 100 steps of 2e-5 / 0.01^2.
const LANGEVIN_STEPS: usize = 10;
const LANGEVIN_SIZE: f64 = 0.2;

/// What a model must have for a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// A schedule of betas.
    Betas,
    /// That, or EDM's preconditioning.
    Sigmas,
    /// Betas, or exploding sigmas.
    Levels,
    /// Betas, EDM's preconditioning or flow matching.
    Any,
    /// Nothing: any scheduler will do.
    Nothing,
}

impl Needs {
    /// Whether a process has it.
    pub fn fits(self, process: Process) -> bool {
        match process {
            Process::Betas => true,
            Process::Edm => matches!(self, Self::Sigmas | Self::Any | Self::Nothing),
            Process::Flow => matches!(self, Self::Any | Self::Nothing),
            Process::Exploding => matches!(self, Self::Levels | Self::Nothing),
            Process::SubVp => self == Self::Nothing,
        }
    }

    /// The same in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Betas => "a scheduler with betas",
            Self::Sigmas => "a scheduler with betas or EDM's",
            Self::Levels => "a scheduler with betas or a score network's",
            Self::Any => "a scheduler with betas, EDM's or flow matching's",
            Self::Nothing => "any scheduler",
        }
    }
}

/// A sampler.
pub(super) struct Entry {
    pub kind: SamplerKind,
    pub name: &'static str,
    /// A line of help.
    pub about: &'static str,
    pub needs: Needs,
    /// Whether the same start always gives the same image (if eta is 0).
    pub deterministic: bool,
    /// diffusers' classes that sample so.
    pub classes: &'static [&'static str],
    /// Makes the table of a run.
    pub make: fn(&Run) -> Result<Table, ScheduleError>,
}

/// A row of those that nothing else says more about.
const fn entry(
    kind: SamplerKind,
    name: &'static str,
    about: &'static str,
    make: fn(&Run) -> Result<Table, ScheduleError>,
) -> Entry {
    Entry { kind, name, about, needs: Needs::Betas, deterministic: true, classes: &[], make }
}

impl Entry {
    const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    const fn noisy(self) -> Self {
        Self { deterministic: false, ..self }
    }

    const fn classes(self, classes: &'static [&'static str]) -> Self {
        Self { classes, ..self }
    }
}

/// All samplers, in the order of [`SamplerKind`].
pub(super) const SAMPLERS: &[Entry] = {
    use SamplerKind::*;
    &[
        entry(Ddim, "ddim", "Song, Meng, Ermon 2021, with --eta; 20 to 100 steps", |run| {
            run.ddim(run.eta, false, run.rule)
        })
        .classes(&["DDIMScheduler", "DDIMParallelScheduler"]),
        entry(Ddpm, "ddpm", "Ancestral: Ho, Jain, Abbeel 2020; all timesteps", |run| {
            run.ddpm(run.scheduler.variance_type)
        })
        .noisy()
        .classes(&["DDPMScheduler", "DDPMParallelScheduler"]),
        entry(
            SigmaHat,
            "sigma-hat",
            "The larger noise of DDIM's appendix D.3; with clipping, the released code's \
                ddpm_noisy; all timesteps",
            |run| match run.prediction.clip {
                Some(_) => run.ddpm(Variance::FixedLarge),
                None => run.ddim(1.0, true, StepRule::NextEntry),
            },
        )
        .noisy(),
        entry(
            ProbabilityFlow,
            "probability-flow",
            "The flow by Euler's method, in the variables of DDIM's equation 14; 50 to 100 steps",
            |run| probability_flow_table(run.betas()?, &run.timesteps, &run.prediction),
        ),
        entry(
            Heun,
            "heun",
            "The flow by Heun's method on sigmas, two evaluations a step but in the last; 18 to 40 \
                steps",
            |run| run.heun(Churn::NONE),
        )
        .needs(Needs::Sigmas)
        .classes(&["HeunDiscreteScheduler"]),
        entry(
            DpmSolver,
            "dpm-solver++",
            "DPM-Solver++ multistep (2M unless the scheduler has another order): Lu et al. 2022; 15 \
                to 25 steps",
            |run| run.dpm(Rounding::Multi, None),
        )
        .needs(Needs::Any)
        .classes(&["DPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler"]),
        entry(
            VpSde,
            "vp-sde",
            "The reverse variance-preserving process: Song et al. 2021; 1,000 steps",
            |run| run.continuous(false),
        )
        .noisy(),
        entry(
            VpFlow,
            "vp-flow",
            "Its probability flow by Euler's method; 100 steps or more",
            |run| run.continuous(true),
        ),
        entry(
            VeSde,
            "ve-sde",
            "The reverse variance-exploding process: Song et al. 2021; 1,000 steps",
            |run| variance_exploding_table(&run.levels()?, &run.prediction),
        )
        .noisy()
        .needs(Needs::Levels)
        .classes(&["ScoreSdeVeScheduler"]),
        entry(
            PredictorCorrector,
            "predictor-corrector",
            "The same with a step of Langevin dynamics at each level: two evaluations a step",
            |run| {
                let (levels, prediction) = (run.levels()?, &run.prediction);
                predictor_corrector_table(&levels, CORRECTORS, CORRECTOR_SNR, prediction)
            },
        )
        .noisy()
        .needs(Needs::Levels),
        entry(
            Langevin,
            "langevin",
            "Annealed Langevin dynamics: Song, Ermon 2019; ten evaluations a step",
            |run| {
                let levels = run.levels()?;
                let last = levels.last().map_or(1.0, |level| level.sigma_over_alpha());
                let size = LANGEVIN_SIZE * last * last;
                let denoise = run.scheduler.process() == Process::Exploding;
                annealed_langevin_table(&levels, LANGEVIN_STEPS, size, denoise, &run.prediction)
            },
        )
        .noisy()
        .needs(Needs::Levels)
        .classes(&["NCSNScheduler"]),
        entry(
            Euler,
            "euler",
            "Euler's method on sigmas, also EDM's and flow matching's; 20 to 50 steps",
            |run| run.euler(),
        )
        .needs(Needs::Nothing)
        .classes(&[
            "EulerDiscreteScheduler",
            "EDMEulerScheduler",
            "FlowMatchEulerDiscreteScheduler",
            "SubVpSdeScheduler",
        ]),
        entry(
            EulerAncestral,
            "euler-ancestral",
            "Euler's method with the noise of DDPM; 20 to 50 steps",
            |run| {
                let (levels, start) = run.sigma_levels()?;
                Ok(Table { start, ..euler_ancestral_table(&levels, &run.prediction)? })
            },
        )
        .noisy()
        .needs(Needs::Sigmas)
        .classes(&["EulerAncestralDiscreteScheduler"]),
        entry(
            Edm,
            "edm",
            "EDM's stochastic sampler, Heun's method with --churn: Karras et al. 2022; 18 to 256 steps",
            |run| run.heun(Churn::IMAGENET),
        )
        .noisy()
        .needs(Needs::Sigmas),
        entry(
            DpmSolverSde,
            "dpm-solver++-sde",
            "DPM-Solver++ multistep of the stochastic equation; 15 to 25 steps",
            |run| run.dpm(Rounding::Multi, Some(DpmAlgorithm::ImageSde)),
        )
        .noisy()
        .needs(Needs::Any),
        entry(
            DpmSolverSingle,
            "dpm-solver++-single",
            "DPM-Solver++ single-step (2S unless the scheduler has another order); 15 to 25 \
                evaluations",
            |run| run.dpm(Rounding::Single, None),
        )
        .needs(Needs::Any)
        .classes(&["DPMSolverSinglestepScheduler"]),
        entry(UniPc, "unipc", "UniPC: Zhao et al. 2023; 8 to 20 steps", |run| run.unipc())
            .needs(Needs::Any)
            .classes(&["UniPCMultistepScheduler"]),
        entry(
            Pndm,
            "pndm",
            "PNDM: Liu et al. 2022, three Runge-Kutta steps of four evaluations first; 20 to 50 steps",
            |run| run.pndm(true),
        )
        .classes(&["PNDMScheduler"]),
        entry(Plms, "plms", "PNDM without Runge-Kutta steps; 20 to 50 steps", |run| {
            run.pndm(false)
        }),
        entry(
            Lcm,
            "lcm",
            "Latent consistency models: Luo et al. 2023, for networks distilled so; 2 to 8 steps",
            |run| run.consistency(),
        )
        .noisy()
        .classes(&["LCMScheduler"]),
    ]
};

/// [`SamplerKind`] numbers the rows.
const _: () = {
    let mut row = 0;
    while row < SAMPLERS.len() {
        assert!(SAMPLERS[row].kind as usize == row, "a row of SAMPLERS is out of order");
        row += 1;
    }
};
