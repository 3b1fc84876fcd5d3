//! The safetensors format: a JSON header of names, types and byte ranges, then little-endian numbers.
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensorError,
    tensor::{Metadata, TensorInfo, TensorView},
};
use serde_json::value::RawValue;

use super::{
    source::Source,
    tensor::{Numbers, Precision, TensorFile, numbers},
};
use crate::{
    error::{FileError, WeightsError},
    files::write_file,
};

/// Bytes of the longest header that is read: a number of two letters may take 64 bytes of memory.
const LARGEST_HEADER: u64 = 1 << 20;

/// The entry of a header that is no tensor: texts by names.
const METADATA: &str = "__metadata__";

/// Bytes of the header's length, which the file begins with.
const LENGTH: u64 = 8;

fn format_error(path: &Path, error: SafeTensorError) -> WeightsError {
    WeightsError::Format { path: path.into(), format: "safetensors", source: error.into() }
}

/// The texts of a header, and its tensors in the order of their bytes, which have to follow each other
/// without a gap.
fn parse(json: &[u8]) -> Result<Metadata, SafeTensorError> {
    let refuse = SafeTensorError::InvalidHeaderDeserialization;
    let text = std::str::from_utf8(json).map_err(SafeTensorError::InvalidHeader)?;
    // Values as they stand: read at once, a list of numbers would take fifty times its text.
    let entries: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(refuse)?;
    let (mut tensors, mut texts) = (Vec::new(), None);
    for (name, value) in entries {
        if name == METADATA {
            let found: HashMap<String, String> =
                serde_json::from_str(value.get()).map_err(refuse)?;
            texts = Some(found);
            continue;
        }
        let info: TensorInfo = serde_json::from_str(value.get()).map_err(refuse)?;
        tensors.push((name, info));
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    Metadata::new(texts, tensors)
}

/// A file whose header was read. A tensor's bytes are read when it is asked for.
pub(super) struct Safetensors<'a> {
    path: PathBuf,
    source: Source<'a>,
    /// Offset of the tensors' bytes.
    start: u64,
    header: Metadata,
}

impl<'a> Safetensors<'a> {
    /// Reads the header; `path` is for the errors alone.
    pub fn read_header(path: &Path, source: Source<'a>) -> Result<Self, WeightsError> {
        let refuse = |error| format_error(path, error);
        let failed = FileError::at(path);
        let length = source.length().map_err(&failed)?;
        if length < LENGTH {
            return Err(refuse(SafeTensorError::HeaderTooSmall));
        }
        let first = source.range(0, LENGTH).map_err(&failed)?;
        if first.starts_with(b"version ") {
            let text = "a pointer of Git LFS stands for the file: run git lfs pull";
            let (path, format) = (path.into(), "safetensors");
            return Err(WeightsError::Format { path, format, source: text.into() });
        }
        let header = first.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if header > LARGEST_HEADER {
            return Err(refuse(SafeTensorError::HeaderTooLarge));
        }
        let start = LENGTH + header;
        if start > length {
            return Err(refuse(SafeTensorError::InvalidHeaderLength));
        }
        let header = parse(&source.range(LENGTH, start).map_err(&failed)?);
        let header = header.map_err(refuse)?;
        if start.checked_add(header.data_len() as u64) != Some(length) {
            return Err(refuse(SafeTensorError::MetadataIncompleteBuffer));
        }
        Ok(Self { path: path.into(), source, start, header })
    }
}

impl TensorFile for Safetensors<'_> {
    fn format(&self) -> String {
        "safetensors".into()
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let shape = |name: &String| Some(self.header.info(name)?.shape.clone());
        let names = self.header.offset_keys().into_iter();
        names.filter_map(|name| Some((shape(&name)?, name))).map(|(s, n)| (n, s)).collect()
    }

    fn metadata(&self, key: &str) -> Option<String> {
        self.header.metadata().as_ref()?.get(key).cloned()
    }

    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError> {
        let missing = || format_error(&self.path, SafeTensorError::TensorNotFound(name.into()));
        let TensorInfo { dtype, shape, data_offsets: (first, end) } =
            self.header.info(name).ok_or_else(missing)?;
        let row = (end - first) / shape.first().map_or(1, |&rows| rows.max(1));
        let of_rows = |rows: Range<usize>| (first + rows.start * row, first + rows.end * row);
        let (first, end) = rows.map_or((*first, *end), of_rows);
        let [from, to] = [first, end].map(|at| self.start + at as u64);
        let bytes = self.source.range(from, to).map_err(FileError::at(&self.path))?;
        numbers(*dtype, &bytes).ok_or_else(|| WeightsError::Element {
            path: self.path.clone(),
            tensor: name.into(),
            found: format!("{dtype:?}"),
        })
    }
}

/// Writes tensors (name, shape, row-major elements) as one safetensors file, whole or not at all.
/// The bytes depend on nothing but the tensors.
///
/// # Errors
/// If the file cannot be written, or a finite number does not fit the precision.
///
/// # Panics
/// If a tensor's elements are not as many as its shape says.
///
/// Example: [`crate::weights::open()`].
pub fn write_tensors<'a>(
    path: &Path,
    precision: Precision,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<(), WeightsError> {
    write_file(path, &tensor_bytes(path, precision, tensors)?)
        .map_err(|source| WeightsError::Write(FileError::at(path)(source)))
}

/// The bytes of the safetensors file that [`write_tensors`] writes; errors name it by `path`.
///
/// # Errors
/// If a finite number does not fit the precision.
///
/// # Panics
/// If a tensor's elements are not as many as its shape says.
///
/// Example: [`TensorFile`].
pub fn tensor_bytes<'a>(
    path: &Path,
    precision: Precision,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<Vec<u8>, WeightsError> {
    // PyTorch's readers expect this key.
    tensor_bytes_with(path, precision, ("format", "pt"), tensors)
}

/// As [`tensor_bytes`], with one text in the header: of two, the order would be by chance.
pub(crate) fn tensor_bytes_with<'a>(
    path: &Path,
    precision: Precision,
    (key, text): (&str, &str),
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
            Precision::Bf16 => {
                numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes()).collect()
            }
        };
        packed.push((name, shape.to_vec(), bytes));
    }
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
        Precision::Bf16 => Dtype::BF16,
    };
    let refuse = |error| format_error(path, error);
    let views: Vec<_> = packed
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<_, _>>()
        .map_err(refuse)?;
    let metadata = HashMap::from([(key.to_string(), text.to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(refuse)
}
