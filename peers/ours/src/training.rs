//! Training steps: forward, backward and Adam. Their result is the loss of each step so far.
use crate::{Planned, layout, models};
use ddim::{
    diffusion::schedule::SchedulerConfig,
    gpu::{Executor, Gpu},
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    nn::{self, Arenas, Layers, Model},
    ops::{Add, Attention, Conv2d, MeanSquaredError, Reduction},
    passes,
    training::{Given, Optimizer, TrainingGraph, TrainingOptions},
    value::{TensorType, Value},
};
use peer_common::{Result, uniform};

/// Every engine's options.
fn options(batch: usize) -> TrainingOptions {
    TrainingOptions { batch, learning_rate: 1e-4, clip: None, ..TrainingOptions::default() }
}

/// Compiles a step and writes the weights. What it computes are the losses in the history: the
/// first column of the rows written so far.
fn planned(gpu: &Gpu, graph: &Graph, optimizer: &Optimizer) -> Result<Planned> {
    let plan = passes::compile(graph, gpu.target())?;
    let (gflop, arenas) = (plan.cost().flops as f64 / 1e9, &optimizer.arenas);
    let notes = vec![format!("{} parameters, {gflop:.2} GFLOP a step", arenas.elements())];
    let mut executor = Executor::new(gpu, plan)?;
    let weights = models::weights(&arenas.specs);
    for (&arena, pieces) in optimizer.state[0].iter().zip(arenas.pieces(&weights)?) {
        executor.write_pieces(arena, pieces)?;
    }
    let history = optimizer.history;
    let result = move |executor: &mut Executor| {
        let rows = executor.read(history)?;
        Ok(rows.chunks_exact(4).map(|row| row[0]).take_while(|loss| *loss != 0.0).collect())
    };
    Ok(Planned { executor, result: Box::new(result), notes })
}

/// A training step of a U-Net on noise of one level: `x_t = 0.6 x_0 + 0.8 noise`.
fn diffusion(gpu: &Gpu, unet: &UNet, batch: usize, side: usize) -> Result<Planned> {
    let timesteps = 1000;
    let (size, given) = ([side, side], Given::TimestepsAndNoise);
    let scheduler = SchedulerConfig { num_train_timesteps: timesteps, ..Default::default() };
    let step = TrainingGraph::new(gpu.target(), unet, size, &scheduler, &options(batch), given)?;
    let mut planned = planned(gpu, &step.graph, &step.optimizer)?;
    let channels = unet.channels();
    let image = |seed| {
        let numbers = uniform(seed, batch * channels * side * side, 1.7);
        layout::swap(&numbers, channels, side * side)
    };
    let given = step.given.ok_or("timesteps and noise were asked for")?;
    planned.executor.write(step.x0, &image(1))?;
    planned.executor.write(given.levels, &[0.6, 0.8].repeat(timesteps))?;
    planned.executor.write(given.timesteps, &vec![500.0; batch])?;
    planned.executor.write(given.noise, &image(2))?;
    Ok(planned)
}

/// A training step of the CIFAR-10 U-Net.
pub fn unet(gpu: &Gpu, [batch]: [usize; 1]) -> Result<Planned> {
    diffusion(gpu, &models::cifar10()?, batch, 32)
}

/// A U-Net with the levels, widths and image of meganeura's `SDUNetConfig::tiny`, and at least
/// its parameters and operations: it has no text, so more residual blocks stand for that.
pub fn tiny(gpu: &Gpu, [batch]: [usize; 1]) -> Result<Planned> {
    let config = include_str!("tiny.json");
    diffusion(gpu, &UNet::new(UNetConfig::parse(config)?)?, batch, 32)
}

/// Norm, SiLU and a convolution, of as many channels as `x` has.
fn half(
    layers: &mut Layers,
    block: usize,
    part: usize,
    x: Value,
) -> std::result::Result<Value, ddim::Error> {
    let channels = layers.channels(x);
    let h = layers.group_norm(&format!("{block}.norm{part}"), x, 32, 1e-5)?;
    let h = layers.silu(h)?;
    let same = Conv2d { stride: 1, padding: [1; 4] };
    layers.conv2d(&format!("{block}.conv{part}"), h, channels, 3, same)
}

/// Residual blocks and one attention.
fn residual(
    layers: &mut Layers,
    mut x: Value,
    blocks: usize,
) -> std::result::Result<Value, ddim::Error> {
    for block in 0..blocks {
        let h = half(layers, block, 1, x)?;
        let h = half(layers, block, 2, h)?;
        x = layers.push(Add, &[x, h])?;
    }
    layers.scope("attention", |layers| {
        let channels = layers.channels(x);
        let h = layers.group_norm("norm", x, 32, 1e-5)?;
        let q = layers.linear("q", h, channels)?;
        let k = layers.linear("k", h, channels)?;
        let v = layers.linear("v", h, channels)?;
        let h = layers.push(Attention { heads: 1, causal: false }, &[q, k, v])?;
        let h = layers.linear("out", h, channels)?;
        layers.push(Add, &[x, h])
    })
}

/// Residual blocks and one attention, trained towards given numbers.
pub fn blocks(gpu: &Gpu, [batch, channels, side, blocks]: [usize; 4]) -> Result<Planned> {
    let of = TensorType::f32(&[batch, side, side, channels]);
    let (parameters, _) = nn::trace(Graph::new(), |layers| {
        let x = layers.graph.input(of);
        residual(layers, x, blocks)
    })?;
    let options = options(batch);
    let mut graph = Graph::new();
    let [x, expected] = [(); 2].map(|()| graph.input(of));
    let arenas = Arenas::new(parameters, gpu.target().max_binding);
    let mut optimizer = Optimizer::new(&mut graph, arenas);
    let begun = optimizer.begin(&mut graph, &options)?;
    let views = optimizer.parameters(&mut graph)?;
    let y = residual(&mut Layers::new(&mut graph, &views, Some(begun.key)), x, blocks)?;
    let loss = graph.push(MeanSquaredError { reduction: Reduction::Mean }, &[y, expected])?;
    optimizer.end(&mut graph, &views, &options, begun, loss)?;

    let mut planned = planned(gpu, &graph, &optimizer)?;
    for (value, seed) in [(x, 1), (expected, 2)] {
        let numbers = uniform(seed, of.shape.elements(), 1.7);
        planned.executor.write(value, &layout::swap(&numbers, channels, side * side))?;
    }
    Ok(planned)
}
