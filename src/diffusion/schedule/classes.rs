//! diffusers' scheduler classes: the process that each belongs to, and its defaults.
//!
//! Classes of betas mean `x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise`, and the network is asked
//! at timestep t: then every sampler of betas may sample the model, whichever its class in diffusers.
//! Other processes (variance exploding, consistency models, discrete ones) have no such betas, or
//! others under the same names: sampling their models would give wrong images.
use crate::error::ScheduleError;

/// The forward process of a model.
///
/// Example: [`crate::diffusion::schedule::SchedulerConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// A schedule of betas.
    Betas,
    /// `x = (1 - sigma) x0 + sigma noise`: Lipman et al., *Flow Matching for Generative Modeling*
    /// (2023), and Liu et al., *Flow Straight and Fast* (2023).
    Flow,
    /// `x = x0 + sigma noise` with preconditioning: Karras et al. (2022).
    Edm,
    /// The same without, at geometric sigmas: Song and Ermon (2019), Song et al. (2021).
    Exploding,
    /// The sub-variance-preserving equation of Song et al. (2021), appendix B.
    SubVp,
}

/// The classes of score networks: this crate's, and one of diffusers' earlier versions.
pub(super) const NCSN: &str = "NCSNScheduler";
pub(super) const EXPLODING: &str = "ScoreSdeVeScheduler";
const SUB_VP: &str = "SubVpSdeScheduler";

/// The classes of flow matching and of EDM.
const FLOW: &str = "FlowMatchEulerDiscreteScheduler";
const EDM: [&str; 2] = ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"];

/// The class of latent consistency models: betas of latent diffusion.
pub(super) const CONSISTENCY: &str = "LCMScheduler";

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
pub(super) const LATENT: [&str; 4] = [
    "DPMSolverSDEScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
];

/// The classes that spread timesteps from 0 to the last one unless told otherwise; others lead.
pub(super) const LINSPACE: [&str; 13] = [
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
];

/// The classes that clip the predicted image unless told otherwise.
pub(super) const CLIPS: [&str; 7] = [
    "DDPMScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDIMParallelScheduler",
    "DDIMInverseScheduler",
    "RePaintScheduler",
    COSINE,
];

/// The classes that clip it if told so.
pub(super) const MAY_CLIP: [&str; 2] = ["HeunDiscreteScheduler", CONSISTENCY];

/// The classes that know a threshold.
pub(super) const MAY_THRESHOLD: [&str; 11] = [
    "DDPMScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDIMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
    CONSISTENCY,
];

/// The class whose betas are the cosine schedule's, named or not.
pub(super) const COSINE: &str = "UnCLIPScheduler";

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
    timestep_values tensor_format shift invert_sigmas stochastic_sampling sigma_data sigma_schedule \
    rho original_inference_steps timestep_scaling snr sampling_eps correct_steps";

/// Whether a network of exploding sigmas is told sigma, not the number of its level.
pub(super) fn tells_sigma(class: &str) -> bool {
    class == EXPLODING
}

/// The process of a class.
///
/// # Errors
/// If it is another process, or the class is not known.
pub(super) fn process(class: &str) -> Result<Process, ScheduleError> {
    match class {
        FLOW => return Ok(Process::Flow),
        NCSN | EXPLODING => return Ok(Process::Exploding),
        SUB_VP => return Ok(Process::SubVp),
        COSINE | CONSISTENCY => return Ok(Process::Betas),
        _ if EDM.contains(&class) => return Ok(Process::Edm),
        _ if OF_DDPM.contains(&class) || LATENT.contains(&class) => return Ok(Process::Betas),
        _ => {}
    }
    let expected = format!(
        "a scheduler whose betas are those of DDPM (DDPMScheduler, DDIMScheduler, PNDMScheduler, \
         DPMSolverMultistepScheduler, EulerDiscreteScheduler, ...), {FLOW}, {} or {CONSISTENCY}",
        EDM.join(", ")
    );
    Err(ScheduleError::value("_class_name", expected, class))
}
