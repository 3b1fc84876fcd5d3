//! Choices of a training run by name: the loss, the timesteps and the learning rate's schedule.
use serde::{Deserialize, Serialize};

/// The loss. The variational bound is in bits per dimension, its predicted image is not clipped, and
/// pixels are bytes.
///
/// ```
/// use ddim::training::{Loss, Timesteps, TrainingOptions};
/// # use ddim::diffusion::schedule::{SchedulerConfig, Variance};
/// # use ddim::models::unet2d::{UNet, UNetConfig};
///
/// let (loss, timesteps) = (Loss::Hybrid, Timesteps::Importance);
/// let options = TrainingOptions { loss, timesteps, ..Default::default() };
/// // The network gives the variance too, in three more channels.
/// let unet = UNet::new(UNetConfig { out_channels: 6, ..Default::default() })?;
/// let variance_type = Variance::LearnedRange;
/// options.check(&unet, &SchedulerConfig { variance_type, ..Default::default() })?;
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The squared error of what the network predicts: Ho et al. 2020, eq. 14.
    #[default]
    Simple,
    /// The variational bound, `T` times the term of each image's timestep: an estimate of the sum
    /// over all. Nichol and Dhariwal 2021, eq. 4.
    Vlb,
    /// The simple loss and `hybrid_lambda` times the bound, whose gradient reaches the learned
    /// variance alone: Nichol and Dhariwal 2021, eq. 16. With 0.001 the term of an image counts
    /// `T / 1000`, as in the released code.
    Hybrid,
}

/// Sampling of timesteps in a batch.
///
/// Example: [`Loss`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timesteps {
    /// Each on its own, all alike.
    #[default]
    Uniform,
    /// Half of them, and `T - 1 - t` of each: the released code of DDIM.
    Antithetic,
    /// By the second moment of the last ten losses of each, whose losses are weighted so that their
    /// expectation stays the same: Nichol and Dhariwal 2021, section 3.3.
    Importance,
}

/// How a learning rate falls, if `decay_steps` says that it does.
///
/// ```
/// use ddim::training::{RateSchedule, TrainingOptions};
///
/// let (learning_rate, decay_steps) = (1e-3, Some(100));
/// let falling = TrainingOptions { learning_rate, decay_steps, ..Default::default() };
/// let with = |rate_schedule| TrainingOptions { rate_schedule, ..falling.clone() };
/// assert_eq!(with(RateSchedule::Linear).rate(50), 5e-4);
/// assert!((with(RateSchedule::Cosine).rate(50) - 5e-4).abs() < 1e-12);
/// assert_eq!(with(RateSchedule::InverseSqrt).rate(399), 5e-4);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    /// Along a line, to zero.
    #[default]
    Linear,
    /// Along half a cosine, to zero.
    Cosine,
    /// By the inverse root of the steps, from `decay_steps` on.
    InverseSqrt,
}
