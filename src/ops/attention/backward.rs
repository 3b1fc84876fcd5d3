//! The gradients: Dao et al. 2022, algorithm 4.
use super::{
    Attention, Extents, Heads, Tile, dot, named, rows,
    tiled::{Pass, Way},
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Lowering, Operator, Special, kit::fold_slots, operands},
    plan::{Candidate, Cost, Dispatch, Family, OpClass},
    reference::Tensor,
    shaders::{
        attention_backward as shader, attention_backward_subgroup as subgroup,
        attention_backward_wide as wide,
    },
    value::{ElementType, TensorType, Value},
};
use std::fmt;

/// Gradients of [`Attention`](super::Attention): operands `q`, `k`, `v`, `y`, `log_sum_exp`,
/// `dy`; outputs `dq`, `dk`, `dv`. With `p = exp(q k^T / sqrt(head size) - log_sum_exp)` and
/// `ds = p (dy v^T - rowsum(dy y)) / sqrt(head size)`: `dq = ds k`, `dk = ds^T q`, `dv = p^T dy`.
///
/// ```
/// use ddim::{graph::Graph, ops::Attention, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [q, k, v, dy] = [(); 4].map(|()| graph.input(TensorType::f32(&[2, 16, 8])));
/// let y = graph.push(Attention::to_all(2), &[q, k, v])?;
/// passes::gradient(&mut graph, y, dy, &[q, k, v])?;
/// assert!(graph.to_string().contains("attention_backward{heads=2}"));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionBackward {
    /// Number of heads.
    pub heads: usize,
    /// Whether query `i` sees keys `0..=i` alone.
    pub causal: bool,
}

impl fmt::Display for AttentionBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named("attention_backward", self.heads, self.causal, f)
    }
}

impl Operator for AttentionBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "attention_backward";
        let [q, k, v, y, log_sum_exp, dy] = operands(op, inputs)?;
        let extents = Extents::check(op, self.heads, inputs)?;
        let expected = extents.log_sum_exp();
        for (name, expected, found) in
            [("y", q, y), ("log_sum_exp", expected, log_sum_exp), ("dy", q, dy)]
        {
            if found != expected {
                return Err(ShapeError::operand(op, name, expected, found, inputs));
            }
        }
        Ok(vec![q, k, v])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [q, k, v, y, log_sum_exp, dy] =
            [inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5]];
        let extents = Extents::of(q.shape, k.shape, self.heads);
        let size = extents.head_size;
        let [mut dq, mut dk, mut dv] =
            [Tensor::zeros(q.shape), Tensor::zeros(k.shape), Tensor::zeros(v.shape)];
        let Self { heads, causal } = *self;
        for row in rows(q, k, Attention { heads, causal }) {
            let query = row.query..row.query + size;
            let delta = dot(&dy.data[query.clone()], &y.data[query.clone()]);
            for (&key, score) in row.keys.iter().zip(&row.scores) {
                let p = (score - log_sum_exp.data[row.statistic]).exp();
                let slope = dot(&dy.data[query.clone()], &v.data[key..key + size]) - delta;
                let ds = extents.scale() * p * slope;
                for c in 0..size {
                    dq.data[row.query + c] += ds * k.data[key + c];
                    dk.data[key + c] += ds * q.data[row.query + c];
                    dv.data[key + c] += p * dy.data[row.query + c];
                }
            }
        }
        vec![dq, dk, dv]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [q, k, v] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let [y, log_sum_exp, dy] = [equation.inputs[3], equation.inputs[4], equation.inputs[5]];
        let [dq, dk, dv] = [equation.outputs[0], equation.outputs[1], equation.outputs[2]];
        let (query, key) = (lowering.type_of(q).shape, lowering.type_of(k).shape);
        let extents = Extents::of(query, key, self.heads);
        let heads = Heads(extents);
        let [q, k, v, y, dy] = heads.separate(lowering, [q, k, v, y, dy])?;
        let placed = [dq, dk, dv].map(|value| heads.place(lowering, value));
        let delta = lowering.scratch(extents.log_sum_exp());
        let vectors = extents.log_sum_exp().physical_elements();
        let kernel = shader::RowSums { dy, y, delta_out: delta };
        let params = extents.params(false, self.causal);
        lowering.push(kernel.over(params, vectors))?;

        let operands = [q, k, v, dy, log_sum_exp, delta];
        let candidates = candidates(lowering, &extents, params, operands, placed);
        let problem = extents.problem(OpClass::AttentionBackward);
        lowering.choose(&self.to_string(), problem, candidates)?;

        heads.join(lowering, placed[0], dq)?;
        heads.join(lowering, placed[1], dk)?;
        heads.join(lowering, placed[2], dv)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let extents = Extents::of(inputs[0].shape, inputs[1].shape, self.heads);
        let tensors = 4 * inputs[0].bytes() + 4 * inputs[1].bytes();
        let bytes = tensors + extents.log_sum_exp().bytes();
        Cost { flops: extents.products().saturating_mul(10), bytes }
    }

    /// A row whose logits are all negative and infinite is as if they were the lowest finite ones.
    fn special(&self) -> Special {
        Special::NanSpreads
    }
}

/// Every family.
fn candidates(
    lowering: &mut Lowering,
    extents: &Extents,
    params: shader::Params,
    operands: [Value; 6],
    outputs: [Value; 3],
) -> Vec<Candidate> {
    let ([q, k, v, dy, log_sum_exp, delta], [dq, dk, dv]) = (operands, outputs);
    let (queries, keys) = (extents.queries, extents.keys);
    let query_ways = Way::offered(lowering, extents, Pass::Query, dq);
    let key_ways = Way::offered(lowering, extents, Pass::KeyValue, dk);
    let mut candidates = Vec::new();
    for number in 0..query_ways.len().max(key_ways.len()) {
        let of = |ways: &[Way]| ways[number.min(ways.len() - 1)];
        let [query, key] = [of(&query_ways), of(&key_ways)];
        let mut dispatches = tiled_query(lowering, extents, query, params, operands, dq);
        dispatches.extend(tiled_key_value(lowering, extents, key, params, operands, [dk, dv]));
        candidates.push(Candidate::new(Family::Tiled, dispatches));
    }
    let is_half = |value: &Value| lowering.type_of(*value).element != ElementType::F32;
    let half = [q, k, v, dy].iter().any(is_half);
    if let Some(lanes) = lowering.target().subgroup
        && let Some(Tile { rows, columns, .. }) = Tile::subgroup_backward(extents, lanes, half)
    {
        let overrides = subgroup::Overrides { lanes, rows_per_lane: rows, columns };
        let grid = |tokens| extents.grid(tokens, lanes * rows);
        let query = subgroup::Query { q, k, v, dy, log_sum_exp, delta, dq };
        let key_value = subgroup::KeyValue { q, k, v, dy, log_sum_exp, delta, dk, dv };
        let dispatches = vec![
            query.dispatch(params, overrides, grid(queries)),
            key_value.dispatch(params, overrides, grid(keys)),
        ];
        candidates.push(Candidate::new(Family::Subgroup, dispatches));
        // With two rows a lane lavapipe's registers run out: 1.7 times as long.
        let fits = rows == 1 && extents.head_size.is_multiple_of(8 * lanes as usize);
        if fits && lowering.in_pairs(&[q, k, v, dy, dq, dk, dv]) {
            let columns = columns / 2;
            let overrides = wide::Overrides { lanes, rows_per_lane: rows, columns };
            let query = wide::Query { q, k, v, dy, log_sum_exp, delta, dq };
            let key_value = wide::KeyValue { q, k, v, dy, log_sum_exp, delta, dk, dv };
            let dispatches = vec![
                query.dispatch(params, overrides, grid(queries)),
                key_value.dispatch(params, overrides, grid(keys)),
            ];
            candidates.push(Candidate::new(Family::Wide, dispatches));
        }
    }
    candidates
}

fn overrides(Tile { lanes, rows, columns }: Tile) -> shader::Overrides {
    shader::Overrides { lanes, rows, columns, ..Default::default() }
}

/// The gradient of the queries.
fn tiled_query(
    lowering: &mut Lowering,
    extents: &Extents,
    way: Way,
    params: shader::Params,
    [q, k, v, dy, log_sum_exp, delta]: [Value; 6],
    dq: Value,
) -> Vec<Dispatch> {
    let grid = way.grid(extents, Pass::Query);
    let slot_tokens = way.slot_tokens(extents, Pass::Query) as u32;
    let params = shader::Params { slot_tokens, ..params };
    let overrides = overrides(way.tile);
    let query_parts = fold_slots::slots(lowering, way.slots, dq);
    let sums = if way.slots == 1 {
        let kernel = shader::Query { q, k, v, dy, log_sum_exp, delta, dq };
        kernel.dispatch(params, overrides, grid)
    } else {
        let kernel = shader::QuerySplit { q, k, v, dy, log_sum_exp, delta, query_parts };
        kernel.dispatch(params, overrides, grid)
    };
    let sums = way.counted(extents, Pass::Query, sums);
    let fold = fold_slots::fold(lowering, way.slots, query_parts, dq);
    [sums].into_iter().chain(fold).collect()
}

/// The gradients of keys and values.
fn tiled_key_value(
    lowering: &mut Lowering,
    extents: &Extents,
    way: Way,
    params: shader::Params,
    [q, k, v, dy, log_sum_exp, delta]: [Value; 6],
    [dk, dv]: [Value; 2],
) -> Vec<Dispatch> {
    let grid = way.grid(extents, Pass::KeyValue);
    let slot_tokens = way.slot_tokens(extents, Pass::KeyValue) as u32;
    let params = shader::Params { slot_tokens, ..params };
    let overrides = overrides(way.tile);
    let [key_parts, value_parts] = [dk, dv].map(|y| fold_slots::slots(lowering, way.slots, y));
    let sums = if way.slots == 1 {
        let kernel = shader::KeyValue { q, k, v, dy, log_sum_exp, delta, dk, dv };
        kernel.dispatch(params, overrides, grid)
    } else {
        let kernel =
            shader::KeyValueSplit { q, k, v, dy, log_sum_exp, delta, key_parts, value_parts };
        kernel.dispatch(params, overrides, grid)
    };
    let sums = way.counted(extents, Pass::KeyValue, sums);
    let fold = fold_slots::fold_both(lowering, way.slots, [key_parts, dk], [value_parts, dv]);
    [sums].into_iter().chain(fold).collect()
}
