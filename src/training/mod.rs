//! Training: one plan a step, from drawing timesteps to the moving average of the weights.
mod adapters;
mod averages;
mod bursts;
mod checkpoint;
mod levels;
mod loading;
mod losses;
mod noisy_classifier;
pub(crate) mod objective;
mod objectives;
mod optimizer;
mod options;
mod settings;
mod snr;
mod state;
mod step;
mod tables;
mod trainer;
mod validation;

pub use adapters::{ADAPTER_FILE, LatentData};
pub use averages::{AVERAGES, Average, gamma, post_hoc, read_average};
pub(crate) use checkpoint::STATE;
pub use checkpoint::{Resumed, steps_trained};
pub use levels::{Diffusion, TrainingLevel};
pub use losses::Losses;
pub use objectives::{FlowWeighting, TrainingObjective};
pub use optimizer::{Begun, Optimizer};
pub use options::{Loss, RateSchedule, Timesteps, TrainingOptions};
pub use settings::{Past, Settings};
pub(crate) use snr::min_snr_weights;
#[doc(hidden)]
pub use state::State;
pub use step::{Given, GivenInputs, TrainingGraph};
pub use tables::Tables;
pub use trainer::{Metrics, Trainer};
pub use validation::Validation;
