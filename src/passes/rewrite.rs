//! Who makes and who reads the values of a graph, and how its equations are replaced.
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{FusedConv2d, FusedLinear, Linear, Load, Op},
    value::Value,
};
use std::collections::{HashMap, HashSet};

/// Who makes and who reads each value.
pub(super) struct Uses {
    pub makers: HashMap<Value, usize>,
    pub readers: HashMap<Value, Vec<usize>>,
    /// Read by callers, updates or another section than their maker's.
    pub kept: HashSet<Value>,
}

impl Uses {
    pub fn of(graph: &Graph) -> Self {
        let (mut makers, mut readers) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        let updates = graph.updates.iter().map(|update| update.next);
        let mut kept: HashSet<Value> = graph.outputs.iter().copied().chain(updates).collect();
        for (index, equation) in graph.equations.iter().enumerate() {
            makers.extend(equation.outputs.iter().map(|&value| (value, index)));
            for &value in &equation.inputs {
                readers.entry(value).or_default().push(index);
                // What one section leaves to another, callers may change in between.
                if makers.get(&value).is_some_and(|&at| {
                    let maker: &Equation = &graph.equations[at];
                    maker.section != equation.section
                }) {
                    kept.insert(value);
                    makers.remove(&value);
                }
            }
        }
        Self { makers, readers, kept }
    }

    /// The equation that makes a value.
    pub fn maker<'a>(&self, graph: &'a Graph, value: Value) -> Option<&'a Equation> {
        self.makers.get(&value).map(|&index| &graph.equations[index])
    }

    /// The equations that read a value, if there are any and nobody else does.
    pub fn readers<'a>(
        &self,
        graph: &'a Graph,
        value: Value,
    ) -> Option<impl ExactSizeIterator<Item = &'a Equation>> {
        let readers = self.readers.get(&value).filter(|_| !self.kept.contains(&value))?;
        Some(readers.iter().map(|&index| &graph.equations[index]))
    }

    /// The equation that alone reads a value, once.
    pub fn reader<'a>(&self, graph: &'a Graph, value: Value) -> Option<&'a Equation> {
        self.readers(graph, value).filter(|readers| readers.len() == 1)?.next()
    }
}

/// Values that follow from constants alone.
pub(super) fn constants(graph: &Graph) -> HashSet<Value> {
    let updated = |value: &Value| graph.updates.iter().any(|update| update.state == *value);
    let mut constants: HashSet<Value> =
        graph.constants.iter().copied().filter(|v| !updated(v)).collect();
    for equation in &graph.equations {
        if !equation.inputs.is_empty() && equation.inputs.iter().all(|v| constants.contains(v)) {
            constants.extend(&equation.outputs);
        }
    }
    constants
}

/// Replaces equations: `replace` pushes onto the new graph what stands for an equation, or
/// returns false to keep it.
pub(super) fn rewrite(
    graph: &Graph,
    mut replace: impl FnMut(&mut Graph, &Equation) -> Result<bool, Error>,
) -> Result<Graph, Error> {
    let mut result = graph.clone();
    result.equations.clear();
    for equation in &graph.equations {
        let first = result.equations.len();
        if !replace(&mut result, equation)? {
            result.equations.push(equation.clone());
        }
        result.equations[first..].iter_mut().for_each(|made| made.section = equation.section);
    }
    Ok(result)
}

/// Appends an equation whose first outputs are given; the others are new.
pub(super) fn push(
    graph: &mut Graph,
    op: impl Into<Op>,
    inputs: &[Value],
    like: &Equation,
    outputs: &[Value],
) -> Result<Vec<Value>, Error> {
    let made = graph.push_scoped(op.into(), inputs, like.scope.clone())?;
    let equation = graph.equations.last_mut().expect("just pushed");
    equation.outputs[..outputs.len()].copy_from_slice(outputs);
    Ok(if outputs.is_empty() { made } else { equation.outputs.clone() })
}

/// How a convolution, or its weight gradient, reads its input; none of another op.
pub(super) fn load_of(op: &Op) -> Option<Load> {
    match op {
        Op::Conv2d(_) | Op::Conv2dWeightGradient(_) => Some(Load::default()),
        Op::FusedConv2d(fused) => Some(fused.load),
        Op::FusedConv2dWeightGradient(fused) => Some(fused.load),
        _ => None,
    }
}

/// A convolution in its fused form.
pub(super) fn fused(equation: &Equation) -> Option<FusedConv2d> {
    match equation.op {
        Op::Conv2d(conv) => Some(FusedConv2d { bias: equation.inputs.len() == 3, ..conv.into() }),
        Op::FusedConv2d(fused) => Some(fused),
        _ => None,
    }
}

/// A linear layer in its fused form.
pub(super) fn linear(equation: &Equation) -> Option<FusedLinear> {
    match equation.op {
        Op::Linear(Linear) => {
            let bias = equation.inputs.len() == 3;
            Some(FusedLinear { bias, residual: false, silu: false, moments: false })
        }
        Op::FusedLinear(fused) => Some(fused),
        _ => None,
    }
}
