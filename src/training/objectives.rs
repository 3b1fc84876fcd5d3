//! What a network may be trained for, beside the prediction along a schedule of betas.
use crate::{
    diffusion::schedule::{PredictionType, SchedulerConfig, SolverConfig},
    error::{TrainingError, Unexpected},
};
use serde::{Deserialize, Serialize};

/// Levels of noise conditional score networks at most.
const MOST_LEVELS: usize = 1 << 14;

/// Weights of the levels in flow matching: Esser et al., *Scaling Rectified Flow Transformers for
/// High-Resolution Image Synthesis* (2024), section 3.1.
///
/// Example: [`TrainingObjective`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowWeighting {
    /// All alike.
    #[default]
    None,
    /// `s^-2`.
    SigmaSqrt,
    /// `2 / (pi (1 - 2 s + 2 s^2))`.
    Cosmap,
}

/// What a network is trained for.
///
/// ```
/// use ddim::training::{FlowWeighting, TrainingObjective};
///
/// let weighting = FlowWeighting::SigmaSqrt;
/// let flow = TrainingObjective::FlowMatching { mean: 0.0, deviation: 1.0, weighting };
/// let level = flow.level(0.5, false);
/// assert_eq!((level.timestep, level.weight), (500.0, 4.0));
/// assert_eq!((level.shown, level.wanted), ([0.5, 0.5], [-1.0, 1.0]));
///
/// let (sigma_min, sigma_max) = (0.01, 50.0);
/// let exploding = TrainingObjective::VeSde { sigma_min, sigma_max, likelihood: false };
/// let at = exploding.diffusion(0.0).map(|at| (at.mean, at.deviation));
/// assert_eq!(at, Some((1.0, sigma_min)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingObjective {
    /// The scheduler's prediction along its betas.
    #[default]
    Betas,
    /// EDM: Karras et al. (2022), table 1, the logarithm of sigma being normal.
    Edm {
        /// Mean of the logarithm.
        mean: f64,
        /// Its deviation.
        deviation: f64,
        /// Deviation of the images.
        sigma_data: f64,
    },
    /// Flow matching at `s`, the logistic function of a normal number: Esser et al. (2024).
    FlowMatching {
        /// Mean of the normal number.
        mean: f64,
        /// Its deviation.
        deviation: f64,
        /// Weights of the levels.
        weighting: FlowWeighting,
    },
    /// Denoising score matching at geometric levels: Song and Ermon, *Generative Modeling by Estimating
    /// Gradients of the Data Distribution* (2019), and ncsnv2 (2020). The network is told the level's
    /// number, and its output over sigma is the score.
    Ncsn {
        /// The largest sigma, of level 0.
        sigma_begin: f64,
        /// The smallest.
        sigma_end: f64,
        /// Levels.
        levels: usize,
        /// The power of sigma that weights the squared error of the score.
        anneal_power: f64,
    },
    /// The variance-exploding equation: Song et al. (2021). The network is told sigma and gives the score.
    VeSde {
        /// The smallest sigma.
        sigma_min: f64,
        /// The largest.
        sigma_max: f64,
        /// Whether the squared error of the score has the weight `g(t)^2`, which makes it a bound of the
        /// likelihood; else that of the variance.
        likelihood: bool,
    },
    /// The variance-preserving equation; the network gives the noise.
    VpSde {
        /// `beta(0)`.
        beta_min: f64,
        /// `beta(1)`.
        beta_max: f64,
        /// As of [`TrainingObjective::VeSde`].
        likelihood: bool,
    },
    /// The sub-variance-preserving equation; the network gives the noise.
    SubVpSde {
        /// `beta(0)`.
        beta_min: f64,
        /// `beta(1)`.
        beta_max: f64,
        /// As of [`TrainingObjective::VeSde`].
        likelihood: bool,
    },
}

impl TrainingObjective {
    /// The names and usual settings of the objectives that need no betas.
    pub const ALL: [(&'static str, Self); 6] = [
        ("edm", Self::Edm { mean: -1.2, deviation: 1.2, sigma_data: 0.5 }),
        (
            "flow-matching",
            Self::FlowMatching { mean: 0.0, deviation: 1.0, weighting: FlowWeighting::None },
        ),
        ("ncsn", Self::Ncsn { sigma_begin: 20.0, sigma_end: 0.02, levels: 100, anneal_power: 2.0 }),
        ("ve-sde", Self::VeSde { sigma_min: 0.01, sigma_max: 50.0, likelihood: false }),
        ("vp-sde", Self::VpSde { beta_min: 0.1, beta_max: 20.0, likelihood: false }),
        ("sub-vp-sde", Self::SubVpSde { beta_min: 0.1, beta_max: 20.0, likelihood: false }),
    ];

    /// The same with the weights of a bound of the likelihood, if it is a stochastic equation's.
    pub fn with_likelihood(mut self) -> Option<Self> {
        match &mut self {
            Self::VeSde { likelihood, .. }
            | Self::VpSde { likelihood, .. }
            | Self::SubVpSde { likelihood, .. } => *likelihood = true,
            _ => return None,
        }
        Some(self)
    }

    /// The scheduler of a network that is trained so, if the objective decides it.
    pub fn scheduler(&self) -> Option<SchedulerConfig> {
        let usual = SchedulerConfig { clip_sample: false, ..SchedulerConfig::default() };
        let of = |class_name: &str, prediction_type, solver| SchedulerConfig {
            class_name: class_name.into(),
            prediction_type,
            solver,
            ..usual.clone()
        };
        let solver = SolverConfig::default();
        let sigmas = |least, most| SolverConfig {
            sigma_min: Some(least),
            sigma_max: Some(most),
            ..SolverConfig::default()
        };
        Some(match *self {
            Self::Betas => return None,
            Self::Edm { sigma_data, .. } => {
                let solver = SolverConfig { sigma_data, ..solver };
                of("EDMEulerScheduler", PredictionType::Epsilon, solver)
            }
            Self::FlowMatching { .. } => {
                of("FlowMatchEulerDiscreteScheduler", PredictionType::Flow, solver)
            }
            Self::Ncsn { sigma_begin, sigma_end, levels, .. } => SchedulerConfig {
                num_train_timesteps: levels,
                ..of("NCSNScheduler", PredictionType::ScaledScore, sigmas(sigma_end, sigma_begin))
            },
            Self::VeSde { sigma_min, sigma_max, .. } => {
                of("ScoreSdeVeScheduler", PredictionType::Score, sigmas(sigma_min, sigma_max))
            }
            Self::VpSde { beta_min, beta_max, .. } | Self::SubVpSde { beta_min, beta_max, .. } => {
                let preserving = matches!(self, Self::VpSde { .. });
                let class = if preserving { "DDPMScheduler" } else { "SubVpSdeScheduler" };
                let (beta_start, beta_end) = (beta_min / 1000.0, beta_max / 1000.0);
                let clip_sample = preserving;
                let of = of(class, PredictionType::Epsilon, solver);
                SchedulerConfig { beta_start, beta_end, clip_sample, ..of }
            }
        })
    }

    pub(super) fn check(&self) -> Result<(), TrainingError> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let (least, most) = match *self {
            Self::Betas => return Ok(()),
            Self::Edm { deviation, sigma_data, .. } => (deviation, deviation + sigma_data),
            Self::FlowMatching { deviation, .. } => (deviation, 2.0 * deviation),
            Self::Ncsn { sigma_begin, sigma_end, levels, .. } => {
                let fits = (2..=MOST_LEVELS).contains(&levels);
                Unexpected::check(fits, "levels", format!("2 to {MOST_LEVELS}"), levels)?;
                (sigma_end, sigma_begin)
            }
            Self::VeSde { sigma_min, sigma_max, .. } => (sigma_min, sigma_max),
            Self::VpSde { beta_min, beta_max, .. } | Self::SubVpSde { beta_min, beta_max, .. } => {
                (beta_min, beta_max)
            }
        };
        let fits = positive(least) && positive(most) && least < most;
        let found = format!("{self:?}");
        Ok(Unexpected::check(
            fits,
            "objective",
            "positive numbers, the least below the most",
            found,
        )?)
    }
}
