//! What convolutions read their input through.
use super::rewrite::{Uses, fused, load_of, push, rewrite};
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{
        ApplyAffine, Concat, FusedConv2d, FusedConv2dWeightGradient, GroupMoments, Load, Op,
        Prologue, UpsampleNearest,
    },
    value::Value,
};
use std::collections::HashMap;

/// The same equation, reading `read` as `load` says.
fn reading(equation: &Equation, load: Load, read: &[Value]) -> Option<(Op, Vec<Value>)> {
    let before = load_of(&equation.op)?.arity();
    let inputs = [read, &equation.inputs[before..]].concat();
    let op = match equation.op {
        Op::Conv2dWeightGradient(gradient) => FusedConv2dWeightGradient { gradient, load }.into(),
        Op::FusedConv2dWeightGradient(fused) => FusedConv2dWeightGradient { load, ..fused }.into(),
        _ => FusedConv2d { load, ..fused(equation)? }.into(),
    };
    Some((op, inputs))
}

/// Whether all that reads a value is convolutions, or their weight gradients, that read it as
/// their input and may do so as `extend` makes of their load.
fn readable(
    graph: &Graph,
    uses: &Uses,
    value: Value,
    extend: impl Fn(Load) -> Option<Load>,
) -> bool {
    let may = |reader: &Equation| {
        let once = reader.inputs.iter().filter(|&&input| input == value).count() == 1;
        reader.inputs[0] == value && once && load_of(&reader.op).and_then(&extend).is_some()
    };
    uses.readers(graph, value).is_some_and(|mut readers| readers.all(may))
}

/// Convolutions read what an equation reads in place of what it makes, where `extend` tells how
/// their load does what the equation did.
fn read_through(graph: &Graph, extend: impl Fn(&Op, Load) -> Option<Load>) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    // Asked of a value by each of its readers, found once.
    let mut known: HashMap<Value, bool> = HashMap::new();
    rewrite(graph, |result, equation| {
        let Some(load) = load_of(&equation.op) else { return Ok(false) };
        let x = equation.inputs[0];
        let Some(maker) = uses.maker(graph, x) else { return Ok(false) };
        let through = |load| extend(&maker.op, load);
        if !*known.entry(x).or_insert_with(|| readable(graph, &uses, x, through)) {
            return Ok(false);
        }
        let read = [&maker.inputs[..], &equation.inputs[1..load.arity()]].concat();
        let Some(load) = through(load) else { return Ok(false) };
        let Some((op, inputs)) = reading(equation, load, &read) else { return Ok(false) };
        push(result, op, &inputs, equation, &equation.outputs)?;
        Ok(true)
    })
}

/// Upsampling into the convolutions that follow.
pub(super) fn upsampling(graph: &Graph) -> Result<Graph, Error> {
    read_through(graph, |op, load| {
        let plain = load == Load::default();
        let upsamples = matches!(op, Op::UpsampleNearest(UpsampleNearest));
        (plain && upsamples).then_some(Load { upsample: true, ..load })
    })
}

/// A scale, a shift and SiLU into all the convolutions that read them, or into none.
pub(super) fn prologues(graph: &Graph) -> Result<Graph, Error> {
    read_through(graph, |op, load| {
        let Op::ApplyAffine(ApplyAffine { silu }) = *op else { return None };
        let prologue = if silu { Prologue::AffineSilu } else { Prologue::Affine };
        let free = load.prologue == Prologue::Identity && !load.concat;
        free.then_some(Load { prologue, ..load })
    })
}

/// A concatenation is read in place if convolutions and group norms alone read it.
pub(super) fn concatenations(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    let folded = |equation: &Equation| {
        let single =
            |reader: &Equation| matches!(reader.op, Op::GroupAffine(_)) && reader.inputs.len() == 3;
        matches!(equation.op, Op::GroupMoments(GroupMoments))
            && uses.reader(graph, equation.outputs[0]).is_some_and(single)
    };
    let convolved = |equation: &Equation, value: Value| {
        let once = equation.inputs.iter().filter(|&&input| input == value).count() == 1;
        load_of(&equation.op).is_some_and(|load| !load.concat)
            && equation.inputs[0] == value
            && once
    };
    // The two halves, by what holds both.
    let mut halves: HashMap<Value, [Value; 2]> = HashMap::new();
    for equation in &graph.equations {
        let (Op::Concat(Concat), &[x0, x1]) = (&equation.op, &equation.inputs[..]) else {
            continue;
        };
        let whole = equation.outputs[0];
        let aligned = [x0, x1].iter().all(|&x| graph.type_of(x).shape.last().is_multiple_of(4));
        let all = uses.readers(graph, whole).is_some_and(|mut readers| {
            readers.all(|reader| folded(reader) || convolved(reader, whole))
        });
        if aligned && all {
            halves.insert(whole, [x0, x1]);
        }
    }
    let mut moments: HashMap<Value, [Value; 2]> = HashMap::new();
    rewrite(graph, |result, equation| {
        if let Some(&[m0, m1]) = equation.inputs.first().and_then(|value| moments.get(value)) {
            let inputs = [&[m0, m1], &equation.inputs[1..]].concat();
            push(result, equation.op.clone(), &inputs, equation, &equation.outputs)?;
            return Ok(true);
        }
        let Some(&[x0, x1]) = equation.inputs.first().and_then(|value| halves.get(value)) else {
            return Ok(false);
        };
        if let Some(load) = load_of(&equation.op) {
            let read = [&[x0, x1], &equation.inputs[1..load.arity()]].concat();
            let load = Load { concat: true, ..load };
            if let Some((op, inputs)) = reading(equation, load, &read) {
                push(result, op, &inputs, equation, &equation.outputs)?;
            }
        } else {
            let m0 = push(result, GroupMoments, &[x0], equation, &[])?[0];
            let m1 = push(result, GroupMoments, &[x1], equation, &[])?[0];
            moments.insert(equation.outputs[0], [m0, m1]);
        }
        Ok(true)
    })
}
