//! An operation of one's own, trained through: its WGSL, its reference, its gradient.
//!
//! `softplus(x) = ln(1 + exp(x))` fits a curve that stays positive; then op and gradient are held
//! against their references, as the crate's own are.
//! `cargo run --release --example custom_op`
use ddim::{
    Error,
    error::ShapeError,
    gpu::{Executor, Gpu, GpuOptions},
    graph::{Equation, Graph},
    nn::{self, Arenas, Layers, Weights},
    ops::{Backward, Case, Input, Lowering, MeanSquaredError, Op, Operator, Reduction},
    passes,
    plan::{Cost, Dispatch, fold},
    reference::Tensor,
    training::{Optimizer, TrainingOptions},
    value::{TensorType, Value},
    verify::check_case,
};
use std::fmt;

const WGSL: &str = "
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// The grid is folded: one axis has at most 65,535 workgroups.
fn element(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.y * groups.x * 64u + id.x; }

// A row's pad lanes are computed too, and hold ln 2; the crate zeroes them afterwards.
@compute @workgroup_size(64)
fn forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = element(id, groups);
    if i < arrayLength(&x) { y[i] = max(x[i], 0.0) + log(1.0 + exp(-abs(x[i]))); }
}

@compute @workgroup_size(64)
fn backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = element(id, groups);
    if i < arrayLength(&x) { y[i] = dy[i] / (1.0 + exp(-x[i])); }
}
";

/// `ln(1 + exp(x))`.
#[derive(Debug)]
pub struct Softplus;

/// Its gradient; operands `x`, `dy`.
#[derive(Debug)]
pub struct SoftplusBackward;

impl fmt::Display for Softplus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("softplus")
    }
}

impl fmt::Display for SoftplusBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("softplus_backward")
    }
}

impl Operator for Softplus {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok(vec![inputs[0]])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].map(|x| x.exp().ln_1p())]
    }

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        let Some(dy) = backward.cotangent(0) else { return Ok(vec![None]) };
        let gradient = Op::custom(SoftplusBackward);
        Ok(vec![Some(backward.push(gradient, &[equation.inputs[0], dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, y] = [equation.inputs[0], equation.outputs[0]];
        let grid = fold(lowering.type_of(x).physical_elements().div_ceil(64));
        let dispatch = Dispatch::custom(WGSL, "forward").read(1, x).write(3, y);
        Ok(lowering.push(dispatch.workgroups(grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        Cost { flops: 6 * inputs[0].shape.elements() as u64, bytes: 2 * inputs[0].bytes() }
    }
}

impl Operator for SoftplusBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok(vec![inputs[0]])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].zip(inputs[1], |x, dy| dy / (1.0 + (-x).exp()))]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, dy, dx] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let grid = fold(lowering.type_of(x).physical_elements().div_ceil(64));
        let dispatch = Dispatch::custom(WGSL, "backward").read(1, x).read(2, dy).write(3, dx);
        Ok(lowering.push(dispatch.workgroups(grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        Cost { flops: 5 * inputs[0].shape.elements() as u64, bytes: 3 * inputs[0].bytes() }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::new(&GpuOptions::default())?;
    let (points, width) = (64, 16);
    let network = |layers: &mut Layers, x: Value| {
        let hidden = layers.linear("first", x, width)?;
        let hidden = layers.push(Op::custom(Softplus), &[hidden])?;
        layers.linear("second", hidden, 1)
    };
    let of = TensorType::f32(&[points, 1]);
    let (parameters, _) = nn::trace(Graph::new(), |layers| {
        let x = layers.graph.input(of);
        network(layers, x)
    })?;

    // Backward, clipping, Adam and the counter are part of the same graph, hence of one plan.
    let options = TrainingOptions { learning_rate: 0.02, ..Default::default() };
    let mut graph = Graph::new();
    let [x, wanted] = [(); 2].map(|()| graph.input(of));
    let arenas = Arenas::new(parameters, gpu.target().max_binding);
    let mut optimizer = Optimizer::new(&mut graph, arenas);
    let begun = optimizer.begin(&mut graph, &options)?;
    let views = optimizer.parameters(&mut graph)?;
    let y = network(&mut Layers::new(&mut graph, &views, Some(begun.key)), x)?;
    let loss = graph.push(MeanSquaredError { reduction: Reduction::Mean }, &[y, wanted])?;
    optimizer.end(&mut graph, &views, &options, begun, loss)?;
    graph.outputs.push(loss);

    let mut executor = Executor::new(&gpu, passes::compile(&graph, gpu.target())?)?;
    let xs: Vec<f32> = (0..points).map(|i| i as f32 / 16.0 - 2.0).collect();
    let ys: Vec<f32> = xs.iter().map(|x| (2.0 * x).sin() + 1.5).collect();
    executor.write(x, &xs)?;
    executor.write(wanted, &ys)?;
    let start = Weights::initial(&optimizer.arenas.specs, 7);
    for (&arena, pieces) in optimizer.state[0].iter().zip(optimizer.arenas.pieces(&start)?) {
        executor.write_pieces(arena, pieces)?;
    }
    for step in [1, 100, 900] {
        executor.run(step)?;
        println!("after {step:3} more steps: loss {:.5}", executor.read(loss)?[0]);
    }
    let last = executor.read(loss)?[0];
    if last > 0.05 {
        return Err(format!("the loss stayed at {last}").into());
    }

    // Every element against the reference, at a width that is no multiple of four; the pad lanes
    // and what lies behind are looked at too.
    let x = || Input::normal(TensorType::f32(&[5, 13]));
    check_case(&gpu, &Case::new(Op::custom(Softplus), vec![x()]))?;
    check_case(&gpu, &Case::new(Op::custom(SoftplusBackward), vec![x(), x()]))?;
    println!("softplus and its gradient are those of their references");
    Ok(())
}
