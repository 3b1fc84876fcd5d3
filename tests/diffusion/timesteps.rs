//! Ways of drawing the timesteps of a batch.
use crate::common::support;
use ddim::{
    gpu::Executor,
    graph::Graph,
    ops::{Counter, DrawImportant, DrawTimesteps, Operator, TimestepProbabilities},
    passes,
    reference::Tensor,
};

/// Of the importance sampling.
const TIMESTEPS: usize = 20;

#[test]
fn antithetic_timesteps_come_in_pairs() {
    for batch in [1, 2, 7, 64] {
        let op = DrawTimesteps { batch, images: batch, count: 1000, antithetic: true, stream: 3 };
        let counter = Counter { seed: 9, step: 4, ..Counter::default() };
        let key = Tensor::new(Counter::of().shape, counter.words().map(f64::from).to_vec());
        let timesteps = op.reference(&[&key]).remove(0).data;
        // As in the released code: half of the batch and one more are drawn, the rest are cut off.
        let (drawn, mirrored) = timesteps.split_at((batch / 2 + 1).min(batch));
        for (drawn, mirrored) in drawn.iter().zip(mirrored) {
            assert_eq!(drawn + mirrored, 999.0);
        }
        let uniform = DrawTimesteps { antithetic: false, ..op }.reference(&[&key]).remove(0).data;
        assert_eq!(drawn, &uniform[..drawn.len()]);
    }
}

#[test]
fn important_timesteps_are_drawn_as_often_as_their_losses_say() {
    let Some(gpu) = support::gpu() else { return };
    let batch = 40_000;
    let mut graph = Graph::new();
    let memory = graph.input(TimestepProbabilities::memory(TIMESTEPS));
    let key = graph.input(Counter::of());
    let probabilities = graph.push(TimestepProbabilities, &[memory]).expect("its own memory");
    let drawn = graph.push_all(DrawImportant { batch, stream: 1 }, &[key, probabilities]);
    let drawn = drawn.expect("a key and probabilities");
    graph.outputs = vec![drawn[0], drawn[1]];
    let plan = passes::compile(&graph, gpu.target()).expect("a plan");
    let mut executor = Executor::new(&gpu, plan).expect("a small plan");

    let loss = |t: usize, n: usize| (1 + t) as f64 * (1.0 + 0.1 * n as f64);
    let contents = (0..TIMESTEPS)
        .flat_map(|t| (0..10).map(move |n| loss(t, n) as f32).chain([10.0 + (t % 10) as f32]));
    executor.write(memory, &contents.collect::<Vec<_>>()).expect("room");
    let counter = Counter { seed: 77, ..Counter::default() };
    executor.write_u32(key, &counter.words()).expect("room");
    executor.run(1).expect("a device that is there");
    let timesteps = executor.read(drawn[0]).expect("timesteps");
    let factors = executor.read(drawn[1]).expect("factors");

    let moments: Vec<f64> = (0..TIMESTEPS)
        .map(|t| ((0..10).map(|n| loss(t, n).powi(2)).sum::<f64>() / 10.0).sqrt())
        .collect();
    let total: f64 = moments.iter().sum();
    for (t, moment) in moments.iter().enumerate() {
        let p = 0.999 * moment / total + 0.001 / TIMESTEPS as f64;
        let mine = || (0..batch).filter(|&image| timesteps[image] == t as f32);
        let deviation = (p * (1.0 - p) / batch as f64).sqrt();
        let share = mine().count() as f64 / batch as f64;
        assert!((share - p).abs() < 5.0 * deviation, "timestep {t}: {share} for {p}");
        let factor = 1.0 / (TIMESTEPS as f64 * p);
        for image in mine() {
            let error = (f64::from(factors[image]) - factor).abs();
            assert!(error < 1e-5 * factor, "timestep {t}: {} for {factor}", factors[image]);
        }
    }
}
