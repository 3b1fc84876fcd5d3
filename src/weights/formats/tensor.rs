//! Tensors in files, whatever the format.
use crate::error::WeightsError;

/// A file of named tensors, of which each is read when it is asked for.
pub trait TensorFile {
    /// Names and extents.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;

    /// The elements of the tensor of this name.
    ///
    /// # Errors
    /// If there is none, or its elements are of a type that is not read.
    fn read(&self, name: &str) -> Result<Numbers, WeightsError>;
}

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

/// Precision of floats in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits: exact.
    #[default]
    F32,
    /// 16 bits: half the size, 11 significant bits.
    F16,
}
