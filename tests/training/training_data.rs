//! What training makes of images and labels: mirrored ones, held out ones, and ones that do not
//! fit.
use std::ops::ControlFlow;

use crate::common::{support, tiny};
use ddim::{
    Error,
    data::{Batch, Dataset},
    diffusion::{Sampler, schedule::SchedulerConfig},
    error::{GpuError, TrainingError},
    training::{Trainer, Validation},
};

/// Images of 8x8 grey pixels, a label each.
fn images(count: usize, pixel: impl Fn(usize) -> u8) -> Dataset {
    let labels = (0..count as u8).map(|image| image % 10).collect();
    Dataset::from_pixels("made up", [8, 8, 1], (0..count * 64).map(pixel).collect(), Some(labels))
        .expect("whole images")
}

#[test]
fn flipping_mirrors_images_and_nothing_else() {
    let Some(gpu) = support::gpu() else { return };
    let run = |data: &Dataset, flip| {
        let mut trainer = tiny::trainer(&gpu, None);
        tiny::advance(&mut trainer, data, 4, flip);
        trainer.metrics().expect("good steps");
        tiny::state(&mut trainer)
    };
    let symmetric = images(16, |at| (at / 8 * 11 + (at % 8).min(7 - at % 8) * 50) as u8);
    assert!(run(&symmetric, true) == run(&symmetric, false));
    let lopsided = images(16, |at| (at / 8 * 11 + at % 8 * 25) as u8);
    let flipped = run(&lopsided, true);
    assert!(flipped != run(&lopsided, false));
    assert!(flipped == run(&lopsided, true), "same seed, same bits");
}

#[test]
fn held_out_loss_measures_the_averaged_weights() {
    let Some(gpu) = support::gpu() else { return };
    let data = tiny::few_digits();
    // 18 images in batches of 4: the last is filled up.
    let mut trainer = tiny::trainer(&gpu, Some(10));
    let mut validation = Validation::new(&trainer, data.clone()).expect("data that fit");
    let first = validation.loss(&mut trainer, |_, _| {}).expect("a loss");
    assert_eq!(validation.loss(&mut trainer, |_, _| {}).expect("a loss"), first, "measured twice");

    // A model that finds no noise: its loss is the noise's own mean square.
    let trained = trainer.averaged_weights().expect("weights");
    let mut blind = ddim::nn::Weights::default();
    for (name, parameter) in trained.iter() {
        let factor = if name.starts_with("conv_out.") { 0.0 } else { 1.0 };
        let data = parameter.data.iter().map(|x| factor * x).collect();
        blind.insert(name, parameter.shape, data);
    }
    trainer.load(&blind).expect("its own parameters");
    let noise = validation.loss(&mut trainer, |_, _| {}).expect("a loss");
    // 1,280 squares of normal numbers, of variance 2 each: the mean's deviation is 0.04.
    assert!((noise - 1.0).abs() < 5.0 * 0.04, "{noise}");
    assert_ne!(noise, first);

    // Measuring in between changes nothing in training.
    trainer.load(&trained).expect("its own parameters");
    let mut undisturbed = tiny::trainer(&gpu, Some(10));
    for steps in 1..=3 {
        tiny::advance(&mut trainer, &data, steps, false);
        assert_ne!(validation.loss(&mut trainer, |_, _| {}).expect("a loss"), first);
    }
    tiny::advance(&mut undisturbed, &data, 3, false);
    assert!(tiny::state(&mut trainer) == tiny::state(&mut undisturbed));
}

#[test]
fn a_batch_larger_than_the_held_out_images_will_do() {
    let Some(gpu) = support::gpu() else { return };
    let mut trainer = tiny::trainer(&gpu, None);
    let three = images(3, |at| at as u8);
    let mut validation = Validation::new(&trainer, three).expect("data that fit");
    assert!(validation.loss(&mut trainer, |_, _| {}).expect("a loss").is_finite());
}

fn training_error(error: Error) -> TrainingError {
    match error {
        Error::Training(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let train = |trainer: &mut Trainer, data: &Dataset| {
        let result = trainer.train(data, 3, false, |_| ControlFlow::Continue(()));
        let held_out = Validation::new(trainer, data.clone()).err().map(|error| error.to_string());
        assert_eq!(trainer.steps(), 0);
        let error = result.expect_err("data that do not fit");
        assert_eq!(held_out, Some(error.to_string()));
        training_error(error)
    };
    let mut plain = tiny::trainer(&gpu, None);
    let wide = Dataset::from_pixels("wide", [8, 16, 1], vec![0; 128], None).expect("one image");
    let error = train(&mut plain, &wide);
    assert!(matches!(error, TrainingError::Images { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("8x8x1 (height") && text.contains("8x16x1"), "{text}");

    let mut conditional = tiny::trainer(&gpu, Some(3));
    let unlabelled = Dataset::from_pixels("plain", [8, 8, 1], vec![0; 64], None).expect("one");
    let error = train(&mut conditional, &unlabelled);
    assert!(matches!(error, TrainingError::Classes { expected: 3, found: None }), "{error}");
    assert!(error.to_string().contains("3 classes, the data no labels"), "{error}");
    let error = train(&mut conditional, &tiny::few_digits());
    assert!(matches!(error, TrainingError::Classes { expected: 3, found: Some(_) }), "{error}");
    assert!(error.to_string().contains("labels up to 9"), "{error}");
}

#[test]
fn a_batch_of_another_size_is_refused() {
    let Some(gpu) = support::gpu() else { return };
    let mut trainer = tiny::trainer(&gpu, Some(10));
    for (pixels, labels) in [(3 * 64, Some(4)), (4 * 64, Some(3)), (4 * 64, None)] {
        let labels = labels.map(|count| vec![0; count]);
        let batch = Batch { images: vec![0.0; pixels], labels };
        let error = trainer.step(&batch).expect_err("a batch that does not fit");
        assert!(matches!(error, Error::Gpu(GpuError::Length { .. })), "{error}");
        assert_eq!(trainer.steps(), 0);
    }
}

#[test]
fn labels_that_a_sampler_does_not_take_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let table = SchedulerConfig::default().ddim(2, 0.0).expect("two steps");
    let sampler = |classes| {
        let unet = tiny::unet(classes);
        let weights = tiny::untrained(&unet);
        Sampler::new(&gpu, &unet, &weights, [2, 8, 8], &table, None, 0).expect("a small model")
    };
    let error = sampler(None).set_labels(&[1, 2]).expect_err("no classes");
    assert!(matches!(error, Error::Labels { expected: None, .. }), "{error}");
    let error = sampler(Some(10)).set_labels(&[1]).expect_err("two images");
    assert!(matches!(error, Error::Gpu(GpuError::Length { .. })), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let Some(gpu) = support::gpu() else { return };
    let mut trainer = tiny::trainer(&gpu, None);
    for name in [
        "training/settings.json",
        "training/state.safetensors",
        "unet/config.json",
        "scheduler/scheduler_config.json",
    ] {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = |name: &str| folder.path().join(name);
        trainer.save(folder.path(), serde_json::Value::Null).expect("room");
        let bytes = std::fs::read(path(name)).expect("a file of the checkpoint");
        // The generation has it whole.
        std::fs::remove_file(path(name)).expect("the file");
        Trainer::resume(&gpu, folder.path()).map(drop).expect("a whole generation");
        assert!(std::fs::read(path(name)).expect("made again") == bytes, "{name}");
        std::fs::write(path(name), &bytes[..bytes.len() / 2]).expect("room");
        let error = Trainer::resume(&gpu, folder.path()).err().expect("half a file").to_string();
        assert!(error.contains(&format!("{}: ", path(name).display())), "{error}");
        // As in a folder of another program, or of an older version.
        std::fs::remove_file(path("training/current.json")).expect("the pointer");
        std::fs::remove_dir_all(path("training/generations")).expect("the generations");
        std::fs::remove_file(path(name)).expect("the file");
        let error = Trainer::resume(&gpu, folder.path()).err().expect("no file").to_string();
        assert!(error.contains(&format!("{}: ", path(name).display())), "{error}");
    }
}
