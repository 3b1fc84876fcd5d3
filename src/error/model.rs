//! What can be wrong with a model's configuration.
use super::{FileError, JsonError, Unexpected};
use std::path::{Path, PathBuf};

/// What can be wrong with the configuration of a network, or with a vocabulary.
///
/// Example: [`crate::Error`].
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
    /// A classifier's flags: not JSON, or a key holds what it may not.
    #[error("classifier config: {0}")]
    ClassifierJson(#[source] JsonError),
    /// A classifier's flags: values that do not fit their range or each other.
    #[error("classifier config: {0}")]
    Classifier(#[source] Unexpected),
    /// A text encoder's configuration: not JSON, or a key holds what it may not.
    #[error("text encoder config: {0}")]
    TextJson(#[source] JsonError),
    /// A text encoder's configuration: values that do not fit their range or each other.
    #[error("text encoder config: {0}")]
    Text(#[source] Unexpected),
    /// A vocabulary that is not JSON, or a key holds what it may not.
    #[error("tokenizer: {0}")]
    TokenizerJson(#[source] JsonError),
    /// A vocabulary that is not whole.
    #[error("tokenizer: {0}")]
    Tokenizer(#[source] Unexpected),
    /// An autoencoder's configuration: not JSON, or a key holds what it may not.
    #[error("autoencoder config: {0}")]
    AutoencoderJson(#[source] JsonError),
    /// An autoencoder's configuration: values that do not fit their range or each other.
    #[error("autoencoder config: {0}")]
    Autoencoder(#[source] Unexpected),
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
    /// A file of weights without its configuration, and none was given.
    #[error(
        "{}: {dialect}: the file does not hold {missing}; its shapes tell {told}: give the rest by \
         --flags FILE",
        path.display()
    )]
    NotGiven {
        /// The file.
        path: PathBuf,
        /// Whose names its tensors have.
        dialect: String,
        /// The settings that no shape tells.
        missing: String,
        /// What the shapes tell.
        told: String,
    },
    /// A model whose configuration this crate reads, and which it does not run.
    #[error("{}: {what}", path.display())]
    NotRun {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
    },
}

impl ConfigError {
    /// Says of an error that it is about the file at `path`.
    pub(crate) fn at<E: Into<Self>>(path: &Path) -> impl Fn(E) -> Self + '_ {
        move |source| Self::File { path: path.into(), source: Box::new(source.into()) }
    }

    /// Checks the numbers of residual blocks: divisor of the middle's sums, share that is dropped, and
    /// what group norms add to the variance.
    pub(crate) fn check_blocks(factor: f64, dropout: f64, eps: f64) -> Result<(), Unexpected> {
        let fits = factor.is_finite() && factor != 0.0;
        Unexpected::check(fits, "mid_block_scale_factor", "a number other than 0", factor)?;
        let fits = (0.0..1.0).contains(&dropout);
        Unexpected::check(fits, "dropout", "at least 0 and below 1", dropout)?;
        Unexpected::check(eps > 0.0 && eps < 1.0, "norm_eps", "between 0 and 1", eps)
    }

    /// Checks that every level but the last halves an image evenly.
    pub(crate) fn check_image(levels: usize, height: usize, width: usize) -> Result<(), Self> {
        let multiple = 1 << (levels - 1);
        let fits = |side: usize| side > 0 && side.is_multiple_of(multiple);
        match fits(height) && fits(width) {
            true => Ok(()),
            false => Err(Self::Image { levels, multiple, height, width }),
        }
    }
}
