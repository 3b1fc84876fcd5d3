//! A graph of several ops on the device against the reference. What a rounding in one op does to
//! the results of the others is measured, not guessed.
use crate::{
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Case, Dice, Operator},
    passes,
    reference::{Environment, Tensor, evaluate},
    value::{ElementType, TensorType, Value},
    verify::{CaseError, Mismatch, write},
};

/// Evaluations with errors of random signs.
const TRIALS: usize = 2;

/// How much farther than those the device may be: its errors are mostly a fraction of what a case
/// tolerates, but their signs need not be random.
const MARGIN: f64 = 2.0;

/// Runs `graph` on these inputs and compares its outputs with the reference. The tolerance of a
/// tensor is how far it moves when the result of every equation is off by the tolerance that a
/// case of that op alone has, with random signs.
pub(super) fn check_graph(
    gpu: &Gpu,
    graph: &Graph,
    tensors: Vec<Tensor>,
    seed: u64,
) -> Result<(), CaseError> {
    let mut executor = Executor::new(gpu, passes::compile(graph, gpu.target())?)?;
    executor.poison()?;
    for (&value, tensor) in graph.inputs.iter().zip(&tensors) {
        write(&mut executor, value, graph.type_of(value), tensor)?;
    }
    executor.run(1)?;
    let wanted = expected(graph, tensors, seed)?;
    for (output, (&value, (want, tolerance))) in graph.outputs.iter().zip(wanted).enumerate() {
        let got = executor.read(value)?;
        for (element, (&got, &want)) in got.iter().zip(&want.data).enumerate() {
            let got = f64::from(got);
            let error = (got - want).abs();
            // Written so that NaN on either side fails.
            if error.is_nan() || error > tolerance {
                return Err(
                    Mismatch::Element { output, element, got, want, error, tolerance }.into()
                );
            }
        }
    }
    Ok(())
}

/// The graph's outputs, and how far off each may be.
fn expected(graph: &Graph, tensors: Vec<Tensor>, seed: u64) -> Result<Vec<(Tensor, f64)>, Error> {
    let inputs: Environment = graph.inputs.iter().copied().zip(tensors).collect();
    let wanted = evaluate(graph, inputs.clone())?;
    let mut dice = Dice::new(seed);
    let moved: Vec<Environment> =
        (0..TRIALS).map(|_| perturbed(graph, inputs.clone(), &mut dice)).collect();
    let output = |value: &Value| {
        let want = &wanted[value];
        let away = moved.iter().map(|moved| moved[value].zip(want, |a, b| (a - b).abs()).max_abs());
        (want.clone(), MARGIN * away.fold(0.0, f64::max))
    };
    Ok(graph.outputs.iter().map(output).collect())
}

/// The graph's values where every result is off.
fn perturbed(graph: &Graph, inputs: Environment, dice: &mut Dice) -> Environment {
    let mut environment = inputs;
    for equation in &graph.equations {
        let types: Vec<TensorType> = equation.inputs.iter().map(|v| graph.type_of(*v)).collect();
        let outputs: Vec<TensorType> = equation.outputs.iter().map(|v| graph.type_of(*v)).collect();
        // The longest sum: the arithmetic of the smallest result, an element.
        let least = outputs.iter().map(|of| of.shape.elements()).min().unwrap_or(1).max(1);
        let terms = (equation.op.cost(&types).flops as usize).div_ceil(least).max(1);
        let bound = Case::new(equation.op.clone(), Vec::new()).terms(terms);
        let operands: Vec<&Tensor> = equation.inputs.iter().map(|v| &environment[v]).collect();
        let mut results = equation.op.reference(&operands);
        for (result, &of) in results.iter_mut().zip(&outputs) {
            if of.element == ElementType::U32 {
                continue;
            }
            let largest = result.max_abs();
            for x in &mut result.data {
                let sign = if dice.flip() { 1.0 } else { -1.0 };
                *x += sign * bound.tolerance(of, *x, largest);
            }
        }
        environment.extend(equation.outputs.iter().copied().zip(results));
    }
    environment
}

/// Contents of these types, in order.
pub(super) fn contents(types: &[TensorType], seed: u64) -> Vec<Tensor> {
    let tensor = |(&of, n): (&TensorType, u64)| crate::ops::Input::normal(of).tensor(seed ^ n);
    types.iter().zip(1..).map(tensor).collect()
}

/// Types of these values.
pub(super) fn types(graph: &Graph, values: &[Value]) -> Vec<TensorType> {
    values.iter().map(|value| graph.type_of(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::random::chains::chain;

    /// A wrong term is of the size of the result: a bound near that would see nothing.
    #[test]
    fn tolerances_are_far_below_the_results() {
        let mut worst = Vec::new();
        for seed in 0..40 {
            let mut graph = chain(&mut Dice::new(seed)).expect("a graph").graph;
            // A gradient may be zero but for rounding: a bias before a norm has no effect.
            graph.outputs.truncate(1);
            let tensors = contents(&types(&graph, &graph.inputs), seed);
            for (want, tolerance) in expected(&graph, tensors, seed).expect("evaluated") {
                worst.push(tolerance / want.max_abs());
            }
        }
        worst.sort_by(f64::total_cmp);
        let (median, most) = (worst[worst.len() / 2], worst[worst.len() - 1]);
        assert!(median < 1e-4 && most < 1e-3, "{median:e} {most:e}");
    }
}
