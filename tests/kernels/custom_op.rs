//! An operation of another crate: run and differentiated, and every way to get its shader wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::{square::Square, support};
use ddim::{
    Error,
    error::GpuError,
    gpu::{Executor, Gpu},
    graph::Graph,
    ops::{Op, Silu},
    passes,
    plan::Dispatch,
    reference::{Environment, Tensor, evaluate},
    value::{TensorType, Value},
};

#[test]
fn an_op_of_ones_own_runs_forward_and_backward() {
    let Some(gpu) = support::gpu() else { return };
    let mut graph = Graph::new();
    let of = TensorType::f32(&[3, 5]);
    let (x, seed) = (graph.input(of), graph.input(of));
    let silu = graph.push(Silu, &[x]).unwrap();
    let square = Square { factor: 0.5, ..Square::default() };
    let y = graph.push(Op::custom(square), &[silu]).unwrap();
    let dx = passes::gradient(&mut graph, y, seed, &[x]).unwrap()[0].unwrap();
    graph.outputs = vec![y, dx];
    let plan = passes::compile(&graph, gpu.target()).unwrap();
    let mut executor = Executor::new(&gpu, plan).unwrap();
    let numbers: Vec<f32> = (0..15).map(|i| i as f32 / 5.0 - 1.5).collect();
    executor.write(x, &numbers).unwrap();
    executor.write(seed, &numbers).unwrap();
    executor.run(1).unwrap();
    let tensor = Tensor::new(of.shape, numbers.iter().map(|&x| f64::from(x)).collect());
    let given = Environment::from([(x, tensor.clone()), (seed, tensor)]);
    let want = evaluate(&graph, given).unwrap();
    for value in [y, dx] {
        for (got, want) in executor.read(value).unwrap().iter().zip(&want[&value].data) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} for {want}");
        }
    }
}

#[test]
fn an_author_vouches_for_an_op_and_for_nothing_else() {
    let Some(gpu) = support::gpu() else { return };
    #[expect(unsafe_code, reason = "the shader compares its index with the number of vectors")]
    // SAFETY: it has no loop and no workgroup memory either.
    let vouched = |dispatch: Dispatch, _| unsafe { dispatch.without_checks() };
    let run = |square: Square| {
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[3, 5]));
        let y = graph.push(Op::custom(square), &[x]).unwrap();
        graph.outputs.push(y);
        let plan = passes::compile(&graph, gpu.target()).unwrap();
        let is_custom = |dispatch: &&Dispatch| dispatch.is_custom();
        let trusted: Vec<bool> =
            plan.dispatches().filter(is_custom).map(Dispatch::is_trusted).collect();
        let mut executor = Executor::new(&gpu, plan).unwrap();
        executor.poison().unwrap();
        executor.write(x, &(0..15).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        executor.run(1).unwrap();
        (trusted, executor.read(y).unwrap())
    };
    let (checked, y) = run(Square::default());
    let (unchecked, same) = run(Square { wrong: vouched, ..Square::default() });
    assert_eq!((checked, unchecked), (vec![false], vec![true]));
    assert!(y == same && y[14] == 196.0, "{y:?}");
    // Its bindings are still held against its text.
    let both = |dispatch: Dispatch, x| {
        #[expect(unsafe_code, reason = "it is refused before it runs")]
        // SAFETY: as above.
        unsafe {
            dispatch.without_checks().read(7, x)
        }
    };
    assert!(refused(&gpu, Square { wrong: both, ..Square::default() }).contains('7'));
}

/// What the device says of a [`Square`] that is wrong somewhere.
fn refused(gpu: &Gpu, square: Square) -> String {
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[3, 5]));
    let y = graph.push(Op::custom(square), &[x]).unwrap();
    graph.outputs.push(y);
    let plan = passes::compile(&graph, gpu.target()).unwrap();
    let error = Executor::new(gpu, plan).err().unwrap();
    assert!(matches!(error, Error::Gpu(GpuError::Custom { .. })), "{error}");
    error.to_string()
}

#[test]
fn a_custom_dispatch_is_held_against_its_shader() {
    let Some(gpu) = support::gpu() else { return };
    type Bind = fn(Dispatch, Value) -> Dispatch;
    let wrongs: [(Bind, &str); 7] = [
        (|d, x| d.read(3, x), "no storage buffer is used at binding 3"),
        (|d, x| d.read(9, x), "no storage buffer is used at binding 9"),
        (|d, x| d.read(1, x), "binding 1 is bound twice"),
        (|d, _| d.params(&[0; 4]), "uniform params takes 8 bytes; the params have 4"),
        (|d, _| d.constant("ADEND", 1.0), "declares no override ADEND"),
        (
            |mut d, _| {
                d.bindings.remove(0);
                d
            },
            "x at binding 1 is not bound",
        ),
        (
            |mut d, _| {
                d.bindings[0].binding = 2;
                d.bindings[1].binding = 1;
                d
            },
            "x is declared read and bound as read_write",
        ),
    ];
    for (wrong, expected) in wrongs {
        let message = refused(&gpu, Square { wrong, ..Square::default() });
        assert!(message.contains(expected), "{message}");
    }
    let message = refused(&gpu, Square { entry: "forwards", ..Square::default() });
    assert!(message.contains("no such compute entry point; there are: forward, backward"));
    let source = "@compute @workgroup_size(64) fn forward() { nonsense }";
    let message = refused(&gpu, Square { source, ..Square::default() });
    assert!(message.contains("expected") && message.contains("nonsense"), "{message}");
    let source = "@group(0) @binding(1) var<storage, read_write> y: array<f32, 999>;
        @compute @workgroup_size(1) fn forward() { y[0] = 1.0; }";
    let wrong = |mut d: Dispatch, _| {
        d.bindings.remove(0);
        d.bindings[0].binding = 1;
        d.params(&[])
    };
    let message = refused(&gpu, Square { source, wrong, ..Square::default() });
    assert!(message.contains("y takes 3996 bytes; %1 (f32[3,5]) holds 96"), "{message}");
    let wrong = |d: Dispatch, _| d.constant("ADDEND", 1.0).constant("ADDEND", 2.0);
    let message = refused(&gpu, Square { wrong, ..Square::default() });
    assert!(message.contains("override ADDEND is given twice"), "{message}");
}
