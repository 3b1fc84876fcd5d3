//! Equations of the backward pass where they are wanted, not before: a gradient that waits for its reader takes
//! memory all the while.
use crate::{
    graph::Graph,
    ops::{Op, Operator},
    value::Value,
};
use std::collections::HashSet;

/// The graph with each equation of the backward pass moved to where its result is first read, if what it
/// makes is no less than what it alone keeps alive until then. The gradient of a convolution's input then comes
/// after that of its weight.
pub(super) fn sink(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let inside = inside(graph);
    let bytes = |value: &Value| match inside.contains(value) {
        true => 0,
        false => graph.type_of(*value).bytes(),
    };
    let equations = &mut result.equations;
    for at in (0..equations.len()).rev() {
        let own = &equations[at];
        let placed = matches!(own.op, Op::View(_) | Op::Pack(_)) || !own.op.in_place().is_empty();
        if placed || !own.scope.is_backward() {
            continue;
        }
        let reads =
            |of: &Value, from: usize| equations[from..].iter().any(|e| e.inputs.contains(of));
        let behind = equations[at + 1..].iter();
        let section = behind.take_while(|other| other.section == own.section);
        let reader = section.enumerate().find_map(|(ahead, other)| {
            let read = other.inputs.iter().any(|value| own.outputs.contains(value));
            read.then_some(at + 1 + ahead)
        });
        let Some(reader) = reader.filter(|reader| *reader > at + 1) else { continue };
        let made: u64 = own.outputs.iter().map(bytes).sum();
        let read: HashSet<&Value> = own.inputs.iter().collect();
        let kept: u64 = read.into_iter().filter(|value| !reads(value, reader)).map(bytes).sum();
        if made >= kept {
            equations[at..reader].rotate_left(1);
        }
    }
    result
}

/// Inputs, and values that lie inside others.
fn inside(graph: &Graph) -> HashSet<Value> {
    let lying = graph.equations.iter().flat_map(|equation| match &equation.op {
        Op::View(_) => &equation.outputs[..],
        Op::Pack(_) => &equation.inputs[..],
        _ => &[],
    });
    lying.chain(&graph.inputs).copied().collect()
}
