//! The parameters of a model: their names, types, first values, and places in arenas.
use crate::{
    error::Error,
    graph::Graph,
    ops::{Constant, Input, Pack, View, arena::ALIGNMENT},
    value::{TensorType, Value},
};
use std::collections::HashMap;

/// What a parameter holds before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Uniform in `[-bound, bound)`; PyTorch's default for convolutions and linears, with
    /// `bound = 1 / sqrt(fan in)` (He et al. 2015, with a = sqrt 5).
    Uniform(f64),
    /// Standard normal: tables.
    Normal,
    /// One number: 1 and 0 for the weight and bias of a norm.
    Constant(f64),
}

/// A parameter that a model asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// diffusers' name, like `down_blocks.0.resnets.0.conv1.weight`.
    pub name: String,
    /// Type in this crate's layout.
    pub of: TensorType,
    /// What it holds before training.
    pub initial: Initial,
}

impl ParameterSpec {
    /// First contents, dense; the same for the same `seed`.
    pub fn initialise(&self, seed: u64) -> Vec<f32> {
        let input = match self.initial {
            Initial::Uniform(bound) => Input::uniform(self.of, -bound, bound),
            Initial::Normal => Input::normal(self.of),
            Initial::Constant(number) => return vec![number as f32; self.of.shape.elements()],
        };
        // The name keys the stream (FNV-1a), so adding a layer changes no other's start.
        let key = self.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        input
            .tensor(key ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .data
            .iter()
            .map(|&x| x as f32)
            .collect()
    }
}

/// Where a parameter lies.
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
pub struct ArenaLayout {
    /// The parameters.
    pub specs: Vec<ParameterSpec>,
    /// Their places.
    pub places: Vec<Place>,
    /// Elements of each arena.
    pub arenas: Vec<usize>,
}

impl ArenaLayout {
    /// Lays the parameters out in order, in arenas of at most `max_bytes`.
    pub fn new(specs: Vec<ParameterSpec>, max_bytes: u64) -> Self {
        let mut arenas = vec![0_usize];
        let mut places = Vec::with_capacity(specs.len());
        for spec in &specs {
            let size = spec.of.physical_elements().next_multiple_of(ALIGNMENT);
            let last = arenas.len() - 1;
            let fits = 4 * (arenas[last] + size) as u64 <= max_bytes;
            let arena = if fits || arenas[last] == 0 { last } else { arenas.len() };
            arenas.resize(arena + 1, 0);
            places.push(Place { arena, offset: arenas[arena] });
            arenas[arena] += size;
        }
        Self { specs, places, arenas }
    }

    /// One graph input per arena, held: see [`Graph::held`].
    pub fn inputs(&self, graph: &mut Graph) -> Vec<Value> {
        self.arenas.iter().map(|&elements| graph.hold(TensorType::f32(&[elements]))).collect()
    }

    /// Every parameter as a view of its arena.
    ///
    /// # Errors
    /// If the arenas are not this layout's.
    pub fn views(&self, graph: &mut Graph, arenas: &[Value]) -> Result<Views, Error> {
        let mut views = HashMap::with_capacity(self.specs.len());
        for (spec, place) in self.specs.iter().zip(&self.places) {
            let view = View { offset: place.offset, of: spec.of };
            views.insert(spec.name.clone(), graph.push(view, &[arenas[place.arena]])?);
        }
        Ok(Views(views))
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

    /// The arenas' contents from each parameter's dense contents.
    pub fn fill<'a>(
        &self,
        mut dense: impl FnMut(&ParameterSpec) -> std::borrow::Cow<'a, [f32]>,
    ) -> Vec<Vec<f32>> {
        let mut arenas: Vec<Vec<f32>> = self.arenas.iter().map(|&n| vec![0.0; n]).collect();
        for (spec, place) in self.specs.iter().zip(&self.places) {
            let (columns, pitch) = (spec.of.shape.last(), spec.of.pitch());
            let part = &mut arenas[place.arena][place.offset..];
            let contents = dense(spec);
            for (to, from) in part.chunks_mut(pitch).zip(contents.chunks_exact(columns)) {
                to[..columns].copy_from_slice(from);
            }
        }
        arenas
    }

    /// Each parameter's dense contents from the arenas'.
    pub fn extract<'a>(
        &'a self,
        arenas: &'a [Vec<f32>],
    ) -> impl Iterator<Item = (&'a ParameterSpec, Vec<f32>)> {
        self.specs.iter().zip(&self.places).map(|(spec, place)| {
            let (columns, pitch) = (spec.of.shape.last(), spec.of.pitch());
            let part = &arenas[place.arena][place.offset..];
            let rows = part.chunks(pitch).take(spec.of.rows());
            (spec, rows.flat_map(|row| row[..columns].iter().copied()).collect())
        })
    }
}

/// The values that stand for a model's parameters in a graph, by name.
#[derive(Clone, Debug)]
pub struct Views(HashMap<String, Value>);

impl Views {
    /// The value of a parameter of the layout that made these views.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name).copied()
    }
}
