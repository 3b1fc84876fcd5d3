//! Every kernel family that lowering may choose.
use crate::{
    error::Error,
    graph::Graph,
    passes,
    plan::{Candidate, Family, KernelSelector, Plan, Problem, Target},
};
use std::cell::{Cell, RefCell};

/// Takes the candidate of this rank, or the last.
///
/// Example: [`crate::bench_cases::families()`].
#[derive(Debug)]
pub struct Ranked {
    rank: usize,
    offered: Cell<usize>,
    chosen: RefCell<Vec<Family>>,
}

impl KernelSelector for Ranked {
    fn select(&self, _: &Target, _: &Problem, candidates: &[Candidate]) -> usize {
        self.offered.set(self.offered.get().max(candidates.len()));
        let index = self.rank.min(candidates.len() - 1);
        self.chosen.borrow_mut().push(candidates[index].family);
        index
    }
}

/// A way of lowering a graph.
///
/// Example: [`crate::bench_cases::families()`].
#[derive(Debug)]
pub struct FamilyPlan {
    /// Names of the candidates taken; `only` where there is no choice.
    pub name: String,
    /// What runs, or why it does not fit the target.
    pub plan: Result<Plan, Error>,
    /// Lowers any graph so.
    pub choice: Ranked,
}

impl FamilyPlan {
    /// Whether its candidates have these names: `tiled 2` is the second of `tiled`.
    fn names(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

/// The different variants of lowering a graph for `target`, the one that lowering chooses by itself
/// first.
///
/// ```
/// use ddim::{bench_cases::{families, products}, passes, plan::Target};
///
/// let (case, target) = (products(&[64], &[])?.remove(0), Target::default());
/// for way in families(&case.graph, &target) {
///     // Its choice lowers the graph so once more.
///     let plan = passes::compile_with(&case.graph, &target, &way.choice)?;
///     assert_eq!(plan.hash(), way.plan?.hash(), "{}", way.name);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn families(graph: &Graph, target: &Target) -> Vec<FamilyPlan> {
    let mut found: Vec<FamilyPlan> = Vec::new();
    for rank in 0.. {
        let choice = Ranked { rank, offered: Cell::new(1), chosen: RefCell::default() };
        let plan = passes::compile_with(graph, target, &choice);
        let last = rank + 1 >= choice.offered.get();
        let hash = plan.as_ref().map_or(0, Plan::hash);
        let known = |other: &FamilyPlan| other.plan.as_ref().is_ok_and(|plan| plan.hash() == hash);
        if !found.iter().any(known) {
            let mut names: Vec<_> = choice.chosen.borrow().iter().map(|f| f.name()).collect();
            names.dedup();
            let name = if names.is_empty() { "only".to_owned() } else { names.join("+") };
            let same = found.iter().filter(|other| other.names(&name)).count();
            let name = if same == 0 { name } else { format!("{name} {}", same + 1) };
            found.push(FamilyPlan { name, plan, choice });
        }
        if last {
            break;
        }
    }
    if let Ok(chosen) = passes::compile(graph, target) {
        let chosen = chosen.hash();
        // Stable: the others stay in the order in which they were offered.
        found.sort_by_key(|way| way.plan.as_ref().map_or(0, Plan::hash) != chosen);
    }
    found
}
