//! Training with weights and activations in halves: what a step takes, what it computes, and the steps that a loss scale
//! skips. Above 300 lines: all of it trains the same tiny models.
use crate::common::{support, tiny};
use ddim::{
    Error,
    classifier::Classifier,
    data::{Batch, Batches, Dataset, digits},
    diffusion::schedule::SchedulerConfig,
    error::{LoweringError, TrainingError},
    gpu::Gpu,
    graph::Graph,
    models::{
        classifier::ConvClassifier,
        classifier_unet::{ClassifierConfig, ClassifierUNet},
        unet2d::{UNet, UNetConfig},
    },
    nn::{Adapters, Layers, Model, ModelInputs, Weights},
    ops::{MeanSquaredError, Reduction},
    passes,
    pipeline::RunFolder,
    plan::Target,
    training::{
        Average, Given, GraphTrainer, LossScale, Metrics, Scaling, ThreadRank, Trainer,
        TrainingGraph, TrainingOptions,
    },
    value::{
        ElementType::{self, Bf16, F16, F32},
        TensorType, Value,
    },
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

fn options(precision: ElementType) -> TrainingOptions {
    TrainingOptions { precision, ..tiny::options() }
}

fn trainer(gpu: &Gpu, options: TrainingOptions) -> Trainer {
    Trainer::new(gpu, tiny::unet(None), SchedulerConfig::default(), [8, 8], options)
        .expect("a small model")
}

fn scaling(trainer: &Trainer) -> Scaling {
    trainer.graph().optimizer.scaling.expect("that of a run in f16")
}

/// Begins with this loss scale.
fn begin_at(trainer: &mut Trainer, number: f32) {
    let Scaling { scale, .. } = scaling(trainer);
    trainer.executor().write(scale, &[number]).expect("state");
}

fn loss_scale(trainer: &mut Trainer) -> LossScale {
    trainer.loss_scale().expect("a device").expect("that of a run in f16")
}

/// Bytes of a training step of the CIFAR-10 model, without masters, moments and averages.
fn beside_the_state(target: &Target, precision: ElementType) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/models/cifar10.json");
    let unet = UNet::new(UNetConfig::read(&path).expect("its config")).expect("a model");
    let options = TrainingOptions { batch: 64, precision, ..TrainingOptions::default() };
    let (scheduler, given) = (SchedulerConfig::default(), Given::Nothing);
    let step = TrainingGraph::new(target, &unet, [32, 32], &scheduler, &options, given);
    let step = step.expect("a graph");
    let state: u64 = step.optimizer.arenas.arenas.iter().map(|of| 4 * of.bytes()).sum();
    passes::compile(&step.graph, target).expect("a plan").peak_bytes() - state
}

#[test]
fn a_step_of_the_cifar_10_model_in_halves_takes_little_beside_its_state() {
    let target = support::gpu().map_or_else(Target::default, |gpu| gpu.target().clone());
    let [whole, halves] = [F32, F16].map(|precision| beside_the_state(&target, precision));
    println!("{} of {} MiB", halves >> 20, whole >> 20);
    assert!(halves as f64 <= 0.6 * whole as f64, "{halves} of {whole} bytes");
}

/// The gradients of the first step.
fn gradients(gpu: &Gpu, precision: ElementType) -> Weights {
    let mut trainer = trainer(gpu, options(precision));
    let mut scale = 1.0;
    if precision == F16 {
        // Far from the largest number of f16.
        scale = 1024.0;
        begin_at(&mut trainer, scale);
    }
    tiny::advance(&mut trainer, &tiny::few_digits(), 1, false);
    assert_eq!(trainer.metrics().expect("a good step").len(), 1, "{precision}");
    let arenas = trainer.graph().optimizer.gradients.clone();
    let layout = trainer.arenas().clone();
    let read = arenas.into_iter().map(|arena| {
        let scaled = trainer.executor().read(arena)?;
        Ok::<Vec<f32>, Error>(scaled.into_iter().map(|number| number / scale).collect())
    });
    layout.weights(read).expect("a device")
}

/// A stored number is rounded to 2^-9 of itself in bf16 and 2^-12 in f16. About a hundred roundings between the weights and
/// a gradient add up as a random walk, to ten of these; norms of two channels may make of them four times as much.
#[test]
fn gradients_are_those_of_f32_but_for_rounding() {
    let Some(gpu) = support::gpu() else { return };
    let norm = |of: &Weights| {
        let squares = of.iter().flat_map(|(_, of)| &of.data).map(|x| f64::from(*x).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let wanted = gradients(&gpu, F32);
    for (precision, rounding) in [(Bf16, 2f64.powi(-9)), (F16, 2f64.powi(-12))] {
        let mut found = gradients(&gpu, precision);
        for (name, of) in wanted.iter() {
            let own = &found.get(name).expect("the same parameters").data;
            let differences = own.iter().zip(&of.data).map(|(a, b)| a - b).collect();
            found.insert(name, of.shape, differences);
        }
        let error = norm(&found) / norm(&wanted);
        println!("{precision}: {error:.2e}");
        assert!(error > 0.0 && error < 40.0 * rounding, "{precision}: {error}");
    }
}

#[test]
fn digits_are_learnt_as_in_f32() {
    let Some(gpu) = support::gpu() else { return };
    let run = |precision| -> BTreeMap<u64, f64> {
        let mut trainer = trainer(&gpu, options(precision));
        tiny::advance(&mut trainer, &digits(), 30, false);
        let metrics = trainer.metrics().expect("good steps");
        metrics.iter().map(|of| (of.step, f64::from(of.loss))).collect()
    };
    let wanted = run(F32);
    for precision in [Bf16, F16] {
        let found = run(precision);
        assert!(found.len() > 20, "{precision}: {} steps counted", found.len());
        let mean = |of: &BTreeMap<u64, f64>| {
            found.keys().map(|step| of[step]).sum::<f64>() / found.len() as f64
        };
        let (mean, wanted) = (mean(&found), mean(&wanted));
        println!("{precision}: {mean} for {wanted}");
        assert!((mean - wanted).abs() <= 0.02 * wanted, "{precision}: {mean} for {wanted}");
    }
}

/// A batch whose numbers pass the largest of f16 at every timestep.
fn too_large(data: &Dataset) -> Batch {
    let mut batch = Batches::new(data, 4, 5, false).batch(0);
    batch.images.iter_mut().for_each(|pixel| *pixel *= 1e9);
    batch
}

fn step(trainer: &mut Trainer, batch: &Batch) -> Vec<Metrics> {
    trainer.step(batch).expect("a batch of the plan's size");
    trainer.metrics().expect("a step that counts or is skipped")
}

/// Masters, moments, averages and the halves.
fn state(trainer: &mut Trainer) -> Vec<Vec<u32>> {
    let mut all = tiny::state(trainer);
    let halves: Vec<_> = trainer.graph().optimizer.halves.iter().flatten().copied().collect();
    assert!(!halves.is_empty());
    for of in halves {
        let read = trainer.executor().read(of.state).expect("a device");
        all.push(read.into_iter().map(f32::to_bits).collect());
    }
    all
}

#[test]
fn a_step_that_passes_the_range_is_skipped() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut trainer = trainer(&gpu, options(F16));
    let mut batches = Batches::new(&data, 4, 5, false);
    assert_eq!(loss_scale(&mut trainer), LossScale { scale: 65536.0, in_row: 0, skipped: 0 });
    begin_at(&mut trainer, 16_777_216.0);
    let before = state(&mut trainer);
    assert_eq!(step(&mut trainer, &batches.batch(0)), []);
    let after = loss_scale(&mut trainer);
    assert_eq!(after, LossScale { scale: 8_388_608.0, in_row: 1, skipped: 1 });
    assert!(state(&mut trainer) == before, "nothing moves in a skipped step");

    // Half by half it comes to where it learns; the numbers of steps count on.
    let mut good = Vec::new();
    while good.is_empty() && trainer.steps() < 20 {
        let batch = batches.batch(trainer.steps());
        good = step(&mut trainer, &batch);
    }
    let [first] = good[..] else { panic!("{good:?}") };
    let now = loss_scale(&mut trainer);
    assert_eq!((first.step, first.loss_scale), (now.skipped + 1, Some(now.scale)));
    assert_eq!(now.scale, 16_777_216.0 / 2f32.powi(now.skipped as i32));
    assert_eq!(now.in_row, 0);
    assert!(state(&mut trainer).iter().zip(&before).all(|(now, then)| now != then));
}

#[test]
fn a_run_ends_after_twenty_skipped_steps_or_at_the_least_scale() {
    let Some(gpu) = support::gpu() else { return };
    let bad = too_large(&tiny::few_digits());
    // From 2^16 sixteen halvings lead to the least scale, 1; from 2^24 twenty steps in a row come first.
    for (first, skipped, left) in [(65536.0, 16, 1.0), (16_777_216.0, 20, 16.0)] {
        let mut trainer = trainer(&gpu, options(F16));
        begin_at(&mut trainer, first);
        let before = state(&mut trainer);
        for _ in 0..24 {
            trainer.step(&bad).expect("nobody has looked yet");
        }
        match trainer.metrics().expect_err("too many") {
            Error::Training(TrainingError::LossScale { step, scale, in_row, .. }) => {
                assert_eq!((in_row, scale, step), (skipped, left, skipped + 1));
            }
            other => panic!("{other}"),
        }
        assert_eq!(trainer.steps(), skipped);
        assert!(state(&mut trainer) == before, "nothing moves");
    }
}

/// The files of a checkpoint, without what is of its time and place.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let open = RunFolder::open(folder).expect("a checkpoint");
    let names = [
        "training/state.safetensors",
        "training/averages.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    ];
    names.map(|name| fs::read(open.path(name)).expect(name)).into()
}

#[test]
fn a_break_changes_no_bit_in_halves() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    for precision in [Bf16, F16] {
        let averages = vec![Average::Decay(0.5)];
        let start =
            || trainer(&gpu, TrainingOptions { averages: averages.clone(), ..options(precision) });
        // Good steps, in f16 one that is skipped too.
        let begin = |trainer: &mut Trainer| {
            tiny::advance(trainer, &data, 2, false);
            if precision == F16 {
                trainer.step(&too_large(&data)).expect("nobody has looked yet");
            }
        };
        let [whole, broken] = [(); 2].map(|()| tempfile::tempdir().expect("a folder for the test"));
        let mut unbroken = start();
        begin(&mut unbroken);
        tiny::advance(&mut unbroken, &data, 6, false);
        unbroken.save(whole.path(), Json::Null).expect("room");

        let mut first = start();
        begin(&mut first);
        first.save(broken.path(), Json::Null).expect("room");
        let (mut resumed, settings) = Trainer::resume(&gpu, broken.path()).expect("its checkpoint");
        assert_eq!(settings.options.precision, precision);
        assert!(state(&mut resumed) == state(&mut first), "{precision}: masters and their halves");
        tiny::advance(&mut resumed, &data, 6, false);
        resumed.save(broken.path(), Json::Null).expect("room");
        assert!(state(&mut resumed) == state(&mut unbroken), "{precision}");
        assert!(files(broken.path()) == files(whole.path()), "{precision}");
        let scale = resumed.loss_scale().expect("a device");
        assert_eq!(scale.map(|of| of.skipped > 0), (precision == F16).then_some(true));
    }
}

#[test]
fn a_run_goes_on_in_another_precision_and_says_so() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut whole = trainer(&gpu, options(F32));
    tiny::advance(&mut whole, &data, 2, false);
    let folder = tempfile::tempdir().expect("a folder for the test");
    whole.save(folder.path(), Json::Null).expect("room");
    let go_on = |precision| {
        let open = RunFolder::open(folder.path()).expect("its checkpoint");
        Trainer::resume_with(&gpu, &open, options(precision), Json::Null).expect("its checkpoint")
    };
    let (mut half, resumed) = go_on(F16);
    let said = "precision was \"f32\", is \"f16\"".to_owned();
    assert!(resumed.differences.contains(&said), "{:?}", resumed.differences);
    assert_eq!(resumed.settings.history[0].settings.options.precision, F32);
    assert_eq!(loss_scale(&mut half).scale, 65536.0);
    // The masters are the weights as they were.
    assert_eq!(half.raw_weights().expect("weights"), whole.raw_weights().expect("weights"));
    tiny::advance(&mut half, &data, 4, false);
    half.save(folder.path(), Json::Null).expect("room");
    let (mut back, _) = go_on(F32);
    assert_eq!((back.steps(), back.loss_scale().expect("a device")), (4, None));
    assert_eq!(back.raw_weights().expect("weights"), half.raw_weights().expect("weights"));
    tiny::advance(&mut back, &data, 5, false);
    assert_eq!(back.metrics().expect("a good step").len(), 1);
}

/// Of the least memory, activations are computed again.
#[test]
fn recomputing_changes_no_bit_in_halves() {
    let Some(gpu) = support::gpu() else { return };
    let data = digits();
    let start = |memory| {
        trainer(&gpu, TrainingOptions { batch: 24, accumulate: 2, memory, ..options(F16) })
    };
    let run = |trainer: &mut Trainer| {
        let mut batches = Batches::new(&data, 48, 5, false);
        for step in 0..2 {
            trainer.step(&batches.batch(step)).expect("a batch of the plan's size");
        }
        (trainer.metrics().expect("good steps"), state(trainer))
    };
    let mut whole = start(None);
    let least = match passes::compile_within(&whole.graph().graph, gpu.target(), 0) {
        Err(Error::Lowering(LoweringError::Memory { least, .. })) => least,
        other => panic!("{:?}", other.map(|plan| plan.peak_bytes())),
    };
    let mut less = start(Some(least));
    assert!(less.plan().recomputed() > 0 && less.plan().peak_bytes() < whole.plan().peak_bytes());
    assert!(run(&mut less) == run(&mut whole));
}

#[test]
fn ranks_in_f16_have_the_same_bits() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let start = |ranks, accumulate| {
        let options = TrainingOptions { ranks, accumulate, ..options(F16) };
        let mut trainer = trainer(&gpu, options);
        begin_at(&mut trainer, 1024.0);
        trainer
    };
    let run = |trainer: &mut Trainer| {
        let mut batches = Batches::new(&data, 8, 5, false);
        for step in 0..3 {
            trainer.step(&batches.batch(step)).expect("a batch of the plan's size");
        }
        (trainer.metrics().expect("good steps"), state(trainer), loss_scale(trainer))
    };
    let mut first = start(2, 1);
    let mut other = first.fork(&gpu).expect("a trainer");
    let ranks = ThreadRank::group(2, Duration::from_secs(300));
    for (trainer, rank) in [&mut first, &mut other].into_iter().zip(ranks) {
        trainer.join(Box::new(rank)).expect("its rank");
    }
    let [one, two] = thread::scope(|scope| {
        let threads = [&mut first, &mut other].map(|trainer| scope.spawn(move || run(trainer)));
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert!(one == two && !one.0.is_empty());
    // The sum of the ranks is made in another place: its order is the same, and so is the step but for rounding.
    let alone = run(&mut start(1, 2));
    assert_eq!(one.2, alone.2);
    for (found, wanted) in one.0.iter().zip(&alone.0) {
        assert!((found.loss - wanted.loss).abs() <= 1e-2 * wanted.loss, "{found:?} {wanted:?}");
    }
}

/// A model that is trained in its adapters alone.
struct Adapted(Adapters);

impl Model for Adapted {
    fn channels(&self) -> usize {
        1
    }

    fn adapters(&self) -> Option<&Adapters> {
        Some(&self.0)
    }

    fn build(&self, _: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        Ok(inputs.x)
    }
}

#[test]
fn what_is_trained_in_f32_alone_says_so() {
    let refused = |error: Option<Error>| match error {
        Some(Error::Training(TrainingError::Option(wrong))) => {
            assert_eq!((wrong.name.as_str(), wrong.found.as_str()), ("precision", "f16"));
            wrong.expected
        }
        other => panic!("{other:?}"),
    };
    let (options, scheduler) = (options(F16), SchedulerConfig::default());
    let adapted = Adapted(Adapters::of(&[], |_| true, 1, 1.0));
    let error = options.check(&adapted, &scheduler).err().map(Error::from);
    assert_eq!(refused(error), "f32, for adapters, whose model is stored as `frozen` says");
    let words = TrainingOptions { precision: ElementType::U32, ..options.clone() };
    let error = words.check(&tiny::unet(None), &scheduler).expect_err("no floats").to_string();
    assert_eq!(error, "precision: expected f32, f16 or bf16, found u32");
    let model = ClassifierUNet::new(ClassifierConfig::default()).expect("a model");
    let step = TrainingGraph::classifier(&Target::default(), &model, &scheduler, &options);
    assert_eq!(refused(step.err()), "f32, for a classifier");

    let Some(gpu) = support::gpu() else { return };
    let network = ConvClassifier { size: [8, 8, 1], classes: 10 };
    let trained = Classifier::train(&gpu, network, &digits(), &options, 1, None, |_, _| {});
    assert_eq!(refused(trained.err()), "f32, for a classifier");
    let mut graph = Graph::new();
    let x = graph.input(TensorType::f32(&[4, 1]));
    let line = GraphTrainer::new(&gpu, graph, &options, |layers| {
        let predicted = layers.linear("line", x, 1)?;
        layers.push(MeanSquaredError { reduction: Reduction::Mean }, &[predicted, x])
    });
    assert_eq!(refused(line.err()), "f32, for a graph of the caller's");
}
