//! GELU over all of f32: WGSL has no erf, and a polynomial is only as good as where it was tried.
use crate::common::support;
use ddim::{
    gpu::Executor,
    graph::Graph,
    ops::{Gelu, GeluBackward, Op, Operator},
    passes,
    reference::Tensor,
    value::TensorType,
};

/// The error that is promised, or a rounding of the result where that is more.
const ERROR: f64 = 1e-6;

#[test]
fn gelu_and_its_slope_are_within_a_millionth_everywhere() {
    let Some(gpu) = support::gpu() else { return };
    // Every 4096th bit pattern, and those where the function bends a hundred times closer.
    let all = (0..=u32::MAX).step_by(4096).map(f32::from_bits);
    let bend = (-100_000..100_000).map(|i| i as f32 * 8e-5);
    let x: Vec<f32> = all.filter(|x| x.is_finite()).chain(bend).collect();
    let x = &x[..x.len() / 4 * 4];
    let of = TensorType::f32(&[x.len() / 4, 4]);
    let mut graph = Graph::new();
    let (operand, dy) = (graph.input(of), graph.input(of));
    let y = graph.push(Gelu, &[operand]).expect("one tensor");
    let dx = graph.push(GeluBackward, &[operand, dy]).expect("two tensors");
    graph.outputs = vec![y, dx];
    let plan = passes::compile(&graph, gpu.target()).expect("a plan");
    let mut executor = Executor::new(&gpu, plan).expect("a small plan");
    executor.write(operand, x).expect("room");
    executor.write(dy, &vec![1.0; x.len()]).expect("room");
    executor.run(1).expect("a device that is there");

    let exact = Tensor::new(of.shape, x.iter().map(|&x| f64::from(x)).collect());
    let ones = exact.map(|_| 1.0);
    for (value, op, operands) in
        [(y, Op::from(Gelu), vec![&exact]), (dx, Op::from(GeluBackward), vec![&exact, &ones])]
    {
        let got = executor.read(value).expect("numbers");
        let want = op.reference(&operands).remove(0).data;
        for ((x, got), want) in x.iter().zip(got).zip(want) {
            let error = (f64::from(got) - want).abs();
            let allowed = ERROR.max(f64::from(f32::EPSILON) * want.abs());
            assert!(error <= allowed, "{op} of {x}: {got} for {want}");
        }
    }
}
