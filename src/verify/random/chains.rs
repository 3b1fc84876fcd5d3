//! Small graphs of the kinds that fusion rewrites.
use super::noise::{check_graph, contents, types};
use crate::{
    error::{CaseError, Error},
    gpu::Gpu,
    graph::Graph,
    ops::{
        Add, AddEmbedding, Attention, Concat, Conv2d, Dice, GroupNorm, Linear, Scale, Silu,
        UpsampleNearest,
    },
    passes,
    plan::DefaultHeuristic,
    value::{TensorType, Value},
};

/// A graph and its ops in words.
pub(super) struct Chain {
    pub title: String,
    pub graph: Graph,
}

impl Chain {
    pub fn check(&self, gpu: &Gpu, seed: u64) -> Result<(), CaseError> {
        let of = types(&self.graph, &self.graph.inputs);
        check_graph(gpu, &self.graph, &DefaultHeuristic, 1, contents(&of, seed), seed)
    }
}

/// Norm, SiLU, concatenation, upsampling before a convolution; embedding, residual, a norm after
/// it; attention or linear layers; sometimes the gradient of all that.
pub(super) fn chain(dice: &mut Dice) -> Result<Chain, Error> {
    let [batch, height, width, channels] = dice.extents([3, 17, 17, 33], 1500);
    let groups = dice.divisor(channels);
    let mut b = Builder { graph: Graph::new(), batch, groups };
    let image = [batch, height, width, channels];
    let x = b.graph.input(TensorType::f32(&image));
    let mut y = x;
    if dice.flip() {
        let first = 4 * dice.extent(4);
        let other = b.graph.input(TensorType::f32(&[batch, height, width, first]));
        y = b.graph.push(Concat, &[other, y])?;
    }
    let blocks = 1 + dice.below(2);
    for _ in 0..blocks {
        y = b.block(dice, y, channels)?;
    }
    if dice.flip() {
        y = b.attention(y)?;
    }
    b.graph.outputs = vec![y];
    if dice.below(3) == 0 {
        let dy = b.graph.input(b.graph.type_of(y));
        let inputs = b.graph.inputs.clone();
        let gradients = passes::gradient(&mut b.graph, y, dy, &inputs)?;
        b.graph.outputs.extend(gradients.into_iter().flatten());
    }
    let ops: Vec<String> =
        b.graph.equations.iter().map(|equation| equation.op.to_string()).collect();
    let title = format!("{} of {}", ops.join(" "), b.graph.type_of(x));
    Ok(Chain { title, graph: b.graph })
}

struct Builder {
    graph: Graph,
    batch: usize,
    groups: usize,
}

impl Builder {
    fn channels(&self, x: Value) -> usize {
        self.graph.type_of(x).shape.last()
    }

    /// Weights of a few products keep the size of what they multiply.
    fn weight(&mut self, extents: &[usize]) -> Result<Value, Error> {
        let weight = self.graph.constant(TensorType::f32(extents));
        let products: usize = extents[..extents.len() - 1].iter().product();
        let scale = Scale { scale: (products as f64).sqrt().recip().into(), shift: 0.0.into() };
        self.graph.push(scale, &[weight])
    }

    fn linear(&mut self, x: Value, outputs: usize) -> Result<Value, Error> {
        let weight = self.weight(&[self.channels(x), outputs])?;
        let bias = self.graph.constant(TensorType::f32(&[outputs]));
        self.graph.push(Linear, &[x, weight, bias])
    }

    fn norm(&mut self, x: Value) -> Result<Value, Error> {
        let channels = self.channels(x);
        let groups = if channels.is_multiple_of(self.groups) { self.groups } else { 1 };
        let [weight, bias] = [(); 2].map(|()| self.graph.constant(TensorType::f32(&[channels])));
        self.graph.push(GroupNorm { groups, eps: 1e-3.into() }, &[x, weight, bias])
    }

    fn block(&mut self, dice: &mut Dice, x: Value, outputs: usize) -> Result<Value, Error> {
        let mut y = x;
        if dice.flip() {
            y = self.norm(y)?;
        }
        if dice.flip() {
            y = self.graph.push(Silu, &[y])?;
        }
        if dice.below(4) == 0 {
            y = self.graph.push(UpsampleNearest, &[y])?;
        }
        let kernel = dice.pick([3, 3, 1]);
        let weight = self.weight(&[kernel, kernel, self.channels(y), outputs])?;
        let bias = self.graph.constant(TensorType::f32(&[outputs]));
        let conv = Conv2d { stride: 1, padding: [kernel / 2; 4] };
        y = self.graph.push(conv, &[y, weight, bias])?;
        if dice.flip() {
            let embedding = self.graph.input(TensorType::f32(&[self.batch, dice.extent(40)]));
            let projected = self.linear(embedding, outputs)?;
            y = self.graph.push(AddEmbedding, &[y, projected])?;
        }
        if self.graph.type_of(x) == self.graph.type_of(y) && dice.flip() {
            y = self.graph.push(Add, &[y, x])?;
        }
        Ok(y)
    }

    fn attention(&mut self, x: Value) -> Result<Value, Error> {
        let channels = self.channels(x);
        let normed = self.norm(x)?;
        let [q, k, v] = [
            self.linear(normed, channels)?,
            self.linear(normed, channels)?,
            self.linear(normed, channels)?,
        ];
        let heads = if channels.is_multiple_of(8) { 2 } else { 1 };
        let y = self.graph.push(Attention::to_all(heads), &[q, k, v])?;
        self.graph.push(Add, &[y, x])
    }
}
