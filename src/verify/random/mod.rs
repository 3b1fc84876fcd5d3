//! Random cases of every op, of their gradients and of small graphs that fusion rewrites, held
//! against f64: what tables of cases, which somebody thought of, may leave out.
mod chains;
mod noise;

use super::{Expected, Outcome, Summary};
use crate::{
    bench_cases::{FamilyPlan, families},
    error::{CaseError, Error, GpuError, Mismatch},
    gpu::Gpu,
    graph::Graph,
    ops::{Case, Dice, Input, Op, random_case},
    passes,
    plan::{DefaultHeuristic, KernelSelector},
    value::{ElementType, TensorType, Value},
};
use noise::check_graph;

/// Every so many cases one is a graph of several ops.
const CHAIN: u64 = 8;

/// Checks the cases `numbers` of the sequence that `seed` begins until one is asked for when
/// `more` says no; `on_result` hears each by its number and title when it is done.
///
/// A case is an op in every storage type it allows, by every family of kernels, with its gradient
/// if it has one; or a graph of several ops, fused. The same seed and number give the same case on
/// every machine.
///
/// ```no_run
/// use ddim::{gpu::{Gpu, GpuOptions}, verify::random_cases};
///
/// let gpu = Gpu::new(&GpuOptions::default())?;
/// // The first hundred cases of seed 7, without a limit of time.
/// let summary = random_cases(&gpu, 7, 0..100, || true, |number, title, outcome| {
///     println!("{number}: {}", outcome.line(title));
/// })?;
/// assert_eq!(summary.failed, 0, "{summary}");
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If the device is lost.
pub fn random_cases(
    gpu: &Gpu,
    seed: u64,
    numbers: impl IntoIterator<Item = u64>,
    mut more: impl FnMut() -> bool,
    mut on_result: impl FnMut(u64, &str, &Outcome),
) -> Result<Summary, Error> {
    let mut summary = Summary::default();
    for number in numbers {
        if !more() {
            break;
        }
        // Neighbours in the sequence of one seed are not those of the next.
        let seed = Dice::new(seed).word() ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let (title, result) = if number % CHAIN == CHAIN - 1 {
            let chain = chains::chain(&mut Dice::new(seed))?;
            (chain.title.clone(), chain.check(gpu, seed))
        } else {
            let case = random_case(seed);
            (case.title(), check(gpu, &case, seed))
        };
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(CaseError::Error(error @ Error::Gpu(GpuError::Lost { .. }))) => return Err(error),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        on_result(number, &title, &outcome);
        summary.count(&outcome);
    }
    Ok(summary)
}

/// Forward by every family, and the gradient, in every storage type.
fn check(gpu: &Gpu, case: &Case, seed: u64) -> Result<(), CaseError> {
    for case in case.clone().storages() {
        let expected = Expected::new(&case)?;
        check_alone(gpu, &case, &expected, &DefaultHeuristic, seed)?;
        for FamilyPlan { choice, .. } in families(&case.graph()?, gpu.target()).iter().skip(1) {
            check_alone(gpu, &case, &expected, choice, seed)?;
        }
        check_gradient(gpu, &case, seed)?;
    }
    Ok(())
}

/// The op alone: held to the tolerance of a case of the tables, and where that is exceeded, as it
/// is by sums that cancel, to what roundings of its operands do to its results.
fn check_alone(
    gpu: &Gpu,
    case: &Case,
    expected: &Expected,
    selector: &dyn KernelSelector,
    seed: u64,
) -> Result<(), CaseError> {
    let result = expected.check(gpu, gpu.target(), selector);
    let floats = |of: &TensorType| of.element != ElementType::U32;
    match result {
        Err(CaseError::Mismatch(Mismatch::Element { .. }))
            if case.output_types().map_err(Error::from)?.iter().all(floats) =>
        {
            check_graph(gpu, &case.graph()?, selector, case.terms, case.tensors(), seed)
        }
        result => result,
    }
}

/// The gradient of the first output, if the op has one.
fn check_gradient(gpu: &Gpu, case: &Case, seed: u64) -> Result<(), CaseError> {
    let Some((graph, of)) = gradient_of(case)? else { return Ok(()) };
    let mut tensors = case.tensors();
    tensors.push(Input::normal(of).tensor(seed));
    check_graph(gpu, &graph, &DefaultHeuristic, 1, tensors, seed)
}

/// The gradient of the first output with respect to every operand of floats, as a graph of the
/// operands and what arrives, whose type is given too; none if the op has no gradient, or if it
/// reads a weight that is stored as a half: only weights of f32 are trained.
fn gradient_of(case: &Case) -> Result<Option<(Graph, TensorType)>, Error> {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = case.inputs.iter().map(|input| graph.input(input.of)).collect();
    let y = graph.push(case.op.clone(), &inputs)?;
    let of = graph.type_of(y);
    let weighted = matches!(case.op, Op::Conv2d(_) | Op::Linear(_) | Op::GatherRows(_));
    let held = weighted && graph.type_of(inputs[1]).element != ElementType::F32;
    if of.element == ElementType::U32 || held {
        return Ok(None);
    }
    let arriving = graph.input(of);
    let floats = |value: &Value| graph.type_of(*value).element != ElementType::U32;
    let wrt: Vec<Value> = inputs.iter().copied().filter(floats).collect();
    match passes::gradient(&mut graph, y, arriving, &wrt) {
        Ok(gradients) => graph.outputs = gradients.into_iter().flatten().collect(),
        Err(Error::NotDifferentiable { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok((!graph.outputs.is_empty()).then_some((graph, of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_random_cases_are_graphs() {
        let mut found = 0;
        for case in (0..4000).map(random_case) {
            for case in case.storages() {
                let gradient = gradient_of(&case);
                assert!(gradient.is_ok(), "{}: {gradient:?}", case.title());
                found += usize::from(gradient.is_ok_and(|graph| graph.is_some()));
            }
        }
        assert!(found > 1000, "{found}");
    }
}
