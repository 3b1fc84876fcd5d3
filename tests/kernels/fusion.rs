//! A fused graph computes what the graph before it did: by the reference, and on the device.
use crate::common::support;
use ddim::{
    bench_cases,
    diffusion::{SamplingGraph, SamplingOptions, schedule::SchedulerConfig},
    gpu::Executor,
    graph::{Equation, Graph},
    models::unet2d::{DownBlock, UNet, UNetConfig, UpBlock},
    ops::{Input, Op},
    passes,
    plan::Target,
    reference::{Environment, Tensor, evaluate},
    training::{Given, TrainingGraph, TrainingOptions},
    value::{ElementType, Value},
};

/// Concatenations, upsampling, attention, and images whose moments are squares and runs.
const CONFIG: &str = r#"{"sample_size": 8, "layers_per_block": 1, "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "norm_num_groups": 4,
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 8}"#;

fn model() -> UNet {
    UNet::new(UNetConfig::parse(CONFIG).expect("a config")).expect("a model")
}

fn sampling(size: usize) -> Graph {
    let (target, size) = (Target::default(), [2, size, size]);
    let table = SchedulerConfig::default().ddim(3, 1.0).expect("a table");
    let options = SamplingOptions { given_noise: true, ..SamplingOptions::default() };
    SamplingGraph::new(&target, &model(), size, &table, &options).expect("a step").graph
}

fn training() -> Graph {
    let options = TrainingOptions { batch: 2, ..TrainingOptions::default() };
    let (target, given) = (Target::default(), Given::TimestepsAndNoise);
    let scheduler = SchedulerConfig { num_train_timesteps: 10, ..SchedulerConfig::default() };
    let step = TrainingGraph::new(&target, &model(), [8, 8], &scheduler, &options, given);
    step.expect("a step").graph
}

/// Counters at zero; everything else between 0.1 and 0.3, as schedules and second moments may be.
fn inputs(graph: &Graph) -> Environment {
    let tensor = |(&value, seed): (&Value, u64)| {
        let of = graph.type_of(value);
        let tensor = match of.element {
            ElementType::U32 => Tensor::zeros(of.shape),
            _ => Input::uniform(of, 0.1, 0.3).tensor(seed),
        };
        (value, tensor)
    };
    graph.inputs.iter().zip(1..).map(tensor).collect()
}

/// What callers, and the next step, read.
fn results(graph: &Graph) -> Vec<Value> {
    let next = graph.updates.iter().map(|update| update.next);
    graph.outputs.iter().copied().chain(next).collect()
}

fn count(graph: &Graph, wanted: impl Fn(&Op) -> bool) -> usize {
    graph.equations.iter().filter(|equation| wanted(&equation.op)).count()
}

#[test]
fn fusion_keeps_what_the_reference_computes() {
    for graph in [sampling(8), sampling(6), training()] {
        let before = passes::simplify(&graph);
        let after = passes::fuse(&before).expect("a fused graph");
        after.verify().expect("well formed");
        assert!(count(&after, |op| matches!(op, Op::FusedConv2d(_))) > 0);
        let environments = [&before, &after]
            .map(|graph| evaluate(graph, inputs(graph)).expect("every input is given"));
        for (old, new) in results(&before).into_iter().zip(results(&after)) {
            let [old, new] = [&environments[0][&old], &environments[1][&new]];
            let worst = old.zip(new, |a, b| (a - b).abs()).max_abs();
            // The order of f64 sums differs, nothing else.
            assert!(worst <= 1e-9 * old.max_abs().max(1e-3), "{worst} of {}", old.max_abs());
        }
    }
}

#[test]
fn nothing_that_can_be_fused_is_left() {
    let after = passes::fuse(&passes::simplify(&sampling(8))).expect("a fused graph");
    // Weights are put side by side, images are not.
    let images = |equation: &&Equation| after.type_of(equation.outputs[0]).shape.len() == 4;
    let left = |op: &Op| {
        matches!(op, Op::GroupNorm(_) | Op::Concat(_) | Op::UpsampleNearest(_))
            || matches!(op, Op::AddEmbedding(_))
    };
    let left = after.equations.iter().filter(images).filter(|equation| left(&equation.op));
    assert_eq!(left.count(), 0, "{after}");
    // The projections of the time embedding are one layer, wider than any block.
    let widest = |equation: &Equation| after.type_of(equation.outputs[0]).shape.last();
    let layers = after.equations.iter().filter(|e| matches!(e.op, Op::Linear(_)));
    assert_eq!(layers.map(widest).max(), Some(8 + 16 + 2 * 16 + 2 * 16 + 2 * 8), "{after}");
    // All that depends on the time alone is computed for all steps at once, and one row taken.
    let times = after.equations.iter().find(|e| matches!(e.op, Op::TimestepEmbedding(_)));
    assert_eq!(times.map(|e| after.type_of(e.outputs[0]).shape[0]), Some(3), "{after}");
    assert_eq!(count(&after, |op| matches!(op, Op::GatherRows(_))), 1, "{after}");
    // What attention takes, and nothing else, is normalized by a kernel of its own.
    let attentions = count(&after, |op| matches!(op, Op::JointAttention(_)));
    assert!(attentions > 0 && count(&after, |op| matches!(op, Op::Attention(_))) == 0, "{after}");
    assert_eq!(count(&after, |op| matches!(op, Op::ApplyAffine(_))), attentions, "{after}");
}

#[test]
fn a_norm_adds_no_gradient_of_a_convolution_that_could_add_its_own() {
    let after = passes::fuse(&passes::simplify(&training())).expect("a fused graph");
    let added = |op: &Op| matches!(op, Op::Conv2dInputGradient(op) if op.residual);
    assert!(count(&after, added) > 0, "{after}");
    for norm in &after.equations {
        let residual = matches!(&norm.op, Op::GroupNormBackward(op) if op.residual);
        let Some(value) = norm.inputs.last().filter(|_| residual) else { continue };
        let maker = after.equations.iter().find(|equation| equation.outputs.contains(value));
        let host = |op: &Op| matches!(op, Op::Conv2dInputGradient(op) if !op.residual);
        let sole = after.equations.iter().filter(|e| e.inputs.contains(value)).count() == 1;
        assert!(!sole || !maker.is_some_and(|maker| host(&maker.op)), "{norm:?}");
    }
}

#[test]
fn each_fusion_computes_what_its_parts_do() {
    let Some(gpu) = support::gpu() else { return };
    for case in bench_cases::fusions([2, 8, 16]).expect("shapes that fit") {
        let results = case.variants(gpu.target()).into_iter().map(|way| {
            let plan = way.plan.expect("it fits");
            let mut executor = case.executor(&gpu, plan).expect("the device takes it");
            executor.run(1).expect("the device works");
            let read = |value: &Value| executor.read(*value).expect("an output");
            case.graph.outputs.iter().map(read).collect::<Vec<_>>()
        });
        let [fused, plain] =
            <[Vec<Vec<f32>>; 2]>::try_from(results.collect::<Vec<_>>()).expect("fused and unfused");
        for (fused, plain) in fused.iter().zip(&plain) {
            let most = plain.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            assert!(most > 0.0, "{}: nothing but zeros", case.title());
            for (a, b) in fused.iter().zip(plain) {
                // A few layers of f32, some by minimal filtering, whose error is four times theirs.
                assert!((a - b).abs() <= 1e-5 * most, "{}: {a} and {b} of {most}", case.title());
            }
        }
    }
}

#[test]
fn a_fused_plan_computes_what_the_plain_one_does() {
    let Some(gpu) = support::gpu() else { return };
    for mut graph in [sampling(8), sampling(6), training()] {
        // Results of updates are read where they go; what is left to compare are the outputs.
        let trains = graph.outputs.is_empty();
        if trains {
            let losses = graph.equations.iter().filter(|e| matches!(e.op, Op::GlobalNorm(_)));
            graph.outputs = losses.flat_map(|e| e.outputs.clone()).collect();
        }
        let given = inputs(&graph);
        let plans = [
            passes::compile(&graph, gpu.target()).expect("it fits"),
            passes::compile_unfused(&graph, gpu.target()).expect("it fits"),
        ];
        assert!(plans[0].dispatches().count() < plans[1].dispatches().count());
        let results = plans.map(|plan| {
            let mut executor = Executor::new(&gpu, plan).expect("the device takes it");
            // The gaps of arenas are read as the zeros they were made of.
            if count(&graph, |op| matches!(op, Op::Pack(_))) == 0 {
                executor.poison().expect("the device works");
            }
            for (&value, tensor) in &given {
                let written = match graph.type_of(value).element {
                    ElementType::U32 => executor.write_u32(value, &vec![0; tensor.data.len()]),
                    _ => {
                        let data: Vec<f32> = tensor.data.iter().map(|&x| x as f32).collect();
                        executor.write(value, &data)
                    }
                };
                written.expect("its own shape");
            }
            // The second step of a trajectory has another row of its table.
            executor.run(if trains { 1 } else { 2 }).expect("the device works");
            let read = |value: &Value| executor.read(*value).expect("an output");
            graph.outputs.iter().map(read).collect::<Vec<_>>()
        });
        for (fused, plain) in results[0].iter().zip(&results[1]) {
            let most = plain.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (a, b) in fused.iter().zip(plain) {
                // Some forty layers of f32, each within a few roundings of the other.
                assert!((a - b).abs() <= 2e-5 * most, "{a} and {b}, most {most}");
            }
        }
    }
}

#[test]
fn projections_that_together_are_more_than_a_device_binds_stay_apart() {
    // 83 layers from 1280 to 320 channels: 136 MB in f32.
    let config = UNetConfig {
        block_out_channels: vec![320],
        down_block_types: vec![DownBlock::Plain],
        up_block_types: vec![UpBlock::Plain],
        layers_per_block: 40,
        ..UNetConfig::default()
    };
    let unet = UNet::new(config).expect("a model");
    let (target, options) = (Target::default(), SamplingOptions::default());
    let table = SchedulerConfig::default().ddim(3, 1.0).expect("a table");
    let step = SamplingGraph::new(&target, &unet, [1, 8, 8], &table, &options).expect("a step");
    step.plan(&target).expect("a plan that binds what the target can");
}
