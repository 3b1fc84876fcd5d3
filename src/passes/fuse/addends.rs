//! What convolutions, linear layers and gradients write their output through.
use super::rewrite::{Uses, fused, linear, push, rewrite};
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{
        Add, AddEmbedding, Conv2dInputGradient, FusedConv2d, FusedLinear, GroupNormBackward,
        LinearInputGradient, Op, Silu,
    },
    value::Value,
};
use std::collections::{HashMap, HashSet};

/// An embedding or a residual into the convolution, a residual into the linear layer before it.
pub(super) fn addends(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    // A convolution or linear layer that only this sum reads, and has room for another addend.
    let host = |value: Value| {
        uses.reader(graph, value)?;
        let maker = uses.maker(graph, value)?;
        let conv = fused(maker).is_some_and(|conv| conv.embedding.is_none() && !conv.residual);
        (conv || linear(maker).is_some_and(|linear| !linear.residual)).then_some(maker)
    };
    let mut absorbed: HashSet<Value> = HashSet::new();
    let mut result = rewrite(graph, |result, equation| {
        let embedding = matches!(equation.op, Op::AddEmbedding(AddEmbedding));
        let (maker, addend) = match (&equation.op, &equation.inputs[..]) {
            (Op::AddEmbedding(AddEmbedding), &[x, embedding]) => {
                let Some(maker) = host(x).filter(|maker| fused(maker).is_some()) else {
                    return Ok(false);
                };
                (maker, embedding)
            }
            (Op::Add(Add), &[a, b]) if a != b => {
                // The larger kernel: a shortcut's product is rather read than computed last.
                let taps = |maker: &Equation| {
                    let weight = fused(maker).map(|conv| maker.inputs[conv.load.arity()]);
                    weight.map_or(1, |weight| graph.type_of(weight).shape[0])
                };
                let pairs = [(a, b), (b, a)].into_iter();
                let hosts = pairs.filter_map(|(x, other)| Some((host(x)?, other)));
                let Some(found) = hosts.max_by_key(|(maker, _)| taps(maker)) else {
                    return Ok(false);
                };
                found
            }
            _ => return Ok(false),
        };
        let op: Op = match (fused(maker), linear(maker)) {
            (Some(conv), _) if embedding => FusedConv2d { embedding: Some(0), ..conv }.into(),
            (Some(conv), _) => FusedConv2d { residual: true, ..conv }.into(),
            (None, Some(linear)) => FusedLinear { residual: true, ..linear }.into(),
            (None, None) => return Ok(false),
        };
        absorbed.insert(maker.outputs[0]);
        let inputs = [&maker.inputs[..], &[addend]].concat();
        push(result, op, &inputs, maker, &equation.outputs)?;
        Ok(true)
    })?;
    result.equations.retain(|equation| !equation.outputs.iter().any(|v| absorbed.contains(v)));
    Ok(result)
}

/// SiLU into the linear layer before it.
pub(super) fn activations(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let mut absorbed: HashSet<Value> = HashSet::new();
    let mut result = rewrite(graph, |result, equation| {
        let (Op::Silu(Silu), &[y]) = (&equation.op, &equation.inputs[..]) else { return Ok(false) };
        let maker = uses.reader(graph, y).and_then(|_| uses.maker(graph, y));
        let Some((maker, linear)) = maker.and_then(|maker| Some((maker, linear(maker)?))) else {
            return Ok(false);
        };
        absorbed.insert(y);
        let op = FusedLinear { silu: true, ..linear };
        push(result, op, &maker.inputs, maker, &equation.outputs)?;
        Ok(true)
    })?;
    result.equations.retain(|equation| !equation.outputs.iter().any(|v| absorbed.contains(v)));
    Ok(result)
}

/// A gradient that adds another one to its result, if it does not yet.
fn with_residual(op: &Op) -> Option<Op> {
    match *op {
        Op::Conv2dInputGradient(op) if !op.residual => {
            Some(Conv2dInputGradient { residual: true, ..op }.into())
        }
        Op::LinearInputGradient(op) if !op.residual => {
            Some(LinearInputGradient { residual: true }.into())
        }
        Op::GroupNormBackward(op) if !op.residual => {
            Some(GroupNormBackward { residual: true, ..op }.into())
        }
        _ => None,
    }
}

/// The gradients of what has several readers, added up where the last of them is computed. A convolution's waits for
/// a norm's: the norm reads two large tensors already.
pub(super) fn gradients(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    // A gradient that only the sum reads, as it would add the rest.
    let host = |value: Value| {
        uses.reader(graph, value)?;
        let maker = uses.maker(graph, value).filter(|maker| maker.outputs[0] == value)?;
        Some((maker, with_residual(&maker.op)?))
    };
    // Of the equation in whose place it is added: what adds, the sum and the rest.
    let mut sums: HashMap<Value, [Value; 3]> = HashMap::new();
    let mut absorbed: HashSet<Value> = HashSet::new();
    for equation in &graph.equations {
        let (Op::Add(Add), &[a, b]) = (&equation.op, &equation.inputs[..]) else { continue };
        let (made, sum) = (|value: Value| uses.makers.get(&value), equation.outputs[0]);
        // The later one, when the other is there.
        let [first, last] = if made(a) > made(b) { [b, a] } else { [a, b] };
        match (host(first), host(last)) {
            (Some((_, Op::Conv2dInputGradient(_))), Some((_, Op::GroupNormBackward(_)))) => {
                sums.insert(sum, [first, sum, last]);
                absorbed.insert(first);
            }
            (_, Some(_)) => {
                sums.insert(last, [last, sum, first]);
                absorbed.insert(sum);
            }
            (_, None) => {}
        }
    }
    rewrite(graph, |result, equation| {
        if absorbed.contains(&equation.outputs[0]) {
            return Ok(true);
        }
        let Some(&[value, sum, rest]) = sums.get(&equation.outputs[0]) else { return Ok(false) };
        let Some((maker, op)) = host(value) else { return Ok(false) };
        let inputs = [&maker.inputs[..], &[rest]].concat();
        let outputs = [&[sum], &maker.outputs[1..]].concat();
        push(result, op, &inputs, maker, &outputs)?;
        Ok(true)
    })
}

/// The moments of what a convolution or linear layer makes, computed where it is made.
pub(super) fn moments(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let measured = |equation: &Equation| {
        let y = *equation.outputs.first()?;
        let readers = uses.readers.get(&y)?.iter().map(|&index| &graph.equations[index]);
        let mut moments = readers.filter(|reader| {
            matches!(reader.op, Op::GroupMoments(_)) && reader.section == equation.section
        });
        Some(moments.next()?.outputs[0])
    };
    let mut computed: HashSet<Value> = HashSet::new();
    rewrite(graph, |result, equation| {
        if matches!(equation.op, Op::GroupMoments(_)) {
            return Ok(computed.contains(&equation.outputs[0]));
        }
        let Some(moments) = measured(equation) else { return Ok(false) };
        let op: Op = match (fused(equation), linear(equation)) {
            (Some(conv), _) => FusedConv2d { moments: true, ..conv }.into(),
            (None, Some(linear)) => FusedLinear { moments: true, ..linear }.into(),
            (None, None) => return Ok(false),
        };
        computed.insert(moments);
        push(result, op, &equation.inputs, equation, &[equation.outputs[0], moments])?;
        Ok(true)
    })
}
