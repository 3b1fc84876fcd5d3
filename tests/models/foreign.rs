//! What belongs to someone else: values of another graph, plans for another device, this crate's
//! kernels in the hands of another crate's op, buffers that a caller writes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::support;
use ddim::{
    Error,
    error::{GpuError, GraphError, ShapeError},
    gpu::Executor,
    graph::{Equation, Graph},
    ops::{Add, Backward, Linear, Lowering, Op, Operator, Silu},
    passes,
    plan::{Cost, Target},
    reference::Tensor,
    shaders,
    value::{TensorType, Value},
};
use std::fmt;

fn of() -> TensorType {
    TensorType::f32(&[2, 3])
}

fn is_foreign(error: &Error) -> bool {
    matches!(error, Error::Graph(GraphError::Foreign { .. }))
}

#[test]
fn a_graph_refuses_the_values_of_another() {
    let (mut graph, mut other) = (Graph::new(), Graph::new());
    let (x, theirs) = (graph.input(of()), other.input(of()));
    assert_ne!(x, theirs);
    let error = graph.push(Add, &[x, theirs]).unwrap_err();
    assert!(is_foreign(&error), "{error}");
    assert_eq!(error.to_string(), "add is given %0, a value of another graph");
    let y = graph.push(Silu, &[x]).unwrap();
    for (output, seed, wrt) in [(theirs, y, x), (y, theirs, x), (y, y, theirs)] {
        let error = passes::gradient(&mut graph, output, seed, &[wrt]).unwrap_err();
        assert!(is_foreign(&error), "{error}");
    }
    // Past the end of the table too.
    let late = (0..9).map(|_| other.input(of())).last().unwrap();
    assert!(is_foreign(&graph.push(Silu, &[late]).unwrap_err()));
    assert_eq!(graph.find(late), None);
    let mut wrong = graph.clone();
    wrong.equations[0].inputs[0] = theirs;
    assert!(is_foreign(&passes::compile(&wrong, &Target::default()).unwrap_err()));
    graph.constants.push(theirs);
    assert!(is_foreign(&graph.verify().unwrap_err()));
}

#[test]
fn copies_know_the_values_and_nothing_printed_says_whose_they_are() {
    let build = || {
        let mut graph = Graph::new();
        let x = graph.input(of());
        let y = graph.push(Silu, &[x]).unwrap();
        graph.outputs.push(y);
        (graph, x)
    };
    let ((first, x), (second, _)) = (build(), build());
    assert_eq!(first.clone().push(Silu, &[x]).map(Value::index).unwrap(), 2);
    assert_eq!(format!("{first}"), format!("{second}"));
    let plan = |graph| passes::compile(graph, &Target::default()).unwrap();
    assert_eq!(plan(&first).hash(), plan(&second).hash());
    assert_eq!(plan(&first).to_string(), plan(&second).to_string());
}

#[test]
fn an_equation_names_all_its_results() {
    let mut graph = Graph::new();
    let x = graph.input(of());
    graph.push(Silu, &[x]).unwrap();
    graph.equations[0].outputs.clear();
    let error = graph.verify().unwrap_err();
    assert!(matches!(error, Error::Graph(GraphError::Results { expected: 1, found: 0, .. })));
}

fn linear() -> (Graph, [Value; 3]) {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[40, 8]));
    let weight = graph.constant(TensorType::f32(&[8, 64]));
    let y = graph.push(Linear, &[x, weight]).unwrap();
    graph.outputs.push(y);
    (graph, [x, weight, y])
}

#[test]
fn a_plan_for_another_device_is_refused() {
    let Some(gpu) = support::gpu() else { return };
    let (graph, _) = linear();
    let lanes = if gpu.target().subgroup == Some(16) { 8 } else { 16 };
    let target = Target { subgroup: Some(lanes), ..gpu.target().clone() };
    let plan = passes::compile(&graph, &target).unwrap();
    let error = Executor::new(&gpu, plan).err().unwrap();
    assert!(matches!(error, Error::Gpu(GpuError::Target { .. })), "{error}");
    assert!(error.to_string().contains(&format!("subgroups of {lanes} lanes")), "{error}");
    // One for less runs on a device that has more.
    let plan = passes::compile(&graph, &Target::default()).unwrap();
    assert_eq!(plan.lacks(gpu.target()), Vec::<String>::new());
    Executor::new(&gpu, plan).unwrap();
}

#[test]
fn a_plan_says_what_a_device_lacks() {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f16(&[4, 1 << 20]));
    let y = graph.push(Silu, &[x]).unwrap();
    graph.outputs.push(y);
    let target = Target { f16: true, ..Target::default() };
    let plan = passes::compile(&graph, &target).unwrap();
    assert!(plan.lacks(&target).is_empty());
    let small = Target { max_binding: 1 << 20, f16: false, ..target };
    let lacks = plan.lacks(&small);
    assert_eq!(lacks.len(), 2, "{lacks:?}");
    assert!(lacks[0].contains("f16") && lacks[1].contains("8388608 bytes"), "{lacks:?}");
}

#[test]
fn what_a_caller_writes_into_a_held_buffer_is_packed_when_it_says_so() {
    let Some(gpu) = support::gpu() else { return };
    let (graph, [x, weight, y]) = linear();
    let plan = passes::compile(&graph, gpu.target()).unwrap();
    let packs = plan.setup().count() > 0;
    let mut executor = Executor::new(&gpu, plan).unwrap();
    executor.write(x, &[1.0; 320]).unwrap();
    executor.write(weight, &[1.0; 512]).unwrap();
    executor.run(1).unwrap();
    assert_eq!(executor.read(y).unwrap(), [8.0; 2560]);
    let tensor = executor.tensor(weight).unwrap();
    let twos: Vec<u8> = [2.0_f32; 512].iter().flat_map(|x| x.to_le_bytes()).collect();
    gpu.queue().write_buffer(&tensor.buffer, tensor.offset, &twos);
    executor.run(1).unwrap();
    assert_eq!(executor.read(y).unwrap(), [if packs { 8.0 } else { 16.0 }; 2560]);
    executor.written(weight).unwrap();
    executor.run(1).unwrap();
    assert_eq!(executor.read(y).unwrap(), [16.0; 2560]);
    assert!(executor.written(y).is_err());
}

/// SiLU's own kernel, told of more elements than there are.
#[derive(Debug)]
struct Borrowed;

impl fmt::Display for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("borrowed")
    }
}

impl Operator for Borrowed {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok(inputs.to_vec())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Ok(vec![None])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (x, y) = (equation.inputs[0], equation.outputs[0]);
        let params = shaders::silu::Params { vectors: 1 << 20 };
        let overrides = shaders::silu::Overrides::default();
        let kernel = shaders::silu::Forward { x, y };
        lowering.push(kernel.dispatch(params, overrides, [1024, 1, 1]))?;
        Op::from(Silu).lower(lowering, equation)
    }

    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost::default()
    }
}

#[test]
fn kernels_in_the_hands_of_a_custom_op_are_checked() {
    let mut graph = Graph::new();
    let x = graph.input(of());
    let borrowed = graph.push(Op::custom(Borrowed), &[x]).unwrap();
    let y = graph.push(Silu, &[borrowed]).unwrap();
    graph.outputs.push(y);
    let plan = passes::compile(&graph, &Target::default()).unwrap();
    let trusted: Vec<bool> = plan.dispatches().map(|d| d.is_trusted()).collect();
    assert_eq!(trusted, [false, false, true]);
}
