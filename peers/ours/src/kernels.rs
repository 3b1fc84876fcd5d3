//! One equation at a time. Weights are held, as a finished model holds them.
use crate::{Planned, layout};
use ddim::{
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Attention, Cast, Conv2d, GroupNorm, Linear, Silu},
    passes,
    value::{ElementType, TensorType, Value},
};
use peer_common::{Result, uniform};

/// Compiles, writes the operands and reads `output` with its pixels or channels turned to
/// PyTorch's order.
fn planned(
    gpu: &Gpu,
    mut graph: Graph,
    output: Value,
    operands: Vec<(Value, Vec<f32>)>,
    to_torch: impl Fn(Vec<f32>) -> Vec<f32> + 'static,
) -> Result<Planned> {
    graph.outputs = vec![output];
    let mut executor = Executor::new(gpu, passes::compile(&graph, gpu.target())?)?;
    for (value, contents) in operands {
        executor.write(value, &contents)?;
    }
    let result = Box::new(move |executor: &mut Executor| Ok(to_torch(executor.read(output)?)));
    Ok(Planned { executor, result, notes: Vec::new() })
}

fn convolution_operands(
    [n, c, h, w, k, size]: [usize; 6],
) -> (TensorType, Vec<f32>, TensorType, Vec<f32>) {
    let x = layout::swap(&uniform(1, n * c * h * w, 1.0), c, h * w);
    let scale = (3.0 / (c * size * size) as f32).sqrt();
    let weight_type = TensorType::f32(&[size, size, c, k]);
    let weight = layout::parameter(&uniform(2, k * c * size * size, scale), &[size, size, c, k]);
    (TensorType::f32(&[n, h, w, c]), x, weight_type, weight)
}

pub fn convolution(gpu: &Gpu, shape: [usize; 6]) -> Result<Planned> {
    let [_, _, h, w, k, size] = shape;
    let (x_type, x, weight_type, weight) = convolution_operands(shape);
    let mut graph = Graph::new();
    let (a, b) = (graph.input(x_type), graph.constant(weight_type));
    let y = graph.push(Conv2d { stride: 1, padding: [size / 2; 4] }, &[a, b])?;
    planned(gpu, graph, y, vec![(a, x), (b, weight)], move |y| layout::swap(&y, h * w, k))
}

/// The gradient of the input, or of the weight, alone. Nothing is held: training has new weights
/// in every step.
pub fn gradient(gpu: &Gpu, shape: [usize; 6], of_input: bool) -> Result<Planned> {
    let [n, c, h, w, k, size] = shape;
    let (x_type, x, weight_type, weight) = convolution_operands(shape);
    let mut graph = Graph::new();
    let (a, b) = (graph.input(x_type), graph.input(weight_type));
    let y = graph.push(Conv2d { stride: 1, padding: [size / 2; 4] }, &[a, b])?;
    let dy = graph.input(graph.type_of(y));
    let wanted = if of_input { a } else { b };
    let gradients = passes::gradient(&mut graph, y, dy, &[wanted])?;
    let gradient = gradients[0].ok_or("a convolution depends on its operands")?;
    let dy_contents = layout::swap(&uniform(3, n * k * h * w, 1.0), k, h * w);
    let other = if of_input { (b, weight) } else { (a, x) };
    planned(gpu, simplified(graph, gradient), gradient, vec![other, (dy, dy_contents)], move |g| {
        if of_input {
            layout::swap(&g, h * w, c)
        } else {
            // [taps, inputs, outputs] to [taps, outputs, inputs] to [outputs, inputs, taps]
            layout::swap(&layout::swap(&g, c, k), size * size, k * c)
        }
    })
}

/// Without the equations that `output` does not need, such as the forward pass.
fn simplified(mut graph: Graph, output: Value) -> Graph {
    graph.outputs = vec![output];
    passes::simplify(&graph)
}

/// `[n, n] x [n, n]`, the second operand a weight.
pub fn product(gpu: &Gpu, [n]: [usize; 1]) -> Result<Planned> {
    let of = TensorType::f32(&[n, n]);
    let mut graph = Graph::new();
    let (a, b) = (graph.input(of), graph.constant(of));
    let y = graph.push(Linear, &[a, b])?;
    let scale = (3.0 / n as f32).sqrt();
    planned(gpu, graph, y, vec![(a, uniform(1, n * n, 1.0)), (b, uniform(2, n * n, scale))], |y| y)
}

/// Group norm and SiLU.
pub fn norm(gpu: &Gpu, [n, c, h, w, groups]: [usize; 5]) -> Result<Planned> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[n, h, w, c]));
    let [weight, bias] = [(); 2].map(|()| graph.constant(TensorType::f32(&[c])));
    let y = graph.push(GroupNorm { groups, eps: 1e-5.into() }, &[x, weight, bias])?;
    let y = graph.push(Silu, &[y])?;
    let operands = vec![
        (x, layout::swap(&uniform(1, n * c * h * w, 1.0), c, h * w)),
        (weight, peer_common::parameter("norm.weight", &[c])),
        (bias, peer_common::parameter("norm.bias", &[c])),
    ];
    planned(gpu, graph, y, operands, move |y| layout::swap(&y, h * w, c))
}

/// A plain copy, twice, from one buffer to another and on: what a norm has to move.
pub fn copies(gpu: &Gpu, [n, c, h, w]: [usize; 4]) -> Result<Planned> {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[n, h, w, c]));
    let to = ElementType::F32;
    let once = graph.push(Cast { to }, &[x])?;
    let y = graph.push(Cast { to }, &[once])?;
    let operands = vec![(x, uniform(1, n * c * h * w, 1.0))];
    planned(gpu, graph, y, operands, move |y| layout::swap(&y, h * w, c))
}

/// Softmax attention of given queries, keys and values.
pub fn attention(gpu: &Gpu, [n, tokens, channels, heads]: [usize; 4]) -> Result<Planned> {
    let mut graph = Graph::new();
    let operands: Vec<Value> =
        (0..3).map(|_| graph.input(TensorType::f32(&[n, tokens, channels]))).collect();
    let y = graph.push(Attention { heads, causal: false }, &operands)?;
    let contents = (1..).map(|seed| uniform(seed, n * tokens * channels, 1.7));
    planned(gpu, graph, y, operands.into_iter().zip(contents).collect(), |y| y)
}
