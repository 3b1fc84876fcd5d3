//! The order in which a graph with recomputed equations runs, and what that takes.
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{Op, Operator},
    value::Value,
};
use std::collections::{HashMap, HashSet};

/// A value that is so many times smaller than the largest activation is never recomputed: it stays.
const SMALL: u64 = 256;

/// Operations that take as long as the traffic of a byte, roughly.
const OPERATIONS_PER_BYTE: u64 = 10;

/// An equation's turn.
#[derive(Clone, Copy)]
struct Turn {
    equation: usize,
    /// Whether it was computed before.
    again: bool,
}

/// What a schedule takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Bytes alive at once, scratch left out.
    pub peak: u64,
    /// Work that is done again: operations, and traffic in terms of these.
    pub work: u64,
}

/// The forward pass of a graph, and who reads what.
pub(super) struct Schedule {
    /// Inputs of each equation, as indices of values.
    inputs: Vec<Vec<usize>>,
    /// Outputs of each equation.
    outputs: Vec<Vec<usize>>,
    /// The equation that makes a value.
    maker: Vec<Option<usize>>,
    /// Bytes that a value takes while it is alive: none of what lies inside another.
    bytes: Vec<u64>,
    /// Whether a value lives for good.
    stays: Vec<bool>,
    /// Whether a value is large enough to be recomputed.
    large: Vec<bool>,
    /// Whether an equation may be computed again.
    eligible: Vec<bool>,
    /// Work of an equation.
    work: Vec<u64>,
    /// The first equation of the backward pass.
    turn: usize,
}

impl Schedule {
    pub fn of(graph: &Graph) -> Self {
        let equations = &graph.equations;
        let turn = equations.iter().position(|e| e.scope.is_backward());
        let turn = turn.unwrap_or(equations.len());
        let section = equations.get(turn).map(|equation| equation.section);
        let indices = |values: &[Value]| values.iter().map(|v| v.index()).collect::<Vec<_>>();
        let inputs: Vec<_> = equations.iter().map(|e| indices(&e.inputs)).collect();
        let outputs: Vec<_> = equations.iter().map(|e| indices(&e.outputs)).collect();
        let mut maker = vec![None; graph.types().len()];
        for (index, outputs) in outputs.iter().enumerate() {
            outputs.iter().for_each(|&value| maker[value] = Some(index));
        }
        let stays = staying(graph, &maker);
        let mut bytes: Vec<u64> = graph.types().iter().map(|of| of.bytes()).collect();
        for value in inside(graph) {
            bytes[value.index()] = 0;
        }
        let own = |index: &usize| section == Some(equations[*index].section) && *index < turn;
        let forward: Vec<usize> = (0..equations.len()).filter(own).collect();
        let activations = forward.iter().flat_map(|&index| &outputs[index]).map(|&v| bytes[v]);
        let large = activations.max().unwrap_or(0) / SMALL;
        let large: Vec<bool> = bytes.iter().map(|&bytes| bytes > 0 && bytes >= large).collect();
        let mut eligible = vec![false; equations.len()];
        for index in forward {
            let op = &equations[index].op;
            let placed = matches!(op, Op::View(_) | Op::Pack(_) | Op::Custom(_));
            let (pure, own) = (op.in_place().is_empty() && !placed, &outputs[index]);
            let kept = own.iter().any(|&v| stays[v]);
            eligible[index] = pure && !kept && own.iter().any(|&v| large[v]);
        }
        let work = equations.iter().map(|equation| work(graph, equation)).collect();
        Self { inputs, outputs, maker, bytes, stays, large, eligible, work, turn }
    }

    /// Bytes of all activations that may be dropped.
    pub fn activations(&self) -> u64 {
        let eligible = (0..self.turn).filter(|&index| self.eligible[index]);
        eligible.map(|index| self.large_bytes(index)).sum()
    }

    fn large_bytes(&self, equation: usize) -> u64 {
        let large = self.outputs[equation].iter().filter(|&&value| self.large[value]);
        large.map(|&value| self.bytes[value]).sum()
    }

    /// The equations of the forward pass that are dropped if it is cut into segments of about so many
    /// bytes: those that no other segment reads.
    pub fn cut(&self, length: u64) -> Vec<bool> {
        // The bytes that pass from what is before an equation to what is not.
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (index, inputs) in self.inputs[..self.turn].iter().enumerate() {
            let made = inputs.iter().filter(|&&value| self.maker[value].is_some());
            last.extend(made.map(|&value| (value, index)));
        }
        let mut passing = vec![0_i64; self.turn + 2];
        for (&value, &last) in &last {
            let made = self.maker[value].unwrap_or(last);
            passing[made + 1] += self.bytes[value] as i64;
            passing[last + 1] -= self.bytes[value] as i64;
        }
        (1..passing.len()).for_each(|at| passing[at] += passing[at - 1]);
        let (mut segment, mut number) = (vec![0; self.turn], 0);
        // Where the segment may end: past half of its length, where the least passes.
        let (mut first, mut filled, mut best): (_, _, Option<usize>) = (0, 0, None);
        let mut index = 0;
        while index < self.turn {
            segment[index] = number;
            filled += if self.eligible[index] { self.large_bytes(index) } else { 0 };
            let end = index + 1;
            if 2 * filled >= length && best.is_none_or(|best| passing[end] < passing[best]) {
                best = Some(end);
            }
            index += 1;
            if filled >= length {
                index = best.unwrap_or(index).max(first + 1);
                segment[first..index].fill(number);
                (first, filled, best) = (index, 0, None);
                number += 1;
            }
        }
        let mut dropped: Vec<bool> = self.eligible[..self.turn].to_vec();
        for (index, inputs) in self.inputs[..self.turn].iter().enumerate() {
            for &value in inputs.iter().filter(|&&value| self.large[value]) {
                let Some(maker) = self.maker[value] else { continue };
                dropped[maker] &= segment[maker] == segment[index];
            }
        }
        dropped
    }

    /// What is dropped, first what is most work for its bytes.
    pub fn dearest_first(&self, dropped: &[bool]) -> Vec<usize> {
        let mut own: Vec<usize> = (0..dropped.len()).filter(|&index| dropped[index]).collect();
        let price = |index: usize| self.work[index] as f64 / self.large_bytes(index) as f64;
        own.sort_by(|&a, &b| price(b).total_cmp(&price(a)));
        own
    }

    /// What it takes to drop these equations of the forward pass.
    pub fn times(&self, dropped: &[bool]) -> Times {
        let turns = self.turns(dropped);
        let values = self.bytes.len();
        // A recomputed value is a value of its own.
        let (mut first, mut last) = (vec![usize::MAX; 2 * values], vec![0; 2 * values]);
        let mut work = 0;
        for (at, &Turn { equation, again }) in turns.iter().enumerate() {
            work += if again { self.work[equation] } else { 0 };
            let copies = again || equation >= self.turn;
            let read = self.inputs[equation].iter().map(|&value| match copies {
                true if self.is_copied(value, dropped) => values + value,
                _ => value,
            });
            let offset = if again { values } else { 0 };
            let made = self.outputs[equation].iter().map(|&value| offset + value);
            for value in read.chain(made) {
                first[value] = first[value].min(at);
                last[value] = at;
            }
        }
        let (mut fixed, mut change) = (0, vec![0_i64; turns.len() + 1]);
        for value in 0..values {
            if self.stays[value] {
                fixed += self.bytes[value];
                continue;
            }
            for value in [value, values + value].into_iter().filter(|&v| first[v] != usize::MAX) {
                let bytes = self.bytes[value % values] as i64;
                change[first[value]] += bytes;
                change[last[value] + 1] -= bytes;
            }
        }
        let (mut alive, mut most) = (0, 0);
        for change in change {
            alive += change;
            most = alive.max(most);
        }
        Times { peak: fixed + most as u64, work }
    }

    /// The graph in which these equations of the forward pass are computed again where the backward pass
    /// wants them.
    ///
    /// # Errors
    /// None of a graph that is well formed.
    pub fn apply(&self, graph: &Graph, dropped: &[bool]) -> Result<Graph, Error> {
        let mut result = graph.clone();
        result.equations.clear();
        let mut copies: HashMap<Value, Value> = HashMap::new();
        for Turn { equation, again } in self.turns(dropped) {
            let original = &graph.equations[equation];
            let mut inputs = original.inputs.clone();
            if again || equation >= self.turn {
                for input in &mut inputs {
                    if self.is_copied(input.index(), dropped) {
                        *input = copies[input];
                    }
                }
            }
            if again {
                let scope = original.scope.clone();
                let made = result.push_scoped(original.op.clone(), &inputs, scope)?;
                copies.extend(original.outputs.iter().copied().zip(made));
                if let Some(made) = result.equations.last_mut() {
                    (made.section, made.again) = (original.section, true);
                }
            } else {
                result.equations.push(Equation { inputs, ..original.clone() });
            }
        }
        Ok(result)
    }

    /// Whether the backward pass reads a copy of this value.
    fn is_copied(&self, value: usize, dropped: &[bool]) -> bool {
        let maker = self.maker[value].filter(|&maker| maker < self.turn);
        self.large[value] && maker.is_some_and(|maker| dropped[maker])
    }

    /// All equations in order; what is dropped comes again before the first that wants it.
    fn turns(&self, dropped: &[bool]) -> Vec<Turn> {
        let mut turns = Vec::with_capacity(2 * self.inputs.len());
        let mut done = vec![false; self.turn];
        for equation in 0..self.inputs.len() {
            if equation >= self.turn {
                let mut wanted = self.copied_makers(equation, dropped);
                while let Some(&maker) = wanted.last() {
                    let before = self.copied_makers(maker, dropped);
                    let missing: Vec<_> = before.into_iter().filter(|&m| !done[m]).collect();
                    if missing.is_empty() || done[maker] {
                        wanted.pop();
                        if !std::mem::replace(&mut done[maker], true) {
                            turns.push(Turn { equation: maker, again: true });
                        }
                    } else {
                        wanted.extend(missing);
                    }
                }
            }
            turns.push(Turn { equation, again: false });
        }
        turns
    }

    /// The equations whose copies one reads.
    fn copied_makers(&self, equation: usize, dropped: &[bool]) -> Vec<usize> {
        let copied = self.inputs[equation].iter().filter(|&&v| self.is_copied(v, dropped));
        copied.filter_map(|&value| self.maker[value]).collect()
    }
}

fn work(graph: &Graph, equation: &Equation) -> u64 {
    let types: Vec<_> = equation.inputs.iter().map(|value| graph.type_of(*value)).collect();
    let cost = equation.op.cost(&types);
    cost.flops + OPERATIONS_PER_BYTE * cost.bytes
}

/// Which values are there for good: inputs, outputs, what an update or another section reads.
fn staying(graph: &Graph, maker: &[Option<usize>]) -> Vec<bool> {
    let mut stays = vec![false; maker.len()];
    let updates = graph.updates.iter().map(|update| update.next);
    for value in graph.inputs.iter().chain(&graph.outputs).copied().chain(updates) {
        stays[value.index()] = true;
    }
    for equation in &graph.equations {
        for value in &equation.inputs {
            let made = maker[value.index()].map(|maker| graph.equations[maker].section);
            stays[value.index()] |= made.is_some_and(|section| section != equation.section);
        }
        if matches!(equation.op, Op::Pack(_)) {
            stays[equation.outputs[0].index()] = true;
        }
    }
    stays
}

/// Values that lie inside others.
fn inside(graph: &Graph) -> HashSet<Value> {
    let lying = graph.equations.iter().flat_map(|equation| match &equation.op {
        Op::View(_) => equation.outputs.clone(),
        Op::Pack(_) => equation.inputs.clone(),
        op => op.in_place().iter().map(|&(output, _)| equation.outputs[output]).collect(),
    });
    lying.collect()
}
