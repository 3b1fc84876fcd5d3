//! Weights in files: formats, the dialects of other people's checkpoints, and files that are never
//! half-written.
mod dialects;
mod formats;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use crate::{
    error::{FileError, WeightsError},
    nn::{Parameter, ParameterSpec, Weights},
};

pub use dialects::{Layout, canonical_name};
pub use formats::{
    Numbers, Precision, Stored, TensorFile, of_bytes, open, parse_tensors, read_tensors,
    tensor_bytes, write_tensors,
};
pub use write::{remove_parts, write_file};

/// Policy for weights that are infinite or NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file.
    #[default]
    Refuse,
    /// Take them as they are.
    Allow,
}

/// Reads the weights of a model with these parameters.
///
/// Names of 2022 (`query`, `key`, `value`, `proj_attn`) are read as today's, and a 1x1 convolution
/// where a linear layer is expected as that layer.
///
/// # Errors
/// If the file cannot be read, is damaged, does not hold exactly the expected tensors, or holds
/// numbers that are not finite in f32.
pub fn read(path: &Path, expected: &[ParameterSpec]) -> Result<Weights, WeightsError> {
    read_with(path, expected, NonFinite::Refuse)
}

/// As [`read`]; `non_finite` says what to do with numbers that are not finite.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    path: &Path,
    expected: &[ParameterSpec],
    non_finite: NonFinite,
) -> Result<Weights, WeightsError> {
    let file = open(path)?;
    let mut found = BTreeMap::new();
    for (stored, shape) in file.tensors() {
        let name = canonical_name(&stored);
        if found.insert(name.clone(), (stored, shape)).is_some() {
            return Err(WeightsError::Twice { path: path.into(), tensor: name });
        }
    }
    let mut weights = Weights::default();
    for ParameterSpec { name, of, .. } in expected {
        let shape = of.shape;
        let layout = Layout::of(name, &shape);
        let (path, expected) = (path.into(), layout.stored_shape(&shape));
        let Some((tensor, found)) = found.remove(name) else {
            return Err(WeightsError::Missing { path, tensor: name.clone(), expected });
        };
        if !layout.accepts(&shape, &found) {
            return Err(WeightsError::Shape { path, tensor, expected, found });
        }
        weights.insert(name, shape, layout.read(&shape, file.read(&tensor)?.into_f32()));
    }
    if let Some((tensor, found)) = found.into_values().next() {
        return Err(WeightsError::Unknown { path: path.into(), tensor, found });
    }
    match non_finite {
        NonFinite::Refuse => check_finite(path, &weights)?,
        NonFinite::Allow => {}
    }
    Ok(weights)
}

fn check_finite(path: &Path, weights: &Weights) -> Result<(), WeightsError> {
    let bad = |(_, of): &(&str, &Parameter)| of.data.iter().any(|number| !number.is_finite());
    let mut bad = weights.iter().filter(bad);
    let Some((tensor, _)) = bad.next() else { return Ok(()) };
    let (path, tensor, tensors) = (path.into(), tensor.into(), 1 + bad.count());
    Err(WeightsError::NotFinite { path, tensor, tensors })
}

/// Writes a file that diffusers opens: its names and layouts, f32 or f16.
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
pub fn to_bytes(
    path: &Path,
    weights: &Weights,
    precision: Precision,
) -> Result<Vec<u8>, WeightsError> {
    let stored = |(name, parameter): (&'_ str, &Parameter)| {
        let layout = Layout::of(name, &parameter.shape);
        let data = layout.write(&parameter.shape, &parameter.data);
        (name.to_owned(), layout.stored_shape(&parameter.shape), data)
    };
    let tensors: Vec<_> = weights.iter().map(stored).collect();
    let tensors = tensors.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
    tensor_bytes(path, precision, tensors)
}
