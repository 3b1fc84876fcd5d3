//! diffusers' scheduler classes whose betas mean the same as this crate's.
//!
//! `x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`, and the network is asked at timestep t: then
//! every sampler of this crate may sample the model, whichever its class in diffusers. Other
//! processes (flow matching, EDM, variance exploding, consistency models, discrete ones) have no
//! such betas, or others under the same names: sampling their models would give wrong images.
use crate::error::ScheduleError;
use serde::{Deserialize, de::IgnoredAny};

use super::{BetaSchedule, PredictionType};

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

/// The keys that diffusers writes for these classes. Those that [`SchedulerConfig`] and [`Rest`] do not
/// read steer the class's own way of sampling, or were read in 2022 alone.
pub(super) const KEYS: &str = "\
    num_train_timesteps beta_start beta_end beta_schedule trained_betas variance_type clip_sample \
    clip_sample_range prediction_type thresholding dynamic_thresholding_ratio sample_max_value \
    timestep_spacing steps_offset rescale_betas_zero_snr set_alpha_to_one set_alpha_to_zero \
    skip_prk_steps solver_order algorithm_type solver_type lower_order_final euler_at_final \
    use_karras_sigmas use_exponential_sigmas use_beta_sigmas use_lu_lambdas use_flow_sigmas \
    flow_shift final_sigmas_type lambda_min_clipped use_dynamic_shifting time_shift_type \
    base_shift max_shift base_image_seq_len max_image_seq_len shift_terminal predictor_order \
    corrector_order predictor_corrector_mode tau_func predict_x0 solver_p disable_corrector \
    interpolation_type sigma_min sigma_max timestep_type eta noise_sampler_seed predict_epsilon \
    timestep_values tensor_format";

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
    /// What the prediction is, by the key of 2022.
    #[serde(default)]
    predict_epsilon: Option<bool>,
    prediction_type: Option<IgnoredAny>,
}

impl Rest {
    /// What the model predicts, where the key of 2022 alone says it.
    pub fn prediction_of_2022(&self) -> Option<PredictionType> {
        let image = self.predict_epsilon == Some(false) && self.prediction_type.is_none();
        image.then_some(PredictionType::Sample)
    }

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
