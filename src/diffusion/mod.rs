//! The mathematics of diffusion: schedules in f64, and sampling as one replayed plan.
pub(crate) mod closure;
mod guidance;
mod interpolate;
mod normal_noise;
mod not_finite;
mod sampler;
pub mod samplers;
mod sampling_graph;
pub mod schedule;
mod vlb;

pub use closure::{ClosureSampler, Evaluation};
pub use guidance::{ClassifierGuidance, Guidance, GuidingClassifier};
pub use interpolate::{angle_between, slerp};
pub(crate) use normal_noise::NormalNoise;
pub use sampler::Sampler;
pub use sampling_graph::{SamplingGraph, SamplingOptions};
pub use vlb::{Vlb, VlbEvaluator, VlbGraph, VlbLevel, VlbNoise, VlbOptions, VlbPair, VlbTerm};

/// Random streams of a run. Dropout uses those from 1 on, one per layer.
pub(crate) mod streams {
    /// Timesteps of a training batch.
    pub const TIMESTEPS: u32 = 1 << 16;
    /// Noise of a training batch.
    pub const NOISE: u32 = TIMESTEPS + 1;
    /// The noise that sampling starts from.
    pub const START: u32 = TIMESTEPS + 2;
    /// The noise that sampling steps add.
    pub const STEP: u32 = TIMESTEPS + 3;
    /// Which class labels are dropped in training.
    pub const LABELS: u32 = TIMESTEPS + 17;
    /// The noise with which a picture's latents are drawn.
    pub const POSTERIOR: u32 = TIMESTEPS + 18;
    /// The noise at which the variational bound is evaluated.
    pub const BOUND: u32 = TIMESTEPS + 16;
}
