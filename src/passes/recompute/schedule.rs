//! What a graph says of its values: who makes and reads them, what they take, and which may be computed again.
use crate::{
    graph::{Equation, Graph},
    ops::{Op, Operator},
    value::Value,
};
use std::{collections::HashSet, mem};

/// A value that is so many times smaller than the largest activation is never recomputed: it stays.
const SMALL: u64 = 256;

/// Operations that take as long as the traffic of a byte, roughly.
const OPERATIONS_PER_BYTE: u64 = 10;

/// Equations and values by their numbers, and what they take.
pub(super) struct Schedule {
    /// Values that each equation reads.
    pub inputs: Vec<Vec<usize>>,
    /// Values that each equation makes.
    pub outputs: Vec<Vec<usize>>,
    /// The equations that read a value, in order.
    pub readers: Vec<Vec<usize>>,
    /// The equation that makes a value, where it may be computed again.
    pub maker: Vec<Option<usize>>,
    /// Bytes that a value takes while it is alive: none of what lies inside another, or stays for good.
    pub bytes: Vec<u64>,
    /// Bytes of what stays for good.
    pub fixed: u64,
    /// Bytes of scratch of each equation.
    pub scratch: Vec<u64>,
    /// Work of each equation.
    pub work: Vec<u64>,
    /// Equations of the forward pass.
    pub forward: usize,
}

impl Schedule {
    pub fn of(graph: &Graph, scratch: Vec<u64>) -> Self {
        let equations = &graph.equations;
        let indices = |values: &[Value]| values.iter().map(|v| v.index()).collect::<Vec<_>>();
        let inputs: Vec<_> = equations.iter().map(|e| indices(&e.inputs)).collect();
        let outputs: Vec<_> = equations.iter().map(|e| indices(&e.outputs)).collect();
        let mut readers = vec![Vec::new(); graph.types().len()];
        for (index, inputs) in inputs.iter().enumerate() {
            inputs.iter().for_each(|&value| readers[value].push(index));
        }
        let mut bytes: Vec<u64> = graph.types().iter().map(|of| of.bytes()).collect();
        inside(graph).for_each(|value| bytes[value.index()] = 0);
        let staying = staying(graph).into_iter();
        let fixed = staying.map(|value| mem::take(&mut bytes[value])).sum();
        let forward = equations.iter().position(|e| e.scope.is_backward());
        let forward = forward.unwrap_or(0);
        let maker = makers(graph, &outputs, &bytes, forward);
        let work = equations.iter().map(|equation| work(graph, equation)).collect();
        Self { inputs, outputs, readers, maker, bytes, fixed, scratch, work, forward }
    }
}

/// The equations of the forward pass that may be computed again, by the large values that they make.
fn makers(
    graph: &Graph,
    outputs: &[Vec<usize>],
    bytes: &[u64],
    forward: usize,
) -> Vec<Option<usize>> {
    let section = graph.equations.get(forward).map(|equation| equation.section);
    let pure = |&index: &usize| {
        let Equation { op, section: own, .. } = &graph.equations[index];
        let placed = matches!(op, Op::View(_) | Op::Pack(_) | Op::Custom(_));
        let stays = outputs[index].iter().any(|&value| bytes[value] == 0);
        section == Some(*own) && op.in_place().is_empty() && !placed && !stays
    };
    let own = (0..forward).filter(pure);
    let own: Vec<_> =
        own.flat_map(|index| outputs[index].iter().map(move |&value| (value, index))).collect();
    let least = own.iter().map(|&(value, _)| bytes[value]).max().unwrap_or(0) / SMALL;
    let mut makers = vec![None; bytes.len()];
    for (value, index) in own.into_iter().filter(|&(value, _)| bytes[value] >= least) {
        makers[value] = Some(index);
    }
    makers
}

/// Operations, and traffic in terms of these.
fn work(graph: &Graph, equation: &Equation) -> u64 {
    let types: Vec<_> = equation.inputs.iter().map(|value| graph.type_of(*value)).collect();
    let cost = equation.op.cost(&types);
    cost.flops + OPERATIONS_PER_BYTE * cost.bytes
}

/// The values that are there for good: inputs, outputs, what an update or another section reads.
fn staying(graph: &Graph) -> HashSet<usize> {
    let mut section = vec![None; graph.types().len()];
    let updates = graph.updates.iter().map(|update| update.next);
    let ends = graph.inputs.iter().chain(&graph.outputs).copied().chain(updates);
    let mut stays: HashSet<usize> = ends.map(|value| value.index()).collect();
    for equation in &graph.equations {
        for value in &equation.inputs {
            let made = section[value.index()];
            if made.is_some_and(|section| section != equation.section) {
                stays.insert(value.index());
            }
        }
        for value in &equation.outputs {
            section[value.index()] = Some(equation.section);
        }
        if matches!(equation.op, Op::Pack(_)) {
            stays.insert(equation.outputs[0].index());
        }
    }
    stays
}

/// Values that lie inside others.
fn inside(graph: &Graph) -> impl Iterator<Item = Value> {
    graph.equations.iter().flat_map(|equation| match &equation.op {
        Op::View(_) => equation.outputs.clone(),
        Op::Pack(_) => equation.inputs.clone(),
        op => op.in_place().iter().map(|&(output, _)| equation.outputs[output]).collect(),
    })
}
