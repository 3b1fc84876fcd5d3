//! The mathematics of diffusion: schedules in f64, and sampling as one replayed plan.
mod bound;
pub(crate) mod closure;
mod interpolate;
mod network;
mod not_finite;
mod sampler;
mod sampling_graph;
pub mod schedule;

pub use bound::{
    Bound, BoundEvaluator, BoundGraph, BoundLevel, BoundNoise, BoundOptions, BoundPair, BoundTerm,
};
pub use closure::{ClosureSampler, Evaluation};
pub use interpolate::{angle_between, slerp};
pub use network::{BuiltNetwork, Network, NetworkInputs};
pub use sampler::Sampler;
pub use sampling_graph::{Guidance, SamplingGraph, SamplingOptions};

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
    /// The noise at which the variational bound is evaluated.
    pub const BOUND: u32 = TIMESTEPS + 16;
}
