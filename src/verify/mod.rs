//! Is this device to be trusted? Every op's own table of cases, and reference cases from files,
//! run on the device and held against f64.
//!
//! ```no_run
//! use ddim::{gpu::{Gpu, GpuOptions}, ops::{Case, Input, Silu}, value::TensorType, verify};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let summary = verify::op_tables(&gpu, |name, outcome, _| println!("{}", outcome.line(name)))?;
//! assert_eq!(summary.failed, 0, "{summary}");
//! let case = Case::new(Silu, vec![Input::normal(TensorType::f32(&[5, 13]))]);
//! assert!(verify::check_case(&gpu, &case).is_ok());
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! Whole programs: `ddim verify` in `cli/src/verify.rs`, and of an op of its own `examples/custom_op.rs`.
mod autoencoder;
mod case_files;
mod case_graph;
mod cases;
mod checkpoints;
mod classifier;
mod compare;
mod latent_files;
mod listed_files;
mod lora;
mod lora_files;
mod models;
mod networks;
mod objectives;
mod ops;
mod random;
mod refusal;
mod rounding;
mod samplers;
mod schedules;
mod special;
mod text_encoder;
#[cfg(feature = "tokenizer")]
mod tokenizer;
mod vlb;

pub use case_files::{parse_index, parse_manifest};
pub use cases::reference_cases;
pub use random::random_cases;
pub use special::{check_special, special_cases};

use crate::{
    error::{CaseError, Error, GpuError, Mismatch},
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Case, Operator},
    passes,
    plan::{DefaultHeuristic, KernelSelector, Target},
    reference::Tensor,
    value::{ElementType, TensorType, Value},
};
use compare::{compare, decode};
use std::fmt;

/// How a case ended.
///
/// Example: [`crate::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every number is within its tolerance.
    Passed,
    /// What is off and by how much, or why the case could not run.
    Failed(String),
    /// Why this crate or device does not run the case.
    Skipped(String),
}

impl Outcome {
    /// Failed if there is a difference; the text names the first few.
    fn of(differences: impl IntoIterator<Item = Option<String>>) -> Self {
        const NAMED: usize = 3;
        let differences: Vec<String> = differences.into_iter().flatten().collect();
        if differences.is_empty() {
            return Self::Passed;
        }
        let text = differences[..differences.len().min(NAMED)].join(", ");
        match differences.len().saturating_sub(NAMED) {
            0 => Self::Failed(text),
            others => Self::Failed(format!("{text}, and {others} more")),
        }
    }

    /// One line on the case of this name: `failed ops/silu: y 3.1e-4 > 6.9e-6`.
    pub fn line(&self, name: &str) -> String {
        match self {
            Self::Passed => format!("passed {name}"),
            Self::Failed(text) => format!("failed {name}: {text}"),
            Self::Skipped(text) => format!("skipped {name}: {text}"),
        }
    }
}

/// How many cases ended how.
///
/// Example: [`crate::verify`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Summary {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(_) => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Checks every op's own table of cases, those that may store f16 once more so, and the small ones
/// with numbers that are not finite; `on_result` is given each by its title when it is done, and
/// how many there are in all.
///
/// # Errors
/// If the device is lost.
///
/// Example: [`crate::verify`].
pub fn op_tables(
    gpu: &Gpu,
    mut on_result: impl FnMut(&str, &Outcome, usize),
) -> Result<Summary, Error> {
    let tables: Vec<Case> = crate::ops::cases().into_iter().flat_map(Case::storages).collect();
    let special = special_cases(crate::ops::cases());
    let total = tables.len() + special.len();
    let mut summary = Summary::default();
    let mut report = |title: &str, checked: &dyn Fn() -> Result<(), CaseError>| {
        let outcome = match checked() {
            Ok(()) => Outcome::Passed,
            Err(CaseError::Error(error @ Error::Gpu(GpuError::Lost { .. }))) => return Err(error),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        on_result(title, &outcome, total);
        summary.count(&outcome);
        Ok(())
    };
    for case in tables {
        report(&case.title(), &|| check_case(gpu, &case))?;
    }
    for case in special {
        let title = format!("{} (NaN and infinities)", case.title());
        report(&title, &|| check_special(gpu, &case, &DefaultHeuristic))?;
    }
    Ok(summary)
}

/// Bytes kept free after every buffer, to see whether a kernel writes there.
const SENTINEL: u64 = 256;

/// Runs one case on the device and compares every element, every pad lane and the bytes after each
/// output.
///
/// # Errors
/// The first difference, or why the case could not run.
///
/// Example: [`crate::verify`].
pub fn check_case(gpu: &Gpu, case: &Case) -> Result<(), CaseError> {
    Expected::new(case)?.check(gpu, gpu.target(), &DefaultHeuristic)
}

/// A case and what it should give: the reference runs once, however many kernels are held to it.
///
/// ```no_run
/// use ddim::{bench_cases::families, gpu::{Gpu, GpuOptions}, ops, verify::Expected};
///
/// let (gpu, case) = (Gpu::new(&GpuOptions::default())?, ops::random_case(7));
/// let expected = Expected::new(&case)?;
/// for way in families(&case.graph()?, gpu.target()) {
///     expected.check(&gpu, gpu.target(), &way.choice)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Expected<'a> {
    case: &'a Case,
    graph: Graph,
    tensors: Vec<Tensor>,
    wanted: Vec<Tensor>,
}

impl<'a> Expected<'a> {
    /// Runs the reference.
    ///
    /// # Errors
    /// If the case's operands do not fit its op.
    pub fn new(case: &'a Case) -> Result<Self, Error> {
        let (graph, tensors) = (case.graph()?, case.tensors());
        let wanted = case.op.reference(&tensors.iter().collect::<Vec<_>>());
        Ok(Self { case, graph, tensors, wanted })
    }

    /// Runs the case on the device, planned for `target` with this choice between kernel families, its
    /// buffers poisoned with NaN beforehand, and compares as [`check_case`] does. Operands in f32 that cooperative
    /// matrices round to f16 may move a result by 2^-8 of the largest.
    ///
    /// # Errors
    /// As [`check_case`].
    pub fn check(
        &self,
        gpu: &Gpu,
        target: &Target,
        selector: &dyn KernelSelector,
    ) -> Result<(), CaseError> {
        let Self { case, graph, tensors, wanted } = self;
        let mut plan = passes::compile_with(graph, target, selector)?;
        let arithmetic = plan.arithmetic();
        for buffer in &mut plan.0.buffers {
            buffer.bytes += SENTINEL;
        }
        let rounded = rounding::of_results(&plan, case);
        let mut executor = Executor::new(gpu, plan)?;
        executor.poison()?;
        for (&value, tensor) in graph.inputs.iter().zip(tensors) {
            write(&mut executor, value, graph.type_of(value), tensor)?;
        }
        executor.run(1)?;
        for (output, (&value, want)) in graph.outputs.iter().zip(wanted).enumerate() {
            let of = graph.type_of(value);
            let raw = executor.read_raw(value)?;
            let got = decode(of, &raw);
            let tolerance = |want, max_abs| {
                case.tolerance_in(arithmetic, of, want, max_abs) + rounded * max_abs
            };
            compare(output, of, &got, want, tolerance)?;
            // A slot may have had a larger occupant before this output: only what lies after it is ours.
            if raw[raw.len() - SENTINEL as usize..].iter().any(|&byte| byte != 0xff) {
                return Err(Mismatch::Sentinel { output }.into());
            }
        }
        Ok(())
    }
}

/// Writes an operand.
fn write(executor: &mut Executor, at: Value, of: TensorType, tensor: &Tensor) -> Result<(), Error> {
    if of.element == ElementType::U32 {
        executor.write_u32(at, &tensor.data.iter().map(|&x| x as u32).collect::<Vec<_>>())
    } else {
        executor.write(at, &tensor.data.iter().map(|&x| x as f32).collect::<Vec<_>>())
    }
}
