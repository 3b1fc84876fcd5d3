//! What can go wrong in training.
use super::Unexpected;
use std::path::{Path, PathBuf};

/// What can go wrong in training, beyond the device.
///
/// ```
/// use ddim::{error::TrainingError, training::TrainingOptions};
/// # use ddim::{diffusion::schedule::SchedulerConfig, models::unet2d::{UNet, UNetConfig}};
/// # let unet = UNet::new(UNetConfig::default())?;
///
/// let options = TrainingOptions { batch: 0, ..TrainingOptions::default() };
/// match options.check(&unet, &SchedulerConfig::default()) {
///     Err(TrainingError::Option(wrong)) => assert_eq!(wrong.name, "batch"),
///     result => panic!("{result:?}"),
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// Loss or gradient stopped being a number; the state is that of the last good step.
    #[error(
        "step {step}: the loss is {loss} and the gradient norm {norm}, not finite numbers; \
         weights and optimizer are as step {} left them",
        step - 1
    )]
    NotFinite {
        /// The first bad step, counted from 1.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its gradient norm.
        norm: f32,
    },
    /// A run in f16 whose loss scale helps no more: too many steps in a row had numbers that are not finite, or
    /// the scale is the least. The state is that of the last good step.
    #[error(
        "step {step}: the loss is {loss} and the gradient norm {norm}, not finite numbers, after {in_row} skipped \
         steps in a row and at a loss scale of {scale}; weights and optimizer are as the last good step left them"
    )]
    LossScale {
        /// The step that was not skipped any more, counted from 1.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its gradient norm.
        norm: f32,
        /// The loss scale.
        scale: f32,
        /// Steps skipped before it, in a row.
        in_row: u64,
    },
    /// A rank of a run of several that ended, or did not come.
    #[error("rank {rank}: {why}")]
    Rank {
        /// The rank.
        rank: usize,
        /// What it said, or what happened.
        why: String,
    },
    /// The loss on images that are held out of training is not finite.
    #[error("the loss of held-out batch {batch} is {loss}")]
    HeldOut {
        /// The batch, counted from 0.
        batch: usize,
        /// Its loss.
        loss: f32,
    },
    /// The data do not fit the model.
    #[error("the model takes images of {expected} (height, width, channels), the data are {found}")]
    Images {
        /// What the model takes.
        expected: String,
        /// What the data are.
        found: String,
    },
    /// An option out of its range, or one that does not suit the model.
    #[error(transparent)]
    Option(#[from] Unexpected),
    /// Labels that a class-conditional model has no row for, or none at all.
    #[error(
        "the model has {expected} classes, the data {}",
        found.map_or(
            "no labels: a folder for each class would give them".to_owned(),
            |found| format!("labels up to {}", found - 1)
        )
    )]
    Classes {
        /// Rows of the model's table, without that of the null label.
        expected: usize,
        /// One more than the highest label.
        found: Option<usize>,
    },
    /// A pipeline that this crate does not run, or whose parts do not go together.
    #[error("{}: {what}", path.display())]
    Pipeline {
        /// The file.
        path: PathBuf,
        /// The key and what is wrong with it.
        what: Unexpected,
    },
    /// A checkpoint that belongs to something else.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl TrainingError {
    pub(crate) fn pipeline(
        path: &Path,
        key: &str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Pipeline { path: path.into(), what: Unexpected::new(key, expected, found) }
    }
}
