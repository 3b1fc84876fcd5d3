//! Less memory for more work: activations are dropped, and computed again where they are read next, by the same ops
//! from the same operands, so that every bit is as it was. Random numbers follow from the key, which stays.
//!
//! A run of the graph within a limit drops what is least work for its bytes. Limits are tried from the whole graph's
//! bytes down: a limit bounds what is alive, and the plan takes a little more or less. Of the plans that fit the budget
//! the one with least work is taken.
use crate::{
    error::{Error, LoweringError},
    graph::{Equation, Graph},
    plan::Plan,
    value::Value,
};
use std::{collections::HashMap, iter};

mod run;
mod schedule;

use run::Turn;
use schedule::Schedule;

/// A limit on the next lower one.
const LIMITS: f64 = 0.99;

/// The plan of the graph with the least work done again that the search finds for `budget` bytes, where another plan
/// takes `whole`. Each equation has so many bytes of `scratch`; `compile` makes a plan.
///
/// # Errors
/// [`LoweringError::Memory`] if the least plan that it finds takes more, or those of `compile`.
pub(super) fn within(
    graph: &Graph,
    [budget, whole]: [u64; 2],
    scratch: Vec<u64>,
    compile: impl Fn(&Graph) -> Result<Plan, Error>,
) -> Result<Plan, Error> {
    let plan = compile(graph)?;
    if plan.peak_bytes() <= budget {
        return Ok(plan);
    }
    let mut least = plan.peak_bytes().min(whole);
    let schedule = Schedule::of(graph, scratch);
    let lower = |limit: &u64| Some((*limit as f64 * LIMITS) as u64);
    let limits = iter::successors(Some(least), lower).skip(1);
    let mut best: Option<(u64, Plan)> = None;
    for turns in limits.map_while(|limit| run::within(&schedule, limit)) {
        let again = turns.iter().filter(|turn| turn.again > 0);
        let work = again.map(|turn| schedule.work[turn.equation]).sum();
        if best.as_ref().is_some_and(|(known, _)| *known <= work) {
            continue;
        }
        let plan = compile(&apply(graph, &turns)?)?;
        least = least.min(plan.peak_bytes());
        if plan.peak_bytes() <= budget {
            best = Some((work, plan));
        }
    }
    best.map(|(_, plan)| plan).ok_or(LoweringError::Memory { budget, least }.into())
}

/// The graph whose equations come in these turns. Each turn reads the latest copies.
fn apply(graph: &Graph, turns: &[Turn]) -> Result<Graph, Error> {
    let mut result = graph.clone();
    result.equations.clear();
    let mut copies: HashMap<Value, Value> = HashMap::new();
    for &Turn { equation, again } in turns {
        let original = &graph.equations[equation];
        let copy = |value: &Value| *copies.get(value).unwrap_or(value);
        let inputs: Vec<Value> = original.inputs.iter().map(copy).collect();
        if again == 0 {
            result.equations.push(Equation { inputs, ..original.clone() });
            continue;
        }
        let made = result.push_scoped(original.op.clone(), &inputs, original.scope.clone())?;
        copies.extend(original.outputs.iter().copied().zip(made));
        if let Some(equation) = result.equations.last_mut() {
            (equation.section, equation.again) = (original.section, again);
        }
    }
    Ok(result)
}
