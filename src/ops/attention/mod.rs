//! Attention: Vaswani et al. 2017, eq. 1.
use super::{Backward, Gradients, Lowering, Operator, Special, kit::fold_slots, operands};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Candidate, Cost, Dispatch, Family, OpClass},
    reference::Tensor,
    shaders::{attention as shader, attention_subgroup as subgroup, attention_wide as wide},
    value::{TensorType, Value},
};
use std::fmt;

mod backward;
mod cases;
mod extents;
mod heads;
mod joint;
mod random;
mod tiled;

pub use backward::AttentionBackward;
pub(super) use cases::cases;
use extents::{Extents, Tile};
use heads::Heads;
pub use joint::JointAttention;
pub(super) use random::random;
use tiled::{Pass, Way};

/// `y = softmax(q k^T / sqrt(head size)) v` per head; head `i` owns the `i`-th run of channels.
///
/// | operand | shape |
/// |---|---|
/// | `q` | `[batch, .., channels]` with any one or two axes of queries |
/// | `k`, `v` | `[batch, .., channels]` with any one or two axes of keys |
/// | output `y` | as `q` |
/// | output `log_sum_exp` | `[batch, heads, queries]`, f32: of each row of scaled scores; carries no gradient |
///
/// ```
/// use ddim::{ops::{Attention, Operator}, reference::Tensor, value::Shape};
///
/// let tokens = |data: [f64; 2]| Tensor::new(Shape::new(&[1, 2, 1]), data.into());
/// let (q, k, v) = (tokens([0.0, 0.0]), tokens([1.0, 2.0]), tokens([4.0, 6.0]));
/// // All scores are 0: each query gets the mean of the values that it sees.
/// let y = &Attention { heads: 1, causal: true }.reference(&[&q, &k, &v])[0];
/// assert!(y.zip(&tokens([4.0, 5.0]), |y, wanted| y - wanted).max_abs() < 1e-12);
/// let y = &Attention::to_all(1).reference(&[&q, &k, &v])[0];
/// assert!(y.zip(&tokens([5.0, 5.0]), |y, wanted| y - wanted).max_abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Number of heads; divides the channels.
    pub heads: usize,
    /// Whether query `i` sees keys `0..=i` alone; otherwise it sees all.
    pub causal: bool,
}

impl Attention {
    /// Attention of every query to every key.
    pub fn to_all(heads: usize) -> Self {
        Self { heads, causal: false }
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        named("attention", self.heads, self.causal, f)
    }
}

/// Prints an op of this file: a mask stands before its name.
fn named(name: &str, heads: usize, causal: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}{name}{{heads={heads}}}", if causal { "causal_" } else { "" })
}

/// Scores and weights of one query of one head in f64, for the references.
struct Row {
    /// First element of the query in `q`, `y` and their gradients.
    query: usize,
    /// Position in `log_sum_exp`.
    statistic: usize,
    /// First element in `k`, `v` and their gradients of each key that the query sees.
    keys: Vec<usize>,
    /// Scaled scores.
    scores: Vec<f64>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rows(q: &Tensor, k: &Tensor, Attention { heads, causal }: Attention) -> Vec<Row> {
    let extents = Extents::of(q.shape, k.shape, heads);
    let (size, channels) = (extents.head_size, q.shape.last());
    let mut rows = Vec::new();
    for image in 0..extents.batch {
        for head in 0..heads {
            for token in 0..extents.queries {
                let query = (image * extents.queries + token) * channels + head * size;
                let seen = if causal { extents.keys.min(token + 1) } else { extents.keys };
                let keys: Vec<usize> = (0..seen)
                    .map(|key| (image * extents.keys + key) * channels + head * size)
                    .collect();
                let score = |&key: &usize| {
                    extents.scale() * dot(&q.data[query..query + size], &k.data[key..key + size])
                };
                let scores = keys.iter().map(score).collect();
                rows.push(Row { query, statistic: rows.len(), keys, scores });
            }
        }
    }
    rows
}

impl Operator for Attention {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [q, _, _] = operands("attention", inputs)?;
        let extents = Extents::check("attention", self.heads, inputs)?;
        Ok(vec![q, extents.log_sum_exp()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let extents = Extents::of(q.shape, k.shape, self.heads);
        let mut y = Tensor::zeros(q.shape);
        let mut log_sum_exp = Tensor::zeros(extents.log_sum_exp().shape);
        for row in rows(q, k, *self) {
            let maximum = row.scores.iter().fold(f64::NEG_INFINITY, |max, s| max.max(*s));
            let sum: f64 = row.scores.iter().map(|s| (s - maximum).exp()).sum();
            let normalizer = maximum + sum.ln();
            log_sum_exp.data[row.statistic] = normalizer;
            for (key, score) in row.keys.iter().zip(&row.scores) {
                for c in 0..extents.head_size {
                    y.data[row.query + c] += (score - normalizer).exp() * v.data[key + c];
                }
            }
        }
        vec![y, log_sum_exp]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        if backward.cotangent(1).is_some() {
            return Err(Error::NotDifferentiable { op: format!("log_sum_exp of {self}") });
        }
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None; 3]);
        };
        let mut operands = equation.inputs.clone();
        operands.extend(&equation.outputs);
        operands.push(dy);
        let Self { heads, causal } = *self;
        let gradients = backward.push_all(AttentionBackward { heads, causal }, &operands)?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [q, k, v] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let [y, log_sum_exp] = [equation.outputs[0], equation.outputs[1]];
        let (query, key) = (lowering.type_of(q).shape, lowering.type_of(k).shape);
        let extents = Extents::of(query, key, self.heads);
        let heads = Heads(extents);
        let apart = heads.separate(lowering, [q, k, v])?;
        let placed = heads.place(lowering, y);
        let params = extents.params(false, self.causal);
        let outputs = [placed, log_sum_exp];
        let candidates = candidates(lowering, &extents, params, apart, outputs);
        let problem = extents.problem(OpClass::Attention);
        lowering.choose(&self.to_string(), problem, candidates)?;
        heads.join(lowering, placed, y)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let extents = Extents::of(inputs[0].shape, inputs[1].shape, self.heads);
        let tensors = 2 * inputs[0].bytes() + 2 * inputs[1].bytes();
        let bytes = tensors + extents.log_sum_exp().bytes();
        Cost { flops: extents.products().saturating_mul(4), bytes }
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
    [q, k, v]: [Value; 3],
    [y, log_sum_exp]: [Value; 2],
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for way in Way::offered(lowering, extents, Pass::Forward, y) {
        let dispatches = tiled_forward(lowering, extents, way, params, [q, k, v], [y, log_sum_exp]);
        candidates.push(Candidate::new(Family::Tiled, dispatches));
    }
    if let Some(lanes) = lowering.target().subgroup
        && let Some(Tile { rows, columns, .. }) = Tile::subgroup_forward(extents, lanes)
    {
        let overrides = subgroup::Overrides { lanes, rows_per_lane: rows, columns };
        let kernel = subgroup::Forward { q, k, v, y, log_sum_exp };
        let grid = extents.grid(extents.queries, lanes * rows);
        let dispatches = vec![kernel.dispatch(params, overrides, grid)];
        candidates.push(Candidate::new(Family::Subgroup, dispatches));
        if lowering.in_pairs(&[q, k, v, y]) && extents.head_size.is_multiple_of(8 * lanes as usize)
        {
            let columns = columns / 2;
            let overrides = wide::Overrides { lanes, rows_per_lane: rows, columns };
            let kernel = wide::Forward { q, k, v, y, log_sum_exp };
            let dispatches = vec![kernel.dispatch(params, overrides, grid)];
            candidates.push(Candidate::new(Family::Wide, dispatches));
        }
    }
    candidates
}

/// The launches of a way: one, or the slots' and one that merges them.
fn tiled_forward(
    lowering: &mut Lowering,
    extents: &Extents,
    way: Way,
    params: shader::Params,
    [q, k, v]: [Value; 3],
    [y, log_sum_exp]: [Value; 2],
) -> Vec<Dispatch> {
    let Tile { lanes, rows, columns } = way.tile;
    let grid = way.grid(extents, Pass::Forward);
    let overrides = shader::Overrides { lanes, rows, columns, ..Default::default() };
    if way.slots == 1 {
        let kernel = shader::Forward { q, k, v, y, log_sum_exp };
        let forward = kernel.dispatch(params, overrides, grid);
        return vec![way.counted(extents, Pass::Forward, forward)];
    }
    let slot_tokens = way.slot_tokens(extents, Pass::Forward) as u32;
    let params = shader::Params { slot_tokens, ..params };
    let parts = fold_slots::slots(lowering, way.slots, y);
    // Two numbers for each row of log_sum_exp, of whole vec4s.
    let rows = lowering.type_of(log_sum_exp);
    let statistics = TensorType::f32(&[way.slots * rows.rows(), 2 * rows.pitch()]);
    let statistics = lowering.scratch(statistics);
    let sums = shader::Split { q, k, v, parts, statistics }.dispatch(params, overrides, grid);
    let kernel = shader::Fold { partial: parts, row_statistics: statistics, y, log_sum_exp };
    let vectors = extents.batch * extents.queries.next_multiple_of(4) * extents.channels4();
    vec![way.counted(extents, Pass::Forward, sums), kernel.over(params, vectors)]
}
