//! Reverse-mode differentiation, source to source: equations in, equations out, no tape.
use crate::{
    error::{Error, ShapeError},
    graph::{Equation, Graph},
    ops::{Add, Backward, Operator},
    plan::Scope,
    value::{TensorType, Value},
};
use std::collections::{HashMap, HashSet};

/// Appends the equations of `d(output . seed) / d(wrt)` and returns one value per entry of
/// `wrt`, `None` where `output` does not depend on it.
///
/// `seed` has the type of `output`: a [`Constant`](crate::ops::Constant) 1 for a loss. What the
/// backward equations read of the forward pass are ordinary values; their lives, not a tape,
/// decide what is kept. The gradient of an entry of `wrt` that is stored in halves may be f32: it is a sum.
///
/// ```
/// # use ddim::{graph::Graph, passes, reference, value::TensorType};
/// use ddim::ops::{Constant, MeanSquaredError, Reduction};
///
/// let of = TensorType::f32(&[1, 2]);
/// let mut graph = Graph::new();
/// let [x, wanted] = [(); 2].map(|()| graph.input(of));
/// let loss = graph.push(MeanSquaredError { reduction: Reduction::Mean }, &[x, wanted])?;
/// let one = Constant { of: graph.type_of(loss), number: 1.0.into() };
/// let seed = graph.push(one, &[])?;
/// let dx = passes::gradient(&mut graph, loss, seed, &[x])?[0].expect("the loss depends on x");
///
/// let tensor = |numbers: [f64; 2]| reference::Tensor::new(of.shape, numbers.into());
/// let inputs = [(x, tensor([3.0, 0.0])), (wanted, tensor([1.0, 0.0]))].into();
/// assert_eq!(reference::evaluate(&graph, inputs)?[&dx].data, [2.0, 0.0]);
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If an op on the way has no gradient, a custom one gives gradients that do not fit its operands,
/// or a value is of another graph.
pub fn gradient(
    graph: &mut Graph,
    output: Value,
    seed: Value,
    wrt: &[Value],
) -> Result<Vec<Option<Value>>, Error> {
    graph.check("the gradient", &[output, seed])?;
    graph.check("the gradient", wrt)?;
    // Only what depends on `wrt` needs a gradient.
    let mut active: HashSet<Value> = wrt.iter().copied().collect();
    for equation in &graph.equations {
        if equation.inputs.iter().any(|v| active.contains(v)) {
            active.extend(&equation.outputs);
        }
    }
    let mut cotangents = HashMap::from([(output, seed)]);
    for equation in graph.equations.clone().iter().rev() {
        let arriving: Vec<_> =
            equation.outputs.iter().map(|v| cotangents.get(v).copied()).collect();
        let needs: Vec<_> = equation.inputs.iter().map(|v| active.contains(v)).collect();
        if arriving.iter().all(Option::is_none) || !needs.contains(&true) {
            continue;
        }
        let scope = equation.scope.backward();
        let mut backward = Backward::new(graph, arriving, needs.clone(), &equation.scope);
        let terms = equation.op.vjp(&mut backward, equation)?;
        check(graph, equation, &terms, wrt)?;
        for ((&input, term), needed) in equation.inputs.iter().zip(terms).zip(needs) {
            let (Some(term), true) = (term, needed) else { continue };
            accumulate(graph, &mut cotangents, input, term, &scope)?;
        }
    }
    Ok(wrt.iter().map(|v| cotangents.get(v).copied()).collect())
}

/// An op gives one term an operand, of the operand's type; of what is `wanted`, perhaps in f32.
fn check(
    graph: &Graph,
    equation: &Equation,
    terms: &[Option<Value>],
    wanted: &[Value],
) -> Result<(), Error> {
    let types: Vec<_> = equation.inputs.iter().map(|value| graph.type_of(*value)).collect();
    let found: Vec<_> = terms.iter().map(|term| term.map(|value| graph.type_of(value))).collect();
    let message = if found.len() != types.len() {
        format!("gives {} gradients for {} operands", found.len(), types.len())
    } else {
        let unlike = |operand: &usize| {
            let (of, value) = (types[*operand], equation.inputs[*operand]);
            let sum = |term| term == TensorType::f32(&of.shape) && wanted.contains(&value);
            found[*operand].is_some_and(|term| term != of && !sum(term))
        };
        let Some(operand) = (0..types.len()).find(unlike) else { return Ok(()) };
        let found = found[operand].map_or("none".to_owned(), |of| of.to_string());
        format!("gives a gradient of {found} for operand {operand}")
    };
    Err(ShapeError::conflict(equation.op.to_string(), message, &types).into())
}

/// Adds `term` to the gradient of `value`.
fn accumulate(
    graph: &mut Graph,
    cotangents: &mut HashMap<Value, Value>,
    value: Value,
    term: Value,
    scope: &Scope,
) -> Result<(), Error> {
    let sum = match cotangents.get(&value) {
        Some(&sum) => graph.push_scoped(Add.into(), &[sum, term], scope.clone())?[0],
        None => term,
    };
    cotangents.insert(value, sum);
    Ok(())
}
