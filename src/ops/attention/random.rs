//! Random attention.
use super::{Attention, AttentionBackward, JointAttention};
use crate::{
    ops::{Case, Dice, Input, Operator},
    value::TensorType,
};

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let [heads, size] = dice.extents([5, 130], 260);
    let [batch, queries, keys] = dice.extents([3, 130, 130], Dice::PRODUCTS / 2 / heads / size);
    let of = |tokens, channels| TensorType::f32(&[batch, tokens, channels]);
    let [q, k] = [queries, keys].map(|tokens| of(tokens, heads * size));
    let causal = dice.below(2) == 1;
    match dice.below(3) {
        // An error of a score is an error of the weight's exponent.
        0 => Case::new(Attention { heads, causal }, [q, k, k].map(Input::normal).into())
            .half(&[0, 1, 2])
            .terms(2 * (keys + size)),
        1 => {
            let log_sum_exp = TensorType::f32(&[batch, heads, queries]);
            let inputs = vec![
                Input::shifted(q, 0.0, 0.5),
                Input::normal(k),
                Input::normal(k),
                Input::normal(q),
                Input::uniform(log_sum_exp, 2.0, 4.0),
                Input::normal(q),
            ];
            let case =
                Case::new(AttentionBackward { heads, causal }, inputs).half(&[0, 1, 2, 3, 5]);
            case.terms(queries.max(keys) + size)
        }
        _ => {
            // What lowering reads in place: heads that begin at a vec4.
            let size = size.next_multiple_of(4);
            let joint = of(queries, 3 * heads * size);
            let op = JointAttention { heads, causal };
            debug_assert!(op.infer(&[joint]).is_ok());
            Case::new(op, vec![Input::normal(joint)]).half(&[0]).terms(2 * (queries + size))
        }
    }
}
