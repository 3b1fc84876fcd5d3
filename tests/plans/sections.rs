//! Sections of a plan: run one by one they compute what a run computes, and between two of them a
//! caller may read and change what they share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::support;
use ddim::{
    Error,
    error::{GpuError, GraphError},
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{
        Adam, Add, Constant, Conv2d, GroupNorm, Input, Linear, MeanSquaredError, Reduction, Scale,
        Silu,
    },
    passes,
    plan::{Section, Target, Trigger},
    value::{TensorType, Value},
};

fn executor(gpu: &Gpu, graph: &Graph) -> Executor {
    let mut executor = Executor::new(gpu, passes::compile(graph, gpu.target()).unwrap()).unwrap();
    executor.poison().unwrap();
    for (seed, &value) in graph.inputs.iter().enumerate() {
        executor.write(value, &contents(graph, value, seed)).unwrap();
    }
    executor
}

fn contents(graph: &Graph, value: Value, seed: usize) -> Vec<f32> {
    let input = Input::uniform(graph.type_of(value), 0.1, 1.0);
    input.tensor(seed as u64).data.iter().map(|&x| x as f32).collect()
}

/// A convolution, a norm and SiLU that learn, with Adam in a section of its own; returns the
/// weight's gradient, the norm and the state.
fn training() -> (Graph, [Value; 2], [Value; 4]) {
    let mut graph = Graph::new();
    let image = TensorType::f32(&[2, 8, 8, 8]);
    let (x, target) = (graph.input(image), graph.input(image));
    let weight = TensorType::f32(&[3, 3, 8, 8]);
    let state = [(); 4].map(|()| graph.input(weight));
    let [scale, shift] = [(); 2].map(|()| graph.input(TensorType::f32(&[8])));
    let [row, norm] = [(); 2].map(|()| graph.input(TensorType::f32(&[4])));
    graph.section("gradients");
    let mut y = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[x, state[0]]).unwrap();
    let groups = GroupNorm { groups: 2, eps: 1e-5.into() };
    y = graph.push(groups, &[y, scale, shift]).unwrap();
    y = graph.push(Silu, &[y]).unwrap();
    let mean = MeanSquaredError { reduction: Reduction::Mean };
    let loss = graph.push(mean, &[y, target]).unwrap();
    let seed = Constant { of: graph.type_of(loss), number: 1.0.into() };
    let seed = graph.push(seed, &[]).unwrap();
    let gradient = passes::gradient(&mut graph, loss, seed, &state[..1]).unwrap()[0].unwrap();
    graph.section("update");
    let adam = Adam {
        beta1: 0.9.into(),
        beta2: 0.999.into(),
        epsilon: 1e-8.into(),
        weight_decay: 0.01.into(),
        decoupled: true,
        ema: true,
        halves: None,
    };
    let operands = [&[row, norm, gradient], &state[..]].concat();
    let next = graph.push_all(adam, &operands).unwrap();
    for (&state, next) in state.iter().zip(next) {
        graph.update(state, next);
    }
    graph.outputs.push(loss);
    (graph, [gradient, norm], state)
}

#[test]
fn sections_one_by_one_compute_what_a_run_computes() {
    let Some(gpu) = support::gpu() else { return };
    let (graph, [gradient, norm], state) = training();
    let read = |executor: &mut Executor| state.map(|value| executor.read(value).unwrap());
    let executor = || {
        let mut executor = executor(&gpu, &graph);
        // Neither clipped nor bad.
        executor.write(norm, &[1.0; 4]).unwrap();
        executor
    };
    let mut whole = executor();
    let before = read(&mut whole);
    let submits = whole.stats().submits;
    whole.run(1).unwrap();
    assert_eq!(whole.stats().submits, submits + 1);
    let wanted = read(&mut whole);
    assert!(wanted != before);

    let mut parts = executor();
    parts.run_section("gradients").unwrap();
    let first = parts.read(gradient).unwrap();
    assert!(first.iter().any(|&g| g != 0.0) && first.iter().all(|g| g.is_finite()));
    assert!(read(&mut parts) == before);
    // Again, and what it computes is the same and lies where it lay.
    parts.run_section("gradients").unwrap();
    assert!(parts.read(gradient).unwrap() == first);
    parts.run_section("update").unwrap();
    assert!(read(&mut parts) == wanted);
}

#[test]
fn what_sections_share_may_be_changed_between_them() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let of = TensorType::f32(&[32, 8]);
    let (x, weight) = (graph.input(of), graph.constant(TensorType::f32(&[8, 8])));
    graph.section("layer");
    let y = graph.push(Linear, &[x, weight]).unwrap();
    graph.section("activation");
    // Alone, both would be one kernel with the layer, and the two sums of one section one equation.
    let z = graph.push(Silu, &[y]).unwrap();
    let sum = graph.push(Add, &[z, y]).unwrap();
    graph.outputs.push(sum);
    let mut executor = executor(&gpu, &graph);
    assert_eq!(executor.plan().shared, [y]);
    executor.run_section("layer").unwrap();
    executor.write(y, &vec![0.0; 32 * 8]).unwrap();
    executor.run_section("activation").unwrap();
    assert_eq!(executor.read(sum).unwrap(), vec![0.0; 32 * 8]);
    // A written constant is packed before the section that reads it, and a run overwrites `y`.
    executor.write(weight, &[0.5; 64]).unwrap();
    executor.write(x, &[1.0; 256]).unwrap();
    executor.run_section("layer").unwrap();
    assert_eq!(executor.read(y).unwrap(), [4.0; 256]);
    executor.run(2).unwrap();
    assert_eq!(executor.read(y).unwrap(), [4.0; 256]);
}

#[test]
fn parts_are_read_behind_their_last_writer_with_all_submitted() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[256]));
    let [start, weight] = [(); 2].map(|()| graph.input(TensorType::f32(&[512, 512])));
    let doubled = graph.push(Scale { scale: 2.0.into(), shift: 0.0.into() }, &[x]).unwrap();
    let mut product = start;
    for _ in 0..100 {
        product = graph.push(Linear, &[product, weight]).unwrap();
    }
    graph.outputs.extend([doubled, product]);
    let mut executor = executor(&gpu, &graph);
    executor.wait().unwrap();

    let before = executor.stats();
    let parts = [(doubled, 64..192), (doubled, 0..2), (doubled, 7..7)];
    let readings = executor.run_section_reading(Section::STEP, &parts).unwrap();
    let stats = executor.stats();
    assert_eq!(stats.dispatches - before.dispatches, executor.plan().dispatches().count() as u64);
    assert_eq!((stats.waits, stats.maps), (before.waits, before.maps + 2), "nothing waited");
    let mut readings = readings.into_iter();
    let mut next =
        |executor: &mut Executor| executor.finish_reading(readings.next().unwrap()).unwrap();
    // How soon it comes depends on the driver: lavapipe does all the work where it is submitted.
    let first = next(&mut executor);
    assert_eq!(executor.stats().waits, before.waits + 1);
    let wanted: Vec<f32> = contents(&graph, x, 0).iter().map(|x| 2.0 * x).collect();
    assert_eq!(first, wanted[64..192]);
    assert_eq!(next(&mut executor), wanted[..2]);
    assert!(next(&mut executor).is_empty());

    let mut refused = |value, part| {
        let parts = [(value, part)];
        executor.run_section_reading(Section::STEP, &parts).err().unwrap().to_string()
    };
    let message = refused(doubled, 200..300);
    assert!(message.ends_with("takes 256 elements, found 300"), "{message}");
    let message = refused(product, 0..4);
    assert!(message.ends_with("not a tensor of f32 with one axis"), "{message}");
}

#[test]
fn a_section_by_name_runs_when_it_is_called() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[4]));
    let doubled = graph.push(Scale { scale: 2.0.into(), shift: 0.0.into() }, &[x]).unwrap();
    graph.update(x, doubled);
    graph.section_by_name("decode");
    let y = graph.push(Scale { scale: 10.0.into(), shift: 0.0.into() }, &[x]).unwrap();
    graph.outputs.push(y);
    let mut executor = executor(&gpu, &graph);
    let names = graph.sections().iter().map(|(name, trigger)| (name.as_str(), trigger));
    assert!(names.eq([("step", &Trigger::EveryRun), ("decode", &Trigger::ByName)]));
    executor.write(x, &[1.0; 4]).unwrap();
    executor.run(3).unwrap();
    executor.run_section("decode").unwrap();
    executor.run(1).unwrap();
    assert_eq!(executor.read(y).unwrap(), [80.0; 4]);
    assert_eq!(executor.read(x).unwrap(), [16.0; 4]);
    match executor.run_section("encode") {
        Err(Error::Gpu(GpuError::Section { name, present })) => {
            assert_eq!([name.as_str(), present.as_str()], ["encode", "step, decode"]);
        }
        other => panic!("{other:?}"),
    }
    graph.section("step");
    graph.push(Silu, &[x]).unwrap();
    let refused = passes::compile(&graph, &Target::default());
    assert!(matches!(refused, Err(Error::Graph(GraphError::Sections))));
}
