//! What depends on the time alone, for all steps of a trajectory at once.
use super::rewrite::{Uses, constants, push, rewrite};
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{AllTimesteps, GatherRows, Op, Operator},
    plan::Target,
    value::Value,
};
use std::collections::{HashMap, HashSet};

/// The time embedding and its projections follow from the table of a trajectory, which is constant:
/// they are computed once, for each row of it, and a step takes its own row.
pub(super) fn trajectory(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let constants = constants(graph);
    // Of a value of one step: that of all steps, and the number of the step.
    let mut all: HashMap<Value, (Value, Value)> = HashMap::new();
    rewrite(graph, |result, equation| {
        if let Op::SamplingRow(_) = equation.op
            && constants.contains(&equation.inputs[1])
        {
            result.equations.push(equation.clone());
            let table = equation.inputs[1];
            let timesteps = push(result, AllTimesteps, &[table], equation, &[])?[0];
            all.insert(equation.outputs[2], (timesteps, equation.outputs[3]));
            return Ok(true);
        }
        let Some(&(whole, step)) = row_wise(equation, &constants).and_then(|x| all.get(&x)) else {
            return Ok(false);
        };
        let mut inputs = equation.inputs.clone();
        inputs[0] = whole;
        let types: Vec<_> = inputs.iter().map(|value| result.type_of(*value)).collect();
        // A table of many steps may be more than a device binds.
        if equation.op.infer(&types)?[0].bytes() > Target::default().max_binding {
            return Ok(false);
        }
        let y = equation.outputs[0];
        let rows = push(result, equation.op.clone(), &inputs, equation, &[])?[0];
        all.insert(y, (rows, step));
        let follows = |reader: &Equation| row_wise(reader, &constants) == Some(y);
        if !uses.readers(graph, y).is_some_and(|mut readers| readers.all(follows)) {
            let element = graph.type_of(y).element;
            push(result, GatherRows::of(element), &[step, rows], equation, &[y])?;
        }
        Ok(true)
    })
}

/// The operand each of whose rows alone makes a row of the result, the other operands being
/// constant.
fn row_wise(equation: &Equation, constants: &HashSet<Value>) -> Option<Value> {
    let alone = match &equation.op {
        Op::TimestepEmbedding(_) | Op::Linear(_) | Op::Silu(_) => true,
        Op::FusedLinear(fused) => !fused.residual && !fused.moments,
        _ => false,
    };
    let (&x, others) = equation.inputs.split_first()?;
    (alone && others.iter().all(|value| constants.contains(value))).then_some(x)
}
