//! Training: one plan a step, from drawing timesteps to the moving average of the weights.
mod checkpoint;
mod losses;
mod noisy_classifier;
mod objective;
mod optimizer;
mod options;
mod settings;
mod state;
mod step;
mod trainer;
mod validation;

pub(crate) use checkpoint::STATE;
pub use checkpoint::{Resumed, steps_trained};
pub use losses::Losses;
pub use objective::Tables;
pub use optimizer::{Begun, Optimizer};
pub use options::{Loss, Timesteps, TrainingOptions};
pub use settings::{Past, Settings};
#[doc(hidden)]
pub use state::State;
pub use step::{Given, GivenInputs, TrainingGraph};
pub use trainer::{Metrics, Trainer};
pub use validation::Validation;
