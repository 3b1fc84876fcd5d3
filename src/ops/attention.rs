//! Attention: Vaswani et al. 2017, eq. 1; its gradients: Dao et al. 2022, algorithm 4.
use super::{Backward, Case, Input, Lowering, Operator, ShapeError, operands, pixel_tile::Images};
use crate::{
    error::Error,
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::{attention as shader, attention_backward as gradient, heads as layout},
    value::{Shape, TensorType, Value},
};
use std::fmt;

/// Largest number of channels of a head: more would not fit a lane's registers.
const MAX_HEAD_SIZE: usize = 512;

/// `y = softmax(q k^T / sqrt(head size)) v` per head; head `i` owns the `i`-th run of channels.
///
/// | operand | shape |
/// |---|---|
/// | `q` | `[batch, .., channels]` with any one or two axes of queries |
/// | `k`, `v` | `[batch, .., channels]` with any one or two axes of keys |
/// | output `y` | as `q` |
/// | output `log_sum_exp` | `[batch, heads, queries]`, f32: of each row of scaled scores; carries no gradient |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Number of heads; divides the channels.
    pub heads: usize,
}

/// Gradients of [`Attention`]: operands `q`, `k`, `v`, `y`, `log_sum_exp`, `dy`; outputs `dq`,
/// `dk`, `dv`. With `p = exp(q k^T / sqrt(head size) - log_sum_exp)` and
/// `ds = p (dy v^T - rowsum(dy y)) / sqrt(head size)`: `dq = ds k`, `dk = ds^T q`, `dv = p^T dy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionBackward {
    /// Number of heads.
    pub heads: usize,
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attention{{heads={}}}", self.heads)
    }
}

impl fmt::Display for AttentionBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attention_backward{{heads={}}}", self.heads)
    }
}

/// Extents of one attention.
#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    head_size: usize,
}

impl Extents {
    fn of(q: Shape, k: Shape, heads: usize) -> Self {
        let tokens = |of: Shape| of.rows() / of[0];
        let head_size = q.last() / heads;
        Self { batch: q[0], queries: tokens(q), keys: tokens(k), heads, head_size }
    }

    /// The extents that `q`, `k` and `v`, the first of `inputs`, agree on.
    fn check(op: &str, heads: usize, inputs: &[TensorType]) -> Result<Self, ShapeError> {
        let error = |message: String| Err(ShapeError::new(op, message, inputs));
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let queries = Images::of(op, q, inputs)?;
        let keys = Images::of(op, k, inputs)?;
        let channels = queries.channels;
        if heads == 0 || channels % heads != 0 {
            return error(format!("q has {channels} channels, not a multiple of {heads} heads"));
        }
        if channels / heads > MAX_HEAD_SIZE {
            let found = channels / heads;
            return error(format!("a head has {found} channels; at most {MAX_HEAD_SIZE} can be"));
        }
        if (keys.batch, keys.channels, k.element) != (queries.batch, channels, q.element) {
            let (batch, element) = (queries.batch, q.element);
            return error(format!("k must be {element}[{batch},keys,{channels}], found {k}"));
        }
        if v != k {
            return error(format!("v must be {k}, found {v}"));
        }
        Ok(Self::of(q.shape, k.shape, heads))
    }

    fn log_sum_exp(&self) -> TensorType {
        TensorType::f32(&[self.batch, self.heads, self.queries])
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_size as f64).sqrt()
    }

    /// `vec4`s of a head that begins at one.
    fn head4(&self) -> usize {
        self.head_size.div_ceil(4)
    }

    /// `vec4`s of a token whose heads begin at one.
    fn channels4(&self) -> usize {
        self.heads * self.head4()
    }

    /// Whether two heads meet inside a `vec4`.
    fn heads_touch(&self) -> bool {
        self.heads > 1 && self.head_size % 4 != 0
    }

    /// `vec4`s of a head that a lane owns; eight lanes share a head.
    fn columns(&self) -> usize {
        self.head4().div_ceil(8)
    }

    /// Rows of a lane that keeps `accumulators` tensors' rows in registers: 32 vec4s of them.
    fn rows(&self, accumulators: usize) -> u32 {
        let most = 32 / (self.columns() * accumulators);
        if most >= 4 { 4 } else { most.next_power_of_two().max(1) as u32 }
    }

    /// One workgroup per tile of tokens, head and image.
    fn grid(&self, tokens: usize, rows: u32) -> [u32; 3] {
        [tokens.div_ceil(8 * rows as usize) as u32, self.heads as u32, self.batch as u32]
    }

    fn products(&self) -> u64 {
        (self.batch * self.heads * self.queries * self.keys * self.head_size) as u64
    }
}

/// Moves tokens between their own layout and one where every head begins at a `vec4`.
struct Heads(Extents);

impl Heads {
    fn params(&self, of: TensorType) -> layout::Params {
        layout::Params {
            tokens: of.rows() as u32,
            heads: self.0.heads as u32,
            head_size: self.0.head_size as u32,
            channels4: (of.pitch() / 4) as u32,
            head4: self.0.head4() as u32,
        }
    }

    /// A place for a tensor like `value` in the kernels' layout: itself if the layouts agree.
    fn place(&self, lowering: &mut Lowering, value: Value) -> Value {
        if !self.0.heads_touch() {
            return value;
        }
        let of = lowering.type_of(value);
        let apart = of.with_shape(&[of.rows(), self.0.heads, self.0.head_size]);
        lowering.scratch(apart)
    }

    /// `value` in the kernels' layout.
    fn separate(&self, lowering: &mut Lowering, value: Value) -> Result<Value, Error> {
        let apart = self.place(lowering, value);
        if apart != value {
            let params = self.params(lowering.type_of(value));
            let overrides = layout::Overrides::default();
            let vectors = lowering.type_of(apart).vectors();
            let grid = fold(vectors.div_ceil(overrides.workgroup as usize));
            let kernel = layout::Separate { together: value, apart_out: apart };
            lowering.push(kernel.dispatch(params, overrides, grid))?;
        }
        Ok(apart)
    }

    /// Fills `value` from its [`Heads::place`].
    fn join(&self, lowering: &mut Lowering, apart: Value, value: Value) -> Result<(), Error> {
        if apart != value {
            let of = lowering.type_of(value);
            let overrides = layout::Overrides::default();
            let grid = fold(of.vectors().div_ceil(overrides.workgroup as usize));
            let kernel = layout::Join { apart, together_out: value };
            lowering.push(kernel.dispatch(self.params(of), overrides, grid))?;
        }
        Ok(())
    }
}

/// Scores and weights of one query of one head in f64, for the references.
struct Row {
    /// First element of the query in `q`, `y` and their gradients.
    query: usize,
    /// Position in `log_sum_exp`.
    statistic: usize,
    /// First element of each key in `k`, `v` and their gradients.
    keys: Vec<usize>,
    /// Scaled scores.
    scores: Vec<f64>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rows(q: &Tensor, k: &Tensor, heads: usize) -> Vec<Row> {
    let extents = Extents::of(q.shape, k.shape, heads);
    let (size, channels) = (extents.head_size, q.shape.last());
    let mut rows = Vec::new();
    for image in 0..extents.batch {
        for head in 0..heads {
            for token in 0..extents.queries {
                let query = (image * extents.queries + token) * channels + head * size;
                let keys: Vec<usize> = (0..extents.keys)
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
        for row in rows(q, k, self.heads) {
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

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        if backward.cotangent(1).is_some() {
            return Err(Error::NotDifferentiable { op: format!("log_sum_exp of {self}") });
        }
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None; 3]);
        };
        let mut operands = equation.inputs.clone();
        operands.extend(&equation.outputs);
        operands.push(dy);
        let gradients = backward.push_all(AttentionBackward { heads: self.heads }, &operands)?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [q, k, v] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let [y, log_sum_exp] = [equation.outputs[0], equation.outputs[1]];
        let (query, key) = (lowering.type_of(q).shape, lowering.type_of(k).shape);
        let extents = Extents::of(query, key, self.heads);
        let heads = Heads(extents);
        let kernel = shader::Forward {
            q: heads.separate(lowering, q)?,
            k: heads.separate(lowering, k)?,
            v: heads.separate(lowering, v)?,
            y: heads.place(lowering, y),
            log_sum_exp,
        };
        let placed = kernel.y;
        let overrides =
            shader::Overrides { rows: extents.rows(1), columns: extents.columns() as u32 };
        let params = shader::Params {
            queries: extents.queries as u32,
            keys: extents.keys as u32,
            channels4: extents.channels4() as u32,
            head4: extents.head4() as u32,
            heads: self.heads as u32,
            scale: extents.scale() as f32,
        };
        let grid = extents.grid(extents.queries, overrides.rows);
        lowering.push(kernel.dispatch(params, overrides, grid))?;
        heads.join(lowering, placed, y)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let extents = Extents::of(inputs[0].shape, inputs[1].shape, self.heads);
        let tensors = 2 * inputs[0].bytes() + 2 * inputs[1].bytes();
        let bytes = tensors + extents.log_sum_exp().bytes();
        Cost { flops: 4 * extents.products(), bytes }
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
                let message = format!("{name} must be {expected}, found {found}");
                return Err(ShapeError::new(op, message, inputs));
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
        for row in rows(q, k, self.heads) {
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

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [q, k, v] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let [y, log_sum_exp, dy] = [equation.inputs[3], equation.inputs[4], equation.inputs[5]];
        let [dq, dk, dv] = [equation.outputs[0], equation.outputs[1], equation.outputs[2]];
        let (query, key) = (lowering.type_of(q).shape, lowering.type_of(k).shape);
        let extents = Extents::of(query, key, self.heads);
        let heads = Heads(extents);
        let [q, k, v] = [
            heads.separate(lowering, q)?,
            heads.separate(lowering, k)?,
            heads.separate(lowering, v)?,
        ];
        let [y, dy] = [heads.separate(lowering, y)?, heads.separate(lowering, dy)?];
        let placed = [dq, dk, dv].map(|value| heads.place(lowering, value));
        let delta = lowering.scratch(extents.log_sum_exp());
        let params = gradient::Params {
            batch: extents.batch as u32,
            queries: extents.queries as u32,
            keys: extents.keys as u32,
            channels4: extents.channels4() as u32,
            head4: extents.head4() as u32,
            heads: self.heads as u32,
            scale: extents.scale() as f32,
        };
        let tiles = |accumulators| gradient::Overrides {
            rows: extents.rows(accumulators),
            columns: extents.columns() as u32,
            ..Default::default()
        };

        let overrides = tiles(1);
        let sums = gradient::RowSums { dy, y, delta_out: delta };
        let vectors = extents.log_sum_exp().physical_elements();
        let grid = fold(vectors.div_ceil(overrides.workgroup as usize));
        lowering.push(sums.dispatch(params, overrides, grid))?;

        let kernel = gradient::Query { q, k, v, dy, log_sum_exp, delta, dq: placed[0] };
        let grid = extents.grid(extents.queries, overrides.rows);
        lowering.push(kernel.dispatch(params, overrides, grid))?;

        let overrides = tiles(2);
        let kernel =
            gradient::KeyValue { q, k, v, dy, log_sum_exp, delta, dk: placed[1], dv: placed[2] };
        let grid = extents.grid(extents.keys, overrides.rows);
        lowering.push(kernel.dispatch(params, overrides, grid))?;

        heads.join(lowering, placed[0], dq)?;
        heads.join(lowering, placed[1], dk)?;
        heads.join(lowering, placed[2], dv)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let extents = Extents::of(inputs[0].shape, inputs[1].shape, self.heads);
        let tensors = 4 * inputs[0].bytes() + 4 * inputs[1].bytes();
        let bytes = tensors + extents.log_sum_exp().bytes();
        Cost { flops: 10 * extents.products(), bytes }
    }
}

pub(super) fn cases() -> Vec<Case> {
    // (batch, queries, keys, heads, head size, deviation of q)
    let shapes = [
        (1, 1, 1, 1, 4, 1.0, "one token"),
        (1, 49, 49, 2, 6, 12.0, "logits of 12, heads meet inside a vec4"),
        (1, 64, 64, 4, 4, 1.0, "a head is one vec4"),
        (1, 65, 7, 2, 8, 1.0, "few keys"),
        (2, 16, 16, 3, 5, 1.0, "odd head size"),
        (2, 20, 65, 1, 5, 1.0, "one odd head"),
        (1, 40, 40, 1, 1, 1.0, "one channel"),
        (1, 40, 77, 4, 40, 1.0, "cross attention"),
        (1, 17, 33, 1, 512, 1.0, "largest head"),
    ];
    let mut cases = Vec::new();
    for (batch, queries, keys, heads, size, deviation, note) in shapes {
        let q = TensorType::f32(&[batch, queries, heads * size]);
        let k = TensorType::f32(&[batch, keys, heads * size]);
        let log_sum_exp = TensorType::f32(&[batch, heads, queries]);
        let inputs = vec![Input::shifted(q, 0.0, deviation), Input::normal(k), Input::normal(k)];
        let forward = Case::new(Attention { heads }, inputs.clone());
        // An error of a score is an error of the weight's exponent.
        let terms = (keys + size) * (1.0 + deviation * deviation) as usize;
        cases.push(forward.half(&[0, 1, 2]).terms(terms).name(note));
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
        let backward = Case::new(AttentionBackward { heads }, inputs);
        let terms = queries.max(keys) + size;
        cases.push(backward.half(&[0, 1, 2, 3, 5]).terms(terms).name(note));
    }
    cases
}
