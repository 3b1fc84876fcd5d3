//! A run of a graph's equations in so many bytes: where the next one does not fit, values are dropped, and computed
//! again when they are read. Kirisame et al. 2021, "Dynamic Tensor Rematerialization", with one difference: who reads
//! a value next is known here.
use super::schedule::Schedule;

/// Nothing needs the value any more.
const NEVER: usize = usize::MAX;

/// Turns for each equation, over all equations, from which on a run is given up: it drops what it has just computed.
const MOST_TURNS: usize = 4;

/// An equation's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub equation: usize,
    /// How often it was computed before.
    pub again: u32,
}

/// The turns of all equations with at most so many bytes alive, if that is found.
pub(super) fn within(of: &Schedule, limit: u64) -> Option<Vec<Turn>> {
    let (equations, values) = (of.inputs.len(), of.bytes.len());
    let mut run = Run {
        of,
        limit,
        turns: Vec::new(),
        computed: vec![0; equations],
        present: vec![false; values],
        bound: vec![0; values],
        alive: of.fixed,
    };
    (0..equations).try_for_each(|equation| run.compute(equation, equation))?;
    Some(run.turns)
}

/// A run under way.
struct Run<'a> {
    of: &'a Schedule,
    limit: u64,
    turns: Vec<Turn>,
    /// How often each equation was computed.
    computed: Vec<u32>,
    /// Which values are there.
    present: Vec<bool>,
    /// How many turns under way read or make each value.
    bound: Vec<u32>,
    /// Bytes of what is there.
    alive: u64,
}

impl Run<'_> {
    /// Computes an equation, after what it reads and is not there. Equations before `next` had their first turn.
    fn compute(&mut self, equation: usize, next: usize) -> Option<()> {
        let of = self.of;
        let (inputs, outputs) = (&of.inputs[equation], &of.outputs[equation]);
        let bound = || inputs.iter().chain(outputs);
        bound().for_each(|&value| self.bound[value] += 1);
        for &value in inputs.iter().filter(|&&value| of.bytes[value] > 0) {
            if !self.present[value] {
                self.compute(of.maker[value]?, next)?;
            }
        }
        let missing = outputs.iter().filter(|&&value| !self.present[value]);
        let made: u64 = missing.map(|&value| of.bytes[value]).sum();
        self.make_room(made + of.scratch[equation], next)?;
        self.alive += made;
        outputs.iter().for_each(|&value| self.present[value] = true);
        bound().for_each(|&value| self.bound[value] -= 1);
        self.turns.push(Turn { equation, again: self.computed[equation] });
        self.computed[equation] += 1;
        (self.turns.len() <= MOST_TURNS * of.inputs.len()).then_some(())
    }

    /// Drops values until so many bytes fit: what nothing needs, then what is least work for its bytes and for the
    /// time until it is needed.
    fn make_room(&mut self, bytes: u64, next: usize) -> Option<()> {
        let of = self.of;
        while self.alive + bytes > self.limit {
            let (needed, work) = (self.needed(next), self.work());
            let price = |value: usize| match needed[value] {
                NEVER => Some(0.0),
                reader => {
                    let ahead = reader.saturating_sub(next) + 1;
                    Some(work[of.maker[value]?] as f64 / (of.bytes[value] as f64 * ahead as f64))
                }
            };
            let free = |&value: &usize| {
                self.present[value] && self.bound[value] == 0 && of.bytes[value] > 0
            };
            let prices = (0..of.bytes.len()).filter(free);
            let prices = prices.filter_map(|value| Some((price(value)?, value)));
            let (_, cheapest) = prices.min_by(|a, b| a.0.total_cmp(&b.0))?;
            self.present[cheapest] = false;
            self.alive -= of.bytes[cheapest];
        }
        Some(())
    }

    /// The equation for which each value is needed next: one that reads it in its first turn, or one that reads what
    /// would be computed again from it. What is not computed again itself stays for all that ever may be.
    fn needed(&self, next: usize) -> Vec<usize> {
        let of = self.of;
        let reader = |readers: &Vec<usize>| {
            let ahead = readers.partition_point(|&reader| reader < next);
            readers.get(ahead).copied().unwrap_or(NEVER)
        };
        let mut needed: Vec<usize> = of.readers.iter().map(reader).collect();
        let mut ever = needed.clone();
        for equation in (0..next.min(of.forward)).rev() {
            let (mut soon, mut once) = (NEVER, NEVER);
            for &value in of.outputs[equation].iter().filter(|&&value| of.maker[value].is_some()) {
                soon = if self.present[value] { soon } else { soon.min(needed[value]) };
                once = once.min(ever[value]);
            }
            for &value in &of.inputs[equation] {
                ever[value] = ever[value].min(once);
                let reader = if of.maker[value].is_some() { soon } else { once };
                needed[value] = needed[value].min(reader);
            }
        }
        needed
    }

    /// Work of computing each equation of the forward pass now: with the longest chain before it of what is not there.
    fn work(&self) -> Vec<u64> {
        let of = self.of;
        let mut work = of.work[..of.forward].to_vec();
        for equation in 0..of.forward {
            let missing = of.inputs[equation].iter().filter(|&&value| !self.present[value]);
            let before = missing.filter_map(|&value| Some(work[of.maker[value]?])).max();
            work[equation] += before.unwrap_or(0);
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of equations, each of 1 byte and as much work, and a backward pass that reads it from its end: a
    /// gradient is 1 byte, too. Some values are not computed again.
    fn chain(length: usize, stays: impl Fn(usize) -> bool) -> Schedule {
        let forward = (0..length).map(|at| (at.checked_sub(1).into_iter().collect(), vec![at]));
        let backward = (0..length).map(|at| {
            let before = (at > 0).then_some(length + at - 1);
            (before.into_iter().chain([length - 1 - at]).collect(), vec![length + at])
        });
        let (inputs, outputs): (Vec<Vec<usize>>, Vec<Vec<usize>>) = forward.chain(backward).unzip();
        let mut readers = vec![Vec::new(); 2 * length];
        for (equation, inputs) in inputs.iter().enumerate() {
            inputs.iter().for_each(|&value| readers[value].push(equation));
        }
        let again = |value: usize| (value < length && !stays(value)).then_some(value);
        let maker = (0..2 * length).map(again).collect();
        let equal = vec![1; 2 * length];
        let (bytes, work, scratch) = (equal.clone(), equal, vec![0; 2 * length]);
        Schedule {
            inputs,
            outputs,
            readers,
            maker,
            bytes,
            fixed: 0,
            scratch,
            work,
            forward: length,
        }
    }

    /// How many turns are again.
    fn again(chain: &Schedule, limit: u64) -> Option<usize> {
        let turns = within(chain, limit)?;
        let mut alive = vec![false; chain.bytes.len()];
        for turn in &turns {
            assert!(chain.inputs[turn.equation].iter().all(|&value| alive[value]), "{turn:?}");
            chain.outputs[turn.equation].iter().for_each(|&value| alive[value] = true);
        }
        Some(turns.iter().filter(|turn| turn.again > 0).count())
    }

    #[test]
    fn less_memory_is_more_work() {
        let chain = chain(64, |_| false);
        // Everything fits: the chain, a gradient and the one before it.
        assert_eq!(again(&chain, 66), Some(0));
        // Of a chain that is dropped once, each equation is computed twice at most. Chen et al. 2016 take
        // twice the square root of its length for that.
        let twice = again(&chain, 24).expect("more than the square root");
        assert!((1..64).contains(&twice), "{twice} again");
        let more = again(&chain, 12).expect("more than the logarithm");
        assert!(more > twice, "{more} again, {twice} with more memory");
        assert_eq!(again(&chain, 2), None);
    }

    #[test]
    fn what_is_not_computed_again_stays() {
        let chain = chain(64, |value| value % 8 == 3);
        let little = again(&chain, 24).expect("more than what stays");
        assert!((1..64).contains(&little), "{little} again");
        assert_eq!(again(&chain, 8), None);
    }
}
