//! Training: one plan a step, from drawing timesteps to the moving average of the weights.
//!
//! ```no_run
//! use ddim::training::{Trainer, TrainingOptions};
//! # use ddim::{data, gpu::{Gpu, GpuOptions}, models::unet2d::{UNet, UNetConfig}};
//! # let gpu = Gpu::new(&GpuOptions::default())?;
//! # let unet = UNet::new(UNetConfig { in_channels: 1, out_channels: 1, ..UNetConfig::default() })?;
//!
//! let options = TrainingOptions { learning_rate: 2e-3, ema_decay: 0.99, ..Default::default() };
//! let mut trainer = Trainer::new(&gpu, unet, Default::default(), [8, 8], options)?;
//! trainer.train(&data::digits(), 1000, false, |metrics| {
//!     metrics.iter().for_each(|of| println!("step {}: loss {:.4}", of.step, of.loss));
//!     std::ops::ControlFlow::Continue(())
//! })?;
//! let weights = trainer.averaged_weights()?;
//! trainer.save("model".as_ref(), serde_json::json!({ "data": "digits" }))?;
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! Whole programs: `examples/digits.rs`, and without diffusion `examples/regression.rs`.
mod adapters;
mod averages;
mod buckets;
mod bursts;
mod checkpoint;
mod choices;
mod collective;
mod fit;
mod graph_trainer;
mod kept_averages;
mod levels;
mod loading;
mod losses;
mod micro_batches;
mod noisy_classifier;
pub(crate) mod objective;
mod objectives;
mod optimizer;
mod options;
mod precision;
mod ranks;
mod settings;
mod snr;
mod state;
mod step;
mod steps;
mod tables;
mod trainer;
mod validation;

pub use adapters::{ADAPTER_FILE, LatentData};
pub use averages::{Average, gamma, post_hoc};
pub(crate) use checkpoint::STATE;
pub use checkpoint::{Resumed, steps_trained};
pub use choices::{Loss, RateSchedule, Timesteps};
pub use collective::{Alone, Collective, ThreadRank};
pub use graph_trainer::GraphTrainer;
pub use kept_averages::{AVERAGES, read_average};
pub use levels::{Diffusion, TrainingLevel};
pub use losses::Losses;
pub use objectives::{FlowWeighting, TrainingObjective};
pub use optimizer::{Begun, Ended, Halves, Optimizer, Scaling};
pub use options::TrainingOptions;
pub use precision::LossScale;
pub use settings::{Past, Settings};
pub(crate) use snr::min_snr_weights;
#[doc(hidden)]
pub use state::State;
pub use step::{Given, GivenInputs, TrainingGraph};
pub use steps::Metrics;
pub use tables::Tables;
pub use trainer::Trainer;
pub use validation::Validation;
