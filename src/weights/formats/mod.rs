//! File formats of tensors.
//!
//! To add one: a file here that implements [`TensorFile`], and a line in [`open`].
mod safetensors;
mod tensor;

pub use safetensors::{tensor_bytes, write_tensors};
pub use tensor::{Numbers, Precision, Stored, TensorFile};

use crate::error::WeightsError;
use safetensors::Safetensors;
use std::path::Path;

/// Opens a file of any known format.
///
/// # Errors
/// If the file cannot be read, or is damaged or truncated.
pub fn open(path: &Path) -> Result<Box<dyn TensorFile>, WeightsError> {
    Ok(Box::new(Safetensors::open(path)?))
}

/// As [`open`], from the bytes of a file; `path` is for the errors alone.
///
/// # Errors
/// If they are damaged or truncated, or the header is longer than a megabyte: that of a thousand
/// tensors takes a tenth of it.
pub fn of_bytes<'a>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<Box<dyn TensorFile + 'a>, WeightsError> {
    Ok(Box::new(Safetensors::of(path, bytes)?))
}

/// Reads every tensor of a file.
///
/// # Errors
/// As [`open`], or if a tensor holds elements of another type than F16, BF16, F32, F64 and I64.
pub fn read_tensors(path: &Path) -> Result<Vec<Stored>, WeightsError> {
    all(&*open(path)?)
}

/// Reads every tensor of a safetensors file's bytes; `path` is for the errors alone.
///
/// # Errors
/// As [`of_bytes`] and [`read_tensors`].
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<Vec<Stored>, WeightsError> {
    all(&*of_bytes(path, bytes)?)
}

fn all(file: &dyn TensorFile) -> Result<Vec<Stored>, WeightsError> {
    let tensors = file.tensors().into_iter();
    let read = |(name, shape): (String, _)| Ok(Stored { numbers: file.read(&name)?, name, shape });
    tensors.map(read).collect()
}
