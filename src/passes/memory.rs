//! Which buffer each value lives in.
//!
//! wgpu refuses one buffer bound for reading and for writing in one dispatch, even at disjoint
//! ranges, so temporaries are not ranges of one heap: each lives in a *slot*, a whole buffer that
//! values share over time.
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

mod slots;

use slots::Lifetime;

/// Places every value that a dispatch or a caller touches.
///
/// # Errors
/// If one dispatch reads and writes one buffer.
pub(super) fn plan(graph: &Graph, lowered: Lowered, target: &Target) -> Result<Plan, Error> {
    let (lifetimes, shared) = lifetimes(graph, &lowered);
    let assignment = assign(graph, &lowered, &lifetimes);
    let Assignment { buffers, buffer_of, temporaries, fixed } = assignment;
    let values = (0..lowered.types.len()).map(|index| Value::new(graph.graph_id(), index));
    let (placements, roots): (Vec<_>, Vec<_>) = values
        .map(|value| {
            let (root, offset) = lowered.parts.place(value);
            (buffer_of.get(&root).map(|&buffer| Placement { buffer, offset }), root)
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

/// Buffers, and the one of each value that no other value holds.
struct Assignment {
    buffers: Vec<PlannedBuffer>,
    buffer_of: HashMap<Value, usize>,
    /// Bytes and lifetimes of the values in slots.
    temporaries: Vec<(u64, Lifetime)>,
    /// Bytes of the persistent buffers.
    fixed: u64,
}

fn assign(graph: &Graph, lowered: &Lowered, lifetimes: &HashMap<Value, Lifetime>) -> Assignment {
    let types = &lowered.types;
    let bytes = |value: Value| types[value.index()].bytes().next_multiple_of(16);
    let staged: HashSet<Value> = lowered.staged.iter().map(|staged| staged.input).collect();
    let mut persistent: Vec<Value> =
        graph.inputs.iter().copied().filter(|input| !staged.contains(input)).collect();
    // Gaps between an arena's tensors are read as zeros, so nothing else may live there.
    persistent.extend(lowered.arenas.iter().filter(|arena| !graph.inputs.contains(arena)));
    persistent.sort();

    let mut buffers = Vec::new();
    let mut buffer_of: HashMap<Value, usize> = HashMap::new();
    for &value in &persistent {
        buffer_of.insert(value, buffers.len());
        buffers.push(PlannedBuffer { bytes: bytes(value), role: BufferRole::Persistent });
    }

    let mut values: Vec<(Value, Lifetime)> = lifetimes.iter().map(|(&v, &l)| (v, l)).collect();
    values.retain(|(value, _)| !buffer_of.contains_key(value));
    values.sort_by_key(|&(value, lifetime)| (Reverse(bytes(value)), lifetime.first, value));
    let temporaries: Vec<(u64, Lifetime)> = values.iter().map(|&(v, l)| (bytes(v), l)).collect();
    let first_slot = buffers.len();
    for (&(value, _), slot) in values.iter().zip(slots::assign(&temporaries)) {
        let buffer = first_slot + slot;
        if buffer == buffers.len() {
            buffers.push(PlannedBuffer { bytes: bytes(value), role: BufferRole::Slot });
        }
        buffer_of.insert(value, buffer);
    }
    let fixed = persistent.iter().map(|&value| bytes(value)).sum();
    Assignment { buffers, buffer_of, temporaries, fixed }
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
