//! A curve learned with Adam: a network, a loss and data of one's own, without diffusion.
//!
//! `cargo run --release --example regression [STEPS]`
use ddim::{
    Error,
    gpu::{Executor, Gpu, GpuOptions},
    graph::Graph,
    nn::{FrozenModel, Layers, trace},
    ops::{MeanSquaredError, Reduction},
    passes,
    training::{GraphTrainer, TrainingOptions},
    value::{TensorType, Value},
};

const POINTS: usize = 256;

/// Two hidden layers of 32.
fn network(layers: &mut Layers, x: Value) -> Result<Value, Error> {
    let mut h = x;
    for layer in ["first", "second"] {
        h = layers.linear(layer, h, 32)?;
        h = layers.silu(h)?;
    }
    layers.linear("last", h, 1)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let gpu = Gpu::new(&GpuOptions::default())?;
    let mut graph = Graph::new();
    let [x, y] = [(); 2].map(|()| graph.input(TensorType::f32(&[POINTS, 1])));
    let options = TrainingOptions { learning_rate: 1e-2, ema_decay: 0.9, ..Default::default() };
    let mut trainer = GraphTrainer::new(&gpu, graph, &options, |layers| {
        let predicted = network(layers, x)?;
        layers.push(MeanSquaredError { reduction: Reduction::Mean }, &[predicted, y])
    })?;
    let points: Vec<f32> = (0..POINTS).map(|i| i as f32 / 128.0 - 1.0).collect();
    let curve: Vec<f32> = points.iter().map(|x| (3.0 * x).sin()).collect();
    trainer.executor().write(x, &points)?;
    trainer.executor().write(y, &curve)?;
    for _ in 0..steps {
        trainer.step()?;
    }
    let losses = trainer.metrics()?;
    let last = losses.last().ok_or("no step was taken")?;
    println!("step {}: loss {:.5}", last.step, last.loss);

    // The same network with the averaged weights, without what only training needs.
    let weights = trainer.averaged_weights()?;
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[POINTS, 1]));
    let (specs, _) = trace(graph.clone(), |layers| network(layers, x))?;
    let limit = gpu.target().max_binding;
    let model = FrozenModel::of(&mut graph, specs, limit, |layers| network(layers, x))?;
    graph.outputs.push(model.prediction);
    let mut executor = Executor::new(&gpu, passes::compile(&graph, gpu.target())?)?;
    for (arena, pieces) in model.pieces(&weights)? {
        executor.write_pieces(arena, pieces)?;
    }
    executor.write(x, &points)?;
    executor.run(1)?;
    let predicted = executor.read(model.prediction)?;
    let worst = predicted.iter().zip(&curve).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("sin 3x is off by at most {worst:.4}");
    if worst > 0.1 {
        return Err(format!("the curve is off by {worst}").into());
    }
    Ok(())
}
