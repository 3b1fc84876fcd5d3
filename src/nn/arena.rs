//! Arenas: flat tensors in which the parameters of a model lie, one after another.
use super::{ParameterSource, ParameterSpec, Weights};
use crate::{
    error::Error,
    graph::Graph,
    ops::{Constant, Pack, View},
    value::{TensorType, Value},
};
use std::{borrow::Cow, collections::HashMap, iter};

/// What fills an arena: dense elements that follow each other.
pub type Piece<'a> = Result<Cow<'a, [f32]>, Error>;

/// Position of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which arena.
    pub arena: usize,
    /// First element.
    pub offset: usize,
}

/// Parameters laid into flat f32 arenas, none larger than the device binds. Gradients, moments
/// and moving averages use the same places in arenas of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Arenas {
    /// The parameters.
    pub specs: Vec<ParameterSpec>,
    /// Their places.
    pub places: Vec<Place>,
    /// Elements of each arena.
    pub arenas: Vec<usize>,
}

impl Arenas {
    /// Lays the parameters out in order, in arenas of at most `max_bytes`.
    pub fn new(specs: Vec<ParameterSpec>, max_bytes: u64) -> Self {
        let mut arenas: Vec<usize> = Vec::new();
        let mut places = Vec::with_capacity(specs.len());
        for spec in &specs {
            let size = spec.of.physical_elements().next_multiple_of(View::ALIGNMENT);
            let fits = |filled: &usize| 4 * (filled + size) as u64 <= max_bytes;
            if !arenas.last().is_some_and(fits) {
                arenas.push(0);
            }
            let arena = arenas.len() - 1;
            places.push(Place { arena, offset: arenas[arena] });
            arenas[arena] += size;
        }
        Self { specs, places, arenas }
    }

    /// One graph input per arena, a constant: see [`Graph::constants`].
    pub fn inputs(&self, graph: &mut Graph) -> Vec<Value> {
        self.arenas.iter().map(|&elements| graph.constant(TensorType::f32(&[elements]))).collect()
    }

    /// Every parameter as a view of its arena.
    ///
    /// # Errors
    /// If the arenas are not this layout's.
    pub fn views(&self, graph: &mut Graph, arenas: &[Value]) -> Result<Views, Error> {
        let mut views = Views::default();
        for (spec, place) in self.specs.iter().zip(&self.places) {
            let view = View { offset: place.offset, of: spec.of };
            views.insert(&spec.name, graph.push(view, &[arenas[place.arena]])?);
        }
        Ok(views)
    }

    /// Arenas that hold `gradients`, one per parameter in order; `None` is zero.
    ///
    /// # Errors
    /// If a gradient has not its parameter's type.
    pub fn pack(
        &self,
        graph: &mut Graph,
        gradients: &[Option<Value>],
    ) -> Result<Vec<Value>, Error> {
        let mut packed = Vec::with_capacity(self.arenas.len());
        for (arena, &elements) in self.arenas.iter().enumerate() {
            let (mut offsets, mut operands) = (Vec::new(), Vec::new());
            for ((place, spec), gradient) in self.places.iter().zip(&self.specs).zip(gradients) {
                if place.arena == arena {
                    offsets.push(place.offset);
                    operands.push(match gradient {
                        Some(gradient) => *gradient,
                        None => graph.push(Constant { of: spec.of, number: 0.0.into() }, &[])?,
                    });
                }
            }
            packed.push(graph.push(Pack { offsets, elements }, &operands)?);
        }
        Ok(packed)
    }

    /// Number of parameters, as PyTorch counts them.
    pub fn elements(&self) -> usize {
        self.specs.iter().map(|spec| spec.of.shape.elements()).sum()
    }

    /// What fills one arena after another, in pieces that follow each other. A parameter is read when
    /// its piece is asked for.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    pub fn pieces<'a>(
        &'a self,
        source: &'a dyn ParameterSource,
    ) -> Result<impl Iterator<Item = impl Iterator<Item = Piece<'a>>>, Error> {
        for spec in &self.specs {
            if source.shape(&spec.name) != Some(spec.of.shape) {
                let name = format!("{}: {}", spec.name, spec.of);
                return Err(Error::MissingParameter { name });
            }
        }
        Ok((0..self.arenas.len()).map(move |arena| {
            let specs = self.specs.iter().zip(&self.places);
            let specs = specs.filter(move |(_, at)| at.arena == arena);
            specs.flat_map(move |(spec, _)| {
                let physical = spec.of.physical_elements();
                let rest = physical.next_multiple_of(View::ALIGNMENT) - physical;
                let elements = source.elements(&spec.name).map(|of| padded(&spec.of, of));
                iter::once(elements).chain((rest > 0).then(|| Ok(vec![0.0; rest].into())))
            })
        }))
    }

    /// The contents of one arena after another, each whole.
    ///
    /// # Errors
    /// As [`Arenas::pieces`], or if a parameter cannot be read.
    pub fn contents(&self, source: &dyn ParameterSource) -> Result<Vec<Vec<f32>>, Error> {
        let arenas = self.pieces(source)?.map(|pieces| {
            let mut contents = Vec::new();
            for piece in pieces {
                contents.extend_from_slice(&piece?);
            }
            Ok(contents)
        });
        arenas.collect()
    }

    /// The parameters in `contents`, those of one arena after another.
    ///
    /// # Errors
    /// The first error among `contents`.
    pub fn weights<E>(
        &self,
        contents: impl IntoIterator<Item = Result<Vec<f32>, E>>,
    ) -> Result<Weights, E> {
        let mut weights = Weights::default();
        for (arena, contents) in contents.into_iter().enumerate() {
            let contents = contents?;
            let parameters = self.specs.iter().zip(&self.places);
            for (spec, place) in parameters.filter(|(_, at)| at.arena == arena) {
                let (columns, pitch) = (spec.of.shape.last(), spec.of.pitch());
                let rows = contents[place.offset..].chunks(pitch).take(spec.of.rows());
                let data = rows.flat_map(|row| row[..columns].iter().copied()).collect();
                weights.insert(&spec.name, spec.of.shape, data);
            }
        }
        Ok(weights)
    }
}

/// The rows of a tensor, each padded to its pitch.
fn padded<'a>(of: &TensorType, dense: Cow<'a, [f32]>) -> Cow<'a, [f32]> {
    let (columns, pitch) = (of.shape.last(), of.pitch());
    if columns == pitch {
        return dense;
    }
    let mut padded = vec![0.0; of.physical_elements()];
    for (to, from) in padded.chunks_exact_mut(pitch).zip(dense.chunks_exact(columns)) {
        to[..columns].copy_from_slice(from);
    }
    padded.into()
}

/// The values that stand for a model's parameters in a graph, by name.
#[derive(Clone, Debug, Default)]
pub struct Views(HashMap<String, Value>);

impl Views {
    /// Adds the value of a parameter.
    pub fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// Adds the values of other parameters.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The value of a parameter of the layout that made these views.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name).copied()
    }
}
