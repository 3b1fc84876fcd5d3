//! Every kernel family that lowering may choose for an op.
use ddim::{
    graph::Graph,
    ops::Case,
    passes,
    plan::{Candidate, Choose, Plan, Target, Work},
};
use std::cell::Cell;

/// Takes the candidate of this rank, or the last, and remembers how many there were at most.
pub struct Ranked {
    rank: usize,
    offered: Cell<usize>,
}

impl Choose for Ranked {
    fn choose(&self, _: &Target, _: &Work, _: &str, candidates: &[Candidate]) -> usize {
        self.offered.set(self.offered.get().max(candidates.len()));
        self.rank.min(candidates.len() - 1)
    }
}

/// The different plans of a case on `target`, and the choice that leads to each.
pub fn plans(case: &Case, target: &Target) -> Vec<(Ranked, Plan)> {
    let mut plans: Vec<(Ranked, Plan)> = Vec::new();
    for rank in 0.. {
        let mut graph = Graph::new();
        let inputs: Vec<_> = case.types().iter().map(|of| graph.input(*of)).collect();
        let outputs = graph.push_all(case.op.clone(), &inputs);
        graph.outputs = outputs.expect("the op takes its own cases");
        let ranked = Ranked { rank, offered: Cell::new(1) };
        let plan = passes::compile_with(&graph, target, &ranked);
        let plan = plan.unwrap_or_else(|error| panic!("{}: {error}", case.title()));
        let last = rank + 1 >= ranked.offered.get();
        if plans.iter().all(|(_, other)| other.hash() != plan.hash()) {
            plans.push((ranked, plan));
        }
        if last {
            break;
        }
    }
    plans
}
