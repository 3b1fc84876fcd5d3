//! Queries, keys and values as one layer.
use super::{
    projections::side_by_side,
    rewrite::{Uses, constants, push, rewrite},
};
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{Attention, JointAttention, Linear, Op},
    value::Value,
};
use std::collections::{HashMap, HashSet};

/// Linear layers that make the three operands of a self-attention become one layer, if their
/// weights follow from constants: these are put side by side once.
pub(super) fn attention(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let constants = constants(graph);
    // The layers of a joined attention, by the output of the one that comes first.
    let mut layers: HashMap<Value, [&Equation; 3]> = HashMap::new();
    let mut joined: HashSet<Value> = HashSet::new();
    for equation in &graph.equations {
        let Op::Attention(Attention { heads, causal }) = equation.op else { continue };
        let [q, k, v] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let found = [q, k, v].map(|value| layer(graph, &uses, value));
        let [Some(a), Some(b), Some(c)] = found else { continue };
        let alike = |other: &Equation| {
            other.inputs[0] == a.inputs[0] && other.inputs.len() == a.inputs.len()
        };
        let mut rest = [a, b, c].into_iter().flat_map(|layer| &layer.inputs[1..]);
        let first = [q, k, v].into_iter().min_by_key(|value| uses.makers.get(value));
        let at = first.and_then(|value| uses.makers.get(&value));
        // Where the first of them stands, the operands of all have to be there.
        let ready = |value: &Value| uses.makers.get(value).is_none_or(|i| Some(i) < at);
        let joins = JointAttention { heads, causal }.takes(graph.type_of(q))
            && alike(b)
            && alike(c)
            && rest.all(|value| constants.contains(value) && ready(value));
        if !joins {
            continue;
        }
        layers.extend(first.map(|first| (first, [a, b, c])));
        joined.extend([q, k, v]);
    }
    // The joint result by the first operand of its attention.
    let mut results: HashMap<Value, Value> = HashMap::new();
    rewrite(graph, |result, equation| {
        if let Some(parts) = layers.get(&equation.outputs[0]) {
            let x = parts[0].inputs[0];
            let operands: Vec<Value> = (1..parts[0].inputs.len())
                .map(|index| {
                    let values = parts.iter().map(|layer| layer.inputs[index]);
                    side_by_side(result, equation, values)
                })
                .collect::<Result<_, Error>>()?;
            let inputs: Vec<Value> = [x].into_iter().chain(operands).collect();
            let joint = push(result, Linear, &inputs, equation, &[])?[0];
            results.insert(parts[0].outputs[0], joint);
            return Ok(true);
        }
        if joined.contains(&equation.outputs[0]) {
            return Ok(true);
        }
        let Op::Attention(Attention { heads, causal }) = equation.op else { return Ok(false) };
        let Some(&joint) = results.get(&equation.inputs[0]) else { return Ok(false) };
        push(result, JointAttention { heads, causal }, &[joint], equation, &equation.outputs)?;
        Ok(true)
    })
}

/// The linear layer that makes an operand, if nobody else reads it.
fn layer<'a>(graph: &'a Graph, uses: &Uses, value: Value) -> Option<&'a Equation> {
    uses.reader(graph, value)?;
    uses.maker(graph, value).filter(|maker| matches!(maker.op, Op::Linear(Linear)))
}
