//! Equations to dispatches, and which values are parts of others.
mod bands;

use super::lowered::{Lowered, Part, Parts};
use crate::{
    error::{Error, LoweringError},
    graph::{Equation, Graph, Update},
    ops::{Lowering, Op, Operator},
    plan::{Cost, Dispatch, KernelSelector, Scope, Section, Target, Trigger, fold},
    shaders::copy,
    value::{TensorType, Value},
};
use bands::Band;
use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
};

/// Lowers every equation in order.
///
/// # Errors
/// If an equation cannot run on the target, or reads state after it was updated in place.
pub(super) fn lower(
    graph: &Graph,
    target: &Target,
    selector: &dyn KernelSelector,
) -> Result<Lowered, Error> {
    let mut lowering = Lowering::new(target, selector, graph);
    let updated: HashSet<Value> = graph.updates.iter().map(|update| update.state).collect();
    let constants: Vec<Value> =
        graph.constants.iter().copied().filter(|v| !updated.contains(v)).collect();
    lowering.mark_constant(&constants);
    if graph.equations.iter().any(computes_weight_gradient) {
        lowering.train();
    }
    if graph.equations.iter().any(computes_gradient) {
        lowering.differentiate();
    }
    let (mut parts, mut arenas, placeable) = (Parts::default(), HashSet::new(), placeable(graph));
    let mut own = Vec::with_capacity(graph.equations.len());
    for equation in &graph.equations {
        lowering.begin(equation);
        let first = lowering.launches();
        match &equation.op {
            Op::View(view) => {
                let part = Part { whole: equation.inputs[0], offset: view.byte_offset() };
                parts.0.insert(equation.outputs[0], part);
                lowering
                    .fold_constants(&equation.inputs, &equation.outputs, |_| Ok::<_, Error>(()))?;
            }
            Op::Pack(pack) => {
                arenas.insert(equation.outputs[0]);
                place(&mut lowering, graph, equation, &pack.offsets, &placeable, &mut parts)?;
            }
            op => {
                for &(output, input) in op.in_place() {
                    let whole = equation.inputs[input];
                    parts.0.insert(equation.outputs[output], Part { whole, offset: 0 });
                }
                let bands = bands::of(&mut lowering, equation);
                if bands.is_none() {
                    check_sizes(graph, equation, target)?;
                }
                lowering.fold_constants(&equation.inputs, &equation.outputs, |lowering| {
                    let Some(bands) = bands else { return lower_equation(lowering, equation) };
                    let mut bands = bands.into_iter();
                    bands.try_for_each(|band| lower_band(lowering, band, equation))
                })?;
            }
        }
        own.push(first..lowering.launches());
    }
    let rows = lowering.parts().iter();
    parts.0.extend(rows.map(|&(part, whole, offset)| (part, Part { whole, offset })));
    check_in_place(graph, &parts)?;
    update(graph, &mut lowering, &parts)?;
    let (launches, types, choices) = lowering.finish();
    let sections = sections(graph, launches);
    Ok(Lowered { sections, staged: Vec::new(), own, choices, types, parts, arenas })
}

/// The operands of a pack lie in its arena: those that are computed there, and copies of the others.
fn place(
    lowering: &mut Lowering,
    graph: &Graph,
    pack: &Equation,
    offsets: &[usize],
    placeable: &HashSet<Value>,
    parts: &mut Parts,
) -> Result<(), LoweringError> {
    for (&operand, &offset) in pack.inputs.iter().zip(offsets) {
        let part = Part { whole: pack.outputs[0], offset: 4 * offset as u64 };
        if placeable.contains(&operand) {
            parts.0.insert(operand, part);
        } else {
            let place = lowering.scratch(graph.type_of(operand));
            parts.0.insert(place, part);
            copy(lowering, graph, operand, place, &pack.scope)?;
        }
    }
    Ok(())
}

fn lower_equation(lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
    let types: Vec<_> = equation.inputs.iter().map(|v| lowering.type_of(*v)).collect();
    let cost = equation.op.cost(&types);
    lowering.equation(&equation.scope, cost, |lowering| match &equation.op {
        Op::Custom(_) => lowering.custom(equation),
        op => op.lower(lowering, equation),
    })
}

fn lower_band(lowering: &mut Lowering, band: Band, whole: &Equation) -> Result<(), Error> {
    let equation = band.equation(lowering, whole);
    lowering.reads(&equation.inputs);
    lower_equation(lowering, &equation)
}

/// The setup, then the graph's sections.
fn sections(graph: &Graph, launches: Vec<Vec<Dispatch>>) -> Vec<Section> {
    let setup = ("setup".to_owned(), Trigger::AfterWrite(graph.constants.clone()));
    let sections = [setup].into_iter().chain(graph.sections().iter().cloned()).zip(launches);
    sections.map(|((name, trigger), launches)| Section { name, trigger, launches }).collect()
}

/// Copies what updates computed to their state, at the end of a run; what a section that is called
/// by name computed, at the end of that section.
fn update(graph: &Graph, lowering: &mut Lowering, parts: &Parts) -> Result<(), Error> {
    let by_name = |section: &usize| graph.sections()[*section].1 == Trigger::ByName;
    let last = (0..graph.sections().len()).rfind(|section| !by_name(section)).unwrap_or(0);
    let mut replaced = HashSet::new();
    for &Update { state, next } in &graph.updates {
        let (root, offset) = parts.place(next);
        if (root, offset) == (state, 0) {
            continue;
        }
        if replaced.contains(&root) {
            let (op, reader) = (format!("the update of {root}"), format!("the update of {state}"));
            return Err(LoweringError::ReadAfterUpdate { value: next, op, reader }.into());
        }
        let maker = graph.equations.iter().find(|equation| equation.outputs.contains(&next));
        let own = maker.map(|equation| equation.section).filter(by_name);
        lowering.enter(own.unwrap_or(last));
        copy(lowering, graph, next, state, &Scope::new("update"))?;
        replaced.insert(state);
    }
    Ok(())
}

fn copy(
    lowering: &mut Lowering,
    graph: &Graph,
    from: Value,
    to: Value,
    scope: &Scope,
) -> Result<(), LoweringError> {
    let dispatch = copy_dispatch(from, to, graph.type_of(from));
    lowering.equation(scope, Cost::default(), |lowering| lowering.push(dispatch))
}

/// What an equation reads and writes must fit the device's largest binding. Families are cut by
/// the sizes of tensors, so this comes before any is.
fn check_sizes(graph: &Graph, equation: &Equation, target: &Target) -> Result<(), LoweringError> {
    let limit = target.max_binding;
    let too_large = |value: &&Value| graph.type_of(**value).bytes() > limit;
    match equation.inputs.iter().chain(&equation.outputs).find(too_large) {
        None => Ok(()),
        Some(&value) => {
            let (kernel, of) = (equation.op.to_string(), graph.type_of(value));
            let (name, bytes) = (value.to_string(), of.bytes());
            Err(LoweringError::Binding { kernel, name, of, bytes, limit })
        }
    }
}

/// Of a product or a convolution.
fn computes_gradient(equation: &Equation) -> bool {
    let inputs = matches!(equation.op, Op::Conv2dInputGradient(_) | Op::LinearInputGradient(_));
    inputs
        || matches!(equation.op, Op::LinearWeightGradient(_))
        || computes_weight_gradient(equation)
}

fn computes_weight_gradient(equation: &Equation) -> bool {
    matches!(equation.op, Op::Conv2dWeightGradient(_) | Op::FusedConv2dWeightGradient(_))
}

/// Values that may be computed where an arena wants them: an equation makes them, and only the
/// pack reads them. One that two packs want, or one pack twice, is copied to both places.
fn placeable(graph: &Graph) -> HashSet<Value> {
    let mut readers: HashMap<Value, usize> = HashMap::new();
    let inputs = graph.equations.iter().flat_map(|equation| &equation.inputs);
    let updates = graph.updates.iter().map(|update| &update.next);
    for value in inputs.chain(&graph.outputs).chain(updates) {
        *readers.entry(*value).or_default() += 1;
    }
    let made = graph.equations.iter().flat_map(|equation| &equation.outputs);
    let lying = |equation: &&Equation| {
        matches!(equation.op, Op::View(_)) || !equation.op.in_place().is_empty()
    };
    let elsewhere: HashSet<Value> =
        graph.equations.iter().filter(lying).flat_map(|e| e.outputs.iter().copied()).collect();
    let once = |value: &Value| readers.get(value) == Some(&1) && !elsewhere.contains(value);
    made.copied().filter(once).collect()
}

fn copy_dispatch(x: Value, y: Value, of: TensorType) -> Dispatch {
    let overrides = copy::Overrides::default();
    let blocks = of.bytes().div_ceil(16) as u32;
    let grid = fold(blocks.div_ceil(overrides.workgroup) as usize);
    copy::Forward { x, y }.dispatch(copy::Params { blocks }, overrides, grid).of_bits()
}

/// Nothing may read a value after an op has updated it where it lies; the op's own results are
/// the new contents.
fn check_in_place(graph: &Graph, parts: &Parts) -> Result<(), Error> {
    let mut updated: HashMap<Value, &Equation> = HashMap::new();
    let check = |updated: &HashMap<Value, &Equation>, value: Value, reader: &dyn Display| {
        let Some(by) = updated.get(&parts.place(value).0) else { return Ok(()) };
        let mut holders = std::iter::successors(Some(value), |v| Some(parts.0.get(v)?.whole));
        if holders.any(|holder| by.outputs.contains(&holder)) {
            return Ok(());
        }
        let (op, reader) = (by.op.to_string(), reader.to_string());
        Err(LoweringError::ReadAfterUpdate { value, op, reader })
    };
    for equation in &graph.equations {
        for &value in &equation.inputs {
            check(&updated, value, &equation.op)?;
        }
        for &(_, input) in equation.op.in_place() {
            updated.insert(parts.place(equation.inputs[input]).0, equation);
        }
    }
    for update in &graph.updates {
        check(&updated, update.next, &format_args!("the update of {}", update.state))?;
    }
    for &value in &graph.outputs {
        // State, and views of it, are read after the run for what it then holds.
        if !graph.inputs.contains(&parts.place(value).0) {
            check(&updated, value, &"the caller")?;
        }
    }
    Ok(())
}
