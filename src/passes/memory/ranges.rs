//! Which temporaries share a slot, one after the other and side by side: greedily by size, as offsets are found in
//! "Efficient Memory Management for Deep Neural Net Inference" (Pisarchyk and Lee 2020), but in several slots.
use super::slots::Lifetime;
use std::{cmp::Reverse, ops::Range};

/// The slot of each temporary and its first byte there: the first slot with room during its lifetime, or a new one of
/// its size. The largest come first, and of one size those that live longest.
///
/// A temporary is in no slot with one of its `conflicts`; it begins at a multiple of the alignment.
pub(super) fn assign(
    temporaries: &[(u64, Lifetime)],
    conflicts: &[Vec<usize>],
    alignment: u64,
) -> Vec<(usize, u64)> {
    let mut order: Vec<usize> = (0..temporaries.len()).collect();
    order.sort_by_key(|&number| {
        let (bytes, Lifetime { first, last }) = temporaries[number];
        Reverse((bytes, last - first))
    });
    let mut slots: Vec<Slot> = Vec::new();
    let mut places: Vec<Option<(usize, u64)>> = vec![None; temporaries.len()];
    for number in order {
        let (bytes, lifetime) = temporaries[number];
        let others = conflicts[number].iter().filter_map(|&other| Some(places[other]?.0));
        let others: Vec<usize> = others.collect();
        let mut allowed = slots.iter().enumerate().filter(|(slot, _)| !others.contains(slot));
        let room = |(slot, of): (usize, &Slot)| Some((slot, of.room(bytes, lifetime, alignment)?));
        let place = allowed.find_map(room).unwrap_or((slots.len(), 0));
        if place.0 == slots.len() {
            slots.push(Slot { bytes, occupants: Vec::new() });
        }
        slots[place.0].occupants.push((lifetime, place.1..place.1 + bytes));
        places[number] = Some(place);
    }
    places.into_iter().flatten().collect()
}

/// A slot, and which bytes of it are taken when.
struct Slot {
    bytes: u64,
    occupants: Vec<(Lifetime, Range<u64>)>,
}

impl Slot {
    /// The first byte of the smallest gap of so many bytes that is free during a lifetime.
    fn room(&self, bytes: u64, lifetime: Lifetime, alignment: u64) -> Option<u64> {
        let meets = |of: &Lifetime| of.first <= lifetime.last && lifetime.first <= of.last;
        let occupants = self.occupants.iter().filter(|(of, _)| meets(of));
        let mut taken: Vec<Range<u64>> = occupants.map(|(_, range)| range.clone()).collect();
        taken.push(self.bytes..self.bytes);
        taken.sort_by_key(|range| range.start);
        let mut free = 0;
        let gaps = taken.into_iter().filter_map(|range| {
            let first = free;
            free = free.max(range.end.next_multiple_of(alignment));
            (first + bytes <= range.start).then(|| (range.start - first, first))
        });
        gaps.min().map(|(_, first)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIGNMENT: u64 = 4;

    fn lifetime(first: usize, last: usize) -> Lifetime {
        Lifetime { first, last }
    }

    #[test]
    fn small_ones_lie_beside_each_other_where_a_large_one_was() {
        let temporaries = [
            (96, lifetime(0, 1)),
            (32, lifetime(2, 4)),
            (32, lifetime(2, 5)),
            (30, lifetime(3, 3)),
            (32, lifetime(3, 4)),
        ];
        let none = vec![Vec::new(); temporaries.len()];
        let places = assign(&temporaries, &none, ALIGNMENT);
        assert_eq!(places, [(0, 0), (0, 32), (0, 0), (1, 0), (0, 64)]);
        // The last two may not share the slot of the first.
        let mut conflicts = none;
        (conflicts[1], conflicts[2]) = (vec![2], vec![1]);
        let places = assign(&temporaries, &conflicts, ALIGNMENT);
        assert_eq!(places, [(0, 0), (1, 0), (0, 0), (0, 64), (0, 32)]);
    }

    #[test]
    fn no_two_that_live_at_once_share_a_byte() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..300 {
            let count = random(60) as usize;
            let of = |random: &mut dyn FnMut(u64) -> u64| {
                let first = random(40) as usize;
                let last = if random(8) == 0 { usize::MAX } else { first + random(20) as usize };
                (1 + random(50), lifetime(first, last))
            };
            let temporaries: Vec<_> = (0..count).map(|_| of(&mut random)).collect();
            let mut conflicts = vec![Vec::new(); count];
            for _ in 0..count {
                let pair = [(); 2].map(|()| random(count as u64) as usize);
                if pair[0] != pair[1] {
                    conflicts[pair[0]].push(pair[1]);
                    conflicts[pair[1]].push(pair[0]);
                }
            }
            let places = assign(&temporaries, &conflicts, ALIGNMENT);
            for (one, &(slot, first)) in places.iter().enumerate() {
                let (bytes, of) = temporaries[one];
                assert!(first.is_multiple_of(ALIGNMENT), "round {round}");
                assert!(conflicts[one].iter().all(|&other| places[other].0 != slot));
                for other in 0..one {
                    let (others, at) = (temporaries[other], places[other]);
                    let apart = at.0 != slot || at.1 + others.0 <= first || first + bytes <= at.1;
                    let meet = of.first <= others.1.last && others.1.first <= of.last;
                    assert!(apart || !meet, "round {round}: {one} and {other}");
                }
            }
        }
    }
}
