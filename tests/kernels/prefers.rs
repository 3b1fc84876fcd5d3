//! A choice of kernels that a test makes.
use ddim::plan::{Candidate, DefaultHeuristic, Family, KernelSelector, Problem, Target};

/// Takes this family where it is on offer.
pub struct Prefers(pub Family);

impl KernelSelector for Prefers {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let preferred = candidates.iter().position(|candidate| candidate.family == self.0);
        preferred.unwrap_or_else(|| DefaultHeuristic.select(target, problem, candidates))
    }
}
