//! Tensors in files, whatever the format.
use crate::error::WeightsError;
use half::{bf16, f16};
use safetensors::Dtype;
use std::ops::Range;

/// A file of named tensors, of which each is read when it is asked for.
///
/// ```
/// use ddim::weights::{Numbers, Precision, of_bytes, tensor_bytes};
///
/// let (path, numbers) = ("x.safetensors".as_ref(), [1.0, 2.0, 3.0, 4.0]);
/// let bytes = tensor_bytes(path, Precision::F32, [("x", &[2, 2][..], &numbers[..])])?;
/// let file = of_bytes(path, bytes)?;
/// assert_eq!(file.tensors(), [("x".to_owned(), vec![2, 2])]);
/// assert_eq!(file.read_rows("x", Some(1..2))?, Numbers::F32(vec![3.0, 4.0]));
/// # Ok::<(), ddim::Error>(())
/// ```
pub trait TensorFile: Send + Sync {
    /// The format, in words.
    fn format(&self) -> String;

    /// Names and extents.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// A text of the file's header by its key; only safetensors has any.
    fn metadata(&self, key: &str) -> Option<String> {
        let _ = key;
        None
    }

    /// Of the tensor of this name, the elements of some rows, which the first of its extents counts; of all
    /// where none are named.
    ///
    /// # Errors
    /// If there is no such tensor, or its elements are of a type that is not read.
    fn read_rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Numbers, WeightsError>;

    /// The elements of the tensor of this name.
    ///
    /// # Errors
    /// As [`TensorFile::read_rows`].
    fn read(&self, name: &str) -> Result<Numbers, WeightsError> {
        self.read_rows(name, None)
    }
}

/// The elements of a stored tensor, 16-bit floats widened.
///
/// Example: [`TensorFile`].
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// From F16, BF16 and F32.
    F32(Vec<f32>),
    /// From F64.
    F64(Vec<f64>),
    /// From I32 and I64.
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
///
/// Example: [`crate::weights`].
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub numbers: Numbers,
}

/// Precision of floats in a file.
///
/// Example: [`TensorFile`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits: exact.
    #[default]
    F32,
    /// 16 bits: half the size, 11 significant bits.
    F16,
    /// 16 bits, 8 of them significant, with the range of f32.
    Bf16,
}

/// The elements of a tensor from its bytes, if its type is one that is read.
pub(super) fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Numbers> {
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
        Dtype::I32 => Numbers::I64(each(bytes, |bytes| i32::from_le_bytes(bytes).into())),
        Dtype::I64 => Numbers::I64(each(bytes, i64::from_le_bytes)),
        _ => return None,
    })
}
