//! Memory over the launches of a run.
use super::{BufferRole, Plan};
use std::collections::HashMap;

impl Plan {
    /// Bytes of the tensors that are alive during each launch of a run: those that keep their contents from run to
    /// run, and temporaries from the first launch that touches them to the last.
    pub fn alive_bytes(&self) -> Vec<u64> {
        let persistent = self.buffers.iter().filter(|of| of.role == BufferRole::Persistent);
        let kept: u64 = persistent.map(|of| of.bytes).sum();
        let mut lives: HashMap<usize, [usize; 2]> = HashMap::new();
        let mut launches = 0;
        for dispatch in self.dispatches() {
            for value in dispatch.bindings.iter().filter_map(|binding| binding.value) {
                let root = self.roots.get(value.index()).map_or(value.index(), |of| of.index());
                lives.entry(root).or_insert([launches; 2])[1] = launches;
            }
            launches += 1;
        }
        let mut alive = vec![kept; launches];
        for (value, [first, last]) in lives {
            let place = self.placements[value];
            if place.is_some_and(|place| self.buffers[place.buffer].role == BufferRole::Slot) {
                let bytes = self.types[value].bytes();
                alive[first..=last].iter_mut().for_each(|sum| *sum += bytes);
            }
        }
        alive
    }
}
