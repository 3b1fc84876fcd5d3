//! Why a command stops, in one line.
use ddim::error::{
    ConfigError, DataError, GpuError, PictureError, ScheduleError, TrainingError, WeightsError,
};
use std::{error::Error, path::PathBuf};

/// Why a command stops.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The library refused or failed.
    #[error(transparent)]
    Library(#[from] ddim::Error),
    /// A file or folder of ours.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong with it.
        message: String,
    },
    /// A curve could not be plotted.
    #[error("plotting {what}: {message}")]
    Plot {
        /// Which curve.
        what: &'static str,
        /// The crate's words.
        message: String,
    },
    /// Arguments that do not go together, as only the files they name can tell.
    #[error("{0}")]
    Usage(String),
    /// Reference cases failed; each has been named.
    #[error("{0} of the checks failed: do not trust this device and driver with this crate")]
    Verification(usize),
}

macro_rules! from_library {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Library(error.into())
            }
        }
    )*};
}
from_library!(DataError, ScheduleError, GpuError, TrainingError, ConfigError, WeightsError);

impl From<PictureError> for Failure {
    fn from(error: PictureError) -> Self {
        match error {
            PictureError::Size { .. } => Self::Usage(format!(
                "{error}: take fewer images, a smaller --scale where there is one, or a larger \
                 --max-pixels"
            )),
            PictureError::Encoding { .. } => Self::Library(error.into()),
        }
    }
}

impl Failure {
    /// Something is wrong with this file or folder.
    pub fn file(path: impl Into<PathBuf>, message: impl ToString) -> Self {
        Self::File { path: path.into(), message: message.to_string() }
    }

    /// The message and those of its causes that it does not quote itself, on one line.
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            if !text.contains(&message) {
                text += &format!(": {message}");
            }
            cause = error.source();
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
