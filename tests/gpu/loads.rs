//! Held arenas that a plan takes apart: written in any order, whole or by parts, once or again, in
//! less memory than their contents and packed forms take together.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::collections::HashMap;

use crate::common::support;
use ddim::{
    Error,
    error::GpuError,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Conv2d, Input, Silu, View},
    passes,
    plan::{Candidate, DeviceProfile, Family, KernelSelector, Problem, Target},
    reference::evaluate,
    value::{TensorType, Value},
};

const CHANNELS: usize = 16;

const WEIGHT: usize = 9 * CHANNELS * CHANNELS;

/// Takes the family that packs weights, where there is one.
#[derive(Debug)]
struct Subgroup;

impl KernelSelector for Subgroup {
    fn select(&self, _: &Target, _: &Problem, candidates: &[Candidate]) -> usize {
        candidates.iter().position(|candidate| candidate.family == Family::Subgroup).unwrap_or(0)
    }
}

/// Two convolutions, the weight and the bias of each in an arena of its own.
struct Model {
    graph: Graph,
    x: Value,
    y: Value,
    arenas: [Value; 2],
    weights: [Value; 2],
    biases: [Value; 2],
}

impl Model {
    fn new() -> Self {
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[1, 8, 8, CHANNELS]));
        let arenas = [(); 2].map(|()| graph.constant(TensorType::f32(&[WEIGHT + 64])));
        let mut part = |arena, offset, shape: &[usize]| {
            graph.push(View { offset, of: TensorType::f32(shape) }, &[arena]).unwrap()
        };
        let weights = arenas.map(|arena| part(arena, 0, &[3, 3, CHANNELS, CHANNELS]));
        let biases = arenas.map(|arena| part(arena, WEIGHT, &[CHANNELS]));
        let mut y = x;
        for (&weight, &bias) in weights.iter().zip(&biases) {
            let op = Conv2d { stride: 1, padding: [1; 4] };
            y = graph.push(op, &[y, weight, bias]).unwrap();
            y = graph.push(Silu, &[y]).unwrap();
        }
        graph.outputs.push(y);
        Self { graph, x, y, arenas, weights, biases }
    }

    /// On a device, its buffers poisoned; none where no family of kernels packs weights.
    fn executor(&self, gpu: &Gpu) -> Option<Executor> {
        let plan = passes::compile_with(&self.graph, gpu.target(), &Subgroup).unwrap();
        assert_eq!(plan.staged.is_empty(), gpu.target().subgroup.is_none());
        let packs = !plan.staged.is_empty();
        let mut executor = Executor::new(gpu, plan).unwrap();
        executor.poison().unwrap();
        executor.write(self.x, &contents(&self.graph, self.x, 1)).unwrap();
        packs.then_some(executor)
    }

    /// Runs, and holds the result against the reference with these arenas.
    fn check(&self, executor: &mut Executor, seeds: [u64; 2]) {
        let inputs = [self.x, self.arenas[0], self.arenas[1]];
        let given: HashMap<_, _> = inputs
            .into_iter()
            .zip([1, seeds[0], seeds[1]])
            .map(|(value, seed)| (value, input(&self.graph, value).tensor(seed)))
            .collect();
        let want = evaluate(&self.graph, given).unwrap().remove(&self.y).unwrap().data;
        executor.run(2).unwrap();
        // Sums of 144 products of a variance of 1/100, twice.
        for (got, want) in executor.read(self.y).unwrap().into_iter().zip(want) {
            assert!((f64::from(got) - want).abs() <= 1e-5 * (1.0 + want.abs()), "{got} for {want}");
        }
    }
}

fn input(graph: &Graph, value: Value) -> Input {
    Input::shifted(graph.type_of(value), 0.0, 0.1)
}

fn contents(graph: &Graph, value: Value, seed: u64) -> Vec<f32> {
    input(graph, value).tensor(seed).data.iter().map(|&x| x as f32).collect()
}

#[test]
fn arenas_may_be_written_in_any_order_and_again() {
    let Some(gpu) = support::gpu() else { return };
    let model = Model::new();
    let Some(mut executor) = model.executor(&gpu) else { return };
    let [first, second] = model.arenas;
    let write = |executor: &mut Executor, arena, seed| {
        executor.write(arena, &contents(&model.graph, arena, seed)).unwrap();
    };
    write(&mut executor, second, 3);
    write(&mut executor, first, 2);
    model.check(&mut executor, [2, 3]);
    write(&mut executor, first, 4);
    model.check(&mut executor, [4, 3]);
    write(&mut executor, second, 5);
    model.check(&mut executor, [4, 5]);
}

#[test]
fn what_a_run_computed_outlives_the_loading_of_other_weights() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1, 8, 8, CHANNELS]));
    let arena = graph.constant(TensorType::f32(&[WEIGHT]));
    let of = TensorType::f32(&[3, 3, CHANNELS, CHANNELS]);
    let weight = graph.push(View { offset: 0, of }, &[arena]).unwrap();
    let y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight]).unwrap();
    graph.outputs.push(y);
    let plan = passes::compile_with(&graph, gpu.target(), &Subgroup).unwrap();
    let mut executor = Executor::new(&gpu, plan).unwrap();
    executor.write(x, &contents(&graph, x, 1)).unwrap();
    executor.write(arena, &contents(&graph, arena, 2)).unwrap();
    executor.run(1).unwrap();
    let before = executor.read(y).unwrap();
    executor.write(arena, &contents(&graph, arena, 3)).unwrap();
    assert_eq!(executor.read(y).unwrap(), before);
}

#[test]
fn a_part_may_be_written_by_itself() {
    let Some(gpu) = support::gpu() else { return };
    let model = Model::new();
    let Some(mut executor) = model.executor(&gpu) else { return };
    for ((arena, seed), (weight, bias)) in
        model.arenas.into_iter().zip([2, 3]).zip(model.weights.into_iter().zip(model.biases))
    {
        let contents = contents(&model.graph, arena, seed);
        executor.write(bias, &contents[WEIGHT..WEIGHT + CHANNELS]).unwrap();
        executor.write(weight, &contents[..WEIGHT]).unwrap();
    }
    model.check(&mut executor, [2, 3]);
}

#[test]
fn what_nobody_writes_is_zero() {
    let Some(gpu) = support::gpu() else { return };
    let model = Model::new();
    let plan = passes::compile(&model.graph, gpu.target()).unwrap();
    let mut executor = Executor::new(&gpu, plan).unwrap();
    executor.write(model.x, &contents(&model.graph, model.x, 1)).unwrap();
    executor.write(model.biases[1], &[0.5; CHANNELS]).unwrap();
    executor.run(1).unwrap();
    let want = 0.5 / (1.0 + (-0.5_f32).exp());
    assert!(executor.read(model.y).unwrap().iter().all(|got| (got - want).abs() < 1e-6));
}

#[test]
fn an_arena_that_was_taken_apart_cannot_be_read() {
    let Some(gpu) = support::gpu() else { return };
    let model = Model::new();
    let Some(mut executor) = model.executor(&gpu) else { return };
    let error = executor.read(model.arenas[0]).unwrap_err();
    assert!(matches!(error, Error::Gpu(GpuError::NoContents { action: "read", .. })), "{error}");
}

#[test]
fn a_part_that_only_its_packing_reads_takes_no_memory_of_its_own() {
    let model = Model::new();
    let target =
        Target { subgroup: Some(8), profile: DeviceProfile::SOFTWARE, ..Target::default() };
    let plan = passes::compile(&model.graph, &target).unwrap();
    assert_eq!(plan.staged.len(), 4, "{plan}");
    let place = |value: Value| plan.placements[value.index()].unwrap();
    let [first, second] = model.weights.map(place);
    assert_eq!(first.buffer, second.buffer, "one weight after the other");
    let [first, second] = model.biases.map(place);
    assert_ne!(first.buffer, second.buffer, "steps read biases as they are");
    // Where nothing is packed, arenas stay as they are.
    let plan = passes::compile(&model.graph, &Target::default()).unwrap();
    assert!(plan.staged.is_empty(), "{plan}");
    assert!(model.arenas.iter().all(|arena| plan.placements[arena.index()].is_some()));
}
