//! The safetensors format: names, shapes and little-endian numbers.
use std::{
    borrow::Cow,
    collections::HashMap,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{Metadata, TensorInfo, TensorView},
};

use super::{Numbers, Precision, TensorFile};
use crate::{error::WeightsError, files, weights::write_file};

/// Bytes of the longest header that is read: a number of two letters may take 64 bytes of memory.
const LARGEST_HEADER: u64 = 1 << 20;

fn format_error(path: &Path, error: SafeTensorError) -> WeightsError {
    WeightsError::Format { path: path.into(), source: error.into() }
}

/// A file whose header was read.
pub(super) struct Safetensors<'a> {
    path: PathBuf,
    bytes: Cow<'a, [u8]>,
    /// Offset of the tensors' bytes.
    start: usize,
    header: Metadata,
}

impl<'a> Safetensors<'a> {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let bytes = files::read(path, u64::MAX)
            .map_err(|source| WeightsError::Read { path: path.into(), source })?;
        Self::of(path, bytes.into())
    }

    /// A file's bytes; `path` is for the errors alone.
    pub fn of(path: &Path, bytes: Cow<'a, [u8]>) -> Result<Self, WeightsError> {
        let refuse = |error| format_error(path, error);
        if let Some(&length) = bytes.first_chunk()
            && u64::from_le_bytes(length) > LARGEST_HEADER
        {
            return Err(refuse(SafeTensorError::HeaderTooLarge));
        }
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(refuse)?;
        Ok(Self { path: path.into(), bytes, start: 8 + length, header })
    }
}

impl TensorFile for Safetensors<'_> {
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let shape = |name: &String| Some(self.header.info(name)?.shape.clone());
        let names = self.header.offset_keys().into_iter();
        names.filter_map(|name| Some((shape(&name)?, name))).map(|(s, n)| (n, s)).collect()
    }

    fn read(&self, name: &str) -> Result<Numbers, WeightsError> {
        let missing = || format_error(&self.path, SafeTensorError::TensorNotFound(name.into()));
        let TensorInfo { dtype, data_offsets, .. } = self.header.info(name).ok_or_else(missing)?;
        let (from, to) = (self.start + data_offsets.0, self.start + data_offsets.1);
        numbers(*dtype, &self.bytes[from..to]).ok_or_else(|| WeightsError::Element {
            path: self.path.clone(),
            tensor: name.into(),
            found: format!("{dtype:?}"),
        })
    }
}

/// The elements of a tensor from its bytes, if its type is one that is read.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Numbers> {
    /// One array per element; the format has checked their number.
    fn each<const BYTES: usize, T>(bytes: &[u8], number: fn([u8; BYTES]) -> T) -> Vec<T> {
        let (elements, _) = bytes.as_chunks::<BYTES>();
        elements.iter().copied().map(number).collect()
    }
    Some(match dtype {
        Dtype::F16 => Numbers::F32(each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32())),
        Dtype::BF16 => Numbers::F32(each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        Dtype::F32 => Numbers::F32(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Numbers::F64(each(bytes, f64::from_le_bytes)),
        Dtype::I64 => Numbers::I64(each(bytes, i64::from_le_bytes)),
        _ => return None,
    })
}

/// Writes tensors (name, shape, row-major elements) as one safetensors file, whole or not at all.
/// The bytes depend on nothing but the tensors.
///
/// # Errors
/// If the file cannot be written, or a finite number does not fit the precision.
///
/// # Panics
/// If a tensor's elements are not as many as its shape says.
pub fn write_tensors<'a>(
    path: &Path,
    precision: Precision,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<(), WeightsError> {
    write_file(path, &tensor_bytes(path, precision, tensors)?)
        .map_err(|source| WeightsError::Write { path: path.into(), source })
}

/// The bytes of the safetensors file that [`write_tensors`] writes; errors name it by `path`.
///
/// # Errors
/// If a finite number does not fit the precision.
///
/// # Panics
/// If a tensor's elements are not as many as its shape says.
pub fn tensor_bytes<'a>(
    path: &Path,
    precision: Precision,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<Vec<u8>, WeightsError> {
    let mut packed = Vec::new();
    for (name, shape, numbers) in tensors {
        assert_eq!(numbers.len(), shape.iter().product::<usize>(), "{name}: elements of {shape:?}");
        let bytes: Vec<u8> = match precision {
            Precision::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Precision::F16 => {
                let too_large =
                    |number: &&f32| number.is_finite() && f16::from_f32(**number).is_infinite();
                if let Some(&number) = numbers.iter().find(too_large) {
                    let (path, tensor) = (path.into(), name.into());
                    return Err(WeightsError::Overflow { path, tensor, number });
                }
                numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()).collect()
            }
        };
        packed.push((name, shape.to_vec(), bytes));
    }
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
    };
    let refuse = |error| format_error(path, error);
    let views: Vec<_> = packed
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<_, _>>()
        .map_err(refuse)?;
    // PyTorch's readers expect this key.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(refuse)
}
