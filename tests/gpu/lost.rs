//! A device that goes away at any moment: every call says that it is lost, and none hangs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::support;
use ddim::{
    Error,
    error::GpuError,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Add, Linear, Silu},
    passes,
    plan::Plan,
    value::{TensorType, Value},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Some dispatches of a recurrence, which take about as long as it takes to submit them.
fn recurrence(gpu: &Gpu) -> (Plan, [Value; 3]) {
    let of = TensorType::f32(&[256, 64]);
    let mut graph = Graph::new();
    let (x, weight) = (graph.input(of), graph.constant(TensorType::f32(&[64, 64])));
    let mut y = x;
    for _ in 0..5 {
        y = graph.push(Linear, &[y, weight]).unwrap();
        y = graph.push(Silu, &[y]).unwrap();
    }
    let y = graph.push(Add, &[y, x]).unwrap();
    graph.update(x, y);
    graph.outputs.push(y);
    (passes::compile(&graph, gpu.target()).unwrap(), [x, weight, y])
}

/// Calls of all kinds until one fails.
fn use_up(executor: &mut Executor, [x, weight, y]: [Value; 3]) -> Result<(), Error> {
    let (numbers, weights) = (vec![1.0; 256 * 64], vec![0.01; 64 * 64]);
    // Far longer than any of the deadlines.
    for round in 0..100_000 {
        match round % 4 {
            0 => executor.write(x, &numbers)?,
            1 => executor.write(weight, &weights)?,
            2 => executor.wait()?,
            _ => drop(executor.profile(1)?),
        }
        executor.run(2)?;
        assert_eq!(executor.read(y)?.len(), 256 * 64);
    }
    Ok(())
}

/// A device that this crate did not open, opened as it asks for.
fn opened_by_the_caller(own: &Gpu) -> Gpu {
    let backends = own.info().backend.into();
    let mut instance = wgpu::InstanceDescriptor::new_without_display_handle();
    instance.backends = backends;
    let adapters = pollster::block_on(wgpu::Instance::new(instance).enumerate_adapters(backends));
    let adapter = adapters.into_iter().find(|one| one.get_info().name == own.info().name).unwrap();
    let descriptor = wgpu::DeviceDescriptor {
        required_features: Gpu::wanted_features(&adapter),
        required_limits: Gpu::required_limits(&adapter),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    Gpu::from_wgpu(device, queue).unwrap()
}

#[test]
fn the_loss_of_a_callers_device_is_seen_and_its_callback_is_its_own() {
    let Some(own) = support::gpu() else { return };
    for round in 0..10_u64 {
        let gpu = opened_by_the_caller(&own);
        assert_eq!(gpu.target(), own.target());
        let heard = Arc::new(AtomicBool::new(false));
        let hears = Arc::clone(&heard);
        gpu.device().set_device_lost_callback(move |_, _| hears.store(true, Ordering::SeqCst));
        let (plan, values) = recurrence(&gpu);
        let mut executor = Executor::new(&gpu, plan).unwrap();
        let device = gpu.device().clone();
        let moment = Duration::from_micros(round * 61_803 % 100_000 / 4);
        let destroyer = thread::spawn(move || {
            thread::sleep(moment);
            device.destroy();
        });
        let error = use_up(&mut executor, values).unwrap_err();
        destroyer.join().unwrap();
        assert!(matches!(error, Error::Gpu(GpuError::Lost { .. })), "{round}: {error}");
        // wgpu calls it when somebody polls and nothing is under way any more.
        let mut polls = 0;
        while !heard.load(Ordering::SeqCst) && polls < 1000 {
            let _ = gpu.device().poll(wgpu::PollType::wait_indefinitely());
            thread::sleep(Duration::from_millis(1));
            polls += 1;
        }
        assert!(heard.load(Ordering::SeqCst), "{round}: the caller's callback was taken");
    }
}

#[test]
fn what_the_caller_says_of_its_device_counts() {
    let Some(own) = support::gpu() else { return };
    let gpu = opened_by_the_caller(&own);
    let (plan, _) = recurrence(&gpu);
    let mut executor = Executor::new(&gpu, plan).unwrap();
    executor.run(1).unwrap();
    gpu.device_lost("the driver was updated");
    let error = executor.run(1).unwrap_err().to_string();
    assert!(error.contains("the driver was updated"), "{error}");
}

#[test]
fn a_device_destroyed_at_any_moment_is_lost_and_nothing_else() {
    for round in 0..50_u64 {
        let Some(gpu) = support::gpu() else { return };
        let (plan, values) = recurrence(&gpu);
        let mut executor = Executor::new(&gpu, plan.clone()).unwrap();
        let device = gpu.device().clone();
        // Spread over some rounds of calls, by the golden ratio.
        let moment = Duration::from_micros(round * 61_803 % 100_000 / 4);
        let destroyer = thread::spawn(move || {
            thread::sleep(moment);
            device.destroy();
        });
        let error = if round % 5 == 4 {
            let mut all = (0..100_000).map(|_| Executor::new(&gpu, plan.clone()));
            all.find_map(Result::err)
        } else {
            use_up(&mut executor, values).err()
        };
        destroyer.join().unwrap();
        let error = error.unwrap();
        assert!(matches!(error, Error::Gpu(GpuError::Lost { .. })), "{round}: {error}");
        for error in [executor.run(1), executor.wait(), executor.read(values[2]).map(drop)] {
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Gpu(GpuError::Lost { .. })), "{round}: {error}");
        }
    }
}
