//! Training: one plan a step, from drawing timesteps to the moving average of the weights.
mod checkpoint;
mod generations;
mod index;
mod losses;
mod objective;
mod optimizer;
mod options;
mod settings;
mod state;
mod step;
mod trainer;
mod validation;

pub use checkpoint::{
    Pipeline, Resumed, read_pipeline, read_pipeline_with, steps_trained, write_pipeline,
};
pub(crate) use checkpoint::{SETTINGS, STATE};
#[doc(hidden)]
pub use generations::Pointer;
pub use generations::RunFolder;
pub use index::{judge_index, read_model};
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
