//! Which buffer each value lives in.
//!
//! wgpu refuses one buffer bound for reading and for writing in one dispatch, even at disjoint
//! ranges, so temporaries are not ranges of one heap: each lives in a *slot*, a whole buffer that
//! values share over time.
use super::Lowered;
use crate::{
    error::{Error, LoweringError},
    graph::Graph,
    plan::{Access, BufferRole, Load, Placement, Plan, PlannedBuffer, Steps, Target},
    value::Value,
};
use std::collections::{HashMap, HashSet};

mod slots;

use slots::Life;

/// Places every value that a dispatch or a caller touches.
///
/// # Errors
/// If a persistent buffer passes the device's largest binding, or one dispatch reads and writes
/// one buffer.
pub(super) fn plan(graph: &Graph, lowered: Lowered, target: &Target) -> Result<Plan, Error> {
    let Lowered { prepare, loads, dispatches, choices, types, parts, arenas } = lowered;
    let bytes = |value: Value| types[value.index()].bytes().next_multiple_of(16);
    let apart: HashSet<Value> = loads.iter().map(|load| load.input).collect();
    let mut persistent: Vec<Value> =
        graph.inputs.iter().copied().filter(|input| !apart.contains(input)).collect();
    let loading = Load::launches_of(&loads);
    // Which load a launch belongs to; what is prepared then, and the steps, are the last two.
    let section = |launch: usize| match launch {
        _ if launch < loading => loads.partition_point(|load| load.launches.end <= launch),
        _ if launch < prepare.len() => loads.len(),
        _ => loads.len() + 1,
    };
    let mut lives: HashMap<Value, Life> = HashMap::new();
    for (index, dispatch) in prepare.iter().chain(&dispatches).enumerate() {
        for value in dispatch.bindings.iter().filter_map(|binding| binding.value) {
            let root = parts.place(value).0;
            let life = lives.entry(root).or_insert(Life { first: index, last: index });
            // What is prepared and then read stays for the runs to come. Loads come in any order
            // and again, so nothing that one leaves behind may lie where another works.
            let stays = life.last == usize::MAX || section(life.first) != section(index);
            life.last = if stays { usize::MAX } else { index };
            if stays && life.first < loading {
                life.first = 0;
            }
        }
    }
    for value in &graph.outputs {
        if let Some(life) = lives.get_mut(&parts.place(*value).0) {
            life.last = usize::MAX;
            // Inputs may be loaded between a run and the reading of what it computed.
            if loading > 0 {
                life.first = 0;
            }
        }
    }
    // Gaps between an arena's tensors are read as zeros, so nothing else may live there.
    persistent.extend(arenas.iter().filter(|arena| !graph.inputs.contains(arena)));
    persistent.sort();
    let kept: HashSet<Value> = persistent.iter().copied().collect();

    let mut buffers = Vec::new();
    let mut homes: HashMap<Value, usize> = HashMap::new();
    for &value in &persistent {
        let (size, limit) = (bytes(value), target.max_binding);
        if size > limit && lives.contains_key(&value) {
            let (name, of) = (value.to_string(), types[value.index()]);
            let kernel = "persistent buffer".to_owned();
            return Err(LoweringError::Binding { kernel, name, of, bytes: size, limit }.into());
        }
        homes.insert(value, buffers.len());
        buffers.push(PlannedBuffer { bytes: size, role: BufferRole::Persistent });
    }

    let mut temporaries: Vec<(Value, Life)> =
        lives.iter().map(|(&v, &life)| (v, life)).filter(|(v, _)| !kept.contains(v)).collect();
    temporaries.sort_by_key(|&(v, life)| (std::cmp::Reverse(bytes(v)), life.first, v));
    let sized: Vec<(u64, Life)> = temporaries.iter().map(|&(v, life)| (bytes(v), life)).collect();
    let first_slot = buffers.len();
    for (&(value, _), slot) in temporaries.iter().zip(slots::assign(&sized)) {
        let buffer = first_slot + slot;
        if buffer == buffers.len() {
            buffers.push(PlannedBuffer { bytes: bytes(value), role: BufferRole::Slot });
        }
        homes.insert(value, buffer);
    }

    let placements: Vec<Option<Placement>> = (0..types.len())
        .map(|index| {
            let (root, offset) = parts.place(Value::new(graph.owner(), index));
            homes.get(&root).map(|&buffer| Placement { buffer, offset })
        })
        .collect();
    for dispatch in prepare.iter().chain(&dispatches) {
        let mut uses: HashMap<usize, Access> = HashMap::new();
        for binding in &dispatch.bindings {
            let Some(value) = binding.value else { continue };
            let Some(placement) = placements[value.index()] else { continue };
            let access = *uses.entry(placement.buffer).or_insert(binding.access);
            if access != binding.access {
                let kernel = dispatch.kernel.to_string();
                return Err(LoweringError::Aliased { kernel, value }.into());
            }
        }
    }

    let fixed: u64 = persistent.iter().map(|&v| bytes(v)).sum();
    let total: u64 = temporaries.iter().map(|&(v, _)| bytes(v)).sum();
    Ok(Plan(Steps {
        target: target.clone(),
        owner: graph.owner(),
        live_bytes: fixed + most_alive(&temporaries, prepare.len() + dispatches.len(), bytes),
        unplanned_bytes: fixed + total,
        types,
        placements,
        buffers,
        prepare,
        loads,
        choices,
        dispatches,
        inputs: graph.inputs.clone(),
        held: graph.held.clone(),
        outputs: graph.outputs.clone(),
    }))
}

/// Largest sum of bytes of temporaries alive at one dispatch.
fn most_alive(
    temporaries: &[(Value, Life)],
    dispatches: usize,
    bytes: impl Fn(Value) -> u64,
) -> u64 {
    let mut change = vec![0_i64; dispatches + 1];
    for &(value, life) in temporaries {
        change[life.first] += bytes(value) as i64;
        change[life.last.min(dispatches - 1) + 1] -= bytes(value) as i64;
    }
    let alive = change.iter().scan(0, |sum, change| {
        *sum += change;
        Some(*sum)
    });
    alive.max().unwrap_or(0) as u64
}
