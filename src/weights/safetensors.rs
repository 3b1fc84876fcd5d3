//! The safetensors format: names, shapes and little-endian numbers.
use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};

use super::write_file;
use crate::{error::WeightsError, files};

/// Bytes of the longest header that is read: a number of two letters may take 64 bytes of memory.
const LARGEST_HEADER: u64 = 1 << 20;

/// The elements of a stored tensor, 16-bit floats widened.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// From F16, BF16 and F32.
    F32(Vec<f32>),
    /// From F64.
    F64(Vec<f64>),
    /// From I64.
    I64(Vec<i64>),
}

impl Numbers {
    /// The elements as f32, rounded where they have more digits.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(numbers) => numbers,
            Self::F64(numbers) => numbers.into_iter().map(|number| number as f32).collect(),
            Self::I64(numbers) => numbers.into_iter().map(|number| number as f32).collect(),
        }
    }

    /// The elements as f64, exact but for integers beyond 2^53.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(numbers) => numbers.iter().map(|&number| number.into()).collect(),
            Self::F64(numbers) => numbers.clone(),
            Self::I64(numbers) => numbers.iter().map(|&number| number as f64).collect(),
        }
    }
}

/// A tensor as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub numbers: Numbers,
}

/// How floats are stored in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits: exact.
    #[default]
    F32,
    /// 16 bits: half the size, 11 significant bits.
    F16,
}

/// Reads every tensor of a safetensors file.
///
/// # Errors
/// If the file cannot be read, is damaged or truncated, or holds elements of another type than
/// F16, BF16, F32, F64 and I64.
pub fn read_tensors(path: &Path) -> Result<Vec<Stored>, WeightsError> {
    let bytes = files::read(path, u64::MAX)
        .map_err(|source| WeightsError::Read { path: path.into(), source })?;
    parse_tensors(path, &bytes)
}

/// Reads every tensor of a safetensors file's bytes; `path` is for the errors alone.
///
/// # Errors
/// As [`read_tensors`], or if the header is longer than a megabyte: that of a thousand tensors takes
/// a tenth of it.
pub fn parse_tensors(path: &Path, bytes: &[u8]) -> Result<Vec<Stored>, WeightsError> {
    if let Some(&length) = bytes.first_chunk()
        && u64::from_le_bytes(length) > LARGEST_HEADER
    {
        let source = SafeTensorError::HeaderTooLarge.into();
        return Err(WeightsError::Format { path: path.into(), source });
    }
    let file = SafeTensors::deserialize(bytes)
        .map_err(|source| WeightsError::Format { path: path.into(), source: source.into() })?;
    file.iter()
        .map(|(name, view)| {
            let numbers = numbers(&view).ok_or_else(|| WeightsError::Element {
                path: path.into(),
                tensor: name.into(),
                found: format!("{:?}", view.dtype()),
            })?;
            Ok(Stored { name: name.into(), shape: view.shape().to_vec(), numbers })
        })
        .collect()
}

fn numbers(view: &TensorView) -> Option<Numbers> {
    /// The tensor's bytes, one array per element; the format has checked their number.
    fn each<const BYTES: usize, T>(view: &TensorView, number: fn([u8; BYTES]) -> T) -> Vec<T> {
        let (elements, _) = view.data().as_chunks::<BYTES>();
        elements.iter().copied().map(number).collect()
    }
    Some(match view.dtype() {
        Dtype::F16 => Numbers::F32(each(view, |bytes| f16::from_le_bytes(bytes).to_f32())),
        Dtype::BF16 => Numbers::F32(each(view, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        Dtype::F32 => Numbers::F32(each(view, f32::from_le_bytes)),
        Dtype::F64 => Numbers::F64(each(view, f64::from_le_bytes)),
        Dtype::I64 => Numbers::I64(each(view, i64::from_le_bytes)),
        _ => return None,
    })
}

/// Writes tensors (name, shape, row-major elements) as one safetensors file, whole or not at all.
/// The bytes depend on nothing but the tensors.
///
/// # Errors
/// If the file cannot be written, or a finite number does not fit the storage.
///
/// # Panics
/// If a tensor's elements are not as many as its shape says.
pub fn write_tensors<'a>(
    path: &Path,
    storage: Storage,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<(), WeightsError> {
    write_file(path, &tensor_bytes(path, storage, tensors)?)
        .map_err(|source| WeightsError::Write { path: path.into(), source })
}

/// The bytes of the safetensors file that [`write_tensors`] writes; errors name it by `path`.
///
/// # Errors
/// If a finite number does not fit the storage.
///
/// # Panics
/// If a tensor's elements are not as many as its shape says.
pub fn tensor_bytes<'a>(
    path: &Path,
    storage: Storage,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<Vec<u8>, WeightsError> {
    let mut packed = Vec::new();
    for (name, shape, numbers) in tensors {
        assert_eq!(numbers.len(), shape.iter().product::<usize>(), "{name}: elements of {shape:?}");
        let bytes: Vec<u8> = match storage {
            Storage::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Storage::F16 => {
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
    let dtype = match storage {
        Storage::F32 => Dtype::F32,
        Storage::F16 => Dtype::F16,
    };
    let format_error =
        |source: SafeTensorError| WeightsError::Format { path: path.into(), source: source.into() };
    let views: Vec<_> = packed
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<_, _>>()
        .map_err(format_error)?;
    // What PyTorch's readers look for.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(format_error)
}
