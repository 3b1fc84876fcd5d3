//! What can be wrong with images.
use super::{FileError, Unexpected};
use std::path::PathBuf;

/// What can be wrong with data: images, labels, prompts and the files they come from.
///
/// Example: [`Unexpected`].
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder could not be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A file of another format than its name says, or a damaged or truncated one.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A picture that cannot be decoded.
    #[error("{}: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A picture of more pixels than are read.
    #[error(
        "{}: expected at most {max_pixels} pixels, found {height}x{width}; \
         `ddim train --max-pixels` allows more",
        path.display()
    )]
    Large {
        /// The file.
        path: PathBuf,
        /// How many it may have.
        max_pixels: u64,
        /// Rows that it says it has.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// Pictures of different sizes, and none asked for.
    #[error(
        "{}: expected {}x{} pixels as in the other pictures, found {}x{}; with a size given, every \
         picture is cropped to its centre and resized",
        path.display(), expected.0, expected.1, found.0, found.1
    )]
    UnequalSizes {
        /// The first file that differs.
        path: PathBuf,
        /// Height and width of those before it.
        expected: (usize, usize),
        /// Its height and width.
        found: (usize, usize),
    },
    /// A folder without images.
    #[error("{}: expected {expected}, found none{beside}", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What is there instead, in brackets.
        beside: String,
    },
    /// Pictures beside folders of classes: they would have no label.
    #[error(
        "{}: expected pictures or a folder of them for each class, found both: {pictures} pictures \
         (the first is {}) beside the folders {folders}; move them into a class's folder, or give one \
         of the folders",
        path.display(), first.display()
    )]
    Mixed {
        /// The folder.
        path: PathBuf,
        /// Number of pictures.
        pictures: usize,
        /// The first of them.
        first: PathBuf,
        /// The first folders.
        folders: String,
    },
    /// A folder in which a part of MNIST is missing.
    #[error(
        "{}: expected {images} and its labels: put MNIST's four files there, packed or not \
         (train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, \
         t10k-labels-idx1-ubyte.gz)",
        path.display()
    )]
    Mnist {
        /// The folder.
        path: PathBuf,
        /// The images that are missing, or have no labels.
        images: &'static str,
    },
    /// A number out of its range.
    #[error(transparent)]
    Value(#[from] Unexpected),
    /// The crate was built without pictures.
    #[error("pictures can be read and resized only with the feature `pictures`")]
    WithoutPictures,
}
