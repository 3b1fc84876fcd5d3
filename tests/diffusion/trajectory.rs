//! Fifty steps of sampling as one plan, over more elements than one grid axis of small
//! workgroups, against the reference on every element.
use crate::common::support;
use ddim::{
    gpu::Executor,
    graph::Graph,
    ops::{Advance, Counter, SamplingRow, SamplingStep, Scale},
    passes,
    reference::{Environment, Tensor, evaluate},
    value::{TensorType, Value},
};

const STEPS: usize = 50;

/// DDIM's rows for a linear schedule, eta 0.5, samples clipped to [-1, 1]: Song et al. 2021,
/// eq. 12 and 16.
fn table() -> Vec<f64> {
    let mut abar = vec![1.0];
    for t in 0..1000 {
        let beta = 1e-4 + (0.02 - 1e-4) * f64::from(t) / 999.0;
        abar.push(abar[abar.len() - 1] * (1.0 - beta));
    }
    let mut table = Vec::new();
    for step in 0..STEPS {
        let t = (STEPS - 1 - step) * (1000 / STEPS);
        let now = abar[t + 1];
        let next = if t == 0 { 1.0 } else { abar[t + 1 - 1000 / STEPS] };
        let sigma = 0.5 * ((1.0 - next) / (1.0 - now)).sqrt() * (1.0 - now / next).sqrt();
        let direction = (1.0 - next - sigma * sigma).sqrt();
        let (signal, noise) = (now.sqrt(), (1.0 - now).sqrt());
        table.extend([t as f64, 1.0 / signal, -noise / signal, 1.0]);
        table.extend([next.sqrt(), direction, 0.0, sigma]);
        table.extend([0.0; SamplingRow::COLUMNS - 8]);
    }
    table.iter().map(|&x| f64::from(x as f32)).collect()
}

struct Trajectory {
    graph: Graph,
    counter: Value,
    table: Value,
    x: Value,
}

/// A sampler whose network says that all of x is noise.
fn trajectory(of: TensorType) -> Trajectory {
    let mut graph = Graph::new();
    let counter = graph.input(Counter::of());
    let table = graph.input(TensorType::f32(&[STEPS, SamplingRow::COLUMNS]));
    let x = graph.input(of);
    let op = SamplingRow { batch: of.shape[0] };
    let row = graph.push_all(op, &[counter, table]).expect("fits");
    let network = Scale { scale: 0.9.into(), shift: 0.01.into() };
    let epsilon = graph.push(network, &[x]).expect("fits");
    let step = SamplingStep::new(7);
    let next = graph.push_all(step, &[x, epsilon, row[1], row[0]]).expect("fits");
    graph.update(x, next[0]);
    let done = graph.push(Advance { guarded: false }, &[counter, next[1]]).expect("fits");
    graph.update(counter, done);
    Trajectory { graph, counter, table, x }
}

#[test]
fn fifty_steps_agree_on_every_element() {
    let Some(gpu) = support::gpu() else { return };
    // 4,096 workgroups of 64 vec4s.
    let of = TensorType::f32(&[4, 256, 256, 3]);
    let Trajectory { graph, counter, table, x } = trajectory(of);
    let plan = passes::compile(&graph, gpu.target()).expect("compiles");
    assert!(plan.dispatches().any(|d| d.workgroups.iter().product::<u32>() >= 4096));
    let mut executor = Executor::new(&gpu, plan).expect("fits the device");
    let start = ddim::ops::Input::normal(of).tensor(3);
    let words = Counter { seed: 11, ..Counter::default() }.words();
    let dense = |tensor: &Tensor| tensor.data.iter().map(|&x| x as f32).collect::<Vec<_>>();
    executor.write_u32(counter, &words).expect("writes");
    executor.write(x, &dense(&start)).expect("writes");
    let rows = Tensor::new(graph.type_of(table).shape, self::table());
    executor.write(table, &dense(&rows)).expect("writes");
    let before = executor.stats();
    executor.run(STEPS).expect("runs");
    let after = executor.stats();
    assert_eq!((after.waits, after.maps), (before.waits, before.maps), "the host waited inside");

    let mut state: Environment = [
        (counter, Tensor::new(Counter::of().shape, words.map(f64::from).to_vec())),
        (table, rows),
        (x, start),
    ]
    .into();
    for _ in 0..STEPS {
        let mut results = evaluate(&graph, state.clone()).expect("every input is given");
        for update in &graph.updates {
            let next = results.remove(&update.next).expect("computed");
            state.insert(update.state, next);
        }
    }
    let counted = executor.read_u32(counter).expect("reads");
    assert_eq!(counted[2], STEPS as u32);
    let got = executor.read(x).expect("reads");
    let want = &state[&x];
    // Each step rounds a few times; the errors of fifty add up, and clipping keeps x near 1.
    let tolerance = 50.0 * f64::from(f32::EPSILON) * want.max_abs();
    for (i, (&got, &want)) in got.iter().zip(&want.data).enumerate() {
        assert!((f64::from(got) - want).abs() <= tolerance, "element {i}: {got} for {want}");
    }
}
