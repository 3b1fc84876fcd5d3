//! What a caller's own dispatch may bind, and what becomes of the pad lanes that it writes. Above
//! 300 lines, for one op and its shaders serve all of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use crate::common::support;
use ddim::{
    Error,
    error::{GpuError, LoweringError, ShapeError},
    gpu::{Executor, Gpu},
    graph::{Equation, Graph},
    ops::{Backward, Case, Conv2d, Input, Linear, Lowering, Op, Operator},
    passes,
    plan::{Cost, Dispatch, Plan, Target, fold},
    reference::{Environment, Tensor, evaluate},
    value::{TensorType, Value},
    verify::check_case,
};
use example::{Softplus, SoftplusBackward};
use std::{cell::Cell, fmt};

#[allow(dead_code, reason = "the example runs by itself")]
#[path = "../../examples/custom_op.rs"]
mod example;

/// An op whose results are like its operands, lowered by a function.
#[derive(Debug)]
struct Own {
    results: fn(&[TensorType]) -> Vec<TensorType>,
    lower: fn(&mut Lowering, &Equation) -> Result<(), Error>,
    in_place: &'static [(usize, usize)],
    gradients: usize,
}

impl Own {
    fn new(lower: fn(&mut Lowering, &Equation) -> Result<(), Error>) -> Self {
        Self { results: |inputs| inputs[..1].to_vec(), lower, in_place: &[], gradients: 0 }
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("own")
    }
}

impl Operator for Own {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok((self.results)(inputs))
    }
    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }
    fn vjp(&self, backward: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Ok(vec![backward.cotangent(0); self.gradients])
    }
    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        (self.lower)(lowering, equation)
    }
    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost::default()
    }
    fn in_place(&self) -> &[(usize, usize)] {
        self.in_place
    }
}

/// Writes every lane of `y`, pad lanes too: `x` of the same place, but NaN where that is 0.
const DIRTY: &str = "
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= arrayLength(&y) { return; }
    let number = x[min(i, arrayLength(&x) - 1u)];
    y[i] = select(number, bitcast<f32>(0x7fc00000u | bitcast<u32>(number)), number == 0.0);
}
";

fn dirty(lowering: &Lowering, x: Value, y: Value) -> Dispatch {
    let groups = lowering.type_of(y).physical_elements().div_ceil(64);
    Dispatch::custom(DIRTY, "forward").read(1, x).write(2, y).workgroups(fold(groups))
}

/// Runs a graph on numbers of its inputs' own, and compares its outputs with the reference.
fn compare(gpu: &Gpu, graph: &Graph) {
    let mut executor = Executor::new(gpu, passes::compile(graph, gpu.target()).unwrap()).unwrap();
    executor.poison().unwrap();
    let mut given = Environment::new();
    for (seed, &input) in (1_u64..).zip(&graph.inputs) {
        let tensor = Input::normal(graph.type_of(input)).tensor(seed);
        let numbers: Vec<f32> = tensor.data.iter().map(|&x| x as f32).collect();
        executor.write(input, &numbers).unwrap();
        given.insert(input, tensor);
    }
    executor.run(1).unwrap();
    let want = evaluate(graph, given).unwrap();
    for value in &graph.outputs {
        // Sums of some hundred terms of about 1, from f16 at the worst.
        let half = graph.types().iter().any(|of| of.element.bytes() == 2);
        let tolerance = if half { 3e-2 } else { 1e-4 };
        for (got, want) in executor.read(*value).unwrap().iter().zip(&want[value].data) {
            let wrong = (f64::from(*got) - want).abs();
            assert!(wrong < tolerance * want.abs().max(1.0), "{value}: {got} for {want}");
        }
    }
}

/// The op, then a linear layer and a convolution, which read whole vectors.
fn followed(op: Op, channels: usize) -> Graph {
    let mut graph = Graph::new();
    let f32 = TensorType::f32;
    let x = graph.input(f32(&[2, 4, 5, channels]));
    let y = graph.push(op, &[x]).unwrap();
    let weight = graph.input(f32(&[channels, 6]));
    let linear = graph.push(Linear, &[y, weight]).unwrap();
    let weight = graph.input(f32(&[3, 3, channels, 7]));
    let conv = graph.push(Conv2d { stride: 1, padding: [1; 4] }, &[y, weight]).unwrap();
    let seed = graph.input(graph.type_of(conv));
    graph.outputs = vec![linear, conv];
    if let Ok(gradients) = passes::gradient(&mut graph, conv, seed, &[x, weight]) {
        graph.outputs.extend(gradients.into_iter().flatten());
    }
    graph
}

#[test]
fn what_follows_a_custom_op_reads_zeros_in_its_pad_lanes() {
    let Some(gpu) = support::gpu() else { return };
    for channels in [13, 1, 2, 3, 16] {
        compare(&gpu, &followed(Op::custom(Softplus), channels));
        // Pad lanes of not-a-number, where nothing but a write of zeros helps.
        let nan = |lowering: &mut Lowering, equation: &Equation| {
            let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
            Ok(lowering.push(dispatch)?)
        };
        compare(&gpu, &followed(Op::custom(Own { gradients: 1, ..Own::new(nan) }), channels));
    }
    let x = || Input::normal(TensorType::f32(&[5, 13]));
    check_case(&gpu, &Case::new(Op::custom(Softplus), vec![x()])).unwrap();
    check_case(&gpu, &Case::new(Op::custom(SoftplusBackward), vec![x(), x()])).unwrap();
}

/// Runs an op without operands of its own whose shader fills every lane of its results, and looks
/// at their bytes.
fn filled(gpu: &Gpu, results: fn(&[TensorType]) -> Vec<TensorType>, source: &'static str) {
    static SOURCE: std::sync::Mutex<&str> = std::sync::Mutex::new("");
    *SOURCE.lock().unwrap() = source;
    let lower = |lowering: &mut Lowering, equation: &Equation| {
        let mut dispatch = Dispatch::custom(*SOURCE.lock().unwrap(), "forward");
        for (binding, &y) in (1..).zip(&equation.outputs) {
            dispatch = dispatch.write(binding, y);
        }
        Ok(lowering.push(dispatch)?)
    };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[1]));
    graph.outputs = graph.push_all(Op::custom(Own { results, ..Own::new(lower) }), &[x]).unwrap();
    let plan = passes::compile(&graph, gpu.target()).unwrap();
    let mut executor = Executor::new(gpu, plan).unwrap();
    executor.poison().unwrap();
    executor.run(1).unwrap();
    for &value in &graph.outputs {
        let of = graph.type_of(value);
        let bytes = executor.read_raw(value).unwrap();
        let elements = bytes[..of.bytes() as usize].chunks_exact(of.element.bytes());
        for (at, element) in elements.enumerate() {
            let (column, zero) = (at % of.pitch(), element.iter().all(|byte| *byte == 0));
            assert_eq!(zero, column >= of.shape.last(), "{value} ({of}): element {at}");
        }
    }
}

#[test]
fn the_pad_lanes_of_every_written_value_are_zeroed_whatever_it_stores() {
    let Some(gpu) = support::gpu() else { return };
    // Two results of other widths, one of integers.
    filled(
        &gpu,
        |_| vec![TensorType::u32(&[2, 5]), TensorType::f32(&[3, 1, 6])],
        "@group(0) @binding(1) var<storage, read_write> a: array<u32>;
        @group(0) @binding(2) var<storage, read_write> b: array<f32>;
        @compute @workgroup_size(1) fn forward() {
            for (var i = 0u; i < arrayLength(&a); i++) { a[i] = 0xffffffffu; }
            for (var i = 0u; i < arrayLength(&b); i++) { b[i] = bitcast<f32>(a[0]); }
        }",
    );
    if !gpu.target().f16 {
        println!("skipped: no f16");
        return;
    }
    for results in [
        (|_| vec![TensorType::f16(&[3, 1])]) as fn(&[TensorType]) -> Vec<TensorType>,
        |_| vec![TensorType::f16(&[3, 2])],
        |_| vec![TensorType::f16(&[3, 7])],
    ] {
        filled(
            &gpu,
            results,
            "// enable: f16
            @group(0) @binding(1) var<storage, read_write> a: array<vec2<f16>>;
            @compute @workgroup_size(1) fn forward() {
                for (var i = 0u; i < arrayLength(&a); i++) { a[i] = vec2<f16>(1.0h); }
            }",
        );
    }
}

/// 67,188 workgroups of the kernel that zeroes pad lanes, more than one axis takes.
#[test]
fn pad_lanes_of_large_tensors_are_zeroed_by_a_folded_grid() {
    let Some(gpu) = support::gpu() else { return };
    let (rows, mut graph) = (4_300_000, Graph::new());
    let x = graph.input(TensorType::f32(&[rows, 1]));
    let y = graph.push(Op::custom(Softplus), &[x]).unwrap();
    graph.outputs.push(y);
    let plan = passes::compile(&graph, gpu.target()).unwrap();
    assert_eq!(plan.dispatches().count(), 2);
    let mut executor = Executor::new(&gpu, plan).unwrap();
    executor.run(1).unwrap();
    let bytes = executor.read_raw(y).unwrap();
    let half = 2_f32.ln();
    for (row, lanes) in bytes.chunks_exact(16).enumerate().take(rows) {
        let lanes: [f32; 4] = bytemuck::pod_read_unaligned(lanes);
        assert!((lanes[0] - half).abs() < 1e-6 && lanes[1..] == [0.0; 3], "{row}: {lanes:?}");
    }
}

#[test]
fn nothing_is_zeroed_where_there_are_no_pad_lanes_or_the_shader_does_it() {
    let plan = |channels, lower| -> Plan {
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[3, channels]));
        graph.outputs = graph.push_all(Op::custom(Own::new(lower)), &[x]).unwrap();
        passes::compile(&graph, &Target::default()).unwrap()
    };
    let left: fn(&mut Lowering, &Equation) -> Result<(), Error> = |lowering, equation| {
        let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
        Ok(lowering.push(dispatch)?)
    };
    let itself: fn(&mut Lowering, &Equation) -> Result<(), Error> = |lowering, equation| {
        let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
        Ok(lowering.push(dispatch.zeroes_pads())?)
    };
    assert_eq!(plan(13, left).dispatches().count(), 2);
    assert_eq!(
        plan(13, left).dispatches().nth(1).unwrap().kernel.to_string(),
        "pads.forward workgroup=64"
    );
    assert_eq!(plan(12, left).dispatches().count(), 1);
    assert_eq!(plan(13, itself).dispatches().count(), 1);
}

thread_local! {
    /// The input that is none of the op's.
    static OTHER: Cell<Option<Value>> = const { Cell::new(None) };
}

/// What compiling says of an op that has an operand, in a graph that has another input before it.
fn refused(op: Own) -> Error {
    let mut graph = Graph::new();
    let other = graph.input(TensorType::f32(&[3, 5]));
    OTHER.set(Some(other));
    let x = graph.input(TensorType::f32(&[3, 5]));
    graph.outputs = graph.push_all(Op::custom(op), &[x]).unwrap();
    graph.outputs.push(other);
    passes::compile(&graph, &Target::default()).err().unwrap()
}

#[test]
fn a_custom_op_binds_operands_results_and_scratch_alone() {
    type Lower = fn(&mut Lowering, &Equation) -> Result<(), Error>;
    let wrongs: [(Lower, &str); 9] = [
        (
            |lowering, equation| {
                let other = OTHER.get().unwrap();
                Ok(lowering.push(dirty(lowering, other, equation.outputs[0]))?)
            },
            "%0 is no operand, result or scratch value of the equation",
        ),
        (
            |lowering, equation| {
                let other = OTHER.get().unwrap();
                Ok(lowering.push(dirty(lowering, equation.inputs[0], other))?)
            },
            "%0 is no operand, result or scratch value of the equation",
        ),
        (
            |lowering, equation| {
                let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
                let foreign = Graph::new().input(TensorType::f32(&[3, 5]));
                Ok(lowering.push(dispatch.read(3, foreign))?)
            },
            "%0 is no operand, result or scratch value of the equation",
        ),
        (
            |lowering, equation| {
                let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
                Ok(lowering.push(dispatch.write(3, equation.inputs[0]))?)
            },
            "%1 is bound twice, once for writing or more",
        ),
        (
            |lowering, equation| {
                let y = equation.outputs[0];
                let dispatch = dirty(lowering, equation.inputs[0], y);
                Ok(lowering.push(dispatch.write(3, y))?)
            },
            "%2 is bound twice, once for writing or more",
        ),
        (
            |lowering, equation| {
                let (x, y) = (equation.inputs[0], equation.outputs[0]);
                lowering.push(dirty(lowering, x, y))?;
                Ok(lowering.push(dirty(lowering, y, x))?)
            },
            "%1 is an operand, which may only be read",
        ),
        (
            |lowering, equation| {
                let scratch = lowering.scratch(TensorType::f32(&[3, 5]));
                Ok(lowering.push(dirty(lowering, scratch, equation.outputs[0]))?)
            },
            "is read before anything has written it",
        ),
        (|_, _| Ok(()), "%2 is a result that nothing writes"),
        (
            |lowering, equation| {
                let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
                Ok(lowering.push(dispatch.workgroups([0, 1, 1]))?)
            },
            "%2 is a result that nothing writes",
        ),
    ];
    for (lower, expected) in wrongs {
        let error = refused(Own::new(lower));
        assert!(matches!(error, Error::Lowering(LoweringError::Misbound { .. })), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = refused(Own::new(|lowering, equation| {
        let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
        Ok(lowering.push(dispatch.workgroups([65_536, 1, 1]))?)
    }));
    assert!(matches!(error, Error::Lowering(LoweringError::Grid { .. })), "{error}");
    // What is updated in place is bound once, for writing.
    let lower: Lower = |lowering, equation| {
        let dispatch = dirty(lowering, equation.inputs[0], equation.outputs[0]);
        Ok(lowering.push(dispatch)?)
    };
    let error = refused(Own { in_place: &[(0, 0)], ..Own::new(lower) });
    assert!(matches!(error, Error::Lowering(LoweringError::Aliased { .. })), "{error}");
    let through_scratch: Lower = |lowering, equation| {
        let scratch = lowering.scratch(TensorType::f32(&[3, 5]));
        lowering.push(dirty(lowering, equation.inputs[0], scratch))?;
        Ok(lowering.push(dirty(lowering, scratch, equation.outputs[0]))?)
    };
    let Some(gpu) = support::gpu() else { return };
    let op = Own { gradients: 1, ..Own::new(through_scratch) };
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[3, 5]));
    graph.outputs = graph.push_all(Op::custom(op), &[x]).unwrap();
    compare(&gpu, &graph);
}

#[test]
fn gradients_of_a_custom_op_fit_its_operands() {
    for (gradients, results, expected) in [
        (0, 1, "own: gives 0 gradients for 1 operands"),
        (2, 1, "own: gives 2 gradients for 1 operands"),
        (1, 2, "own: gives a gradient of f32[2] for operand 0 (operands: f32[3,5])"),
    ] {
        let narrow: fn(&[TensorType]) -> Vec<TensorType> = |_| vec![TensorType::f32(&[2])];
        let own = Own::new(|_, _| Ok(()));
        let results = if results == 2 { narrow } else { own.results };
        let mut graph = Graph::new();
        let x = graph.input(TensorType::f32(&[3, 5]));
        let y = graph.push(Op::custom(Own { gradients, results, ..own }), &[x]).unwrap();
        let seed = graph.input(graph.type_of(y));
        let error = passes::gradient(&mut graph, y, seed, &[x]).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// Makes an executor of an op with this shader, which reads a value of this type at binding 1.
fn bound(gpu: &Gpu, of: TensorType, source: String) -> Result<Executor, Error> {
    static SOURCE: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
    *SOURCE.lock().unwrap() = source;
    let lower = |lowering: &mut Lowering, equation: &Equation| {
        let source = SOURCE.lock().unwrap().clone();
        let dispatch = Dispatch::custom(source, "forward").read(1, equation.inputs[0]);
        Ok(lowering.push(dispatch.write(2, equation.outputs[0]))?)
    };
    let mut graph = Graph::new();
    let x = graph.input(of);
    let results: fn(&[TensorType]) -> Vec<TensorType> = |_| vec![TensorType::u32(&[4])];
    graph.outputs = graph.push_all(Op::custom(Own { results, ..Own::new(lower) }), &[x])?;
    Executor::new(gpu, passes::compile(&graph, gpu.target())?)
}

/// A shader that uses `x`, of this type.
fn reading(ty: &str) -> String {
    let enable = if ty.contains("16") { "// enable: f16\n" } else { "" };
    format!(
        "{enable}struct Pair {{ a: f32, b: u32 }}
        struct Four {{ a: f32, b: vec2<f32>, c: array<f32, 2> }}
        @group(0) @binding(1) var<storage, read> x: {ty};
        @group(0) @binding(2) var<storage, read_write> y: array<atomic<u32>>;
        @compute @workgroup_size(1) fn forward() {{
            let used = &x;
            atomicStore(&y[0], 1u);
        }}"
    )
}

#[test]
fn a_custom_shader_reads_the_elements_that_its_value_holds() {
    let Some(gpu) = support::gpu() else { return };
    let mut types = vec![
        (
            TensorType::f32(&[4, 5]),
            vec![
                "array<f32>",
                "array<vec2<f32>>",
                "array<vec3<f32>>",
                "array<vec4<f32>>",
                "array<mat4x4<f32>>",
                "array<array<f32, 4>>",
                "array<Four>",
                "Four",
                "vec4<f32>",
            ],
            vec![
                ("array<u32>", "u32"),
                ("array<i32>", "i32"),
                ("array<vec2<u32>>", "u32"),
                ("array<vec4<u32>>", "u32"),
                ("array<Pair>", "u32"),
                ("vec4<i32>", "i32"),
            ],
        ),
        (
            TensorType::u32(&[8]),
            vec!["array<u32>", "array<vec4<u32>>", "vec2<u32>"],
            vec![("array<f32>", "f32"), ("array<vec4<f32>>", "f32"), ("array<i32>", "i32")],
        ),
    ];
    if gpu.target().f16 {
        types[0].2.extend([("array<f16>", "f16"), ("array<vec4<f16>>", "f16")]);
        types.push((
            TensorType::f16(&[4, 5]),
            vec!["array<f16>", "array<vec4<f16>>", "array<vec2<f16>>"],
            vec![
                ("array<f32>", "f32"),
                ("array<vec4<f32>>", "f32"),
                ("array<u32>", "u32"),
                ("array<activation4>", "f32"),
            ],
        ));
    }
    for (of, right, wrong) in types {
        for ty in right {
            if let Err(error) = bound(&gpu, of, reading(ty)) {
                panic!("{ty} over {of}: {error}");
            }
        }
        for (ty, holds) in wrong {
            let error = bound(&gpu, of, reading(ty)).err().unwrap();
            assert!(matches!(error, Error::Gpu(GpuError::Custom { .. })), "{ty} {of}: {error}");
            let expected = format!("x holds {holds}; %0 ({of}) holds {}", of.element);
            assert!(error.to_string().contains(&expected), "{ty} over {of}: {error}");
        }
    }
}

/// What a device refuses is an error that names the kernel, and the next plan runs.
#[test]
fn what_passes_the_limits_of_the_device_is_refused() {
    let Some(gpu) = support::gpu() else { return };
    let body = |head: &str, size: &str| {
        format!(
            "{head}
            @group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> y: array<u32>;
            @compute @workgroup_size({size}) fn forward() {{ y[0] = u32(x[0]); }}"
        )
    };
    let of = TensorType::f32(&[8]);
    for (head, size) in [
        ("", "1000000"),
        ("", "1, 1, 100000"),
        ("", "0"),
        ("override SIZE: u32;", "SIZE"),
        ("override SIZE: u32 = 1000000;", "SIZE"),
    ] {
        let error = bound(&gpu, of, body(head, size)).err().unwrap();
        let named = matches!(error, Error::Gpu(GpuError::Custom { .. } | GpuError::Device { .. }));
        assert!(named && error.to_string().contains("custom"), "{head} {size}: {error}");
    }
    bound(&gpu, of, body("", "64")).unwrap().run(1).unwrap();
}
