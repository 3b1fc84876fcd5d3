//! A graph of several ops on the device against the reference. What a rounding in one op does to
//! the results of the others is measured, not guessed.
use crate::{
    error::{CaseError, Error, Mismatch},
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Case, Dice, Operator},
    passes,
    plan::KernelSelector,
    reference::{Environment, Tensor, evaluate},
    value::{ElementType, TensorType, Value},
    verify::{rounding, write},
};

/// Evaluations with errors of random signs; and how many more where the device is farther off than
/// those: a result of few sums moves little in some of them by chance.
const TRIALS: [usize; 2] = [2, 14];

/// How much farther than those the device may be: its errors are mostly a fraction of what a case
/// tolerates, but their signs need not be random.
const MARGIN: f64 = 2.0;

/// Runs `graph` on these inputs and compares its outputs with the reference. The tolerance of a
/// tensor is how far it moves when every equation is off: its operands by the roundings of its
/// longest sum, its result by the tolerance that a case of that op alone has, with random signs.
/// So a sum of large terms that cancel may be off by their roundings, however small it is. Where cooperative
/// matrices are used, operands are off by a rounding to f16 too.
/// `terms` is the length of the longest sum where its cost does not tell.
pub(super) fn check_graph(
    gpu: &Gpu,
    graph: &Graph,
    selector: &dyn KernelSelector,
    terms: usize,
    tensors: Vec<Tensor>,
    seed: u64,
) -> Result<(), CaseError> {
    let plan = passes::compile_with(graph, gpu.target(), selector)?;
    let rounding = rounding::of_operands(&plan);
    let mut executor = Executor::new(gpu, plan)?;
    executor.poison()?;
    for (&value, tensor) in graph.inputs.iter().zip(&tensors) {
        write(&mut executor, value, graph.type_of(value), tensor)?;
    }
    executor.run(1)?;
    let read = |&value: &Value| executor.read(value);
    let got: Vec<Vec<f32>> = graph.outputs.iter().map(read).collect::<Result<_, _>>()?;
    let mut bound = Bound { rounding, ..Bound::new(graph, terms, tensors, seed)? };
    let mut result = Ok(());
    for trials in TRIALS {
        bound.widen(trials);
        result = bound.compare(&got);
        if result.is_ok() {
            break;
        }
    }
    Ok(result?)
}

/// A graph's outputs, and how far off each may be.
struct Bound<'a> {
    graph: &'a Graph,
    terms: usize,
    inputs: Environment,
    /// What operands are rounded by besides, as a part of them.
    rounding: f64,
    dice: Dice,
    outputs: Vec<(Tensor, f64)>,
}

impl<'a> Bound<'a> {
    fn new(graph: &'a Graph, terms: usize, tensors: Vec<Tensor>, seed: u64) -> Result<Self, Error> {
        let inputs: Environment = graph.inputs.iter().copied().zip(tensors).collect();
        let wanted = evaluate(graph, inputs.clone())?;
        let outputs = graph.outputs.iter().map(|value| (wanted[value].clone(), 0.0)).collect();
        Ok(Self { graph, terms, inputs, rounding: 0.0, dice: Dice::new(seed), outputs })
    }

    /// Evaluates the graph so often with errors, and raises each tolerance to what that moves.
    fn widen(&mut self, trials: usize) {
        for _ in 0..trials {
            let moved = self.perturbed();
            for (value, (want, tolerance)) in self.graph.outputs.iter().zip(&mut self.outputs) {
                let away = moved[value].zip(want, |a, b| (a - b).abs()).max_abs();
                *tolerance = tolerance.max(MARGIN * away);
            }
        }
    }

    /// The graph's values where every equation is off.
    fn perturbed(&mut self) -> Environment {
        let Self { graph, terms, ref inputs, rounding, ref mut dice, .. } = *self;
        let mut environment = inputs.clone();
        for equation in &graph.equations {
            let type_of = |value: &Value| graph.type_of(*value);
            let types: Vec<TensorType> = equation.inputs.iter().map(type_of).collect();
            let outputs: Vec<TensorType> = equation.outputs.iter().map(type_of).collect();
            // The longest sum: the arithmetic of the smallest result, an element.
            let least = outputs.iter().map(|of| of.shape.elements()).min().unwrap_or(1).max(1);
            let terms = (equation.op.cost(&types).flops as usize).div_ceil(least).max(terms);
            let bound = Case::new(equation.op.clone(), Vec::new()).terms(terms);
            let mut operands: Vec<Tensor> =
                equation.inputs.iter().map(|v| environment[v].clone()).collect();
            for (operand, of) in operands.iter_mut().zip(&types) {
                if of.element != ElementType::U32 {
                    shake(operand, dice, |x| bound.roundings(x.abs()) + rounding * x.abs());
                }
            }
            let mut results = equation.op.reference(&operands.iter().collect::<Vec<_>>());
            for (result, &of) in results.iter_mut().zip(&outputs) {
                if of.element != ElementType::U32 {
                    let largest = result.max_abs();
                    shake(result, dice, |x| bound.tolerance(of, x, largest));
                }
            }
            environment.extend(equation.outputs.iter().copied().zip(results));
        }
        environment
    }

    fn compare(&self, got: &[Vec<f32>]) -> Result<(), Mismatch> {
        for (output, (got, (want, tolerance))) in got.iter().zip(&self.outputs).enumerate() {
            for (element, (&got, &want)) in got.iter().zip(&want.data).enumerate() {
                let (got, tolerance) = (f64::from(got), *tolerance);
                let error = (got - want).abs();
                // Written so that NaN on either side fails.
                if error.is_nan() || error > tolerance {
                    return Err(Mismatch::Element { output, element, got, want, error, tolerance });
                }
            }
        }
        Ok(())
    }
}

/// Moves every number by so much, with random signs.
fn shake(tensor: &mut Tensor, dice: &mut Dice, far: impl Fn(f64) -> f64) {
    for x in &mut tensor.data {
        *x += if dice.flip() { far(*x) } else { -far(*x) };
    }
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
            let mut bound = Bound::new(&graph, 1, tensors, seed).expect("evaluated");
            bound.widen(TRIALS[0]);
            for (want, tolerance) in bound.outputs {
                worst.push(tolerance / want.max_abs());
            }
        }
        worst.sort_by(f64::total_cmp);
        let (median, most) = (worst[worst.len() / 2], worst[worst.len() - 1]);
        assert!(median < 1e-4 && most < 1e-3, "{median:e} {most:e}");
    }
}
