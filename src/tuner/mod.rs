//! Which candidates are fastest on a device: measured when a caller asks, never else.
//!
//! ```no_run
//! use ddim::{bench_cases::BenchModel, gpu::{Gpu, GpuOptions}, tuner};
//! use std::{path::Path, time::Duration};
//!
//! let gpu = Gpu::new(&GpuOptions::default())?;
//! let step = BenchModel::digits()?.sampling(16, gpu.target())?;
//! let tuning = tuner::tune(&gpu, &step.graph, Duration::from_secs(60), |measured, total| {
//!     println!("one of {total}: {}", measured.problem);
//! })?;
//! tuner::save(&gpu, Path::new("tunings"), &tuning)?;
//! // A later process: plans for this target use what was measured.
//! let gpu = gpu.tuned(tuner::load(&gpu, Path::new("tunings")));
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `ddim tune` in `cli/src/tune.rs`.
mod file;

pub use file::{load, save};

use crate::{
    bench_cases::{BenchCase, equations},
    error::Error,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops, passes,
    plan::{Candidate, DefaultHeuristic, KernelSelector, Problem, Target, Tuning},
};
use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

/// Candidates of a problem that are timed: the table's choice and those that it names next.
const MOST: usize = 6;

/// How often each is timed, in turn.
const ROUNDS: usize = 7;

/// A winner beats the table's choice by at least this share of its time, which is more than the median of
/// a few runs moves on a shared machine.
const MARGIN: f64 = 0.08;

/// What one timing should take.
const TIMED: Duration = Duration::from_millis(8);

/// A candidate whose first run takes this many times as long as another's is not timed again.
const HOPELESS: u32 = 4;

/// A problem that was measured.
///
/// Example: [`crate::tuner`].
#[derive(Clone, Debug)]
pub struct Measured {
    /// The problem, printed.
    pub problem: String,
    /// The candidates, printed, the table's choice first, with the median of their times; none of one
    /// that was given up.
    pub times: Vec<(String, Option<Duration>)>,
    /// Index of the winner.
    pub winner: usize,
}

/// Times the candidates of every problem of `graph`, those with most arithmetic first, until all are done
/// or `limit` has passed. `on_measured` is given each, with how many there are in all.
///
/// # Errors
/// If the graph does not fit the device, or the device is lost.
///
/// Example: [`crate::tuner`].
pub fn tune(
    gpu: &Gpu,
    graph: &Graph,
    limit: Duration,
    mut on_measured: impl FnMut(&Measured, usize),
) -> Result<Tuning, Error> {
    let (begun, target) = (Instant::now(), Target { tuning: None, ..gpu.target().clone() });
    let asked = Recorder::of(graph, &target)?;
    let fused = passes::fuse(&passes::simplify(graph))?;
    let mut counted: HashMap<String, (BenchCase, u64)> = HashMap::new();
    for case in equations("", &fused, &ops::cases())? {
        counted.entry(case.title()).or_insert((case, 0)).1 += 1;
    }
    let mut cases: Vec<_> = counted.into_values().collect();
    let work = |(case, count): &(BenchCase, u64)| case.cost.flops.saturating_mul(*count);
    cases.sort_by(|a, b| work(b).cmp(&work(a)).then_with(|| a.0.title().cmp(&b.0.title())));
    let mut problems = Vec::new();
    for (case, _) in &cases {
        for (problem, _) in Recorder::of(&case.graph, &target)? {
            let found = asked.iter().find(|(other, _)| is_same(other, &problem));
            problems.extend(found.map(|(problem, candidates)| (case, problem, candidates)));
        }
    }
    let (mut tuning, total) = (Tuning::default(), problems.len());
    for (case, problem, candidates) in problems {
        if begun.elapsed() > limit {
            break;
        }
        let measured = measure(gpu, &target, case, problem, candidates)?;
        if measured.winner > 0 {
            let winner = measured.times[measured.winner].0.clone();
            tuning.winners.insert(measured.problem.clone(), winner);
        }
        on_measured(&measured, total);
    }
    Ok(tuning)
}

/// Times the candidates of one problem.
fn measure(
    gpu: &Gpu,
    target: &Target,
    case: &BenchCase,
    problem: &Problem,
    candidates: &[String],
) -> Result<Measured, Error> {
    let mut executors = Vec::new();
    for candidate in candidates.iter().take(MOST) {
        let pinned = Pinned { problem, candidate };
        let plan = passes::compile_with(&case.graph, target, &pinned)?;
        executors.push(case.executor(gpu, plan)?);
    }
    let first = |executor: &mut Executor| {
        executor.time(1)?;
        executor.time(1)
    };
    let firsts = executors.iter_mut().map(first).collect::<Result<Vec<_>, Error>>()?;
    let least = firsts.iter().min().copied().unwrap_or_default();
    let runs = (TIMED.as_secs_f64() / least.as_secs_f64().max(1e-6)).clamp(1.0, 100.0) as usize;
    // The table's choice, which comes first, is what the others have to beat.
    let hopes = |(index, first): (usize, &Duration)| index == 0 || *first <= HOPELESS * least;
    let timed: Vec<bool> = firsts.iter().enumerate().map(hopes).collect();
    let (times, winner) = fastest(&timed, |index| executors[index].time(runs))?;
    let one = |time: Option<Duration>| time.map(|time| time / runs as u32);
    let times = candidates.iter().cloned().zip(times.into_iter().map(one)).collect();
    Ok(Measured { problem: problem.to_string(), times, winner })
}

/// The median time of each candidate that is `timed`, and the index of the winner: the fastest, or the first
/// where none beats it by the margin.
///
/// ```
/// use ddim::tuner::fastest;
/// use std::time::Duration;
///
/// let times = [3, 2, 1].map(Duration::from_millis);
/// // The third candidate is not timed.
/// let time = |index: usize| Ok::<_, ddim::Error>(times[index]);
/// let (medians, winner) = fastest(&[true, true, false], time)?;
/// assert_eq!((medians, winner), (vec![Some(times[0]), Some(times[1]), None], 1));
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// Those of `time`.
pub fn fastest<E>(
    timed: &[bool],
    mut time: impl FnMut(usize) -> Result<Duration, E>,
) -> Result<(Vec<Option<Duration>>, usize), E> {
    let mut all = vec![Vec::with_capacity(ROUNDS); timed.len()];
    for _ in 0..ROUNDS {
        for (index, times) in all.iter_mut().enumerate().filter(|(index, _)| timed[*index]) {
            times.push(time(index)?);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let medians: Vec<Option<Duration>> = all.into_iter().map(median).collect();
    let known = medians.iter().enumerate().filter_map(|(index, time)| Some((index, (*time)?)));
    let best = known.min_by_key(|&(_, time)| time).map_or(0, |(index, _)| index);
    let beaten = match (medians.first().copied().flatten(), medians.get(best).copied().flatten()) {
        (Some(first), Some(best)) => best.as_secs_f64() < (1.0 - MARGIN) * first.as_secs_f64(),
        _ => true,
    };
    Ok((medians, if beaten { best } else { 0 }))
}

/// Whether two problems differ at most in their class: that of a convolution depends on the graph around it.
fn is_same(one: &Problem, other: &Problem) -> bool {
    one.op == other.op && one.operands == other.operands
}

/// A problem with the candidates that the table names for it, printed, its choice first.
type Asked = (Problem, Vec<String>);

/// Notes what a graph asks for.
#[derive(Default)]
struct Recorder(RefCell<Vec<Asked>>);

impl Recorder {
    /// The problems of a graph with a choice, each once.
    fn of(graph: &Graph, target: &Target) -> Result<Vec<Asked>, Error> {
        let recorder = Self::default();
        passes::compile_with(graph, target, &recorder)?;
        Ok(recorder.0.into_inner())
    }
}

impl KernelSelector for Recorder {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let ranked = DefaultHeuristic::ranked(target, problem, candidates);
        let mut asked = self.0.borrow_mut();
        if ranked.len() > 1 && !asked.iter().any(|(known, _)| known == problem) {
            let printed = ranked.iter().map(|index| candidates[*index].to_string()).collect();
            asked.push((problem.clone(), printed));
        }
        ranked.first().copied().unwrap_or(0)
    }
}

/// Takes one candidate for one problem, and the table's for others.
struct Pinned<'a> {
    problem: &'a Problem,
    candidate: &'a str,
}

impl KernelSelector for Pinned<'_> {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let wanted = |candidate: &Candidate| candidate.to_string() == self.candidate;
        let found = is_same(self.problem, problem).then(|| candidates.iter().position(wanted));
        found.flatten().unwrap_or_else(|| DefaultHeuristic.select(target, problem, candidates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in microseconds, each round's the same.
    fn winner(times: &[u64]) -> usize {
        let timed = vec![true; times.len()];
        let time = |index: usize| Ok::<_, ()>(Duration::from_micros(times[index]));
        fastest(&timed, time).map(|(_, winner)| winner).unwrap_or(usize::MAX)
    }

    #[test]
    fn the_fastest_wins_if_it_is_faster_by_more_than_noise() {
        assert_eq!(winner(&[100, 80, 90]), 1);
        assert_eq!(winner(&[100, 93, 120]), 0, "within the margin");
        assert_eq!(winner(&[100]), 0);
        assert_eq!(winner(&[]), 0);
    }

    #[test]
    fn one_slow_round_decides_nothing() {
        let mut calls = 0;
        let time = |index: usize| {
            calls += 1;
            let slow = calls == 4 && index == 1;
            Ok::<_, ()>(Duration::from_micros(if slow { 9_000 } else { [100, 60][index] }))
        };
        let (medians, winner) = fastest(&[true, true], time).unwrap_or_default();
        assert_eq!((winner, medians[1]), (1, Some(Duration::from_micros(60))));
    }

    #[test]
    fn what_was_given_up_is_not_timed() {
        let time = |index: usize| {
            assert_ne!(index, 1);
            Ok::<_, ()>(Duration::from_micros([100, 1, 50][index]))
        };
        let (medians, winner) = fastest(&[true, false, true], time).unwrap_or_default();
        assert_eq!((winner, medians[1]), (2, None));
    }
}
