//! The parameters of a model: where they come from, and how the host holds them.
use super::ParameterSpec;
use crate::{error::Error, value::Shape};
use std::{borrow::Cow, collections::BTreeMap, fmt};

/// Where the parameters of a model come from: the host ([`Weights`]), or a file from which each is read
/// when it is asked for.
///
/// ```
/// use ddim::{Error, nn::ParameterSource, value::Shape};
/// use std::borrow::Cow;
///
/// /// One bias of two zeros.
/// #[derive(Debug)]
/// struct Zeros;
///
/// impl ParameterSource for Zeros {
///     fn names(&self) -> Vec<&str> {
///         vec!["last.bias"]
///     }
///
///     fn shape(&self, name: &str) -> Option<Shape> {
///         (name == "last.bias").then(|| Shape::new(&[2]))
///     }
///
///     fn elements(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
///         let missing = || Error::MissingParameter { name: name.into() };
///         let shape = self.shape(name).ok_or_else(missing)?;
///         Ok(vec![0.0; shape.elements()].into())
///     }
/// }
///
/// assert_eq!(Zeros.load()?.elements(), 2);
/// # Ok::<(), ddim::Error>(())
/// ```
pub trait ParameterSource: fmt::Debug + Send + Sync {
    /// The names, in their order.
    fn names(&self) -> Vec<&str>;

    /// The shape of the parameter of this name in this crate's layout, if there is one.
    fn shape(&self, name: &str) -> Option<Shape>;

    /// Its elements, row-major and dense.
    ///
    /// # Errors
    /// If there is none of this name, or its file cannot be read.
    fn elements(&self, name: &str) -> Result<Cow<'_, [f32]>, Error>;

    /// All of them on the host.
    ///
    /// # Errors
    /// As [`ParameterSource::elements`].
    fn load(&self) -> Result<Weights, Error> {
        let mut weights = Weights::default();
        for name in self.names() {
            if let Some(shape) = self.shape(name) {
                weights.insert(name, shape, self.elements(name)?.into_owned());
            }
        }
        Ok(weights)
    }
}

/// One parameter in this crate's layout, dense (no pad lanes).
///
/// Example: [`Weights`].
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `[height, width, in, out]` of a convolution, `[in, out]` of a linear layer, `[rows, width]`
    /// of an embedding table, `[channels]` of a bias or norm.
    pub shape: Shape,
    /// Row-major elements.
    pub data: Vec<f32>,
}

/// The parameters of a model by name, in the order of the names.
///
/// ```
/// use ddim::{nn::{ParameterSource, Weights}, value::Shape};
///
/// let mut weights = Weights::default();
/// weights.insert("last.bias", Shape::new(&[2]), vec![0.5, -0.5]);
/// assert_eq!(weights.get("last.bias").expect("just inserted").data, [0.5, -0.5]);
/// // Graphs take them from any source.
/// assert_eq!(weights.names(), ["last.bias"]);
/// assert_eq!(weights.shape("last.weight"), None);
/// ```
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

    /// The parameters whose names do not begin with `prefix`.
    pub fn without(mut self, prefix: &str) -> Self {
        self.0.retain(|name, _| !name.starts_with(prefix));
        self
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

impl ParameterSource for Weights {
    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn shape(&self, name: &str) -> Option<Shape> {
        Some(self.get(name)?.shape)
    }

    fn elements(&self, name: &str) -> Result<Cow<'_, [f32]>, Error> {
        let missing = || Error::MissingParameter { name: name.into() };
        Ok(Cow::Borrowed(&self.get(name).ok_or_else(missing)?.data))
    }
}
