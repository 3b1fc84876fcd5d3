//! What can be wrong with a file of weights.
use super::FileError;
use std::path::PathBuf;

/// What can go wrong with a file of weights. Shapes are those of the file, so PyTorch's: `[out,in]`
/// for linear layers, `[out,in,height,width]` for convolutions.
///
/// Example: [`crate::Error`].
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// The file could not be written; one of that name from before is untouched.
    #[error("writing {0}")]
    Write(#[source] FileError),
    /// Not a file of a format that is read, or a damaged or truncated one.
    #[error("{}: not a whole {format} file: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format that it seems to have.
        format: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Elements of a type that is not read.
    #[error("{}: {tensor}: expected F16, BF16, F32, F64, I32 or I64, found {found}", path.display())]
    Element {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },
    /// The model has this tensor, the file does not.
    #[error("{}: {tensor}: expected {}, found no such tensor", path.display(), list(expected))]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape in the model.
        expected: Vec<usize>,
    },
    /// The file has this tensor, the model does not.
    #[error("{}: {tensor}: expected no such tensor, found {}", path.display(), list(found))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape in the file.
        found: Vec<usize>,
    },
    /// Two tensors whose names mean the same parameter.
    #[error("{}: {tensor} is there twice, under two of its names", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The parameter.
        tensor: String,
    },
    /// A tensor has another shape than the model's.
    #[error("{}: {tensor}: expected {}, found {}", path.display(), list(expected), list(found))]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape in the model.
        expected: Vec<usize>,
        /// Its shape in the file.
        found: Vec<usize>,
    },
    /// Numbers that are infinite or NaN: see [`NonFinite`](crate::weights::NonFinite).
    #[error(
        "{}: {tensor} holds numbers that are not finite (NaN or infinite), as {tensors} of its \
         tensors do",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// How many there are.
        tensors: usize,
    },
    /// A number too large for 16 bits.
    #[error("{}: {tensor}: {number} does not fit an f16", path.display())]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The number.
        number: f32,
    },
}

fn list(shape: &[usize]) -> String {
    format!("{shape:?}").replace(' ', "")
}
