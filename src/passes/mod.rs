//! Graph to graph, graph to plan. Each pass is a file; none knows another, this one orders them.
use crate::{
    error::Error,
    graph::Graph,
    plan::{Choose, FirstOffered, Plan, Target},
};

mod autodiff;
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
    compile_with(graph, target, &FirstOffered)
}

/// As [`compile`], with another way of deciding between kernel families.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(graph: &Graph, target: &Target, choose: &dyn Choose) -> Result<Plan, Error> {
    graph.verify()?;
    let graph = simplify(graph);
    if cfg!(debug_assertions) {
        graph.verify()?;
    }
    let lowered = lower::lower(&graph, target, choose)?;
    memory::plan(&graph, lowered, target)
}
