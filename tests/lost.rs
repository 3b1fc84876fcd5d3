//! A device that goes away at any moment: every call says that it is lost, and none hangs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use common::support;
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
use std::{thread, time::Duration};

mod common;

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
