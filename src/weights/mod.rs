//! Weights: safetensors files, the names and layouts of other people's checkpoints, and files that
//! are never half-written.
mod layout;
mod names;
mod safetensors;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use crate::{error::WeightsError, value::Shape};

pub use layout::Layout;
pub use names::canonical_name;
pub use safetensors::{
    Numbers, Storage, Stored, parse_tensors, read_tensors, tensor_bytes, write_tensors,
};
pub use write::{remove_parts, write_file};

/// One parameter in this crate's layout, dense (no pad lanes).
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `[height, width, in, out]` of a convolution, `[in, out]` of a linear layer, `[rows, width]`
    /// of an embedding table, `[channels]` of a bias or norm.
    pub shape: Shape,
    /// Row-major elements.
    pub data: Vec<f32>,
}

/// What to do with weights that are infinite or NaN: a model computes nothing of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Refuse the file.
    #[default]
    Refuse,
    /// Take them as they are.
    Allow,
}

/// The parameters of a model by their canonical (diffusers') names, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(BTreeMap<String, Parameter>);

impl Parameters {
    /// Reads the parameters that a model expects, each with its shape in this crate's layout.
    ///
    /// Names of 2022 (`query`, `key`, `value`, `proj_attn`) are read as today's, and a 1x1
    /// convolution where a linear layer is expected as that layer.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, does not hold exactly the expected tensors, or holds
    /// numbers that are not finite in f32.
    pub fn read<'a>(
        path: &Path,
        expected: impl IntoIterator<Item = (&'a str, Shape)>,
    ) -> Result<Self, WeightsError> {
        Self::read_with(path, expected, NonFinite::Refuse)
    }

    /// As [`Parameters::read`]; `non_finite` says what to do with numbers that are not finite.
    ///
    /// # Errors
    /// As [`Parameters::read`].
    pub fn read_with<'a>(
        path: &Path,
        expected: impl IntoIterator<Item = (&'a str, Shape)>,
        non_finite: NonFinite,
    ) -> Result<Self, WeightsError> {
        let mut found = BTreeMap::new();
        for stored in read_tensors(path)? {
            let name = canonical_name(&stored.name);
            if found.insert(name.clone(), stored).is_some() {
                return Err(WeightsError::Twice { path: path.into(), tensor: name });
            }
        }
        let mut parameters = Self::default();
        for (name, shape) in expected {
            let layout = Layout::of(name, &shape);
            let Some(stored) = found.remove(name) else {
                let expected = layout.stored_shape(&shape);
                return Err(WeightsError::Missing {
                    path: path.into(),
                    tensor: name.into(),
                    expected,
                });
            };
            if !layout.accepts(&shape, &stored.shape) {
                return Err(WeightsError::Shape {
                    path: path.into(),
                    tensor: stored.name,
                    expected: layout.stored_shape(&shape),
                    found: stored.shape,
                });
            }
            let data = layout.read(&shape, &stored.numbers.into_f32());
            parameters.insert(name, shape, data);
        }
        if let Some(unknown) = found.into_values().next() {
            let (tensor, found) = (unknown.name, unknown.shape);
            return Err(WeightsError::Unknown { path: path.into(), tensor, found });
        }
        match non_finite {
            NonFinite::Refuse => parameters.check_finite(path)?,
            NonFinite::Allow => {}
        }
        Ok(parameters)
    }

    fn check_finite(&self, path: &Path) -> Result<(), WeightsError> {
        let bad = |(_, of): &(&str, &Parameter)| of.data.iter().any(|number| !number.is_finite());
        let mut bad = self.iter().filter(bad);
        let Some((tensor, _)) = bad.next() else { return Ok(()) };
        let (path, tensor, tensors) = (path.into(), tensor.into(), 1 + bad.count());
        Err(WeightsError::NotFinite { path, tensor, tensors })
    }

    /// Writes a file that diffusers opens: its names and layouts, f32 or f16.
    ///
    /// # Errors
    /// If the file cannot be written, or a number does not fit the storage.
    pub fn write(&self, path: &Path, storage: Storage) -> Result<(), WeightsError> {
        write_file(path, &self.to_bytes(path, storage)?)
            .map_err(|source| WeightsError::Write { path: path.into(), source })
    }

    /// The bytes of the file that [`Parameters::write`] writes; errors name it by `path`.
    ///
    /// # Errors
    /// If a number does not fit the storage.
    pub fn to_bytes(&self, path: &Path, storage: Storage) -> Result<Vec<u8>, WeightsError> {
        let tensors: Vec<_> = self
            .iter()
            .map(|(name, parameter)| {
                let layout = Layout::of(name, &parameter.shape);
                let data = layout.write(&parameter.shape, &parameter.data);
                (name, layout.stored_shape(&parameter.shape), data)
            })
            .collect();
        tensor_bytes(
            path,
            storage,
            tensors.iter().map(|(name, shape, data)| (*name, &shape[..], &data[..])),
        )
    }

    /// Adds a parameter, or replaces the one of that name.
    ///
    /// # Panics
    /// If `data` has not the number of elements of `shape`.
    pub fn insert(&mut self, name: &str, shape: Shape, data: Vec<f32>) {
        assert_eq!(data.len(), shape.elements(), "{name}: data for shape {shape}");
        self.0.insert(name.into(), Parameter { shape, data });
    }

    /// The parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.get(name)
    }

    /// Names and parameters, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.0.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// Number of parameters, each tensor counted once.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of elements of all parameters together.
    pub fn elements(&self) -> usize {
        self.0.values().map(|parameter| parameter.data.len()).sum()
    }
}
