//! The choices of a schedule that go by names.
use crate::error::ScheduleError;
use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IntoDeserializer, value},
};

/// The value that serde reads from `name`, or an error that lists the names it knows.
pub(super) fn by_name<T: DeserializeOwned>(
    key: &'static str,
    name: &str,
) -> Result<T, ScheduleError> {
    let text: value::StrDeserializer<'_, Unknown> = name.into_deserializer();
    T::deserialize(text).map_err(|Unknown(known)| ScheduleError::value(key, known, name))
}

/// The names that serde would have known.
#[derive(Debug)]
struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unknown {}

impl serde::de::Error for Unknown {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self(format!("one of {}", known.join(", ")))
    }
}

/// Shape of the betas over the timesteps.
///
/// Example: [`crate::diffusion::schedule::SchedulerConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// [`Schedule::linear`](super::Schedule::linear).
    #[default]
    Linear,
    /// [`Schedule::scaled_linear`](super::Schedule::scaled_linear): `quad` of DDPM's and DDIM's released code.
    #[serde(alias = "quad", alias = "quadratic")]
    ScaledLinear,
    /// [`Schedule::cosine`](super::Schedule::cosine).
    #[serde(rename = "squaredcos_cap_v2", alias = "cosine")]
    Cosine,
    /// [`Schedule::constant`](super::Schedule::constant), all betas as the last.
    #[serde(rename = "const", alias = "constant")]
    Constant,
    /// [`Schedule::reciprocal`](super::Schedule::reciprocal).
    #[serde(rename = "jsd", alias = "reciprocal")]
    Reciprocal,
    /// [`Schedule::sigmoid`](super::Schedule::sigmoid).
    Sigmoid,
}

impl FromStr for BetaSchedule {
    type Err = ScheduleError;

    /// The names are those of diffusers' config where it has one, and of DDIM's released code
    /// elsewhere.
    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        by_name("beta_schedule", name)
    }
}

/// Parametrisation of the prediction.
///
/// Example: [`crate::diffusion::schedule::SchedulerConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise in `x_t`.
    #[default]
    Epsilon,
    /// The image.
    #[serde(alias = "x0", alias = "original_sample")]
    Sample,
    /// `v = sqrt(a) noise - sqrt(1 - a) x_0`: Salimans and Ho, *Progressive Distillation for Fast
    /// Sampling of Diffusion Models* (2022).
    #[serde(alias = "v")]
    VPrediction,
    /// The velocity `noise - x_0` of flow matching: Lipman et al., *Flow Matching for Generative
    /// Modeling* (2023).
    #[serde(rename = "flow_prediction", alias = "flow")]
    Flow,
    /// The score, the gradient of the logarithm of the density: `-noise / sigma`.
    Score,
    /// The score times sigma: `-noise`.
    ScaledScore,
}

impl fmt::Display for PredictionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::VPrediction => "v_prediction",
            Self::Flow => "flow_prediction",
            Self::Score => "score",
            Self::ScaledScore => "scaled_score",
        })
    }
}

/// The variance of DDPM's steps. diffusers' `fixed_small_log` is the small one by another route.
///
/// Example: [`crate::diffusion::samplers::ddpm_table()`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// That of the posterior, `beta (1 - a_previous) / (1 - a)`.
    #[default]
    #[serde(alias = "fixed_small_log")]
    FixedSmall,
    /// `beta`.
    #[serde(alias = "fixed_large_log")]
    FixedLarge,
    /// Between the two, as the second half of the network's channels says: Nichol and Dhariwal,
    /// *Improved Denoising Diffusion Probabilistic Models* (2021), equation 15.
    LearnedRange,
}
