//! Weights in files: formats, and the dialects of other people's checkpoints.
//!
//! ```
//! use ddim::{nn::Weights, value::Shape, weights::{self, Precision}};
//!
//! let (path, mut own) = ("proj.safetensors".as_ref(), Weights::default());
//! own.insert("proj.weight", Shape::new(&[2, 3]), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! let bytes = weights::to_bytes(path, &own, Precision::F16)?;
//! // `[in, out]` here is PyTorch's `[out, in]`.
//! let stored = weights::parse_tensors(path, &bytes)?;
//! assert_eq!(stored[0].shape, [3, 2]);
//! assert_eq!(stored[0].numbers.to_f64(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
//! # Ok::<(), ddim::Error>(())
//! ```
mod dialects;
mod file;
mod formats;
mod lora;

use std::path::Path;

use crate::{
    error::{FileError, WeightsError},
    files::write_file,
    nn::{Parameter, ParameterSpec, Weights},
};

pub use dialects::{Adm, Heads, Layout, Names, canonical_name};
pub use file::FileWeights;
pub(crate) use formats::{Below, tensor_bytes_with};
pub use formats::{
    Numbers, Precision, Stored, TensorFile, of_bytes, open, parse_tensors, read_tensors,
    tensor_bytes, write_tensors,
};
pub(crate) use lora::adapter_bytes;
pub use lora::{Adapted, Lora, LoraFile, Loras, LowRank};

/// Policy for weights that are infinite or NaN.
///
/// Example: [`FileWeights`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file.
    #[default]
    Refuse,
    /// Take them as they are.
    Allow,
}

/// Reads the weights of a model with these parameters to the host: see [`FileWeights::open`].
///
/// # Errors
/// As [`FileWeights::open`], which refuses numbers that are not finite.
///
/// Example: [`crate::weights::write()`].
pub fn read(path: &Path, expected: &[ParameterSpec]) -> Result<Weights, WeightsError> {
    FileWeights::open(path, expected, NonFinite::Refuse)?.read()
}

/// Writes a file that diffusers opens: its names and layouts, in f32, f16 or bf16.
///
/// ```
/// use ddim::nn::{Initial, ParameterSpec, Weights};
/// use ddim::{value::TensorType, weights::{self, Precision}};
///
/// let (name, of) = ("proj.weight".to_owned(), TensorType::f32(&[2, 3]));
/// let specs = [ParameterSpec { name, of, initial: Initial::Normal(1.0) }];
/// let (folder, own) = (tempfile::tempdir()?, Weights::initial(&specs, 0));
/// let path = folder.path().join("model.safetensors");
/// weights::write(&path, &own, Precision::F32)?;
/// assert_eq!(weights::read(&path, &specs)?, own);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the file cannot be written, or a number does not fit the precision.
pub fn write(path: &Path, weights: &Weights, precision: Precision) -> Result<(), WeightsError> {
    write_file(path, &to_bytes(path, weights, precision)?)
        .map_err(|source| WeightsError::Write(FileError::at(path)(source)))
}

/// The bytes of the file that [`write()`] writes; errors name it by `path`.
///
/// # Errors
/// If a number does not fit the precision.
///
/// Example: [`crate::weights`].
pub fn to_bytes(
    path: &Path,
    weights: &Weights,
    precision: Precision,
) -> Result<Vec<u8>, WeightsError> {
    let tensors: Vec<_> = weights.iter().map(|(name, of)| stored("", name, of)).collect();
    let tensors = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    tensor_bytes(path, precision, tensors)
}

/// Name with a prefix, shape and elements of a parameter in a file.
fn stored(prefix: &str, name: &str, parameter: &Parameter) -> (String, Vec<usize>, Vec<f32>) {
    let layout = Layout::of(name, &parameter.shape);
    let data = layout.write(&parameter.shape, &parameter.data);
    (format!("{prefix}{name}"), layout.stored_shape(&parameter.shape), data)
}
