//! What is timed: every kernel at the shapes of real models, small graphs with and without
//! fusion, and whole steps. `cargo bench` and `ddim measure` share this table.
//!
//! ```
//! use ddim::{bench_cases::products, plan::Target};
//!
//! // A product of two 64x64 matrices, and its gradients.
//! let cases = products(&[64], &[])?;
//! assert_eq!(cases[0].cost.flops, 2 * 64 * 64 * 64);
//! for case in &cases {
//!     for variant in case.variants(&Target::default()) {
//!         println!("{}, {}: {} launches", case.title(), variant.name, variant.plan?.all().count());
//!     }
//! }
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! On a device [`BenchCase::executor`] runs a variant's plan. A whole program: `benches/ops.rs`.
mod families;
mod fusions;
mod models;
mod shapes;

pub use families::{FamilyPlan, Ranked, families};
pub use fusions::fusions;
pub use models::{BenchModel, BenchStep, equations};
pub use shapes::{products, stable_diffusion};

use crate::{
    error::Error,
    gpu::{Executor, Gpu, Roofline},
    graph::Graph,
    ops::{Case, Fill, Input, Op, Operator},
    passes,
    plan::{Cost, Plan, Target},
    value::{ElementType, TensorType, Value},
};
use std::{collections::HashSet, time::Duration};

/// A run that is estimated longer than this is not timed.
///
/// Example: [`crate::bench_cases::too_long()`].
pub const LONGEST_RUN: Duration = Duration::from_secs(4);

/// The part of a ceiling that an estimate assumes a kernel to reach.
const ASSUMED_SHARE: f64 = 1.0 / 3.0;

/// Numbers made for an operand; a longer one repeats them. Prime, so that no row is like the next.
const PERIOD: usize = 65_521;

/// Something to time.
///
/// ```
/// use ddim::{bench_cases::BenchCase, ops::Silu, value::TensorType};
///
/// let case = BenchCase::of("mine", &Silu.into(), &[TensorType::f32(&[4, 8])], &[])?;
/// assert_eq!(case.title(), "silu/mine 4x8");
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BenchCase {
    /// Kind: the op's name without attributes, or `fusion`.
    pub group: String,
    /// Whose shapes, attributes and operands:
    /// `cifar10-b8 {stride=1 padding=1,1,1,1} 8x32x32x128 3x3x128x128`.
    pub name: String,
    /// What runs.
    pub graph: Graph,
    /// Arithmetic, and the traffic of inputs and outputs alone.
    pub cost: Cost,
    /// Contents of the graph's inputs, in order.
    inputs: Vec<Input>,
    /// Whether it is there to be compared with itself unfused.
    fusion: bool,
}

/// A plan that computes a [`BenchCase`].
///
/// Example: [`crate::bench_cases`].
#[derive(Debug)]
pub struct Variant {
    /// The kernel family, or `fused`, or `unfused`.
    pub name: String,
    /// What runs, or why it does not fit the target.
    pub plan: Result<Plan, Error>,
}

impl BenchCase {
    /// One op, its operands filled like those of the op's own cases; weights are constants.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn of(whose: &str, op: &Op, types: &[TensorType], cases: &[Case]) -> Result<Self, Error> {
        let (group, attributes) = split(op);
        let shapes: Vec<String> = types.iter().map(shape).collect();
        let mut graph = Graph::new();
        let weight = weight_of(op);
        let values: Vec<Value> = types
            .iter()
            .enumerate()
            .map(|(n, &of)| if weight == Some(n) { graph.constant(of) } else { graph.input(of) })
            .collect();
        graph.outputs = graph.push_all(op.clone(), &values)?;
        let like = cases.iter().find(|case| split(&case.op).0 == group);
        let fill = |n: usize| like.and_then(|case| case.inputs.get(n)).map(|i| i.fill.clone());
        let input = |(n, &of): (usize, &TensorType)| match fill(n) {
            Some(fill) => Input { of, fill },
            None => Input::normal(of),
        };
        let inputs = types.iter().enumerate().map(input).collect();
        let parts = [whose, &attributes, &shapes.join(" ")];
        let name = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        let (name, cost) = (name.join(" "), op.cost(types));
        Ok(Self { group, name, graph, cost, inputs, fusion: false })
    }

    /// A graph that fusion rewrites, of normal numbers.
    fn fusion(name: String, graph: Graph) -> Self {
        let types = |values: &[Value]| values.iter().map(|v| graph.type_of(*v)).collect::<Vec<_>>();
        let inputs = types(&graph.inputs);
        let ends = inputs.iter().chain(&types(&graph.outputs)).map(TensorType::bytes).sum();
        let operands = |inputs: &[Value]| types(inputs);
        let flops = graph.equations.iter().map(|e| e.op.cost(&operands(&e.inputs)).flops).sum();
        let cost = Cost { flops, bytes: ends };
        let inputs = inputs.into_iter().map(Input::normal).collect();
        Self { group: "fusion".to_owned(), name, graph, cost, inputs, fusion: true }
    }

    /// Group and name.
    pub fn title(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Every variant on `target`, the one that lowering chooses first.
    pub fn variants(&self, target: &Target) -> Vec<Variant> {
        if self.fusion {
            let fused = passes::compile(&self.graph, target);
            let unfused = passes::compile_unfused(&self.graph, target);
            let variant = |(name, plan): (&str, _)| Variant { name: name.to_owned(), plan };
            return [("fused", fused), ("unfused", unfused)].map(variant).into();
        }
        let families = families(&self.graph, target).into_iter();
        families.map(|FamilyPlan { name, plan, .. }| Variant { name, plan }).collect()
    }

    /// An executor of one of its variants, the operands written.
    ///
    /// # Errors
    /// If the device refuses a kernel or has no memory left.
    pub fn executor(&self, gpu: &Gpu, plan: Plan) -> Result<Executor, Error> {
        let mut executor = Executor::new(gpu, plan)?;
        for ((&value, input), seed) in self.graph.inputs.iter().zip(&self.inputs).zip(1..) {
            write(&mut executor, value, input, seed)?;
        }
        Ok(executor)
    }
}

/// Why a run of this cost is not timed, if it is not: its estimated time.
///
/// ```
/// use ddim::{bench_cases::too_long, gpu::Roofline, plan::Cost};
///
/// let roofline = Roofline { flops_per_second: 1e12, bytes_per_second: 1e11 };
/// // A kernel is taken to reach a third of the ceiling: three seconds, then six.
/// assert_eq!(too_long(Cost { flops: 1_000_000_000_000, bytes: 0 }, &roofline), None);
/// assert!(too_long(Cost { flops: 2_000_000_000_000, bytes: 0 }, &roofline).is_some());
/// ```
pub fn too_long(cost: Cost, roofline: &Roofline) -> Option<String> {
    let estimate = roofline.least_time(cost).div_f64(ASSUMED_SHARE);
    let (estimate, most) = (estimate.as_secs_f64(), LONGEST_RUN.as_secs());
    (estimate > most as f64)
        .then(|| format!("estimated at {estimate:.0} s a run, more than {most}"))
}

/// These cases, each once: the same op at the same shapes is timed for the first that has it.
///
/// ```
/// use ddim::bench_cases::{distinct, stable_diffusion};
///
/// let cases = stable_diffusion(&[])?;
/// let all = cases.len();
/// // The two coarsest levels read the prompt by projections of one shape.
/// assert!(distinct(cases).len() < all);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn distinct(bench_cases: impl IntoIterator<Item = BenchCase>) -> Vec<BenchCase> {
    let mut seen = HashSet::new();
    let key = |case: &BenchCase| {
        let whose = case.name.split(' ').next().map_or(0, str::len);
        (case.group.clone(), case.name[whose..].to_owned())
    };
    bench_cases.into_iter().filter(|case| case.fusion || seen.insert(key(case))).collect()
}

/// `conv2d` and `{stride=1 padding=1,1,1,1}`.
fn split(op: &Op) -> (String, String) {
    let printed = op.to_string();
    let at = printed.find('{').unwrap_or(printed.len());
    (printed[..at].to_owned(), printed[at..].to_owned())
}

/// `8x32x32x128`
fn shape(of: &TensorType) -> String {
    let extents: Vec<String> = of.shape.iter().map(ToString::to_string).collect();
    extents.join("x")
}

/// The operand that a model holds: forms of it that are made once are not timed.
fn weight_of(op: &Op) -> Option<usize> {
    match op {
        Op::Conv2d(_) | Op::Linear(_) | Op::FusedLinear(_) => Some(1),
        Op::Conv2dInputGradient(_) | Op::LinearInputGradient(_) => Some(1),
        Op::FusedConv2d(conv) => Some(conv.load.arity()),
        _ => None,
    }
}

/// Writes an operand; never zeros, which some processors compute faster.
fn write(executor: &mut Executor, value: Value, input: &Input, seed: u64) -> Result<(), Error> {
    let elements = input.of.shape.elements();
    let some = input.of.with_shape(&[elements.min(PERIOD)]);
    let numbers = match &input.fill {
        Fill::Values(values) => values.clone(),
        fill => Input { of: some, fill: fill.clone() }.tensor(seed).data,
    };
    let numbers = numbers.iter().cycle().take(elements);
    if input.of.element == ElementType::U32 {
        executor.write_u32(value, &numbers.map(|&x| x as u32).collect::<Vec<_>>())
    } else {
        executor.write(value, &numbers.map(|&x| x as f32).collect::<Vec<_>>())
    }
}
