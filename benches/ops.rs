//! Every op of the CIFAR-10 DDPM U-Net's training step (batch 8), forward and backward, at each of
//! the shapes it has there; then whole steps. Times are the device's own where it has timestamps.
//!
//! ```sh
//! cargo bench                                  # all
//! cargo bench -- conv2d/                       # one group
//! cargo bench -- 'conv2d.*8x32x32x128'         # a regular expression
//! ```
#![allow(missing_docs, reason = "criterion_group makes a public function")]
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ddim::{
    diffusion::{SamplingGraph, schedule::SchedulerConfig},
    gpu::{Executor, Gpu, GpuOptions},
    graph::{Equation, Graph},
    ops::{self, Case, Fill, Input, Op, Operator},
    passes,
    plan::Cost,
    training::{Given, TrainingGraph, TrainingOptions},
    unet::{ArenaLayout, UNet, UNetConfig},
    value::{ElementType, TensorType, Value},
};
use gpu_time::GpuTime;
use std::{cell::OnceCell, collections::HashSet, path::Path, process};

#[path = "support/gpu_time.rs"]
mod gpu_time;

/// Images of a training step.
const BATCH: usize = 8;

fn gpu() -> Gpu {
    Gpu::new(&GpuOptions::default()).unwrap_or_else(|error| {
        eprintln!("error: {error}");
        process::exit(1)
    })
}

fn model(name: &str) -> UNet {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/models").join(name);
    let config = UNetConfig::read(&file).expect("a config of ours");
    UNet::new(config).expect("a model")
}

fn training_graph(gpu: &Gpu, unet: &UNet, batch: usize) -> Graph {
    let layout = ArenaLayout::new(unet.parameters().expect("a model"), gpu.target().max_binding);
    let options = TrainingOptions { batch, ..TrainingOptions::default() };
    let timesteps = SchedulerConfig::default().num_train_timesteps;
    let (height, width) = unet.config().sample_size.expect("a size").sides();
    let size = [height, width];
    let step = TrainingGraph::new(unet, &layout, size, timesteps, &options, Given::Nothing);
    passes::simplify(&step.expect("a training step").graph)
}

/// `conv2d` of `conv2d{stride=1 padding=1,1,1,1}`.
fn name(op: &Op) -> String {
    op.to_string().split('{').next().unwrap_or_default().to_owned()
}

/// `8x32x32x128`
fn shape(of: &TensorType) -> String {
    let extents: Vec<String> = of.shape.iter().map(ToString::to_string).collect();
    extents.join("x")
}

/// Operands of the op's own cases, at these shapes: what is a probability or a counter there is
/// one here.
fn operands(op: &Op, types: &[TensorType], cases: &[Case]) -> Vec<Input> {
    let like = cases.iter().find(|case| name(&case.op) == name(op));
    let fill = |index: usize, of: TensorType| match like?.inputs.get(index)?.fill.clone() {
        Fill::Values(values) => {
            Some(Fill::Values(values.into_iter().cycle().take(of.shape.elements()).collect()))
        }
        fill => Some(fill),
    };
    let input = |(index, &of): (usize, &TensorType)| match fill(index, of) {
        Some(fill) => Input { of, fill },
        None => Input::normal(of),
    };
    types.iter().enumerate().map(input).collect()
}

fn write(executor: &mut Executor, value: Value, input: &Input, seed: u64) {
    let data = input.tensor(seed).data;
    let written = if input.of.element == ElementType::U32 {
        executor.write_u32(value, &data.iter().map(|x| *x as u32).collect::<Vec<_>>())
    } else {
        executor.write(value, &data.iter().map(|x| *x as f32).collect::<Vec<_>>())
    };
    written.expect("the operand's own shape");
}

/// An executor of this one equation.
fn alone(gpu: &Gpu, op: &Op, inputs: &[Input]) -> Executor {
    let mut graph = Graph::new();
    let values: Vec<Value> = inputs.iter().map(|input| graph.input(input.of)).collect();
    graph.outputs = graph.push_all(op.clone(), &values).expect("as in the model");
    let plan = passes::compile(&graph, gpu.target()).expect("it fits the device");
    let mut executor = Executor::new(gpu, plan).expect("the device takes it");
    for ((value, input), seed) in values.into_iter().zip(inputs).zip(1..) {
        write(&mut executor, value, input, seed);
    }
    executor
}

/// Arithmetic where it bounds the kernel, traffic elsewhere.
fn throughput(cost: Cost) -> Throughput {
    /// Operations per byte above which even a software driver computes longer than it loads.
    const COMPUTE_BOUND: u64 = 8;
    if cost.flops > COMPUTE_BOUND * cost.bytes {
        Throughput::Elements(cost.flops)
    } else {
        Throughput::Bytes(cost.bytes)
    }
}

fn each_op(criterion: &mut Criterion<GpuTime>) {
    let gpu = gpu();
    println!("{} ({} {})", gpu.info().name, gpu.info().driver, gpu.info().driver_info);
    let graph = training_graph(&gpu, &model("cifar10.json"), BATCH);
    let cases = ops::cases();
    let mut seen = HashSet::new();
    for Equation { op, inputs, .. } in &graph.equations {
        let types: Vec<TensorType> = inputs.iter().map(|value| graph.type_of(*value)).collect();
        // What only says where a tensor lies runs nothing.
        if matches!(op, Op::View(_) | Op::Pack(_)) {
            continue;
        }
        let shapes: Vec<String> = types.iter().map(shape).collect();
        let group_name = name(op);
        let attributes = op.to_string().trim_start_matches(&group_name).to_owned();
        let title = format!("{attributes} {}", shapes.join(" ")).trim_start().to_owned();
        if !seen.insert((group_name.clone(), title.clone())) {
            continue;
        }
        let mut group = criterion.benchmark_group(&group_name);
        group.throughput(throughput(op.cost(&types)));
        let executor = OnceCell::new();
        group.bench_function(BenchmarkId::from_parameter(title), |bencher| {
            executor.get_or_init(|| alone(&gpu, op, &operands(op, &types, &cases)).into());
            GpuTime::iterate(bencher, &executor);
        });
        group.finish();
    }
}

fn whole_steps(criterion: &mut Criterion<GpuTime>) {
    let gpu = gpu();
    let mut group = criterion.benchmark_group("step");
    for (file, training, batch) in [
        ("digits.json", true, 64),
        ("digits.json", false, 64),
        ("cifar10.json", false, 1),
        ("cifar10.json", true, 4),
    ] {
        let unet = model(file);
        let graph = if training {
            training_graph(&gpu, &unet, batch)
        } else {
            let parameters = unet.parameters().expect("a model");
            let layout = ArenaLayout::new(parameters, gpu.target().max_binding);
            let (height, width) = unet.config().sample_size.expect("a size").sides();
            let step = SamplingGraph::new(&unet, &layout, [batch, height, width], 50, false);
            step.expect("a sampling step").graph
        };
        let plan = passes::compile(&graph, gpu.target()).expect("it fits the device");
        let what = if training { "training" } else { "sampling" };
        let title = format!("{} {what} batch {batch}", file.trim_end_matches(".json"));
        group.throughput(throughput(plan.cost()));
        let executor = OnceCell::new();
        group.bench_function(BenchmarkId::from_parameter(title), |bencher| {
            executor.get_or_init(|| {
                let mut executor = Executor::new(&gpu, plan.clone()).expect("the device takes it");
                for (&value, seed) in graph.inputs.iter().zip(1..) {
                    let of = graph.type_of(value);
                    // Small, as weights are; integers are counters, and those begin at zero.
                    if of.element != ElementType::U32 {
                        write(&mut executor, value, &Input::uniform(of, 0.0, 0.05), seed);
                    }
                }
                executor.into()
            });
            GpuTime::iterate(bencher, &executor);
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = gpu_time::config();
    targets = each_op, whole_steps
}
criterion_main!(benches);
