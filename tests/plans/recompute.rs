//! Activations that are dropped and recomputed: less memory, the same bits.
use crate::common::{support, tiny};
use ddim::{
    Error,
    data::{Batch, Dataset, digits},
    diffusion::schedule::SchedulerConfig,
    error::LoweringError,
    gpu::Gpu,
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    passes,
    plan::{DeviceProfile, Dispatch, Plan, Target},
    training::{Given, Metrics, Trainer, TrainingGraph, TrainingOptions},
    value::ElementType,
};
use std::{collections::HashSet, ops::ControlFlow, path::Path};

fn model(name: &str) -> UNet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/models/{name}.json"));
    UNet::new(UNetConfig::read(&path).expect("its config")).expect("a consistent config")
}

/// A training step of the U-Net of Ho et al. 2020 for CIFAR-10.
fn cifar10(target: &Target, batch: usize, precision: ElementType) -> TrainingGraph {
    let (unet, scheduler) = (model("cifar10"), SchedulerConfig::default());
    let options = TrainingOptions { batch, precision, ..TrainingOptions::default() };
    TrainingGraph::new(target, &unet, [32, 32], &scheduler, &options, Given::Nothing)
        .expect("a graph")
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The bytes of the smallest plan that is found.
fn least(graph: &Graph, target: &Target) -> u64 {
    match passes::compile_within(graph, target, 1) {
        Err(Error::Lowering(LoweringError::Memory { budget: 1, least })) => least,
        other => panic!("{:?}", other.map(|plan| plan.peak_bytes())),
    }
}

/// The work of a run: operations, those that are done again, too.
fn flops(plan: &Plan, again: bool) -> u64 {
    plan.dispatches().filter(|launch| launch.recomputes == again).map(|of| of.work.flops).sum()
}

/// Half of the 2,409 MiB that a step at batch 64 took before anything was recomputed. The state alone is 682.
const HALF: u64 = 1_204 << 20;

/// A forward pass is a third of a step: computing it once again takes 1.33 times as long.
const SHARE_AGAIN: f64 = 1.0 / 3.0;

fn half_of_its_memory(target: &Target) {
    little_is_computed_again(target, ElementType::F32, HALF);
}

fn little_is_computed_again(target: &Target, precision: ElementType, budget: u64) {
    let step = cifar10(target, 64, precision);
    let whole = passes::compile(&step.graph, target).expect("a plan");
    let plan = passes::compile_within(&step.graph, target, budget).expect("a plan");
    let work = |plan: &Plan, again: bool| {
        let launches = plan.dispatches().filter(|launch| launch.recomputes == again);
        launches.fold([0; 2], |[flops, bytes], of| [flops + of.work.flops, bytes + of.work.bytes])
    };
    let (more, all) = (work(&plan, true), work(&whole, false));
    let [flops, bytes] = [0, 1].map(|of| more[of] as f64 / all[of] as f64);
    println!(
        "{:.0} of {:.0} MiB, {} of {} launches again, {:.1}% more operations, {:.1}% more bytes",
        mib(plan.peak_bytes()),
        mib(whole.peak_bytes()),
        plan.recomputed(),
        plan.dispatches().count(),
        100.0 * flops,
        100.0 * bytes,
    );
    assert!(plan.peak_bytes() <= budget, "{} of {budget} bytes", plan.peak_bytes());
    assert!(flops > 0.0 && flops < SHARE_AGAIN, "{flops} of the operations again");
    assert!(bytes < SHARE_AGAIN, "{bytes} of the bytes again");
    // What is left is the plan without: the same launches. What comes again is some of these.
    assert_eq!(work(&plan, false), all);
    assert_eq!(plan.hash(), whole.hash());
    assert_eq!(whole.recomputed(), 0);
    let known: HashSet<_> = whole.dispatches().map(launched).collect();
    let again = plan.dispatches().filter(|launch| launch.recomputes);
    again.for_each(|launch| assert!(known.contains(&launched(launch)), "{launch}"));
    if let (Some(before), Some(after)) = (whole.predict(), plan.predict()) {
        let ratio = after.work.as_secs_f64() / before.work.as_secs_f64();
        println!("{ratio:.2} times the predicted time");
        assert!(ratio < 1.0 + SHARE_AGAIN, "{after:?} after {before:?}");
    }
}

/// What decides the bits of a launch, beside what it reads.
fn launched(launch: &Dispatch) -> (String, &[u8], [u32; 3]) {
    (launch.kernel.to_string(), &launch.params, launch.workgroups)
}

#[test]
fn a_step_of_the_cifar_10_model_takes_half_of_its_memory_on_the_least_device() {
    half_of_its_memory(&Target::default());
}

#[test]
fn a_step_of_the_cifar_10_model_takes_half_of_its_memory_on_a_large_card() {
    half_of_its_memory(&Target::of(DeviceProfile::named("H100").expect("a card of the table")));
}

#[test]
fn a_step_of_the_cifar_10_model_takes_half_of_its_memory_here() {
    let Some(gpu) = support::gpu() else { return };
    half_of_its_memory(gpu.target());
}

#[test]
fn a_step_in_halves_takes_less_too() {
    // Of 1,542 MiB, of which 751 are state.
    little_is_computed_again(&Target::default(), ElementType::F16, 1_024 << 20);
}

#[test]
fn more_memory_is_less_work() {
    let target = Target::default();
    let step = cifar10(&target, 16, ElementType::F32);
    let whole = passes::compile(&step.graph, &target).expect("a plan");
    let mut last = 0;
    for percent in [95, 90, 84, 79] {
        let budget = whole.peak_bytes() * percent / 100;
        let plan = passes::compile_within(&step.graph, &target, budget).expect("a plan");
        assert!(plan.peak_bytes() <= budget, "{percent}%");
        let more = flops(&plan, true);
        println!("{percent}%: {:.1}% more", 100.0 * more as f64 / flops(&whole, false) as f64);
        assert!(more >= last, "{percent}%: {more} operations, {last} with more memory");
        last = more;
    }
    assert!(last > 0);
    // What is enough is left as it is, and what no plan undercuts is named.
    let plan = passes::compile_within(&step.graph, &target, whole.peak_bytes()).expect("a plan");
    assert_eq!(plan.recomputed(), 0);
    let least = least(&step.graph, &target);
    let plan = passes::compile_within(&step.graph, &target, least).expect("that much is enough");
    assert!(plan.peak_bytes() <= least);
}

fn train(trainer: &mut Trainer, data: &Dataset, steps: u64) -> Vec<Metrics> {
    let mut heard = Vec::new();
    let hear = |metrics: &[Metrics]| {
        heard.extend(metrics);
        ControlFlow::Continue(())
    };
    trainer.train(data, steps, true, hear).expect("good data");
    heard
}

/// A network with dropout, attention and labels, of whose activations little is small.
fn trainer(gpu: &Gpu, accumulate: usize, memory: Option<u64>) -> Trainer {
    let config =
        UNetConfig { dropout: 0.2, num_class_embeds: Some(11), ..model("digits").config().clone() };
    let options =
        TrainingOptions { batch: 24, accumulate, memory, label_drop: 0.2, ..tiny::options() };
    let unet = UNet::new(config).expect("a consistent model");
    Trainer::new(gpu, unet, SchedulerConfig::default(), [8, 8], options).expect("a small model")
}

#[test]
fn a_run_in_less_memory_has_the_same_bits() {
    let Some(gpu) = support::gpu() else { return };
    let data = digits();
    for accumulate in [1, 2] {
        let mut whole = trainer(&gpu, accumulate, None);
        let peak = whole.plan().peak_bytes();
        let least = least(&whole.graph().graph, gpu.target());
        let wanted = train(&mut whole, &data, 3);
        let wanted_state = tiny::state(&mut whole);
        for budget in [(peak + least) / 2, least] {
            let mut less = trainer(&gpu, accumulate, Some(budget));
            let found = (less.plan().recomputed(), less.plan().peak_bytes());
            assert!(found.0 > 0 && found.1 <= budget, "{found:?} for {budget}");
            println!("{:.1} of {:.1} MiB", mib(less.plan().peak_bytes()), mib(peak));
            assert_eq!(train(&mut less, &data, 3), wanted);
            assert!(tiny::state(&mut less) == wanted_state, "{budget} bytes");
        }
    }
}

#[test]
fn a_run_goes_on_in_less_memory_without_a_difference() {
    let Some(gpu) = support::gpu() else { return };
    let data = digits();
    let mut whole = trainer(&gpu, 1, None);
    let least = least(&whole.graph().graph, gpu.target());
    train(&mut whole, &data, 2);
    let folder = tempfile::tempdir().expect("a folder for the test");
    whole.save(folder.path(), serde_json::Value::Null).expect("room");
    let wanted = train(&mut whole, &data, 4);
    let open = ddim::pipeline::RunFolder::open(folder.path()).expect("its checkpoint");
    let options = TrainingOptions { memory: Some(least), ..whole.options().clone() };
    let (mut less, resumed) = Trainer::resume_with(&gpu, &open, options, serde_json::Value::Null)
        .expect("its checkpoint");
    assert_eq!((resumed.differences, resumed.settings.history), (Vec::new(), Vec::new()));
    assert!(less.plan().recomputed() > 0);
    assert_eq!(train(&mut less, &data, 4), wanted);
    assert!(tiny::state(&mut less) == tiny::state(&mut whole));
}

#[test]
fn a_step_on_poisoned_memory_has_the_same_gradients() {
    let Some(gpu) = support::gpu() else { return };
    let gradients = |memory: Option<u64>| {
        let mut trainer = trainer(&gpu, 1, memory);
        let state = trainer.graph().optimizer.state.concat();
        let (counter, tables) = (trainer.graph().optimizer.counter, trainer.graph().tables.clone());
        let executor = trainer.executor();
        let kept: Vec<_> = state.iter().map(|&of| executor.read(of).expect("state")).collect();
        let words = executor.read_u32(counter).expect("a counter");
        executor.poison().expect("a device that is there");
        for (&of, contents) in state.iter().zip(&kept) {
            executor.write(of, contents).expect("state");
        }
        executor.write_u32(counter, &words).expect("a counter");
        tables.write(executor).expect("tables");
        let peak = trainer.plan().peak_bytes();
        let smallest = least(&trainer.graph().graph, gpu.target());
        let images = (0..24 * 64).map(|i| (i as f32 * 0.37).sin()).collect();
        trainer
            .step(&Batch { images, labels: Some((0..24).map(|i| i % 10).collect()) })
            .expect("a step");
        let arenas = trainer.graph().optimizer.gradients.clone();
        let layout = trainer.arenas().clone();
        // Between the parameters the arenas stay poisoned.
        let of = layout.weights(arenas.into_iter().map(|of| trainer.executor().read(of)));
        let of = of.expect("gradients that sections share");
        let bits: Vec<u32> =
            of.iter().flat_map(|(_, of)| of.data.iter().map(|g| g.to_bits())).collect();
        assert!(bits.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        (bits, peak, smallest)
    };
    let (wanted, peak, smallest) = gradients(None);
    let (found, less, _) = gradients(Some(smallest));
    assert!(less < peak && found == wanted);
}
