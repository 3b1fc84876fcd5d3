//! Weights in files: formats, the dialects of other people's checkpoints, and files that are never
//! half-written.
mod dialects;
mod formats;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::{
    error::{FileError, WeightsError},
    nn::{Parameter, ParameterSpec, Weights},
};

pub(crate) use dialects::Origin;
pub use dialects::{Adm, Heads, Layout, Names, canonical_name};
pub(crate) use formats::Below;
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
    read_named(path, &*open(path)?, expected, &Names::Diffusers, non_finite)
}

/// As [`read_with`], of an open file whose names are those of another project.
pub(crate) fn read_named(
    path: &Path,
    file: &dyn TensorFile,
    expected: &[ParameterSpec],
    names: &Names,
    non_finite: NonFinite,
) -> Result<Weights, WeightsError> {
    let mut found = BTreeMap::new();
    for (stored, shape) in file.tensors() {
        let name = names.key(&stored);
        if found.insert(name.clone(), (stored, shape)).is_some() {
            return Err(WeightsError::Twice { path: path.into(), tensor: name });
        }
    }
    let mut weights = Weights::default();
    let mut used = BTreeSet::new();
    for ParameterSpec { name, of, .. } in expected {
        let shape = of.shape;
        let layout = Layout::of(name, &shape);
        let Origin { tensor, third } = names.origin(name, shape.last());
        let (path, mut expected) = (path.into(), layout.stored_shape(&shape));
        let rows = expected[0];
        let Some((stored, found)) = found.get(&tensor) else {
            expected[0] *= if third.is_some() { 3 } else { 1 };
            return Err(WeightsError::Missing { path, tensor, expected });
        };
        let mut own = found.clone();
        if third.is_some() && own.first() == Some(&(3 * rows)) {
            own[0] = rows;
        }
        if !layout.accepts(&shape, &own) || (third.is_some() && own == *found) {
            expected[0] *= if third.is_some() { 3 } else { 1 };
            let (tensor, found) = (stored.clone(), found.clone());
            return Err(WeightsError::Shape { path, tensor, expected, found });
        }
        let mut numbers = file.read(stored)?.into_f32();
        if let Some(third) = third {
            let width = numbers.len() / (3 * rows);
            let row = |row| &numbers[third.row(row, rows) * width..][..width];
            numbers = (0..rows).flat_map(row).copied().collect();
        }
        weights.insert(name, shape, layout.read(&shape, numbers));
        used.insert(tensor);
    }
    if let Some((_, (tensor, found))) = found.into_iter().find(|(name, _)| !used.contains(name)) {
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
