//! The mathematics of diffusion: schedules in f64, and sampling as one replayed plan.
//!
//! ```no_run
//! use ddim::{diffusion::Sampler, gpu::{Gpu, GpuOptions}, pipeline};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let model = pipeline::open("model".as_ref())?;
//! let table = model.scheduler.ddim(50, 0.0)?;
//! let size = [4, 32, 32];
//! let mut sampler = Sampler::new(&gpu, &model.unet, &*model.weights, size, &table, None, 0)?;
//! let images = sampler.sample(16, |done| println!("{done} of 16"))?;
//! assert_eq!(images.len(), 16 * 32 * 32 * 3);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/digits.rs`.
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
