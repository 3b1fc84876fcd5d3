//! Equations to dispatches, and which values are parts of others.
use crate::{
    error::Error,
    graph::{Equation, Graph},
    ops::{Lowering, LoweringError, Op, Operator},
    plan::{Choose, Cost, Dispatch, Scope, Target, fold},
    shaders::copy,
    value::{TensorType, Value},
};
use std::collections::{HashMap, HashSet};

/// A value that lies inside another one.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The value that holds it.
    pub whole: Value,
    /// First byte.
    pub offset: u64,
}

/// A graph as dispatches over values that have no place yet.
#[derive(Debug)]
pub struct Lowered {
    /// In order.
    pub dispatches: Vec<Dispatch>,
    /// Types of all values, scratch included.
    pub types: Vec<TensorType>,
    /// Values that share the bytes of another.
    pub parts: HashMap<Value, Part>,
    /// Values that several equations fill, bit by bit: their gaps must stay zero.
    pub arenas: HashSet<Value>,
}

/// Lowers every equation in order.
///
/// # Errors
/// If an equation cannot run on the target, or reads state after it was updated in place.
pub fn lower(graph: &Graph, target: &Target, choose: &dyn Choose) -> Result<Lowered, Error> {
    let mut lowering = Lowering::new(target, choose, graph.types.clone());
    let mut parts: HashMap<Value, Part> = HashMap::new();
    let mut arenas = HashSet::new();
    let inputs: HashSet<Value> = graph.inputs.iter().copied().collect();
    let kept: HashSet<Value> = graph.outputs.iter().copied().collect();
    for equation in &graph.equations {
        match &equation.op {
            Op::View(view) => {
                let part = Part { whole: equation.inputs[0], offset: 4 * view.offset as u64 };
                parts.insert(equation.outputs[0], part);
            }
            Op::Pack(pack) => {
                let arena = equation.outputs[0];
                arenas.insert(arena);
                for (&operand, &offset) in equation.inputs.iter().zip(&pack.offsets) {
                    let part = Part { whole: arena, offset: 4 * offset as u64 };
                    let taken = parts.contains_key(&operand) || inputs.contains(&operand);
                    if taken || kept.contains(&operand) {
                        let place = lowering.scratch(graph.type_of(operand));
                        parts.insert(place, part);
                        lowering.equation(&equation.scope, Cost::default(), |lowering| {
                            lowering.push(copy_dispatch(operand, place, graph.type_of(operand)))
                        })?;
                    } else {
                        parts.insert(operand, part);
                    }
                }
            }
            op => {
                for &(output, input) in op.in_place() {
                    let whole = equation.inputs[input];
                    parts.insert(equation.outputs[output], Part { whole, offset: 0 });
                }
                let types: Vec<_> = equation.inputs.iter().map(|v| graph.type_of(*v)).collect();
                let cost = op.cost(&types);
                lowering
                    .equation(&equation.scope, cost, |lowering| op.lower(lowering, equation))?;
            }
        }
    }
    check_in_place(graph, &parts)?;
    for update in &graph.updates {
        if place(&parts, update.next) != (update.state, 0) {
            let of = graph.type_of(update.state);
            lowering.equation(&Scope::new("update"), Cost::default(), |lowering| {
                lowering.push(copy_dispatch(update.next, update.state, of))
            })?;
        }
    }
    let (dispatches, types) = lowering.finish();
    Ok(Lowered { dispatches, types, parts, arenas })
}

/// The buffer-owning value behind `value`, and the first byte in it.
pub fn place(parts: &HashMap<Value, Part>, value: Value) -> (Value, u64) {
    let (mut value, mut offset) = (value, 0);
    while let Some(part) = parts.get(&value) {
        offset += part.offset;
        value = part.whole;
    }
    (value, offset)
}

fn copy_dispatch(x: Value, y: Value, of: TensorType) -> Dispatch {
    let overrides = copy::Overrides::default();
    let blocks = of.bytes().div_ceil(16) as u32;
    let grid = fold(blocks.div_ceil(overrides.workgroup) as usize);
    let mut dispatch = copy::Forward { x, y }.dispatch(copy::Params { blocks }, overrides, grid);
    for binding in &mut dispatch.bindings {
        // Bits are copied whatever they mean, so the operand's type is the declared one.
        binding.storage = crate::plan::Storage::Bits;
    }
    dispatch
}

/// An op that updates its operand where it lies must be the last to read it.
fn check_in_place(graph: &Graph, parts: &HashMap<Value, Part>) -> Result<(), Error> {
    let root = |value: &Value| place(parts, *value).0;
    let mut updated: HashMap<Value, &Equation> = HashMap::new();
    for equation in &graph.equations {
        for value in &equation.inputs {
            // The update's own results may be read: they are the new contents.
            let fresh = updated.get(&root(value)).is_some_and(|by| by.outputs.contains(value));
            if let Some(by) = updated.get(&root(value)).filter(|_| !fresh) {
                let (op, reader) = (by.op.to_string(), equation.op.to_string());
                return Err(LoweringError::ReadAfterUpdate { value: *value, op, reader }.into());
            }
        }
        for &(_, input) in equation.op.in_place() {
            updated.insert(root(&equation.inputs[input]), equation);
        }
    }
    Ok(())
}
