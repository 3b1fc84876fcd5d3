//! Random numbers on the device: the published words, and pictures that do not depend on how a
//! batch is split.
use crate::common::support;
use ddim::{
    Error,
    error::ShapeError,
    gpu::{Executor, Gpu},
    graph::{Equation, Graph},
    ops::{AddDrawnNoise, Counter, DrawNormal, DrawTimesteps, Dropout, Lowering, Op, Operator},
    passes,
    plan::{Cost, Dispatch},
    reference::Tensor,
    value::{TensorType, Value},
};
use std::fmt;

/// The generator alone, under test as an op of one's own: counters and keys to words.
#[derive(Debug)]
struct Philox;

const WGSL: &str = concat!(
    "@group(0) @binding(1) var<storage, read> counters: array<vec4<u32>>;
     @group(0) @binding(2) var<storage, read> keys: array<vec4<u32>>;
     @group(0) @binding(3) var<storage, read_write> words: array<vec4<u32>>;
     @compute @workgroup_size(1)
     fn forward(@builtin(workgroup_id) id: vec3<u32>) {
         words[id.x] = philox(counters[id.x], keys[id.x].xy);
     }
    ",
    include_str!("../../shaders/shared/random.wgsl")
);

impl fmt::Display for Philox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("philox")
    }
}

impl Operator for Philox {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok(vec![inputs[0]])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let rows = lowering.type_of(equation.inputs[0]).rows() as u32;
        let dispatch = Dispatch::custom(WGSL, "forward")
            .read(1, equation.inputs[0])
            .read(2, equation.inputs[1])
            .write(3, equation.outputs[0])
            .workgroups([rows, 1, 1]);
        Ok(lowering.push(dispatch)?)
    }

    fn cost(&self, _: &[TensorType]) -> Cost {
        Cost::default()
    }
}

#[test]
fn the_device_gives_the_published_words() {
    let Some(gpu) = support::gpu() else { return };
    // Random123's known answers for philox4x32-10.
    let counters = [[0; 4], [u32::MAX; 4], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]];
    let keys = [[0; 4], [u32::MAX; 4], [0xa409_3822, 0x299f_31d0, 0, 0]];
    let published = [
        [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
    ];
    let mut graph = Graph::new();
    let of = TensorType::u32(&[3, 4]);
    let inputs = [graph.input(of), graph.input(of)];
    let words = graph.push(Op::custom(Philox), &inputs).expect("fits");
    graph.outputs = vec![words];
    let plan = passes::compile(&graph, gpu.target()).expect("compiles");
    let mut executor = Executor::new(&gpu, plan).expect("fits the device");
    executor.write_u32(inputs[0], counters.as_flattened()).expect("writes");
    executor.write_u32(inputs[1], keys.as_flattened()).expect("writes");
    executor.run(1).expect("runs");
    assert_eq!(executor.read_u32(words).expect("reads"), published.as_flattened());
}

/// What `op(operands.., key)` draws for `batch` images from number `first_image` on. All
/// operands but the key are constant over the batch.
fn draw(gpu: &Gpu, op: Op, operands: &[(TensorType, f32)], first_image: u32) -> Vec<f32> {
    let mut graph = Graph::new();
    let mut inputs: Vec<Value> = operands.iter().map(|(of, _)| graph.input(*of)).collect();
    inputs.push(graph.input(Counter::of()));
    let y = graph.push(op, &inputs).expect("fits");
    graph.outputs = vec![y];
    let plan = passes::compile(&graph, gpu.target()).expect("compiles");
    let mut executor = Executor::new(gpu, plan).expect("fits the device");
    for (&value, (of, number)) in inputs.iter().zip(operands) {
        executor.write(value, &vec![*number; of.shape.elements()]).expect("writes");
    }
    let counter = Counter { seed: 99, step: 5, first_image, ..Counter::default() };
    executor.write_u32(inputs[operands.len()], &counter.words()).expect("writes");
    executor.run(1).expect("runs");
    executor.read(y).expect("reads")
}

#[test]
fn a_split_batch_draws_the_same_bits() {
    let Some(gpu) = support::gpu() else { return };
    let images = |batch| TensorType::f32(&[batch, 7, 5, 3]);
    type Kind<'a> = &'a dyn Fn(usize) -> (Op, Vec<(TensorType, f32)>);
    let kinds: [Kind; 4] = [
        &|batch| (DrawNormal { of: images(batch), stream: 1 }.into(), vec![]),
        &|batch| {
            (
                DrawTimesteps { batch, images: batch, count: 1000, antithetic: false, stream: 1 }
                    .into(),
                vec![],
            )
        },
        &|batch| (Dropout { rate: 0.3.into(), stream: 1 }.into(), vec![(images(batch), 1.0)]),
        &|batch| {
            let timesteps = TensorType::f32(&[batch]);
            let coefficients = TensorType::f32(&[10, 2]);
            let operands = vec![(images(batch), 1.0), (timesteps, 3.0), (coefficients, 0.7)];
            (AddDrawnNoise { stream: 1 }.into(), operands)
        },
    ];
    for kind in kinds {
        let run = |batch, first_image| {
            let (op, operands) = kind(batch);
            draw(&gpu, op, &operands, first_image)
        };
        let whole = run(5, 0);
        let parts = [run(3, 0), run(2, 3)].concat();
        assert_eq!(whole, parts, "{}", kind(5).0);
        assert!(whole.windows(2).any(|pair| pair[0] != pair[1]), "{}", kind(5).0);
    }
}
