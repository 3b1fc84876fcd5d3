//! What convolutions and linear layers write their output through.
use super::rewrite::{Uses, fused, linear, push, rewrite};
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{Add, AddEmbedding, FusedConv2d, FusedLinear, Op, Silu},
    value::Value,
};
use std::collections::HashSet;

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

/// The moments of what a convolution makes, computed where it is made.
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
        let (Some(conv), Some(moments)) = (fused(equation), measured(equation)) else {
            return Ok(false);
        };
        computed.insert(moments);
        let outputs = [equation.outputs[0], moments];
        push(result, FusedConv2d { moments: true, ..conv }, &equation.inputs, equation, &outputs)?;
        Ok(true)
    })
}
