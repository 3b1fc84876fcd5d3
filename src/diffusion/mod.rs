//! The mathematics of diffusion: schedules in f64, and sampling as one replayed plan.
mod sampler;
pub mod schedule;

pub use sampler::{Sampler, SamplingGraph};

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
}
