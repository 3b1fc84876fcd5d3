//! The choice between kernel families.
use super::{Candidate, Problem, TABLE, Target};
use std::time::Duration;

/// Most of the time of a line's first family that another takes which goes before it by the model: it has to save a
/// tenth, for its spread tiles take memory, and no model is exact.
const AT_MOST: f64 = 0.9;

/// Decides between kernel families.
///
/// ```
/// # use ddim::{graph::Graph, ops::Linear, passes, value::TensorType};
/// use ddim::plan::{
///     Candidate, DefaultHeuristic, Family, KernelSelector, OpClass, Problem, Target,
/// };
///
/// /// Products by tiles that read their operands as they are, the rest by the table.
/// struct Plain;
///
/// impl KernelSelector for Plain {
///     fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
///         let plain = |of: &Candidate| of.family == Family::Tiled && of.packed.is_empty();
///         match candidates.iter().position(plain) {
///             Some(index) if problem.class == OpClass::Product => index,
///             _ => DefaultHeuristic.select(target, problem, candidates),
///         }
///     }
/// }
///
/// let mut graph = Graph::new();
/// let [x, weight] = [(); 2].map(|()| graph.input(TensorType::f32(&[256, 256])));
/// let y = graph.push(Linear, &[x, weight])?;
/// graph.outputs.push(y);
/// let plan = passes::compile_with(&graph, &Target::default(), &Plain)?;
/// assert_eq!(plan.choices[&(OpClass::Product, Family::Tiled)], 1);
/// # Ok::<(), ddim::Error>(())
/// ```
pub trait KernelSelector {
    /// Index of the candidate to run for `problem` on `target`.
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize;
}

/// Decides by the target's [`Tuning`](super::Tuning) where the problem was measured, else by the [`TABLE`] and, on a GPU
/// whose rates are known, by the model of the device.
///
/// Example: [`KernelSelector`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultHeuristic;

impl DefaultHeuristic {
    /// Indices of the candidates that the table's rule names: its choice, then the first of each family in its order, then
    /// the others, which are there to be compared.
    pub fn ranked(target: &Target, problem: &Problem, candidates: &[Candidate]) -> Vec<usize> {
        let rule = TABLE.iter().find(|rule| rule.applies(target, problem));
        let families = rule.map_or(&[][..], |rule| rule.families);
        let rank =
            |index: &usize| families.iter().position(|family| *family == candidates[*index].family);
        let is_other = |index: &usize| {
            candidates[..*index].iter().any(|of| of.family == candidates[*index].family)
        };
        let mut ranked: Vec<usize> =
            (0..candidates.len()).filter(|index| rank(index).is_some()).collect();
        ranked.sort_by_key(|index| (is_other(index), rank(index)));
        let faster = Self::faster(candidates, ranked.iter().take_while(|index| !is_other(index)));
        if let Some(place) = faster {
            ranked[..=place].rotate_right(1);
        }
        ranked
    }

    /// The place of the candidate that is the fastest by the model, if it saves enough of the first one's time.
    fn faster<'a>(
        candidates: &[Candidate],
        firsts: impl Iterator<Item = &'a usize>,
    ) -> Option<usize> {
        let times: Vec<Option<Duration>> = firsts.map(|index| candidates[*index].time).collect();
        let most = times.first().copied().flatten()?.mul_f64(AT_MOST);
        let known = times.into_iter().enumerate();
        let known =
            known.filter_map(|(place, time)| Some((time.filter(|time| *time <= most)?, place)));
        known.min().map(|(_, place)| place)
    }
}

impl KernelSelector for DefaultHeuristic {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let winner = target.tuning.as_ref().and_then(|of| of.winners.get(&problem.to_string()));
        let is = |winner: &String, candidate: &Candidate| candidate.to_string() == *winner;
        let tuned = winner.and_then(|winner| candidates.iter().position(|of| is(winner, of)));
        let tabled = || Self::ranked(target, problem, candidates).first().copied();
        tuned.or_else(tabled).unwrap_or(0)
    }
}
