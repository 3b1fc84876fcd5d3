//! All projections of the time embedding as one.
use super::rewrite::{Uses, constants, push, rewrite};
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{Concat, FusedConv2d, Linear, Op},
    plan::Target,
    value::Value,
};
use std::collections::HashMap;

/// Linear layers of one input, whose weights follow from constants and whose results are embeddings that
/// convolutions add, become one layer; each convolution reads its part of the result. The weights
/// are put side by side once.
pub(super) fn projections(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let constants = constants(graph);
    let joins = |equation: &Equation| {
        let aligned = graph.type_of(equation.outputs[0]).shape.last().is_multiple_of(4);
        let added = |reader: &&Equation| match reader.op {
            Op::FusedConv2d(conv) => embedding_at(&conv, reader) == Some(equation.outputs[0]),
            _ => false,
        };
        matches!(equation.op, Op::Linear(Linear))
            && equation.inputs.len() == 3
            && equation.inputs[1..].iter().all(|value| constants.contains(value))
            && aligned
            && uses.reader(graph, equation.outputs[0]).as_ref().is_some_and(added)
    };
    let mut groups: HashMap<(Value, usize), Vec<&Equation>> = HashMap::new();
    for equation in graph.equations.iter().filter(|equation| joins(equation)) {
        groups.entry((equation.inputs[0], equation.section)).or_default().push(equation);
    }
    groups.retain(|_, group| {
        let first = uses.makers.get(&group[0].outputs[0]);
        let made = |value: &Value| uses.makers.get(value).is_none_or(|at| Some(at) < first);
        // Side by side, many wide layers may be more than a device binds.
        let bytes: u64 = group.iter().map(|layer| graph.type_of(layer.inputs[1]).bytes()).sum();
        let fit = bytes <= Target::default().max_binding;
        group.len() > 1 && fit && group.iter().all(|layer| layer.inputs[1..].iter().all(made))
    });
    // The joint result, and the first channel of a part of it.
    let mut parts: HashMap<Value, (Value, usize)> = HashMap::new();
    rewrite(graph, |result, equation| {
        if parts.contains_key(&equation.outputs[0]) {
            return Ok(true);
        }
        if let Op::FusedConv2d(conv) = equation.op
            && let Some(embedding) = embedding_at(&conv, equation)
            && let Some(&(joint, first)) = parts.get(&embedding)
        {
            let place = |&value: &Value| if value == embedding { joint } else { value };
            let inputs: Vec<Value> = equation.inputs.iter().map(place).collect();
            let conv = FusedConv2d { embedding: Some(first), ..conv };
            push(result, conv, &inputs, equation, &equation.outputs)?;
            return Ok(true);
        }
        let group = equation.inputs.first().and_then(|&x| groups.get(&(x, equation.section)));
        let Some(group) = group.filter(|group| group[0].outputs == equation.outputs) else {
            return Ok(false);
        };
        let weight = side_by_side(result, equation, group.iter().map(|layer| layer.inputs[1]))?;
        let bias = side_by_side(result, equation, group.iter().map(|layer| layer.inputs[2]))?;
        let joint = push(result, Linear, &[equation.inputs[0], weight, bias], equation, &[])?[0];
        let mut first = 0;
        for layer in group {
            parts.insert(layer.outputs[0], (joint, first));
            first += graph.type_of(layer.outputs[0]).shape.last();
        }
        Ok(true)
    })
}

/// The embedding that a fused convolution adds.
fn embedding_at(conv: &FusedConv2d, equation: &Equation) -> Option<Value> {
    conv.embedding?;
    equation.inputs.get(conv.load.arity() + 1 + usize::from(conv.bias)).copied()
}

/// Matrices, or rows, with their columns side by side: two at a time, so that each is copied as
/// often as their number has bits.
pub(super) fn side_by_side(
    graph: &mut Graph,
    like: &Equation,
    values: impl Iterator<Item = Value>,
) -> Result<Value, Error> {
    let mut values: Vec<Value> = values.collect();
    while values.len() > 1 {
        let pairs = values.chunks(2).map(|pair| match *pair {
            [a, b] => Ok(push(graph, Concat, &[a, b], like, &[])?[0]),
            _ => Ok(pair[0]),
        });
        values = pairs.collect::<Result<_, Error>>()?;
    }
    Ok(values[0])
}
