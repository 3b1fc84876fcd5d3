//! Which buffer each value lives in.
//!
//! wgpu refuses one buffer bound for reading and for writing in one dispatch, even at disjoint
//! ranges, so temporaries are not ranges of one heap: each lives in a *slot*, a whole buffer that
//! values share over time. Where memory is short they share it side by side, too.
use super::lowered::Lowered;
use crate::{
    error::{Error, LoweringError},
    graph::Graph,
    plan::{Access, BufferRole, Contents, Placement, Plan, PlannedBuffer, Target},
    value::Value,
};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
};

mod ranges;
mod slots;

use slots::Lifetime;

/// How values share a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// One after the other: launches that use different values run at once.
    InTurn,
    /// In less memory, side by side as well: the device may wait between launches that use one slot.
    SideBySide,
}

/// Places every value that a dispatch or a caller touches.
///
/// # Errors
/// If one dispatch reads and writes one buffer.
pub(super) fn plan(
    graph: &Graph,
    lowered: Lowered,
    target: &Target,
    sharing: Sharing,
) -> Result<Plan, Error> {
    let (lifetimes, shared) = lifetimes(graph, &lowered);
    let side_by_side = (sharing == Sharing::SideBySide).then_some(target.storage_alignment);
    let assignment = assign(graph, &lowered, &lifetimes, side_by_side);
    let Assignment { buffers, places, temporaries, fixed } = assignment;
    let values = (0..lowered.types.len()).map(|index| Value::new(graph.graph_id(), index));
    let (placements, roots): (Vec<_>, Vec<_>) = values
        .map(|value| {
            let (root, offset) = lowered.parts.place(value);
            let place = places.get(&root);
            (place.map(|place| Placement { offset: place.offset + offset, ..*place }), root)
        })
        .unzip();
    check_access(&lowered, &placements)?;
    let Lowered { sections, staged, choices, types, .. } = lowered;
    let launches = sections.iter().map(|section| section.launches.len()).sum();
    let alive: Vec<u64> = alive(&temporaries, launches).map(|bytes| fixed + bytes).collect();
    Ok(Plan(Contents {
        target: target.clone(),
        graph: graph.graph_id(),
        live_bytes: alive.iter().copied().max().unwrap_or(fixed),
        alive,
        unplanned_bytes: fixed + temporaries.iter().map(|(bytes, _)| bytes).sum::<u64>(),
        types,
        placements,
        roots,
        buffers,
        sections,
        staged,
        choices,
        inputs: graph.inputs.clone(),
        constants: graph.constants.clone(),
        shared,
        outputs: graph.outputs.clone(),
    }))
}

/// The launches between which each value is alive, and the values that one section of the graph
/// leaves to another.
fn lifetimes(graph: &Graph, lowered: &Lowered) -> (HashMap<Value, Lifetime>, Vec<Value>) {
    let mut lifetimes: HashMap<Value, Lifetime> = HashMap::new();
    let mut makers: HashMap<Value, usize> = HashMap::new();
    let mut shared = BTreeSet::new();
    let setup =
        |number: usize| number >= lowered.staged.len() && lowered.sections[number].is_setup();
    let mut launch = 0;
    for (number, section) in lowered.sections.iter().enumerate() {
        for dispatch in &section.launches {
            for value in dispatch.bindings.iter().filter_map(|binding| binding.value) {
                let root = lowered.parts.place(value).0;
                let maker = *makers.entry(root).or_insert(number);
                let first = Lifetime { first: launch, last: launch };
                let lifetime = lifetimes.entry(root).or_insert(first);
                // What one section makes and another reads stays for the runs to come. Sections run
                // in any order and again, so such a value shares its slot with no temporary. That of
                // the setup may: the setup runs again before anything reads it.
                let stays = lifetime.last == usize::MAX || maker != number;
                lifetime.last = if stays { usize::MAX } else { launch };
                if stays && !setup(maker) {
                    lifetime.first = 0;
                }
                if stays && !lowered.sections[maker].is_setup() {
                    shared.insert(root);
                }
            }
            launch += 1;
        }
    }
    // Other sections may run between a run and the reading of what it computed.
    let own = lowered.sections.iter().filter(|section| !section.is_setup()).count();
    for value in &graph.outputs {
        if let Some(lifetime) = lifetimes.get_mut(&lowered.parts.place(*value).0) {
            lifetime.last = usize::MAX;
            if own > 1 || !lowered.staged.is_empty() {
                lifetime.first = 0;
            }
        }
    }
    shared.retain(|value| !graph.inputs.contains(value));
    (lifetimes, shared.into_iter().collect())
}

/// Buffers, and the place in one of each value that no other value holds.
struct Assignment {
    buffers: Vec<PlannedBuffer>,
    places: HashMap<Value, Placement>,
    /// Bytes and lifetimes of the values in slots.
    temporaries: Vec<(u64, Lifetime)>,
    /// Bytes of the persistent buffers.
    fixed: u64,
}

/// Values share a slot side by side at multiples of an alignment, if one is given.
fn assign(
    graph: &Graph,
    lowered: &Lowered,
    lifetimes: &HashMap<Value, Lifetime>,
    side_by_side: Option<u64>,
) -> Assignment {
    let types = &lowered.types;
    let bytes = |value: Value| types[value.index()].bytes().next_multiple_of(16);
    let staged: HashSet<Value> = lowered.staged.iter().map(|staged| staged.input).collect();
    let mut persistent: Vec<Value> =
        graph.inputs.iter().copied().filter(|input| !staged.contains(input)).collect();
    // Gaps between an arena's tensors are read as zeros, so nothing else may live there.
    persistent.extend(lowered.arenas.iter().filter(|arena| !graph.inputs.contains(arena)));
    persistent.sort();

    let mut buffers = Vec::new();
    let mut places: HashMap<Value, Placement> = HashMap::new();
    for &value in &persistent {
        places.insert(value, Placement { buffer: buffers.len(), offset: 0 });
        buffers.push(PlannedBuffer { bytes: bytes(value), role: BufferRole::Persistent });
    }

    let mut values: Vec<(Value, Lifetime)> = lifetimes.iter().map(|(&v, &l)| (v, l)).collect();
    values.retain(|(value, _)| !places.contains_key(value));
    values.sort_by_key(|&(value, lifetime)| (Reverse(bytes(value)), lifetime.first, value));
    let temporaries: Vec<(u64, Lifetime)> = values.iter().map(|&(v, l)| (bytes(v), l)).collect();
    let in_slots = match side_by_side {
        Some(alignment) => ranges::assign(&temporaries, &conflicts(lowered, &values), alignment),
        None => slots::assign(&temporaries).into_iter().map(|slot| (slot, 0)).collect(),
    };
    let first_slot = buffers.len();
    let slots = in_slots.iter().map(|&(slot, _)| slot + 1).max().unwrap_or(0);
    buffers.resize(first_slot + slots, PlannedBuffer { bytes: 0, role: BufferRole::Slot });
    for (&(value, _), (slot, offset)) in values.iter().zip(in_slots) {
        let buffer = first_slot + slot;
        buffers[buffer].bytes = buffers[buffer].bytes.max(offset + bytes(value));
        places.insert(value, Placement { buffer, offset });
    }
    let fixed = persistent.iter().map(|&value| bytes(value)).sum();
    Assignment { buffers, places, temporaries, fixed }
}

/// Of each value those that a launch reads while it writes this one, or writes while it reads this one.
fn conflicts(lowered: &Lowered, values: &[(Value, Lifetime)]) -> Vec<Vec<usize>> {
    let numbers: HashMap<Value, usize> =
        values.iter().enumerate().map(|(number, &(value, _))| (value, number)).collect();
    let mut conflicts = vec![Vec::new(); values.len()];
    for dispatch in lowered.sections.iter().flat_map(|section| &section.launches) {
        let numbers = &numbers;
        let bound = |access| {
            let of_access = dispatch.bindings.iter().filter(move |of| of.access == access);
            let roots = of_access.filter_map(|of| Some(lowered.parts.place(of.value?).0));
            roots.filter_map(|root| numbers.get(&root).copied())
        };
        for read in bound(Access::Read) {
            for written in bound(Access::Write) {
                conflicts[read].push(written);
                conflicts[written].push(read);
            }
        }
    }
    conflicts
}

/// No dispatch may both read and write one buffer.
fn check_access(lowered: &Lowered, placements: &[Option<Placement>]) -> Result<(), LoweringError> {
    for dispatch in lowered.sections.iter().flat_map(|section| &section.launches) {
        let mut uses: HashMap<usize, Access> = HashMap::new();
        for binding in &dispatch.bindings {
            let Some(value) = binding.value else { continue };
            let Some(placement) = placements[value.index()] else { continue };
            let access = *uses.entry(placement.buffer).or_insert(binding.access);
            if access != binding.access {
                let kernel = dispatch.kernel.to_string();
                return Err(LoweringError::Aliased { kernel, value });
            }
        }
    }
    Ok(())
}

/// The sum of bytes of temporaries alive at each launch.
fn alive(temporaries: &[(u64, Lifetime)], launches: usize) -> impl Iterator<Item = u64> {
    let mut change = vec![0_i64; launches + 1];
    for &(bytes, lifetime) in temporaries {
        change[lifetime.first] += bytes as i64;
        change[lifetime.last.min(launches - 1) + 1] -= bytes as i64;
    }
    let mut sum = 0;
    change.into_iter().take(launches).map(move |change| {
        sum += change;
        sum as u64
    })
}
