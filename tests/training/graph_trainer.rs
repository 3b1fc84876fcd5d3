//! Training of graphs that are not of diffusion.
use crate::common::support;
use ddim::{
    Error,
    error::TrainingError,
    gpu::Gpu,
    graph::Graph,
    nn::Layers,
    ops::{MeanSquaredError, Reduction},
    training::{GraphTrainer, TrainingOptions},
    value::{TensorType, Value},
};

const POINTS: usize = 64;

fn options() -> TrainingOptions {
    TrainingOptions { learning_rate: 0.05, ema_decay: 0.9, ..TrainingOptions::default() }
}

/// A line through points, and its inputs.
fn line(gpu: &Gpu, options: &TrainingOptions) -> Result<(GraphTrainer, [Value; 2]), Error> {
    let mut graph = Graph::new();
    let inputs = [(); 2].map(|()| graph.input(TensorType::f32(&[POINTS, 1])));
    let [x, y] = inputs;
    let trainer = GraphTrainer::new(gpu, graph, options, |layers: &mut Layers| {
        let predicted = layers.linear("line", x, 1)?;
        layers.push(MeanSquaredError { reduction: Reduction::Mean }, &[predicted, y])
    })?;
    Ok((trainer, inputs))
}

fn points() -> [Vec<f32>; 2] {
    let x: Vec<f32> = (0..POINTS).map(|i| i as f32 / 32.0 - 1.0).collect();
    let y = x.iter().map(|x| 2.0 * x - 0.5).collect();
    [x, y]
}

#[test]
fn a_line_is_found() {
    let Some(gpu) = support::gpu() else { return };
    let (mut trainer, inputs) = line(&gpu, &options()).expect("a small graph");
    for (input, numbers) in inputs.into_iter().zip(points()) {
        trainer.executor().write(input, &numbers).expect("room");
    }
    let start = trainer.weights().expect("a device");
    assert_eq!(start, trainer.averaged_weights().expect("a device"), "the average begins there");
    for _ in 0..400 {
        trainer.step().expect("a device");
    }
    let metrics = trainer.metrics().expect("finite losses");
    assert_eq!(metrics.len(), 256, "the history's length");
    assert_eq!(metrics.last().map(|last| last.step), Some(400));
    assert!(trainer.metrics().expect("nothing new").is_empty());
    // Adam comes to rest within its rate of the least loss, the average closer.
    let found = trainer.averaged_weights().expect("a device");
    let number = |name: &str| found.get(name).expect("a parameter").data[0];
    let (slope, shift) = (number("line.weight"), number("line.bias"));
    assert!((slope - 2.0).abs() < 0.01 && (shift + 0.5).abs() < 0.01, "{slope} {shift}");
}

#[test]
fn a_bad_step_is_named_and_changes_nothing() {
    let Some(gpu) = support::gpu() else { return };
    let (mut trainer, inputs) = line(&gpu, &options()).expect("a small graph");
    let [x, mut y] = points();
    trainer.executor().write(inputs[0], &x).expect("room");
    trainer.executor().write(inputs[1], &y).expect("room");
    trainer.step().expect("a device");
    let before = trainer.weights().expect("a device");
    y[7] = f32::NAN;
    trainer.executor().write(inputs[1], &y).expect("room");
    trainer.step().expect("a device");
    let error = trainer.metrics().expect_err("a loss that is no number");
    let named = matches!(error, Error::Training(TrainingError::NotFinite { step: 2, .. }));
    assert!(named, "{error}");
    assert_eq!(trainer.weights().expect("a device"), before);
}

#[test]
fn micro_batches_and_what_has_no_loss_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let two = TrainingOptions { accumulate: 2, ..options() };
    let error = line(&gpu, &two).err().expect("two micro-batches").to_string();
    assert!(error.contains("accumulate") && error.contains('2'), "{error}");
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[POINTS, 1]));
    let no_loss = GraphTrainer::new(&gpu, graph, &options(), |layers| layers.linear("a", x, 1));
    let error = no_loss.err().expect("64 numbers are no loss").to_string();
    assert!(error.contains("f32[1]") && error.contains("f32[64,1]"), "{error}");
}
