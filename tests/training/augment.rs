//! Augmentations in training: what a network is told, what a checkpoint keeps of it, and that sampling knows nothing of it.
use crate::common::{support, tiny};
use ddim::{
    data::{AUGMENT_LABELS, Images, Loader, Loading},
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    pipeline,
    training::{Trainer, TrainingOptions, Validation},
};
use std::ops::ControlFlow;

const LOADING: Loading =
    Loading { flip: false, crop: ddim::data::Crop::Centre, augment: Some(0.5), workers: 0 };

fn trainer(gpu: &Gpu) -> Trainer {
    let options = TrainingOptions { augment: Some(0.5), ..tiny::options() };
    let unet = tiny::unet(None).augmented(true);
    Trainer::new(gpu, unet, SchedulerConfig::default(), [8, 8], options).expect("a small model")
}

fn advance(trainer: &mut Trainer, steps: u64, workers: usize) {
    let images = Images::from(tiny::few_digits());
    let (options, first) = (trainer.options(), trainer.steps());
    let loading = Loading { workers, ..LOADING };
    let mut loader = Loader::new(&images, options.batch, options.seed, loading, first);
    trainer.train_on(&mut loader, steps, |_| ControlFlow::Continue(())).expect("good steps");
}

#[test]
fn images_and_what_is_told_of_them_do_not_depend_on_workers() {
    let images = Images::from(tiny::few_digits());
    let batches = |loading: Loading| -> Vec<_> {
        let mut loader = Loader::new(&images, 4, 3, loading, 0);
        let batch = |_| (loader.batch().expect("digits"), loader.told().to_vec());
        (0..12).map(batch).collect()
    };
    let expected = batches(LOADING);
    assert!(batches(Loading { workers: 3, ..LOADING }) == expected);
    let plain = batches(Loading { augment: None, ..LOADING });
    let (mut changed, mut same) = (0, 0);
    for ((batch, told), (other, nothing)) in expected.iter().zip(&plain) {
        assert_eq!(told.len(), 4 * AUGMENT_LABELS);
        assert!(nothing.iter().all(|number| *number == 0.0));
        for image in 0..4 {
            let told = &told[image * AUGMENT_LABELS..][..AUGMENT_LABELS];
            let [one, other] = [&batch.images, &other.images].map(|of| &of[image * 64..][..64]);
            // An image is changed if and only if the network is told so.
            assert_eq!(one == other, told.iter().all(|number| *number == 0.0), "{told:?}");
            if one == other { same += 1 } else { changed += 1 }
        }
    }
    assert!(changed > 30 && same > 0, "{changed}, {same}");
}

#[test]
fn a_run_goes_on_and_its_pipeline_knows_nothing_of_it() {
    let Some(gpu) = support::gpu() else { return };
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut whole = trainer(&gpu);
    advance(&mut whole, 6, 0);
    let mut broken = trainer(&gpu);
    advance(&mut broken, 3, 2);
    broken.save(folder.path(), serde_json::Value::Null).expect("room");
    let (mut resumed, _) = Trainer::resume(&gpu, folder.path()).expect("a checkpoint");
    advance(&mut resumed, 6, 2);
    assert!(tiny::state(&mut resumed) == tiny::state(&mut whole));
    let raw = whole.raw_weights().expect("weights");
    let layer = raw.get("augment_embedding.weight").expect("the layer of what was done");
    assert!(layer.data.iter().any(|number| *number != 0.0));
    // What samples is a U-Net as any other, with the same prediction as the one that is told nothing.
    let opened = pipeline::open(folder.path()).expect("a pipeline");
    assert!(opened.weights.load().expect("weights").get("augment_embedding.weight").is_none());
    let data = tiny::few_digits();
    let mut told = trainer(&gpu);
    told.load(&broken.averaged_weights().expect("weights")).expect("its own");
    let loss = Validation::new(&told, data.clone())
        .and_then(|mut of| of.loss(&mut told, |_, _| {}))
        .expect("a loss");
    let mut plain = tiny::trainer(&gpu, None);
    plain.load(&*opened.weights).expect("a U-Net's");
    let other = Validation::new(&plain, data)
        .and_then(|mut of| of.loss(&mut plain, |_, _| {}))
        .expect("a loss");
    assert!((loss - other).abs() < 1e-6 * other, "{loss}, {other}");
}

#[test]
fn a_model_that_is_told_of_nothing_takes_no_augmentations() {
    let Some(gpu) = support::gpu() else { return };
    let options = TrainingOptions { augment: Some(0.5), ..tiny::options() };
    let scheduler = SchedulerConfig::default();
    let error = Trainer::new(&gpu, tiny::unet(None), scheduler, [8, 8], options).err();
    let error = error.expect("an option that does not suit").to_string();
    assert!(error.contains("augment: expected none"), "{error}");
    let images = Images::from(tiny::few_digits());
    let mut loader = Loader::new(&images, 4, 5, Loading::default(), 0);
    let error = trainer(&gpu).train_on(&mut loader, 1, |_| ControlFlow::Continue(()));
    let error = error.expect_err("a plain loader").to_string();
    assert!(error.contains("augment of the loader: expected 0.5, found none"), "{error}");
}
