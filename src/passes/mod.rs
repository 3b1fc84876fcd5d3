//! Graph to graph, graph to plan. Each pass is a file; none knows another, this one orders them.
use crate::{
    error::Error,
    graph::Graph,
    plan::{Choices, DefaultHeuristic, KernelSelector, Plan, Section, StagedPart, Target},
    value::{TensorType, Value},
};
use std::collections::{HashMap, HashSet};

mod arenas;
mod autodiff;
mod fuse;
mod lower;
mod memory;
mod simplify;

pub use autodiff::gradient;
pub use simplify::simplify;

/// A finished graph as a plan for `target`: simplify, lower, place in memory.
///
/// # Errors
/// If the graph is malformed, or an equation cannot run on the target.
pub fn compile(graph: &Graph, target: &Target) -> Result<Plan, Error> {
    compile_with(graph, target, &DefaultHeuristic)
}

/// As [`compile`], with another way of deciding between kernel families.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    graph: &Graph,
    target: &Target,
    selector: &dyn KernelSelector,
) -> Result<Plan, Error> {
    graph.verify()?;
    plan(&fuse(&simplify(graph))?, target, selector)
}

/// As [`compile`], every equation by its own kernels: what fusion is held against.
///
/// # Errors
/// As [`compile`].
pub fn compile_unfused(graph: &Graph, target: &Target) -> Result<Plan, Error> {
    graph.verify()?;
    plan(&simplify(graph), target, &DefaultHeuristic)
}

/// The same program in fewer, larger ops: group norm and SiLU where a convolution reads,
/// concatenations and upsampling read in place, embedding, residual and the moments of the next
/// norm where a convolution writes. Fused ops have no gradients, so this comes last.
///
/// # Errors
/// If the graph is malformed.
pub fn fuse(graph: &Graph) -> Result<Graph, Error> {
    let mut graph = graph.clone();
    for step in fuse::STEPS {
        graph = simplify(&step(&graph)?);
    }
    Ok(graph)
}

fn plan(graph: &Graph, target: &Target, selector: &dyn KernelSelector) -> Result<Plan, Error> {
    if cfg!(debug_assertions) {
        graph.verify()?;
    }
    let mut lowered = lower::lower(graph, target, selector)?;
    arenas::take_apart(graph, &mut lowered);
    memory::plan(graph, lowered, target)
}

/// A value that lies inside another one.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The value that holds it.
    whole: Value,
    /// First byte.
    offset: u64,
}

/// A graph as dispatches over values that have no place yet.
#[derive(Debug)]
struct Lowered {
    /// The setup, then the graph's sections; those of `staged` come to stand before them.
    sections: Vec<Section>,
    /// The tensors that are packed on upload.
    staged: Vec<StagedPart>,
    /// How often each family was chosen.
    choices: Choices,
    /// Types of all values, scratch included.
    types: Vec<TensorType>,
    /// Where values lie that have no buffer of their own.
    parts: Parts,
    /// Values that several equations fill, bit by bit: their gaps must stay zero.
    arenas: HashSet<Value>,
}

/// Values that share the bytes of another.
#[derive(Debug, Default)]
struct Parts(HashMap<Value, Part>);

impl Parts {
    /// The buffer-owning value behind `value`, and the first byte in it.
    fn place(&self, mut value: Value) -> (Value, u64) {
        let mut offset = 0;
        while let Some(part) = self.0.get(&value) {
            offset += part.offset;
            value = part.whole;
        }
        (value, offset)
    }
}
