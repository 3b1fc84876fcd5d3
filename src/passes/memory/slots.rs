//! Which temporaries share a slot: greedily by size, as in "Efficient Memory Management for Deep
//! Neural Net Inference" (Pisarchyk and Lee 2020, section 4.2).
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// First and last dispatch that touch a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub first: usize,
    pub last: usize,
}

/// The slot of each temporary, given with its bytes: the last slot made that is free during its
/// lifetime, or a new one. The largest come first, and of one size those whose lifetimes begin first; so
/// the first occupant of a slot is its largest, and the slot made last is the tightest.
///
/// For temporaries of one size the time only advances, so a tree over the slots finds the last
/// free one in logarithmic time.
pub(super) fn assign(temporaries: &[(u64, Lifetime)]) -> Vec<usize> {
    let mut slots = Slots::default();
    let mut assigned = Vec::with_capacity(temporaries.len());
    for of_one_size in temporaries.chunk_by(|a, b| a.0 == b.0) {
        slots.rewind(of_one_size[0].1.first);
        assigned.extend(of_one_size.iter().map(|(_, lifetime)| slots.occupy(*lifetime)));
    }
    assigned
}

/// The slots as they are at one dispatch, the present.
#[derive(Default)]
struct Slots {
    /// Last dispatch of each occupant's lifetime by the first, slot by slot.
    lifetimes: Vec<BTreeMap<usize, usize>>,
    /// The last dispatch through which a slot is free, none if it is occupied at present: a binary
    /// tree of maxima, the root at 1, the slots its leaves.
    free_through: Vec<Option<usize>>,
    /// When this changes next, slot by slot.
    change: Vec<usize>,
    /// The changes in order of time; those that `change` does not hold are out of date.
    changes: BinaryHeap<Reverse<(usize, usize)>>,
}

impl Slots {
    /// Makes this dispatch the present.
    fn rewind(&mut self, present: usize) {
        self.changes.clear();
        (0..self.lifetimes.len()).for_each(|slot| self.refresh(slot, present));
    }

    /// Gives the last slot that is free during this lifetime to it; the lifetime begins at the present or
    /// later.
    fn occupy(&mut self, lifetime: Lifetime) -> usize {
        while let Some(&Reverse((at, slot))) = self.changes.peek()
            && at <= lifetime.first
        {
            self.changes.pop();
            if self.change[slot] == at {
                self.refresh(slot, lifetime.first);
            }
        }
        let slot = self.last_free(lifetime.last).unwrap_or_else(|| self.add());
        self.lifetimes[slot].insert(lifetime.first, lifetime.last);
        self.refresh(slot, lifetime.first);
        slot
    }

    fn last_free(&self, through: usize) -> Option<usize> {
        let free = |node: usize| self.free_through[node] >= Some(through);
        if self.lifetimes.is_empty() || !free(1) {
            return None;
        }
        let (mut node, leaves) = (1, self.free_through.len() / 2);
        while node < leaves {
            node = 2 * node + usize::from(free(2 * node + 1));
        }
        Some(node - leaves)
    }

    fn add(&mut self) -> usize {
        let slot = self.lifetimes.len();
        self.lifetimes.push(BTreeMap::new());
        self.change.push(0);
        let leaves = self.free_through.len() / 2;
        if slot == leaves {
            let known = self.free_through.split_off(leaves);
            self.free_through = vec![None; 4 * leaves.max(1)];
            for (slot, free_through) in known.into_iter().enumerate() {
                self.set(slot, free_through);
            }
        }
        slot
    }

    /// Finds until when a slot is free, and when that changes.
    fn refresh(&mut self, slot: usize, present: usize) {
        let lifetimes = &self.lifetimes[slot];
        let before = lifetimes.range(..=present).next_back().map(|(_, &last)| last);
        let (free_through, change) = match before.filter(|&last| last >= present) {
            Some(last) => (None, last.checked_add(1)),
            None => {
                let next = lifetimes.range(present..).next().map(|(&first, _)| first);
                (Some(next.map_or(usize::MAX, |first| first - 1)), next)
            }
        };
        self.set(slot, free_through);
        self.change[slot] = change.unwrap_or(usize::MAX);
        self.changes.extend(change.map(|at| Reverse((at, slot))));
    }

    fn set(&mut self, slot: usize, free_through: Option<usize>) {
        let tree = &mut self.free_through;
        let mut node = tree.len() / 2 + slot;
        tree[node] = free_through;
        while node > 1 {
            node /= 2;
            tree[node] = tree[2 * node].max(tree[2 * node + 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpu_time::ThreadTime;

    /// The definition: every slot and every lifetime in it, from the last slot on.
    fn one_by_one(temporaries: &[(u64, Lifetime)]) -> Vec<usize> {
        let mut occupants: Vec<Vec<Lifetime>> = Vec::new();
        let mut assigned = Vec::new();
        for &(_, lifetime) in temporaries {
            let free = |lifetimes: &Vec<Lifetime>| {
                lifetimes
                    .iter()
                    .all(|other| other.last < lifetime.first || lifetime.last < other.first)
            };
            let slot = occupants.iter().rposition(free).unwrap_or(occupants.len());
            occupants.resize_with(occupants.len().max(slot + 1), Vec::new);
            occupants[slot].push(lifetime);
            assigned.push(slot);
        }
        assigned
    }

    #[test]
    fn every_temporary_takes_the_last_slot_that_is_free() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..300 {
            let (count, sizes) = (random(60), 1 + random(8));
            let mut temporaries: Vec<(u64, Lifetime)> = (0..count)
                .map(|_| {
                    let first = random(40) as usize;
                    // Short, long, and such that never end.
                    let last = match random(8) {
                        0 => usize::MAX,
                        1 | 2 => first + random(40) as usize,
                        _ => first + random(3) as usize,
                    };
                    (random(sizes), Lifetime { first, last })
                })
                .collect();
            temporaries.sort_by_key(|&(bytes, lifetime)| (Reverse(bytes), lifetime.first));
            assert_eq!(assign(&temporaries), one_by_one(&temporaries), "round {round}");
        }
    }

    /// The forward pass of a U-Net that trains: everything lives until its gradient is computed,
    /// and at each depth there is a temporary that fits no slot of those around it.
    fn nested(depth: usize) -> Vec<(u64, Lifetime)> {
        let outer = (0..depth).map(|i| (8, Lifetime { first: i, last: 3 * depth - i }));
        let inner = (0..depth).map(|i| (4, Lifetime { first: depth + i, last: depth + i }));
        outer.chain(inner).collect()
    }

    #[test]
    fn four_times_the_temporaries_take_less_than_eight_times_as_long() {
        let seconds = |depth| {
            let temporaries = nested(depth);
            let once = |_| {
                let start = ThreadTime::now();
                assert_eq!(assign(&temporaries).iter().max(), Some(&depth));
                start.elapsed().as_secs_f64()
            };
            // The least of several is what no other process disturbs.
            (0..5).map(once).fold(f64::INFINITY, f64::min)
        };
        let [small, large] = [8_000, 32_000].map(seconds);
        assert!(large < 8.0 * small, "{small} s, then {large} s");
    }
}
