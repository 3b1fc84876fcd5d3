//! Graph to graph, graph to plan. Each pass is a file; none knows another, this one orders them.
//!
//! ```
//! use ddim::{graph::Graph, ops::{GroupNorm, Silu}, passes, plan::Target, value::TensorType};
//!
//! let mut graph = Graph::new();
//! let x = graph.input(TensorType::f32(&[1, 8, 8, 32]));
//! let [scale, shift] = [(); 2].map(|()| graph.input(TensorType::f32(&[32])));
//! let h = graph.push(GroupNorm { groups: 8, eps: 1e-5.into() }, &[x, scale, shift])?;
//! let y = graph.push(Silu, &[h])?;
//! graph.outputs.push(y);
//! let target = Target::default();
//! let [fused, plain] = [passes::compile(&graph, &target)?, passes::compile_unfused(&graph, &target)?];
//! assert!(fused.dispatches().count() < plain.dispatches().count());
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program, with gradients: `examples/convolution.rs`.
use crate::{
    error::Error,
    graph::Graph,
    plan::{DefaultHeuristic, KernelSelector, Plan, Target},
};

mod arenas;
mod autodiff;
mod fuse;
mod lower;
mod lowered;
mod memory;
mod recompute;
mod simplify;
mod sink;

pub use autodiff::gradient;
pub use simplify::simplify;

use memory::Sharing;

/// A finished graph as a plan for `target`: simplify, lower, place in memory.
///
/// # Errors
/// If the graph is malformed, or an equation cannot run on the target.
///
/// Example: [`crate::passes`].
pub fn compile(graph: &Graph, target: &Target) -> Result<Plan, Error> {
    compile_with(graph, target, &DefaultHeuristic)
}

/// As [`compile`], with another way of deciding between kernel families.
///
/// # Errors
/// As [`compile`].
///
/// Example: [`KernelSelector`].
pub fn compile_with(
    graph: &Graph,
    target: &Target,
    selector: &dyn KernelSelector,
) -> Result<Plan, Error> {
    graph.verify()?;
    plan(&fuse(&simplify(graph))?, target, selector, Sharing::InTurn)
}

/// As [`compile`], in at most `budget` bytes of the device: where the plan would take more, gradients wait
/// for their readers and values lie side by side, and where that is not enough, activations are dropped and
/// recomputed when they are read again. Every bit is as without.
///
/// ```
/// use ddim::{graph::Graph, ops::Silu, passes, plan::Target, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [x, dy] = [(); 2].map(|()| graph.input(TensorType::f32(&[64, 64])));
/// let y = (0..8).try_fold(x, |h, _| graph.push(Silu, &[h]))?;
/// let dx = passes::gradient(&mut graph, y, dy, &[x])?[0].expect("y depends on x");
/// graph.outputs.push(dx);
/// let whole = passes::compile(&graph, &Target::default())?;
/// let budget = whole.peak_bytes() * 9 / 10;
/// let plan = passes::compile_within(&graph, &Target::default(), budget)?;
/// assert!(plan.peak_bytes() <= budget && plan.recomputed() > 0);
/// assert_eq!(plan.hash(), whole.hash());
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// As [`compile`], and [`LoweringError::Memory`](crate::error::LoweringError::Memory) if the least plan that is
/// found takes more.
pub fn compile_within(graph: &Graph, target: &Target, budget: u64) -> Result<Plan, Error> {
    graph.verify()?;
    let graph = fuse(&simplify(graph))?;
    let whole = plan(&graph, target, &DefaultHeuristic, Sharing::InTurn)?;
    if whole.peak_bytes() <= budget {
        return Ok(whole);
    }
    let graph = sink::sink(&graph);
    let scratch = lower::lower(&graph, target, &DefaultHeuristic)?.scratch(&graph);
    let compile = |graph: &Graph| plan(graph, target, &DefaultHeuristic, Sharing::SideBySide);
    recompute::within(&graph, [budget, whole.peak_bytes()], scratch, compile)
}

/// As [`compile`], every equation by its own kernels: what fusion is held against.
///
/// # Errors
/// As [`compile`].
///
/// Example: [`crate::passes`].
pub fn compile_unfused(graph: &Graph, target: &Target) -> Result<Plan, Error> {
    graph.verify()?;
    plan(&simplify(graph), target, &DefaultHeuristic, Sharing::InTurn)
}

/// The same program in fewer, larger ops: group norm and SiLU where a convolution reads,
/// concatenations and upsampling read in place, embedding, residual and the moments of the next
/// norm where a convolution writes. Fused ops have no gradients, so this comes last.
///
/// ```
/// use ddim::{graph::Graph, ops::{Linear, Silu}, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [x, weight] = [(); 2].map(|()| graph.input(TensorType::f32(&[8, 8])));
/// let h = graph.push(Linear, &[x, weight])?;
/// let y = graph.push(Silu, &[h])?;
/// graph.outputs.push(y);
/// let fused = passes::fuse(&graph)?;
/// assert_eq!(fused.equations.len(), 1);
/// assert_eq!(fused.equations[0].op.to_string(), "fused_linear{silu}");
/// # Ok::<(), ddim::Error>(())
/// ```
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

fn plan(
    graph: &Graph,
    target: &Target,
    selector: &dyn KernelSelector,
    sharing: Sharing,
) -> Result<Plan, Error> {
    if cfg!(debug_assertions) {
        graph.verify()?;
    }
    let mut lowered = lower::lower(graph, target, selector)?;
    arenas::take_apart(graph, &mut lowered);
    memory::plan(graph, lowered, target, sharing)
}
