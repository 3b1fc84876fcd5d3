//! Every gradient rule, evaluated by the reference, against central differences in f64.
use ddim::{
    Error,
    graph::Graph,
    ops::{self, Case, Operator},
    passes,
    reference::{Environment, Tensor, evaluate},
    value::{ElementType, Value},
};

/// Elements of each operand that are moved.
const PROBES: usize = 24;

/// Elements that all probes of an operand together pass through.
const MOVED: usize = 1_000_000;

/// Step of the difference. Truncation is of the order of its square, cancellation of
/// `1e-16 / STEP`.
const STEP: f64 = 1e-5;

/// Bound relative to the largest gradient: far above both, far below any wrong term.
const TOLERANCE: f64 = 1e-6;

fn check(case: &Case) -> Result<(), String> {
    let mut graph = Graph::new();
    let inputs: Vec<Value> = case.inputs.iter().map(|input| graph.input(input.of)).collect();
    let y = graph.push(case.op.clone(), &inputs).map_err(|e| e.to_string())?;
    let of = graph.type_of(y);
    if of.element == ElementType::U32 {
        return Ok(());
    }
    let seed = graph.input(of);
    let floats: Vec<usize> =
        (0..inputs.len()).filter(|&i| case.inputs[i].of.element != ElementType::U32).collect();
    let wrt: Vec<Value> = floats.iter().map(|&i| inputs[i]).collect();
    let gradients = match passes::gradient(&mut graph, y, seed, &wrt) {
        Ok(gradients) => gradients,
        Err(Error::NotDifferentiable { .. }) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    graph.verify().map_err(|error| error.to_string())?;
    let tensors = case.tensors();
    let arriving = ops::Input::normal(of).tensor(42);
    let mut environment: Environment = inputs.iter().copied().zip(tensors.clone()).collect();
    environment.insert(seed, arriving.clone());
    let results = evaluate(&graph, environment).expect("every input is given");
    let along = |tensors: &[Tensor]| -> f64 {
        let y = case.op.reference(&tensors.iter().collect::<Vec<_>>()).remove(0);
        y.data.iter().zip(&arriving.data).map(|(y, dy)| y * dy).sum()
    };
    for (&input, gradient) in floats.iter().zip(gradients) {
        let Some(gradient) = gradient.map(|value| &results[&value]) else { continue };
        assert_eq!(gradient.shape, tensors[input].shape, "{}", case.title());
        let scale = gradient.max_abs().max(1e-3);
        // The rule of a large operand is that of a small one, and costs more to move.
        let probes = (MOVED / gradient.data.len()).clamp(1, PROBES);
        let stride = gradient.data.len().div_ceil(probes);
        for element in (0..gradient.data.len()).step_by(stride) {
            let mut moved = tensors.clone();
            let x = tensors[input].data[element];
            moved[input].data[element] = x + STEP;
            let above = along(&moved);
            moved[input].data[element] = x - STEP;
            let want = (above - along(&moved)) / (2.0 * STEP);
            let got = gradient.data[element];
            // Cancellation grows with the sum that is differenced.
            let tolerance = TOLERANCE * scale + 1e-10 * above.abs();
            let error = (got - want).abs();
            if error.is_nan() || error > tolerance {
                return Err(format!("operand {input}[{element}]: {got} for {want}"));
            }
        }
    }
    Ok(())
}

#[test]
fn every_rule_agrees_with_central_differences() {
    let wanted = std::env::var("OP").unwrap_or_default();
    let cases = ops::cases().into_iter().filter(|case| case.op.to_string().starts_with(&wanted));
    let failed: String = cases
        .filter_map(|case| check(&case).err().map(|error| format!("{}: {error}\n", case.title())))
        .collect();
    assert!(failed.is_empty(), "\n{failed}");
}
