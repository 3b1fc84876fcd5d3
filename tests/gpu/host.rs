//! Living with a host: its buffers, its encoders, its frames.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::support;
use ddim::{
    Error,
    diffusion::{Sampler, samplers::Table, schedule::SchedulerConfig},
    error::GpuError,
    gpu::{Budget, DeviceTensor, Executor, Gpu},
    graph::Graph,
    nn::{self, Layers, Model, ModelInputs, Weights},
    ops::{Conv2d, GroupNorm, Linear, Silu},
    passes,
    plan::Plan,
    value::{TensorType, Value},
};
use std::{ops::ControlFlow, time::Duration};

/// The values of [`block`] that a host has.
#[derive(Clone, Copy)]
struct Values {
    x: Value,
    weight: Value,
    scale: Value,
    shift: Value,
    y: Value,
}

/// Convolution, group norm and SiLU, of 6 to 8 channels: rows of the image have pads.
fn block(gpu: &Gpu) -> (Plan, Values) {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[2, 16, 16, 6]));
    let weight = graph.constant(TensorType::f32(&[3, 3, 6, 8]));
    let scale = graph.constant(TensorType::f32(&[8]));
    let shift = graph.constant(TensorType::f32(&[8]));
    let h = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, weight]).unwrap();
    let h = graph.push(GroupNorm { groups: 4, eps: 1e-5.into() }, &[h, scale, shift]).unwrap();
    let y = graph.push(Silu, &[h]).unwrap();
    graph.outputs.push(y);
    (passes::compile(&graph, gpu.target()).unwrap(), Values { x, weight, scale, shift, y })
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7 + seed * 13) as f32 * 0.37).sin()).collect()
}

/// A buffer of the host with room for a tensor that begins at `offset`, full of NaN.
fn tensor(gpu: &Gpu, of: TensorType, offset: u64, usage: wgpu::BufferUsages) -> DeviceTensor {
    let size = offset + of.bytes().next_multiple_of(16) + 256;
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("the host's"),
        size,
        usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, &vec![0xff; size as usize]);
    DeviceTensor { buffer, offset, of }
}

/// Writes dense rows with pads of zeros, as a host would.
fn fill(gpu: &Gpu, to: &DeviceTensor, dense: &[f32]) {
    let (columns, pitch) = (to.of.shape.last(), to.of.pitch());
    let mut rows = vec![0.0; to.of.physical_elements()];
    for (row, dense) in rows.chunks_exact_mut(pitch).zip(dense.chunks_exact(columns)) {
        row[..columns].copy_from_slice(dense);
    }
    gpu.queue().write_buffer(&to.buffer, to.offset, bytemuck::cast_slice(&rows));
}

fn write_all(executor: &mut Executor, values: Values) {
    let Values { x, weight, scale, shift, .. } = values;
    executor.write(x, &numbers(2 * 16 * 16 * 6, 1)).unwrap();
    executor.write(weight, &numbers(3 * 3 * 6 * 8, 2)).unwrap();
    executor.write(scale, &numbers(8, 3)).unwrap();
    executor.write(shift, &numbers(8, 4)).unwrap();
}

/// The block's output by an executor with buffers of its own.
fn expected(gpu: &Gpu) -> Vec<f32> {
    let (plan, values) = block(gpu);
    let mut executor = Executor::new(gpu, plan).unwrap();
    executor.poison().unwrap();
    write_all(&mut executor, values);
    executor.run(1).unwrap();
    executor.read(values.y).unwrap()
}

/// Hosts move executors to threads of their own, and share the device among them.
#[test]
fn the_device_and_what_runs_on_it_may_go_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Gpu>();
    is_send_and_sync::<Plan>();
    is_send_and_sync::<Executor>();
    is_send_and_sync::<Sampler>();
}

#[test]
fn a_run_on_the_hosts_buffers_copies_nothing() {
    let Some(gpu) = support::gpu() else { return };
    let (plan, values) = block(&gpu);
    let of = |value: Value| plan.find(value).unwrap();
    let offset = u64::from(gpu.device().limits().min_storage_buffer_offset_alignment).max(16);
    let storage = wgpu::BufferUsages::STORAGE;
    let x = tensor(&gpu, of(values.x), offset, storage);
    let weight = tensor(&gpu, of(values.weight), 0, storage);
    let y = tensor(&gpu, of(values.y), 3 * offset, storage);
    let bound = [(values.x, x.clone()), (values.weight, weight.clone()), (values.y, y.clone())];
    let mut executor = Executor::with_buffers(&gpu, plan.clone(), &bound).unwrap();
    assert!(executor.plan().peak_bytes() < plan.peak_bytes(), "its own buffers are still there");
    executor.poison().unwrap();
    executor.write(values.scale, &numbers(8, 3)).unwrap();
    executor.write(values.shift, &numbers(8, 4)).unwrap();
    for seed in [5, 2] {
        fill(&gpu, &x, &numbers(2 * 16 * 16 * 6, 1));
        fill(&gpu, &weight, &numbers(3 * 3 * 6 * 8, seed));
        executor.written(values.weight).unwrap();
        let before = executor.stats();
        executor.run(1).unwrap();
        executor.wait().unwrap();
        let after = executor.stats();
        assert_eq!(before.uploaded, after.uploaded);
        assert_eq!(before.read_back, after.read_back);
    }
    assert_eq!(executor.tensor(values.y).unwrap().buffer, y.buffer);
    assert_eq!(executor.read(values.y).unwrap(), expected(&gpu));
    // The host's bytes around the output are as they were.
    let raw = executor.read_raw(values.y).unwrap();
    let beyond = &raw[y.of.bytes().next_multiple_of(16) as usize..];
    assert!(beyond.iter().all(|&byte| byte == 0xff));
}

#[test]
fn buffers_that_cannot_hold_a_tensor_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let (plan, values) = block(&gpu);
    let of = |value: Value| plan.find(value).unwrap();
    let storage = wgpu::BufferUsages::STORAGE;
    let good = tensor(&gpu, of(values.x), 0, storage);
    let refused = |tensors: &[(Value, DeviceTensor)], says: &str| {
        let error = Executor::with_buffers(&gpu, plan.clone(), tensors).err().unwrap();
        assert!(matches!(error, Error::Gpu(GpuError::HostBuffer { .. })), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let plain = tensor(&gpu, of(values.x), 0, wgpu::BufferUsages::empty());
    refused(&[(values.x, plain)], "usage STORAGE");
    let crooked = DeviceTensor { offset: 4, ..good.clone() };
    refused(&[(values.x, crooked)], "an offset that is a multiple of");
    let late = DeviceTensor { offset: good.buffer.size() / 256 * 256, ..good.clone() };
    refused(&[(values.x, late)], "bytes from byte");
    let other = DeviceTensor { of: TensorType::f32(&[2, 16, 16, 5]), ..good.clone() };
    refused(&[(values.x, other)], "f32[2,16,16,6], found f32[2,16,16,5]");
    refused(&[(values.x, good.clone()), (values.x, good.clone())], "bytes of its own");
    let result = DeviceTensor { of: of(values.y), ..tensor(&gpu, of(values.y), 0, storage) };
    let over = DeviceTensor { buffer: result.buffer.clone(), ..good.clone() };
    refused(&[(values.y, result), (values.x, over)], "bytes of its own");
    let mut foreign = Graph::new();
    let stranger = foreign.input(of(values.x));
    let error = Executor::with_buffers(&gpu, plan.clone(), &[(stranger, good)]).err().unwrap();
    assert!(matches!(error, Error::Gpu(GpuError::Foreign { .. })), "{error}");
}

/// Two inputs may be the same bytes.
#[test]
fn two_inputs_share_the_hosts_bytes() {
    let Some(gpu) = support::gpu() else { return };
    let of = TensorType::f32(&[5, 8]);
    let mut graph = Graph::new();
    let (a, b) = (graph.input(of), graph.input(of));
    let y = graph.push(ddim::ops::Add, &[a, b]).unwrap();
    graph.outputs.push(y);
    let plan = passes::compile(&graph, gpu.target()).unwrap();
    let both = tensor(&gpu, of, 0, wgpu::BufferUsages::STORAGE);
    fill(&gpu, &both, &numbers(40, 1));
    let mut executor = Executor::with_buffers(&gpu, plan, &[(a, both.clone()), (b, both)]).unwrap();
    executor.run(1).unwrap();
    let twice: Vec<f32> = numbers(40, 1).into_iter().map(|x| x + x).collect();
    assert_eq!(executor.read(y).unwrap(), twice);
}

/// A chain of launches whose last adds up in place of its input: what a run does shows.
fn chain(gpu: &Gpu) -> (Plan, [Value; 3]) {
    let of = TensorType::f32(&[64, 64]);
    let mut graph = Graph::new();
    let (x, weight) = (graph.input(of), graph.constant(TensorType::f32(&[64, 64])));
    let mut y = x;
    for _ in 0..6 {
        y = graph.push(Linear, &[y, weight]).unwrap();
        y = graph.push(Silu, &[y]).unwrap();
    }
    let y = graph.push(ddim::ops::Add, &[y, x]).unwrap();
    graph.update(x, y);
    graph.outputs.push(y);
    (passes::compile(&graph, gpu.target()).unwrap(), [x, weight, y])
}

fn chain_of(gpu: &Gpu) -> (Executor, [Value; 3]) {
    let (plan, values) = chain(gpu);
    let mut executor = Executor::new(gpu, plan).unwrap();
    executor.poison().unwrap();
    executor.write(values[0], &numbers(64 * 64, 1)).unwrap();
    executor.write(values[1], &numbers(64 * 64, 2)).unwrap();
    (executor, values)
}

fn after_runs(gpu: &Gpu, runs: usize) -> Vec<f32> {
    let (mut executor, values) = chain_of(gpu);
    executor.run(runs).unwrap();
    executor.read(values[2]).unwrap()
}

/// Records and submits pieces until a run is finished; says how many it took.
fn record_a_run(executor: &mut Executor, budget: Budget) -> usize {
    for pieces in 1.. {
        let gpu = executor.gpu().clone();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        let before = executor.stats();
        let finished = executor.record(&mut encoder, budget).unwrap();
        assert_eq!(executor.stats().submits, before.submits, "recording submits nothing");
        gpu.queue().submit([encoder.finish()]);
        if finished {
            return pieces;
        }
    }
    unreachable!("a run ends")
}

#[test]
fn pieces_in_the_hosts_encoders_make_a_run() {
    let Some(gpu) = support::gpu() else { return };
    let two_runs = after_runs(&gpu, 2);
    for budget in [
        Budget::Launches(0),
        Budget::Launches(1),
        Budget::Launches(3),
        Budget::Launches(usize::MAX),
        Budget::Time(Duration::ZERO),
        Budget::Time(Duration::MAX),
    ] {
        let (mut executor, values) = chain_of(&gpu);
        let launches = executor.plan().all().count();
        let pieces = record_a_run(&mut executor, budget);
        match budget {
            Budget::Launches(0 | 1) => assert_eq!(pieces, launches, "the setup is recorded too"),
            Budget::Launches(3) => assert_eq!(pieces, launches.div_ceil(3)),
            Budget::Time(Duration::ZERO) => assert_eq!(pieces, launches),
            _ => assert_eq!(pieces, 1),
        }
        record_a_run(&mut executor, budget);
        assert_eq!(executor.read(values[2]).unwrap(), two_runs, "{budget:?}");
    }
}

/// The setup of a run that is given up is not lost.
#[test]
fn a_recording_that_is_given_up_leaves_the_executor_usable() {
    let Some(gpu) = support::gpu() else { return };
    let (mut executor, values) = chain_of(&gpu);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    assert!(!executor.record(&mut encoder, Budget::Launches(1)).unwrap());
    drop(encoder);
    executor.run(1).unwrap();
    assert_eq!(executor.read(values[2]).unwrap(), after_runs(&gpu, 1));
}

#[test]
fn a_started_run_tells_how_far_it_is_and_can_be_dropped() {
    let Some(gpu) = support::gpu() else { return };
    let (mut executor, values) = chain_of(&gpu);
    executor.limit_submissions(Duration::ZERO);
    let mut run = executor.start(3).unwrap();
    let mut last = 0;
    loop {
        let progress = run.poll().unwrap();
        assert!(progress.done >= last && progress.done <= progress.of);
        last = progress.done;
        if progress.is_finished() {
            break;
        }
        std::thread::yield_now();
    }
    drop(run);
    assert_eq!(executor.read(values[2]).unwrap(), after_runs(&gpu, 3));
    // One submission a launch, and no waiting for them.
    let launches = executor.plan().dispatches().count() as u64;
    assert!(executor.stats().submits >= 3 * launches);

    let mut run = executor.start(1000).unwrap();
    let progress = run.poll().unwrap();
    assert!(!progress.is_finished());
    drop(run);
    executor.wait().unwrap();
    executor.write(values[0], &numbers(64 * 64, 1)).unwrap();
    executor.start(2).unwrap().finish().unwrap();
    assert_eq!(executor.read(values[2]).unwrap(), after_runs(&gpu, 2));
}

/// After a profile the pieces follow measured times.
#[test]
fn a_budget_in_time_follows_the_profile() {
    let Some(gpu) = support::gpu() else { return };
    let (mut executor, _) = chain_of(&gpu);
    let medians: Vec<f64> = executor
        .profile(3)
        .unwrap()
        .timings
        .iter()
        .map(|launch| {
            let mut times = launch.times.clone();
            times.sort();
            times[1].as_secs_f64()
        })
        .collect();
    let quarter = Duration::from_secs_f64(medians.iter().sum::<f64>() / 4.0);
    // As many launches in a piece as stay below a quarter, and at least one.
    let (mut expected, mut filled) = (0, f64::INFINITY);
    for seconds in medians {
        filled += seconds;
        if filled >= quarter.as_secs_f64() {
            (expected, filled) = (expected + 1, seconds);
        }
    }
    assert!(expected > 1);
    assert_eq!(record_a_run(&mut executor, Budget::Time(quarter)), expected);
}

/// A convolution of grey images of 8x8 pixels.
#[derive(Clone, Copy)]
struct Small;

impl Model for Small {
    fn channels(&self) -> usize {
        1
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let h = layers.conv2d("conv_in", inputs.x, 4, 3, Conv2d { stride: 1, padding: [1; 4] })?;
        let h = layers.push(Silu, &[h])?;
        layers.conv2d("conv_out", h, 1, 3, Conv2d { stride: 1, padding: [1; 4] })
    }
}

fn small_weights(seed: u64) -> Weights {
    let parameters = nn::parameters(&Small, [2, 8, 8]).unwrap();
    Weights::initial(&parameters, seed)
}

fn small_sampler(gpu: &Gpu, start: f64) -> Sampler {
    let table: Table = SchedulerConfig::default().ddim(6, 0.5).unwrap();
    let table = Table { start, ..table };
    Sampler::new(gpu, &Small, &small_weights(1), [2, 8, 8], &table, None, 3).unwrap()
}

/// The first noise is drawn where the images lie: nothing but the counter is uploaded, nothing is read.
#[test]
fn a_sampler_begins_and_ends_on_the_device() {
    let Some(gpu) = support::gpu() else { return };
    for start in [1.0, 1.7] {
        let mut sampler = small_sampler(&gpu, start);
        let noise = sampler.noise(2).unwrap();
        assert!((noise.iter().map(|x| x * x).sum::<f32>() / 128.0).sqrt() > 0.5 * start as f32);
        let before = sampler.executor().stats();
        sampler.begin(2).unwrap();
        let after = sampler.executor().stats();
        assert_eq!(after.uploaded - before.uploaded, 32, "the counter");
        assert_eq!(after.read_back, before.read_back);
        assert_eq!(sampler.images().unwrap(), noise);
        sampler.begin_from(2, &noise).unwrap();
        sampler.advance(6).unwrap();
        let from_host = sampler.images().unwrap();
        sampler.begin(2).unwrap();
        sampler.advance(6).unwrap();
        let tensor = sampler.tensor().unwrap();
        assert_eq!(tensor.of, TensorType::f32(&[2, 8, 8, 1]));
        assert_eq!(sampler.images().unwrap(), from_host);
    }
}

#[test]
fn a_caller_stops_a_sampler_between_two_evaluations_and_goes_on() {
    let Some(gpu) = support::gpu() else { return };
    let mut sampler = small_sampler(&gpu, 1.0);
    let whole = sampler.sample(2, |_| {}).unwrap();
    sampler.begin(0).unwrap();
    let mut heard = Vec::new();
    let done = sampler
        .advance_while(6, |steps| {
            heard.push(steps);
            if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    // The device had two more steps to do when the second was told.
    assert!((2..=4).contains(&done), "{done}");
    assert_eq!(heard, (1..=done).collect::<Vec<_>>());
    let rest = sampler.advance_while(6 - done, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(done + rest, 6);
    assert_eq!(sampler.images().unwrap(), whole);
}

/// However many submissions a run takes, its end alone is told.
#[test]
fn a_run_of_many_submissions_is_told_once() {
    let Some(gpu) = support::gpu() else { return };
    for times in [0, 1, 3] {
        let (mut executor, values) = chain_of(&gpu);
        executor.limit_submissions(Duration::ZERO);
        let mut heard = Vec::new();
        let done = executor
            .run_while(times, |runs| {
                heard.push(runs);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(done, times);
        assert_eq!(heard, (1..=times).collect::<Vec<_>>());
        if times > 0 {
            assert_eq!(executor.read(values[2]).unwrap(), after_runs(&gpu, times));
        }
    }
}

#[test]
fn weights_are_swapped_without_a_new_plan() {
    let Some(gpu) = support::gpu() else { return };
    let mut sampler = small_sampler(&gpu, 1.0);
    let first = sampler.sample(2, |_| {}).unwrap();
    sampler.set_weights(&small_weights(2)).unwrap();
    let second = sampler.sample(2, |_| {}).unwrap();
    assert_ne!(first, second);
    sampler.set_weights(&small_weights(1)).unwrap();
    assert_eq!(sampler.sample(2, |_| {}).unwrap(), first);
    let error = sampler.set_weights(&Weights::default()).unwrap_err().to_string();
    assert!(error.contains("conv_in"), "{error}");
}
