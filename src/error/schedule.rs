//! What can be wrong with a noise schedule.
use super::JsonError;
use std::path::PathBuf;

/// What can be wrong with a schedule, its configuration, or a request for sampling steps.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
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
    #[error("{key}: expected {expected}, found {found}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// At this timestep nothing is left of the image, so that the noise says nothing about it, and
    /// `x / signal`, which some samplers follow, is infinite.
    #[error(
        "timestep {timestep} has no signal left (alphas_cumprod is 0): neither a model that \
         predicts epsilon can start there, nor a sampler that follows x / signal; ddim, ddpm and \
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
    pub(crate) fn value(key: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Value { key, expected: expected.to_string(), found: found.to_string() }
    }

    /// Checks a count; both ends of its range are allowed.
    pub(crate) fn check(key: &'static str, range: [usize; 2], found: usize) -> Result<(), Self> {
        let [least, most] = range;
        if (least..=most).contains(&found) {
            return Ok(());
        }
        Err(Self::value(key, format!("{least} to {most}"), found))
    }
}
