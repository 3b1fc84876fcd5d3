//! The table of cases of the ops.
use super::{Attention, AttentionBackward, JointAttention};
use crate::{
    ops::{Case, Input},
    value::TensorType,
};

pub(in crate::ops) fn cases() -> Vec<Case> {
    // (batch, queries, keys, heads, head size, deviation of q)
    let shapes = [
        (1, 1, 1, 1, 4, 1.0, "one token"),
        (1, 77, 77, 2, 64, 1.0, "a prompt"),
        (1, 49, 49, 2, 6, 12.0, "logits of 12, heads meet inside a vec4"),
        (1, 64, 64, 4, 4, 1.0, "a head is one vec4"),
        (1, 65, 7, 2, 8, 1.0, "few keys"),
        (2, 16, 16, 3, 5, 1.0, "odd head size"),
        (2, 20, 65, 1, 5, 1.0, "one odd head"),
        (1, 40, 40, 1, 1, 1.0, "one channel"),
        (1, 40, 77, 4, 40, 1.0, "cross attention"),
        (1, 70, 33, 1, 512, 1.0, "largest head, tokens of several blocks"),
        (2, 17, 33, 2, 64, 1.0, "heads of whole eights for eight lanes"),
        (1, 33, 40, 2, 256, 1.0, "large heads, tokens of several blocks"),
        (65_537, 1, 1, 1, 4, 1.0, "more images than an axis of a grid"),
    ];
    // A mask is the same for all images.
    let masked = shapes.iter().filter(|shape| shape.0 <= 2).map(|shape| (shape, true));
    let mut cases = Vec::new();
    for (shape, causal) in shapes.iter().map(|shape| (shape, false)).chain(masked) {
        let &(batch, queries, keys, heads, size, deviation, note) = shape;
        let q = TensorType::f32(&[batch, queries, heads * size]);
        let k = TensorType::f32(&[batch, keys, heads * size]);
        let log_sum_exp = TensorType::f32(&[batch, heads, queries]);
        let inputs = vec![Input::shifted(q, 0.0, deviation), Input::normal(k), Input::normal(k)];
        let forward = Case::new(Attention { heads, causal }, inputs.clone());
        // An error of a score is an error of the weight's exponent.
        let terms = (keys + size) * (1.0 + deviation * deviation) as usize;
        // Many workgroups take long enough in one storage.
        let half: [&[usize]; 2] = if batch > 2 { [&[]; 2] } else { [&[0, 1, 2], &[0, 1, 2, 3, 5]] };
        cases.push(forward.half(half[0]).terms(terms).name(note));
        if deviation > 1.0 {
            continue;
        }
        // Weights exp(score - log_sum_exp) of free operands: small scores keep them of one size.
        let inputs = vec![
            Input::shifted(q, 0.0, 0.5),
            Input::normal(k),
            Input::normal(k),
            Input::normal(q),
            Input::uniform(log_sum_exp, 2.0, 4.0),
            Input::normal(q),
        ];
        let backward = Case::new(AttentionBackward { heads, causal }, inputs);
        let terms = queries.max(keys) + size;
        cases.push(backward.half(half[1]).terms(terms).name(note));
    }
    for (axes, heads, size) in [(&[2, 5, 7][..], 1, 8), (&[1, 40][..], 4, 40), (&[2, 20], 2, 64)] {
        let shape: Vec<usize> = axes.iter().copied().chain([3 * heads * size]).collect();
        let inputs = vec![Input::normal(TensorType::f32(&shape))];
        for causal in [false, true] {
            let case = Case::new(JointAttention { heads, causal }, inputs.clone());
            cases.push(case.half(&[0]).terms(2 * (40 + size)).name("one tensor"));
        }
    }
    cases
}
