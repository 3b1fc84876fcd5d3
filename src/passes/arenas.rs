//! Which constant arenas need no buffer of their own.
//!
//! A kernel family packs weights once, and from then on nothing reads them as they were written.
//! An arena of such weights is taken apart: each part that only its packing reads passes through
//! a slot, one after the other, when the arena is written; the parts that steps read as they are
//! move together. A model then takes its packed weights and the largest plain one, not both whole.
use super::lowered::{Lowered, Part};
use crate::{
    graph::Graph,
    ops::{Op, View},
    plan::{Access, Dispatch, Section, StagedPart, Trigger},
    value::Value,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

/// Takes apart the constant arenas of which a part passes through.
pub(super) fn take_apart(graph: &Graph, lowered: &mut Lowered) {
    let mut parts = parts_of_arenas(graph);
    let owners = owners(lowered, &parts);
    let loaded: HashSet<Value> = owners.iter().copied().flatten().collect();
    let others = setup(lowered).iter().zip(&owners).filter(|(_, owner)| owner.is_none());
    let read: HashSet<Value> = others
        .map(|(dispatch, _)| dispatch)
        .chain(lowered.sections[1..].iter().flat_map(|section| &section.launches))
        .flat_map(|dispatch| dispatch.bindings.iter().filter_map(|binding| binding.value))
        .filter_map(|value| part_behind(lowered, &parts, value))
        .collect();
    let passes = |part: &Value| loaded.contains(part) && !read.contains(part);
    let apart: HashSet<Value> =
        parts.iter().filter(|(part, _)| passes(part)).map(|(_, at)| at.whole).collect();
    parts.retain(|_, at| apart.contains(&at.whole));

    let mut own: HashMap<Value, Vec<Dispatch>> = HashMap::new();
    let mut rest = Vec::new();
    for (dispatch, owner) in mem::take(&mut lowered.sections[0].launches).into_iter().zip(owners) {
        match owner.filter(|part| parts.contains_key(part)) {
            Some(part) => own.entry(part).or_default().push(dispatch),
            None => rest.push(dispatch),
        }
    }
    let mut in_order: Vec<(Value, Part)> = parts.into_iter().collect();
    in_order.sort_by_key(|&(part, at)| (at.whole, at.offset, part));
    // What the parts of an arena that do not pass move to, and how many elements these take.
    let mut kept: BTreeMap<Value, (Value, usize)> = BTreeMap::new();
    let mut uploads = Vec::new();
    for (part, Part { whole, offset }) in in_order {
        lowered.parts.0.remove(&part);
        if !passes(&part) {
            let of = lowered.types[part.index()];
            let (arena, elements) = kept.entry(whole).or_insert_with(|| {
                lowered.types.push(lowered.types[whole.index()]);
                (Value::new(graph.graph_id(), lowered.types.len() - 1), 0)
            });
            lowered.parts.0.insert(
                part,
                Part { whole: *arena, offset: (*elements * of.element.bytes()) as u64 },
            );
            *elements += View::room(of);
        }
        lowered.staged.push(StagedPart { input: whole, part, offset });
        uploads.push(Section {
            name: format!("upload of {part}"),
            trigger: Trigger::AfterWrite(vec![part]),
            launches: own.remove(&part).unwrap_or_default(),
        });
    }
    for (arena, elements) in kept.into_values() {
        lowered.types[arena.index()] = lowered.types[arena.index()].with_shape(&[elements]);
        lowered.arenas.insert(arena);
    }
    lowered.sections[0].launches = rest;
    if setup(lowered).is_empty() {
        lowered.sections.remove(0);
    }
    lowered.sections.splice(0..0, uploads);
}

/// What follows from constants alone, before anything is taken apart.
fn setup(lowered: &Lowered) -> &[Dispatch] {
    &lowered.sections[0].launches
}

/// The parts of the constants that are read as parts alone, and where these lie.
fn parts_of_arenas(graph: &Graph) -> HashMap<Value, Part> {
    let outputs: HashSet<Value> = graph.outputs.iter().copied().collect();
    let mut whole = outputs.clone();
    whole.extend(graph.updates.iter().map(|update| update.state));
    let mut parts = HashMap::new();
    for equation in &graph.equations {
        match &equation.op {
            Op::View(view) if !outputs.contains(&equation.outputs[0]) => {
                let at = Part { whole: equation.inputs[0], offset: view.byte_offset() };
                parts.insert(equation.outputs[0], at);
            }
            _ => whole.extend(&equation.inputs),
        }
    }
    // Of parts that overlap, writing one changes another.
    let mut spans: Vec<(Value, u64, u64)> = parts
        .iter()
        .map(|(part, at)| (at.whole, at.offset, at.offset + graph.type_of(*part).bytes()))
        .collect();
    spans.sort_unstable();
    let overlapping =
        spans.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[1].1 < pair[0].2);
    whole.extend(overlapping.map(|pair| pair[0].0));
    parts.retain(|_, at| graph.constants.contains(&at.whole) && !whole.contains(&at.whole));
    parts
}

/// For each launch of the setup, the part from which alone it follows.
fn owners(lowered: &Lowered, parts: &HashMap<Value, Part>) -> Vec<Option<Value>> {
    let root = |value| lowered.parts.place(value).0;
    let written = |dispatch| bound(dispatch, Access::Write).map(root);
    let mut writers: HashMap<Value, usize> = HashMap::new();
    for value in setup(lowered).iter().flat_map(written) {
        *writers.entry(value).or_default() += 1;
    }
    // What follows from one part alone. Where several dispatches fill a value, the order in which
    // a caller writes inputs would decide what it holds.
    let mut origins: HashMap<Value, Value> = HashMap::new();
    let owner = |dispatch| {
        let origin = |value| {
            part_behind(lowered, parts, value).or_else(|| origins.get(&root(value)).copied())
        };
        let mut read = bound(dispatch, Access::Read).map(origin);
        let first = read.next().flatten()?;
        let alone = read.all(|other| other == Some(first));
        drop(read);
        if !alone || written(dispatch).any(|value| writers[&value] > 1) {
            return None;
        }
        origins.extend(written(dispatch).map(|value| (value, first)));
        Some(first)
    };
    setup(lowered).iter().map(owner).collect()
}

/// What a dispatch binds with this access.
fn bound(dispatch: &Dispatch, access: Access) -> impl Iterator<Item = Value> + '_ {
    let of_access = dispatch.bindings.iter().filter(move |binding| binding.access == access);
    of_access.filter_map(|binding| binding.value)
}

/// The part of an arena that `value` is, or lies in.
fn part_behind(lowered: &Lowered, parts: &HashMap<Value, Part>, value: Value) -> Option<Value> {
    let mut holders =
        std::iter::successors(Some(value), |value| Some(lowered.parts.0.get(value)?.whole));
    holders.find(|holder| parts.contains_key(holder))
}
