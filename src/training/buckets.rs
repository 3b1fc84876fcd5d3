//! The gradients of several ranks in buckets: those that the backward pass completes first are added up first, while it
//! goes on. Buckets are parts of the arenas that one rank has, so the update of the weights has the same launches.
use crate::{error::Error, graph::Graph, nn::Arenas, ops::Accumulate, value::Value};
use std::{collections::HashMap, ops::Range};

/// Bytes of a bucket, if nobody says another number: as many as PyTorch's DistributedDataParallel takes.
pub(super) const BUCKET: u64 = 25 << 20;

/// A part of an arena of gradients: those of parameters that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub arena: usize,
    pub elements: Range<usize>,
}

/// Arenas of gradients that are added up in buckets.
pub(super) struct Sums {
    pub buckets: Vec<Bucket>,
    /// The means over a step, arena by arena: what callers read, and what a micro-batch makes of it.
    pub states: Vec<Value>,
    pub next: Vec<Value>,
}

/// Means of gradients over a step, arena by arena. To each bucket of at most so many bytes its part of a micro-batch is
/// added by `op` as soon as it is complete; `backward` is the first equation of the backward pass.
pub(super) fn sums(
    graph: &mut Graph,
    arenas: &Arenas,
    gradients: &[Option<Value>],
    op: Accumulate,
    key: Value,
    bytes: u64,
    backward: usize,
) -> Result<Sums, Error> {
    let mut buckets = cut(arenas, bytes);
    sort(&mut buckets, graph, arenas, gradients);
    let states: Vec<Value> = arenas.arenas.iter().map(|&of| graph.input(of)).collect();
    let (mut next, late) = (states.clone(), graph.equations.len());
    for Bucket { arena, elements } in &buckets {
        let packed = arenas.pack_part(graph, gradients, *arena, elements.clone())?;
        let op = Accumulate { offset: elements.start, ..op };
        next[*arena] = graph.push(op, &[next[*arena], packed, key])?;
    }
    for (&state, &next) in states.iter().zip(&next) {
        graph.update(state, next);
    }
    bring_forward(graph, backward, late);
    Ok(Sums { buckets, states, next })
}

/// Cuts arenas into buckets of at most so many bytes, or of one parameter that takes more. The bucket of the first layers
/// is complete last, with no work left to hide it behind: it takes what remains.
fn cut(arenas: &Arenas, bytes: u64) -> Vec<Bucket> {
    let most = usize::try_from(bytes / 4).unwrap_or(usize::MAX);
    let mut buckets = Vec::new();
    for (arena, of) in arenas.arenas.iter().enumerate() {
        let mut open = of.shape.elements()..of.shape.elements();
        for place in arenas.places.iter().rev().filter(|place| place.arena == arena) {
            if !open.is_empty() && open.end - place.offset > most {
                buckets.push(Bucket { arena, elements: open.clone() });
                open.end = open.start;
            }
            open.start = place.offset;
        }
        buckets.push(Bucket { arena, elements: open });
    }
    buckets
}

/// Puts those buckets first that are complete first.
fn sort(buckets: &mut [Bucket], graph: &Graph, arenas: &Arenas, gradients: &[Option<Value>]) {
    let mut makers: HashMap<Value, usize> = HashMap::new();
    for (number, equation) in graph.equations.iter().enumerate() {
        makers.extend(equation.outputs.iter().map(|&value| (value, number)));
    }
    buckets.sort_by_cached_key(|bucket| {
        let all = arenas.places.iter().zip(gradients);
        let own = all.filter(|(place, _)| {
            place.arena == bucket.arena && bucket.elements.contains(&place.offset)
        });
        own.filter_map(|(_, gradient)| makers.get(gradient.as_ref()?).copied()).max()
    });
}

/// Moves the equations from `late` on to where all that they read is there, behind the first of the backward pass.
fn bring_forward(graph: &mut Graph, backward: usize, late: usize) {
    for equation in graph.equations.split_off(late) {
        let behind_maker = |value: &Value| {
            let made = graph.equations.iter().rposition(|other| other.outputs.contains(value));
            made.map(|at| at + 1)
        };
        let ready = equation.inputs.iter().filter_map(behind_maker).max().unwrap_or(0);
        let at = ready.max(backward + 1).min(graph.equations.len());
        graph.equations.insert(at, equation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nn::{Initial, ParameterSpec},
        value::TensorType,
    };

    #[test]
    fn arenas_are_cut_from_their_ends() {
        let spec = |elements: &usize| {
            let (of, initial) = (TensorType::f32(&[*elements]), Initial::Normal(1.0));
            ParameterSpec { name: elements.to_string(), of, initial }
        };
        let specs = [64, 60, 190, 64, 320].iter().map(spec).collect();
        let arenas = Arenas::new(specs, 4 * 400);
        let cuts = |bytes| -> Vec<_> {
            let buckets = cut(&arenas, bytes).into_iter();
            buckets.map(|bucket| (bucket.arena, bucket.elements)).collect()
        };
        assert_eq!(cuts(4 * 128), [(0, 320..384), (0, 128..320), (0, 0..128), (1, 0..320)]);
        assert_eq!(cuts(BUCKET), [(0, 0..384), (1, 0..320)]);
        assert_eq!(cuts(0).len(), 5);
    }
}
