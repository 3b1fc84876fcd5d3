//! Group norms in parts, with the SiLU that follows.
use super::rewrite::{Uses, push, rewrite};
use crate::{
    error::Error,
    graph::Graph,
    ops::{ApplyAffine, GroupAffine, GroupMoments, GroupNormBackward, Op, Silu, SiluBackward},
    value::Value,
};
use std::collections::HashMap;

/// A group norm becomes moments, their fold to a scale and a shift, and these applied, with the
/// SiLU that follows; backward, the slope of that SiLU is recomputed.
pub(super) fn norms(graph: &Graph) -> Result<Graph, Error> {
    let uses = Uses::of(graph);
    // `x`, and the center, scale and shift, by the normalized tensor.
    let mut affines: HashMap<Value, [Value; 2]> = HashMap::new();
    let normalized = |value: Value| {
        uses.maker(graph, value).filter(|maker| matches!(maker.op, Op::GroupNorm(_)))
    };
    rewrite(graph, |result, equation| {
        match (&equation.op, &equation.inputs[..]) {
            (Op::GroupNorm(norm), &[x, weight, bias]) => {
                let moments = push(result, GroupMoments, &[x], equation, &[])?[0];
                let op: GroupAffine = norm.affine(graph.type_of(x));
                let folded = push(result, op, &[moments, weight, bias], equation, &[])?;
                // The statistics keep their name.
                let last = result.equations.last_mut().expect("just pushed");
                last.outputs[1] = equation.outputs[1];
                affines.insert(equation.outputs[0], [x, folded[0]]);
                let apply = ApplyAffine { silu: false };
                push(result, apply, &[x, folded[0]], equation, &equation.outputs[..1])?;
            }
            (Op::Silu(Silu), [y]) if affines.contains_key(y) && normalized(*y).is_some() => {
                push(result, ApplyAffine { silu: true }, &affines[y], equation, &equation.outputs)?;
            }
            (Op::GroupNormBackward(norm), &[x, statistics, weight, dy]) => {
                let silu = uses.maker(graph, dy).and_then(|maker| match maker.op {
                    Op::SiluBackward(SiluBackward) => Some([maker.inputs[0], maker.inputs[1]]),
                    _ => None,
                });
                let forward = silu.and_then(|[y, _]| normalized(y));
                let (Some([_, dy]), Some(forward)) = (silu, forward) else { return Ok(false) };
                let op = GroupNormBackward { silu: true, ..*norm };
                let inputs = [x, statistics, weight, forward.inputs[2], dy];
                push(result, op, &inputs, equation, &equation.outputs)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })
}
