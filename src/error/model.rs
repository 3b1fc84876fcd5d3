//! What can be wrong with a model's configuration.
use super::{FileError, JsonError, Unexpected};
use std::path::PathBuf;

/// What can be wrong with a U-Net's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A fault in a file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: Box<ConfigError>,
    },
    /// Not JSON, or a key holds what it may not.
    #[error("U-Net config: {0}")]
    Json(#[from] JsonError),
    /// Values that do not fit their range or each other.
    #[error("U-Net config: {0}")]
    Value(#[from] Unexpected),
    /// An image that the levels cannot halve often enough.
    #[error(
        "{levels} levels: expected height and width in multiples of {multiple}, found {height}x{width}"
    )]
    Image {
        /// Number of resolutions of the U-Net.
        levels: usize,
        /// What must divide both sides.
        multiple: usize,
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
    },
}
