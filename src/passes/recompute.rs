//! Less memory for more work: activations are dropped after the forward pass, and recomputed where the
//! backward pass wants them. Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
//!
//! The forward pass is cut into segments. What a segment leaves to another stays; the rest is dropped and
//! computed again, by the same ops from the same operands, so that every bit is as it was. Random numbers
//! follow from the key, which stays. Of what is dropped, the dearest to compute is taken back as long as
//! memory allows.
use crate::{
    error::{Error, LoweringError},
    graph::Graph,
    plan::Plan,
};
use std::iter;

mod schedule;

use schedule::Schedule;

/// Of two lengths of segments that are tried, one over the other.
const FINER: f64 = 1.3;

/// The least segment that is tried, as part of all activations.
const FINEST: f64 = 1.0 / 128.0;

/// Cuts of which those that fit are refined: those that are least work.
const REFINED: usize = 3;

/// What is dropped, and what that takes.
struct Cut {
    dropped: Vec<bool>,
    /// Bytes of the plan beyond those that the estimate knows: scratch, and what does not fit a slot.
    beyond: u64,
    plan: Plan,
}

/// The plan of the graph with the least work done again that the search finds for `budget` bytes; `compile`
/// makes a plan.
///
/// # Errors
/// [`LoweringError::Memory`] if the least plan that it finds takes more, or those of `compile`.
pub(super) fn within(
    graph: &Graph,
    budget: u64,
    compile: impl Fn(&Graph) -> Result<Plan, Error>,
) -> Result<Plan, Error> {
    let schedule = Schedule::of(graph);
    let plan = |dropped: &[bool]| compile(&schedule.apply(graph, dropped)?);
    let (mut fitting, mut least) = (Vec::new(), u64::MAX);
    for dropped in cuts(&schedule) {
        let plan = plan(&dropped)?;
        let peak = plan.peak_bytes();
        least = least.min(peak);
        if peak <= budget {
            let beyond = peak.saturating_sub(schedule.times(&dropped).peak);
            fitting.push(Cut { dropped, beyond, plan });
        }
    }
    let work = |dropped: &[bool]| schedule.times(dropped).work;
    fitting.sort_by_key(|cut| work(&cut.dropped));
    fitting.truncate(REFINED);
    for Cut { dropped, beyond, plan: known } in &mut fitting {
        let fewer = refined(&schedule, dropped.clone(), budget.saturating_sub(*beyond));
        let plan = plan(&fewer)?;
        if plan.peak_bytes() <= budget {
            (*dropped, *known) = (fewer, plan);
        }
    }
    let best = fitting.into_iter().min_by_key(|cut| work(&cut.dropped));
    best.map(|cut| cut.plan).ok_or(LoweringError::Memory { budget, least }.into())
}

/// What to drop, for segments of one length after another.
fn cuts(schedule: &Schedule) -> Vec<Vec<bool>> {
    let total = schedule.activations() as f64;
    let lengths = iter::successors(Some(1.0), |part| Some(part / FINER));
    let lengths = lengths.take_while(|part| *part > FINEST);
    let mut cuts: Vec<_> = lengths.map(|part| schedule.cut((total * part) as u64)).collect();
    cuts.dedup();
    cuts
}

/// The same with those taken back that are most work for their bytes, as long as the estimated peak stays
/// below `aim`.
fn refined(schedule: &Schedule, mut dropped: Vec<bool>, aim: u64) -> Vec<bool> {
    for equation in schedule.dearest_first(&dropped) {
        dropped[equation] = false;
        dropped[equation] = schedule.times(&dropped).peak > aim;
    }
    dropped
}
