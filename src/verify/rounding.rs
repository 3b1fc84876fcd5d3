//! What rounding operands to f16 does to results, where a plan multiplies by cooperative matrices.
use crate::{
    ops::Case,
    plan::{Family, Plan},
    value::ElementType,
};

/// What f16 rounds a number by, as a part of it.
const OPERAND: f64 = 1.0 / 2048.0;

/// By how much that may move a result, as a part of the largest one. The errors of a sum add like a random walk, as its
/// terms do: both operands together move it by about 2^-12 of what such a sum usually is. That leaves four bits for the
/// largest error of a tensor, and for a tensor whose numbers are all small.
const RESULT: f64 = 1.0 / 256.0;

/// What kernels of the plan round operands by, as a part of them.
pub(super) fn of_operands(plan: &Plan) -> f64 {
    let rounds = plan.choices.keys().any(|(_, family)| *family == Family::Cooperative);
    if rounds { OPERAND } else { 0.0 }
}

/// By how much that may move the results of a case, as a part of the largest. Halves, even bf16 of the size that cases
/// have, are f16 already.
pub(super) fn of_results(plan: &Plan, case: &Case) -> f64 {
    let in_f32 = case.inputs.first().is_some_and(|x| x.of.element == ElementType::F32);
    if in_f32 && of_operands(plan) > 0.0 { RESULT } else { 0.0 }
}
