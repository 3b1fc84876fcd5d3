//! File formats of tensors.
//!
//! To add one: a file here that implements [`TensorFile`], and a line in [`open`].
mod below;
mod named;
mod pickle;
mod safetensors;
mod shards;
mod source;
mod tensor;
mod torch;
mod views;

pub(crate) use below::Below;
pub(crate) use safetensors::tensor_bytes_with;
pub use safetensors::{tensor_bytes, write_tensors};
pub use tensor::{Numbers, Precision, Stored, TensorFile};

use crate::{
    error::{FileError, WeightsError},
    files,
};
use safetensors::Safetensors;
use shards::Shards;
use source::Source;
use std::{borrow::Cow, path::Path};
use torch::Torch;

/// Opens a file of any known format, or the index of several.
///
/// ```
/// use ddim::weights::{self, Precision};
///
/// let folder = tempfile::tempdir()?;
/// let (path, numbers) = (folder.path().join("x.safetensors"), [1.0, 2.0, 3.0, 4.0]);
/// weights::write_tensors(&path, Precision::F32, [("x", &[2, 2][..], &numbers[..])])?;
/// let file = weights::open(&path)?;
/// assert_eq!(file.format(), "safetensors");
/// assert_eq!(file.read("x")?.into_f32(), numbers);
/// assert_eq!(weights::read_tensors(&path)?[0].name, "x");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the file cannot be read, or is damaged or truncated.
pub fn open(path: &Path) -> Result<Box<dyn TensorFile>, WeightsError> {
    let source = Source::Disk(files::open(path).map_err(FileError::at(path))?);
    let first = source.first().map_err(FileError::at(path))?;
    // The length of a safetensors header has zeros in its upper bytes, which no text has.
    if first.starts_with(b"{") && !first.contains(&0) {
        return Ok(Box::new(Shards::open(path, alone)?));
    }
    of(path, source)
}

/// Opens a file that is no index.
fn alone(path: &Path) -> Result<Box<dyn TensorFile>, WeightsError> {
    of(path, Source::Disk(files::open(path).map_err(FileError::at(path))?))
}

/// As [`open`], from the bytes of a file; `path` is for the errors alone.
///
/// # Errors
/// If they are damaged or truncated, or the header is longer than a megabyte: that of a thousand
/// tensors takes a tenth of it.
///
/// Example: [`TensorFile`].
pub fn of_bytes<'a>(
    path: &Path,
    bytes: impl Into<Cow<'a, [u8]>>,
) -> Result<Box<dyn TensorFile + 'a>, WeightsError> {
    of(path, Source::Memory(bytes.into()))
}

/// The format is told by the first bytes, whatever the file is called.
fn of<'a>(path: &Path, source: Source<'a>) -> Result<Box<dyn TensorFile + 'a>, WeightsError> {
    let first = source.first().map_err(FileError::at(path))?;
    if first.starts_with(b"PK\x03\x04") {
        return Ok(Box::new(Torch::zip(path, source)?));
    }
    // A pickle begins with its protocol; an older one with the magic number as text.
    if first.starts_with(b"\x80") && first.get(2) == Some(&0x8a) {
        return Ok(Box::new(Torch::legacy(path, source)?));
    }
    Ok(Box::new(Safetensors::read_header(path, source)?))
}

/// Reads every tensor of a file.
///
/// # Errors
/// As [`open`], or if a tensor holds elements of another type than F16, BF16, F32, F64, I32 and I64.
///
/// Example: [`crate::weights::open()`].
pub fn read_tensors(path: &Path) -> Result<Vec<Stored>, WeightsError> {
    all(&*open(path)?)
}

/// Reads every tensor of a file's bytes, safetensors or PyTorch's; `path` is for the errors alone.
///
/// # Errors
/// As [`of_bytes`] and [`read_tensors`].
///
/// Example: [`crate::weights`].
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<Vec<Stored>, WeightsError> {
    all(&*of_bytes(path, bytes)?)
}

fn all(file: &dyn TensorFile) -> Result<Vec<Stored>, WeightsError> {
    let tensors = file.tensors().into_iter();
    let read = |(name, shape): (String, _)| Ok(Stored { numbers: file.read(&name)?, name, shape });
    tensors.map(read).collect()
}
