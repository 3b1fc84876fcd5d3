//! The parameters of a model on the host.
use super::ParameterSpec;
use crate::value::Shape;
use std::collections::BTreeMap;

/// One parameter in this crate's layout, dense (no pad lanes).
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `[height, width, in, out]` of a convolution, `[in, out]` of a linear layer, `[rows, width]`
    /// of an embedding table, `[channels]` of a bias or norm.
    pub shape: Shape,
    /// Row-major elements.
    pub data: Vec<f32>,
}

/// The parameters of a model by name, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(BTreeMap<String, Parameter>);

impl Weights {
    /// The parameters' first values; the same for the same `seed`.
    pub fn initial(specs: &[ParameterSpec], seed: u64) -> Self {
        let first = |spec: &ParameterSpec| {
            let parameter = Parameter { shape: spec.of.shape, data: spec.initialise(seed) };
            (spec.name.clone(), parameter)
        };
        Self(specs.iter().map(first).collect())
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
