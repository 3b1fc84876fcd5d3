//! Removes what nobody reads and computes nothing twice.
use crate::{
    graph::{Equation, Graph, Update},
    ops::{Op, Operator},
    value::Value,
};
use std::collections::{HashMap, HashSet, hash_map::Entry};

/// Common subexpressions of a section become one equation; then equations that no output or update
/// depends on are dropped. Values keep their names; those of the outputs stay defined, because callers
/// ask for results by them.
///
/// Ops compare as values: random tensors are merged only if they are of the same stream. State that is
/// updated in place is never merged.
///
/// ```
/// use ddim::{graph::Graph, ops::{Add, Silu}, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let x = graph.input(TensorType::f32(&[4]));
/// let [a, b] = [graph.push(Silu, &[x])?, graph.push(Silu, &[x])?];
/// let y = graph.push(Add, &[a, b])?;
/// graph.outputs.push(y);
/// assert_eq!((graph.equations.len(), passes::simplify(&graph).equations.len()), (3, 2));
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn simplify(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let renamed = merge_common(&mut result);
    for Update { next, .. } in &mut result.updates {
        *next = *renamed.get(next).unwrap_or(next);
    }
    drop_dead(&mut result);
    result
}

fn merge_common(graph: &mut Graph) -> HashMap<Value, Value> {
    let outputs: HashSet<Value> = graph.outputs.iter().copied().collect();
    let mut renamed: HashMap<Value, Value> = HashMap::new();
    let mut seen: HashMap<(Op, Vec<Value>, usize), usize> = HashMap::new();
    let mut kept: Vec<Equation> = Vec::with_capacity(graph.equations.len());
    for mut equation in std::mem::take(&mut graph.equations) {
        for input in &mut equation.inputs {
            *input = *renamed.get(input).unwrap_or(input);
        }
        let mergeable = equation.op.in_place().is_empty()
            && !equation.outputs.iter().any(|v| outputs.contains(v));
        let key = (equation.op.clone(), equation.inputs.clone(), equation.section);
        match seen.entry(key) {
            Entry::Occupied(first) if mergeable => {
                let pairs = equation.outputs.iter().zip(&kept[*first.get()].outputs);
                renamed.extend(pairs.map(|(&from, &to)| (from, to)));
            }
            Entry::Occupied(_) => kept.push(equation),
            Entry::Vacant(entry) => {
                entry.insert(kept.len());
                kept.push(equation);
            }
        }
    }
    graph.equations = kept;
    renamed
}

fn drop_dead(graph: &mut Graph) {
    let mut live: HashSet<Value> = graph.outputs.iter().copied().collect();
    live.extend(graph.updates.iter().map(|update| update.next));
    let mut kept: Vec<Equation> = Vec::with_capacity(graph.equations.len());
    for equation in std::mem::take(&mut graph.equations).into_iter().rev() {
        if equation.outputs.iter().any(|v| live.contains(v)) {
            live.extend(&equation.inputs);
            kept.push(equation);
        }
    }
    kept.reverse();
    graph.equations = kept;
}
