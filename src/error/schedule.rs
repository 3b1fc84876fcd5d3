//! What can be wrong with a noise schedule.
use super::{FileError, JsonError, Unexpected};
use std::path::PathBuf;

/// What can be wrong with a schedule, its configuration, or a request for sampling steps.
///
/// Example: [`Unexpected`].
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A fault in a file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: Box<ScheduleError>,
    },
    /// Not JSON, or a key holds what it may not.
    #[error("scheduler config: {0}")]
    Json(#[from] JsonError),
    /// A number out of its range, or a setting that this crate does not know.
    #[error(transparent)]
    Value(#[from] Unexpected),
    /// Alpha is 0 at this timestep: the noise there says nothing about the image, and `x / alpha`, in
    /// which some samplers step, is infinite.
    #[error(
        "timestep {timestep} has no signal left (alphas_cumprod is 0): neither a model that \
         predicts epsilon can start there, nor a sampler that steps in x / alpha; ddim, ddpm and \
         dpm-solver++ can with other models"
    )]
    NoSignal {
        /// The timestep.
        timestep: usize,
    },
    /// A number of a sampling table that no f32 holds.
    #[error("step {step} (timestep {timestep}): a coefficient of the sampler is not finite in f32")]
    Coefficient {
        /// The step, counted from 1.
        step: usize,
        /// Its timestep.
        timestep: f64,
    },
}

impl ScheduleError {
    pub(crate) fn value(key: &str, expected: impl ToString, found: impl ToString) -> Self {
        Unexpected::new(key, expected, found).into()
    }

    /// Checks a count; both ends of its range are allowed.
    pub(crate) fn check(key: &str, range: [usize; 2], found: usize) -> Result<(), Self> {
        let ([least, most], fits) = (range, (range[0]..=range[1]).contains(&found));
        Ok(Unexpected::check(fits, key, format!("{least} to {most}"), found)?)
    }
}
