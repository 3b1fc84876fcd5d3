//! diffusers' scheduler classes whose betas mean the same as this crate's.
//!
//! `x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`, and the network is asked at timestep t: then
//! every sampler of this crate may sample the model, whichever its class in diffusers. Other
//! processes (flow matching, EDM, variance exploding, consistency models, discrete ones) have no
//! such betas, or others under the same names: sampling their models would give wrong images.
use crate::error::ScheduleError;
use serde::{Deserialize, de::IgnoredAny};

use super::BetaSchedule;

/// The classes, apart from [`LATENT`], that read a missing beta as DDPM's: 1e-4 to 0.02, linear.
const OF_DDPM: [&str; 16] = [
    "DDPMScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDIMParallelScheduler",
    "DDIMInverseScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "RePaintScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
];

/// The classes that read it as latent diffusion's: 0.00085 to 0.012, but linear.
const LATENT: [&str; 4] = [
    "DPMSolverSDEScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
];

/// The class whose betas are the cosine schedule's, named or not.
const COSINE: &str = "UnCLIPScheduler";

/// Refuses a class of another process, or one that is not known.
pub(super) fn check(class: &str) -> Result<(), ScheduleError> {
    if class == COSINE || OF_DDPM.contains(&class) || LATENT.contains(&class) {
        return Ok(());
    }
    let expected = "a scheduler whose betas are those of DDPM (DDPMScheduler, DDIMScheduler, \
                    PNDMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, ...)";
    Err(ScheduleError::value("_class_name", expected, class))
}

/// Keys of a config beside its settings: which betas are there, and what turns a class of betas into
/// another process.
#[derive(Deserialize)]
pub(super) struct Rest {
    beta_start: Option<IgnoredAny>,
    beta_end: Option<IgnoredAny>,
    beta_schedule: Option<IgnoredAny>,
    #[serde(default)]
    use_flow_sigmas: Option<bool>,
    #[serde(default)]
    timestep_type: Option<String>,
}

impl Rest {
    /// Gives the betas that are not there the defaults of a class.
    pub fn complete(&self, class: &str, ends: [&mut f64; 2], schedule: &mut BetaSchedule) {
        if LATENT.contains(&class) {
            let given = [self.beta_start, self.beta_end];
            for ((end, given), default) in ends.into_iter().zip(given).zip([0.00085, 0.012]) {
                if given.is_none() {
                    *end = default;
                }
            }
        }
        if class == COSINE && self.beta_schedule.is_none() {
            *schedule = BetaSchedule::Cosine;
        }
    }

    /// Refuses a process that does not follow betas.
    pub fn check(&self) -> Result<(), ScheduleError> {
        if self.use_flow_sigmas == Some(true) {
            return Err(ScheduleError::value("use_flow_sigmas", false, true));
        }
        match &self.timestep_type {
            Some(found) if found != "discrete" => {
                Err(ScheduleError::value("timestep_type", "discrete", found))
            }
            _ => Ok(()),
        }
    }
}
