//! Forms that do not block give what those that do give.
use crate::common::{support, tiny};
use ddim::{
    data::{Batches, digits},
    diffusion::{Sampler, schedule::SchedulerConfig},
    gpu::{Executor, Gpu},
    graph::Graph,
    nn::Weights,
    ops::{Input, Silu},
    passes,
    training::{Trainer, TrainingOptions},
    value::{TensorType, Value},
};
use pollster::block_on;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// A row of so many activations: value written, value read.
fn chain(gpu: &Gpu, elements: usize, length: usize) -> (Executor, Value, Value) {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[elements]));
    let mut y = x;
    for _ in 0..length {
        y = graph.push(Silu, &[y]).expect("one operand");
    }
    graph.outputs.push(y);
    let plan = passes::compile(&graph, gpu.target()).expect("a small graph");
    (block_on(Executor::new_async(gpu, plan)).expect("a device"), x, y)
}

fn numbers(count: usize) -> Vec<f32> {
    let of = Input::normal(TensorType::f32(&[count]));
    of.tensor(3).data.into_iter().map(|number| number as f32).collect()
}

#[test]
fn runs_and_reads_are_those_of_the_blocking_forms() {
    let Some(gpu) = support::gpu() else { return };
    let (mut executor, x, y) = chain(&gpu, 1000, 50);
    executor.poison().expect("a device");
    executor.write(x, &numbers(1000)).expect("1000 numbers");
    let mut told = Vec::new();
    block_on(executor.run_async(3, |done| told.push(done))).expect("a device");
    assert_eq!(told.last(), Some(&3));
    assert!(told.is_sorted(), "{told:?}");
    let found = block_on(executor.read_async(y)).expect("a device");
    assert_eq!(found, executor.read(y).expect("a device"));
    assert!(found.iter().any(|number| *number != 0.0));
    assert!(block_on(executor.read_u32_async(y)).is_err(), "floats are no words");
}

#[test]
fn waiting_leaves_the_thread_free() {
    let Some(gpu) = support::gpu() else { return };
    // Some seconds of work on a software driver.
    let (mut executor, x, y) = chain(&gpu, 1 << 20, 50);
    executor.write(x, &numbers(1 << 20)).expect("as many numbers");
    executor.run(20).expect("a device");
    let found = {
        let mut read = pin!(executor.read_async(y));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(read.as_mut().poll(&mut context), Poll::Pending));
        block_on(read).expect("a device")
    };
    assert_eq!(found, executor.read(y).expect("a device"));
}

#[test]
fn writing_leaves_the_thread_free() {
    let Some(gpu) = support::gpu() else { return };
    // 24 MiB: the device has to catch up once.
    let count = 6 << 20;
    let (mut executor, x, y) = chain(&gpu, count, 1);
    let dense = numbers(count);
    executor.write(x, &dense).expect("as many numbers");
    executor.run(1).expect("a device");
    let expected = executor.read(y).expect("a device");
    executor.poison().expect("a device");
    {
        let mut write = pin!(executor.write_async(x, &dense));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(write.as_mut().poll(&mut context), Poll::Pending));
        block_on(write).expect("as many numbers");
    }
    executor.run(1).expect("a device");
    assert_eq!(executor.read(y).expect("a device"), expected);
}

#[test]
fn training_and_sampling_go_on_without_blocking() {
    let Some(gpu) = support::gpu() else { return };
    let unet = tiny::unet(None);
    let (scheduler, data) = (SchedulerConfig::default(), digits());
    let options = TrainingOptions { batch: 4, ..TrainingOptions::default() };
    let trained = |asynchronous: bool| {
        let (model, scheduler) = (unet.clone(), scheduler.clone());
        let mut trainer =
            Trainer::new(&gpu, model, scheduler, [8, 8], options.clone()).expect("a small model");
        let mut batches = Batches::new(&data, 4, 0, false);
        for step in 0..3 {
            trainer.step(&batches.batch(step)).expect("a device");
        }
        match asynchronous {
            true => {
                let metrics = block_on(trainer.metrics_async()).expect("finite losses");
                (metrics, block_on(trainer.averaged_weights_async()).expect("a device"))
            }
            false => {
                let metrics = trainer.metrics().expect("finite losses");
                (metrics, trainer.averaged_weights().expect("a device"))
            }
        }
    };
    let bits = |weights: &Weights| -> Vec<Vec<u32>> {
        let of = |data: &[f32]| data.iter().map(|number| number.to_bits()).collect();
        weights.iter().map(|(_, parameter)| of(&parameter.data)).collect()
    };
    let (one, other) = (trained(true), trained(false));
    assert_eq!(one.0.len(), 3);
    assert_eq!(one.0, other.0);
    assert!(bits(&one.1) == bits(&other.1));

    let table = scheduler.ddim(4, 0.0).expect("four steps");
    let mut sampler =
        Sampler::new(&gpu, &unet, &one.1, [2, 8, 8], &table, None, 0).expect("a small model");
    sampler.begin(0).expect("a device");
    let mut told = 0;
    block_on(sampler.advance_async(4, |done| told = done)).expect("a device");
    assert_eq!(told, 4);
    let images = block_on(sampler.images_async()).expect("finite images");
    assert_eq!(images, sampler.images().expect("finite images"));
    let prediction = block_on(sampler.prediction_async()).expect("a device");
    assert_eq!(prediction, sampler.prediction().expect("a device"));
}
