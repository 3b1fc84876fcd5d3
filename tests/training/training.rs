//! Training on the device: what a bad number may not touch, what a break may not change, and that
//! the host waits for nothing inside.
use std::ops::ControlFlow;

use crate::common::{support, tiny};
use ddim::{
    Error,
    data::{Batch, Batches, Dataset},
    diffusion::{Sampler, schedule::SchedulerConfig},
    error::{GpuError, TrainingError},
    gpu::{Gpu, Stats},
    training::{Metrics, Trainer, TrainingGraph, Validation},
};

fn batch(data: &Dataset, step: u64) -> Batch {
    Batches::new(data, tiny::options().batch, 1, false).batch(step)
}

fn not_finite(error: Error) -> (u64, f32, f32) {
    match error {
        Error::Training(TrainingError::NotFinite { step, loss, norm }) => (step, loss, norm),
        other => panic!("{other}"),
    }
}

/// Six good steps, and the state that they leave.
fn six_steps(gpu: &Gpu, data: &Dataset) -> (Trainer, Vec<Vec<u32>>) {
    let mut trainer = tiny::trainer(gpu, None);
    let start = tiny::state(&mut trainer);
    for step in 0..6 {
        trainer.step(&batch(data, step)).expect("a good step");
    }
    let state = tiny::state(&mut trainer);
    assert!(state.iter().zip(&start).all(|(now, then)| now != then), "every part has moved");
    (trainer, state)
}

#[test]
fn a_nan_pixel_in_step_7_leaves_the_state_of_step_6() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut bad = batch(&data, 6);
    bad.images[100] = f32::NAN;
    // The last of these is more than the history holds.
    for queued in [0, 3, TrainingGraph::HISTORY as u64 + 20] {
        let (mut trainer, good) = six_steps(&gpu, &data);
        trainer.step(&bad).expect("nobody has looked yet");
        for step in 7..7 + queued {
            trainer.step(&batch(&data, step)).expect("nobody has looked yet");
        }
        // A checkpoint is that of step 6, also before anybody has looked.
        let folder = tempfile::tempdir().expect("a folder for the test");
        trainer.save(folder.path(), serde_json::Value::Null).expect("room");
        let (mut resumed, _) = Trainer::resume(&gpu, folder.path()).expect("its own checkpoint");
        assert_eq!(resumed.steps(), 6);
        assert!(tiny::state(&mut resumed) == good, "{queued} steps queued");

        let error = trainer.metrics().expect_err("a bad step");
        assert!(error.to_string().starts_with("step 7: the loss is NaN"), "{error}");
        let (step, loss, norm) = not_finite(error);
        assert_eq!(step, 7, "{queued} steps queued");
        assert!(loss.is_nan() && norm.is_nan(), "{queued} steps queued: {loss}, {norm}");
        assert_eq!(trainer.steps(), 6);
        assert!(tiny::state(&mut trainer) == good, "{queued} steps queued");
    }
}

#[test]
fn a_run_that_went_bad_goes_on_from_its_checkpoint() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let (mut trainer, _) = six_steps(&gpu, &data);
    let mut bad = batch(&data, 6);
    bad.images[0] = f32::INFINITY;
    trainer.step(&bad).expect("nobody has looked yet");
    assert_eq!(not_finite(trainer.metrics().expect_err("a bad step")).0, 7);
    // The device stands still until somebody decides what to do.
    trainer.step(&batch(&data, 6)).expect("nobody has looked yet");
    assert_eq!(not_finite(trainer.metrics().expect_err("still bad")).0, 7);

    let folder = tempfile::tempdir().expect("a folder for the test");
    trainer.save(folder.path(), serde_json::Value::Null).expect("room");
    let (mut resumed, _) = Trainer::resume(&gpu, folder.path()).expect("its own checkpoint");
    let (mut unharmed, _) = six_steps(&gpu, &data);
    for trainer in [&mut resumed, &mut unharmed] {
        trainer.step(&batch(&data, 6)).expect("a good step");
    }
    let last = |metrics: Vec<Metrics>| *metrics.last().expect("a step");
    let (resumed_step, step) = (resumed.metrics(), unharmed.metrics());
    assert_eq!(last(resumed_step.expect("good")), last(step.expect("good")));
    assert!(tiny::state(&mut resumed) == tiny::state(&mut unharmed));
}

#[test]
fn a_break_changes_no_bit() {
    let Some(gpu) = support::gpu() else { return };
    // Labels, dropout, flips and two epochs: whatever a step draws must be as without a break.
    let data = tiny::few_digits();
    let (mut heard, mut heard_later) = (Vec::new(), Vec::new());
    let train = |trainer: &mut Trainer, steps, heard: &mut Vec<Metrics>| {
        let hear = |metrics: &[Metrics]| {
            heard.extend(metrics);
            ControlFlow::Continue(())
        };
        trainer.train(&data, steps, true, hear).expect("good data");
    };
    let mut unbroken = tiny::trainer(&gpu, Some(10));
    train(&mut unbroken, 9, &mut heard);

    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut broken = tiny::trainer(&gpu, Some(10));
    train(&mut broken, 5, &mut heard_later);
    let notes = serde_json::json!({ "data": "digits" });
    broken.save(folder.path(), notes.clone()).expect("room");
    drop(broken);
    let (mut resumed, settings) = Trainer::resume(&gpu, folder.path()).expect("its checkpoint");
    assert_eq!((resumed.steps(), &settings.notes, settings.size), (5, &notes, [8, 8]));
    assert_eq!(settings.options, tiny::options());
    assert_eq!(settings.plan, format!("{:016x}", resumed.plan().hash()));
    train(&mut resumed, 9, &mut heard_later);

    assert_eq!(heard.len(), 9);
    assert!(heard.iter().map(|metrics| metrics.step).eq(1..=9));
    assert_eq!(heard, heard_later);
    assert!(tiny::state(&mut resumed) == tiny::state(&mut unbroken));
}

#[test]
fn progress_may_end_a_run() {
    let Some(gpu) = support::gpu() else { return };
    let mut trainer = tiny::trainer(&gpu, None);
    let enough = |_: &[Metrics]| ControlFlow::Break(());
    trainer.train(&tiny::few_digits(), 1000, false, enough).expect("good data");
    assert_eq!(trainer.steps(), 1, "the first report comes after one step");
}

fn waits(stats: Stats) -> (u64, u64) {
    (stats.waits, stats.maps)
}

#[test]
fn the_host_waits_for_nothing_inside() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut trainer = tiny::trainer(&gpu, Some(10));
    let before = trainer.executor().stats();
    tiny::advance(&mut trainer, &data, 4, true);
    let after = trainer.executor().stats();
    assert_eq!(waits(after), waits(before), "in training");
    let dispatches = trainer.plan().dispatches().count() as u64;
    assert_eq!(after.dispatches, before.dispatches + 4 * dispatches);
    trainer.metrics().expect("four good steps");
    let read = trainer.executor().stats();
    assert!(read.waits > after.waits && read.maps > after.maps, "the counters count");

    let unet = tiny::unet(Some(10));
    let weights = trainer.averaged_weights().expect("a device that is there");
    let table = SchedulerConfig::default().ddim(10, 0.5).expect("ten steps");
    let mut sampler =
        Sampler::new(&gpu, &unet, &weights, [3, 8, 8], &table, None, 1).expect("a small model");
    sampler.set_labels(&[1, 2, 3]).expect("three labels");
    sampler.begin(0).expect("a device that is there");
    let before = sampler.executor().stats();
    sampler.advance(10).expect("a device that is there");
    let after = sampler.executor().stats();
    assert_eq!(waits(after), waits(before), "in a trajectory");
    let plan = sampler.plan();
    // What loads the weights ran when they were written.
    let launches = plan.sections[plan.staged.len()..]
        .iter()
        .filter(|s| s.is_setup())
        .map(|s| s.launches.len())
        .sum::<usize>()
        + 10 * plan.dispatches().count();
    assert_eq!(after.dispatches, before.dispatches + launches as u64);
    assert!(sampler.images().expect("images").iter().all(|pixel| pixel.abs() <= 1.0));
}

#[test]
fn a_lost_device_is_a_typed_error_and_spares_the_checkpoint() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    let mut trainer = tiny::trainer(&gpu, None);
    tiny::advance(&mut trainer, &data, 2, false);
    let folder = tempfile::tempdir().expect("a folder for the test");
    trainer.save(folder.path(), serde_json::Value::Null).expect("room");
    let state = folder.path().join("training/state.safetensors");
    let before = std::fs::read(&state).expect("the checkpoint");
    let mut validation = Validation::new(&trainer, data.clone()).expect("data that fit");

    gpu.device().destroy();
    let next = batch(&data, 2);
    for error in [
        trainer.step(&next).expect_err("a step"),
        trainer.metrics().expect_err("metrics"),
        trainer.averaged_weights().expect_err("weights"),
        validation.loss(&mut trainer, |_, _| {}).expect_err("held-out loss"),
        trainer.train(&data, 9, false, |_| ControlFlow::Continue(())).expect_err("training"),
        trainer.save(folder.path(), serde_json::Value::Null).expect_err("a checkpoint"),
        Trainer::resume(&gpu, folder.path()).err().expect("a new trainer"),
    ] {
        assert!(matches!(error, Error::Gpu(GpuError::Lost { .. })), "{error}");
    }
    assert_eq!(trainer.steps(), 2);
    assert!(std::fs::read(&state).expect("the checkpoint") == before);
    let entries = |name: &str| std::fs::read_dir(folder.path().join(name)).expect("it").count();
    assert_eq!(entries("training"), 4, "state, settings, generations and which counts");
    assert_eq!(entries("training/generations"), 1, "no leftovers");
}
