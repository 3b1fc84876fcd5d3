//! Micro-batches: a step of several of them is one of a batch of all their images, up to rounding.
use crate::common::{support, tiny};
use ddim::{
    data::{Batch, Batches, digits},
    diffusion::schedule::{SchedulerConfig, Variance},
    error::Error,
    gpu::Gpu,
    models::unet2d::{UNet, UNetConfig},
    training::{Loss, Metrics, Timesteps, Trainer, TrainingOptions},
};
use serde_json::Value as Json;
use std::{fs, ops::ControlFlow, path::Path};

/// Images of a step.
const IMAGES: usize = 12;

/// Dropout, labels of which some are dropped, and as many images a step whatever the batch.
fn trainer(gpu: &Gpu, accumulate: usize, options: TrainingOptions) -> Trainer {
    let batch = IMAGES / accumulate;
    let options = TrainingOptions { batch, accumulate, label_drop: 0.3, ..options };
    let learned = options.loss != Loss::Simple;
    let (variance_type, out_channels) = match learned {
        true => (Variance::LearnedRange, 2),
        false => (Variance::default(), 1),
    };
    let config = UNetConfig { out_channels, ..tiny::config(Some(11)) };
    let scheduler = SchedulerConfig {
        variance_type,
        num_train_timesteps: 20,
        beta_end: 0.3,
        ..Default::default()
    };
    let unet = UNet::new(config).expect("a consistent model");
    Trainer::new(gpu, unet, scheduler, [8, 8], options).expect("a small model")
}

fn train(trainer: &mut Trainer, steps: u64) -> Vec<Metrics> {
    let mut heard = Vec::new();
    let hear = |metrics: &[Metrics]| {
        heard.extend(metrics);
        ControlFlow::Continue(())
    };
    trainer.train(&digits(), steps, true, hear).expect("good data");
    heard
}

fn gradients(trainer: &mut Trainer) -> Vec<f32> {
    let arenas = trainer.graph().optimizer.gradients.clone();
    arenas.into_iter().flat_map(|of| trainer.executor().read(of).expect("shared")).collect()
}

/// What rounding may change of a gradient, as part of the largest: that of the reference case.
fn tolerance() -> f32 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("tests/cases/unet/unet_8_16_gray_b3.json"));
    let case: Json = serde_json::from_str(&text.expect("a case")).expect("JSON");
    let of = |key: &str| case["outputs"]["gx"][key].as_f64().expect("a number");
    (of("atol") / of("ref_max_abs")) as f32
}

#[test]
fn micro_batches_add_up_to_the_gradient_of_the_batch() {
    let Some(gpu) = support::gpu() else { return };
    let tolerance = tolerance();
    assert!((1e-6..1e-4).contains(&tolerance), "{tolerance}");
    let plain = tiny::options();
    let antithetic = TrainingOptions { timesteps: Timesteps::Antithetic, ..plain.clone() };
    let importance =
        TrainingOptions { timesteps: Timesteps::Importance, loss: Loss::Hybrid, ..plain.clone() };
    for options in [plain, antithetic, importance] {
        let what = format!("{:?}", options.timesteps);
        let mut whole = trainer(&gpu, 1, options.clone());
        let wanted_metrics = train(&mut whole, 1)[0];
        let wanted = gradients(&mut whole);
        let memory = |of: &mut Trainer| of.graph().memory.map(|m| of.executor().read(m));
        let remembered = memory(&mut whole).transpose().expect("a memory");
        let largest = wanted.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
        let parts = if options.timesteps == Timesteps::Uniform { &[2, 3][..] } else { &[4] };
        for &accumulate in parts {
            let mut parts = trainer(&gpu, accumulate, options.clone());
            // Nothing that lay in memory before counts.
            let sums: Vec<_> = parts.graph().optimizer.gradients.clone();
            for sum in sums {
                let nan = vec![f32::NAN; parts.graph().graph.type_of(sum).shape.elements()];
                parts.executor().write(sum, &nan).expect("shared");
            }
            let metrics = train(&mut parts, 1)[0];
            let loss = (metrics.loss - wanted_metrics.loss).abs() / wanted_metrics.loss;
            assert!(loss < 1e-5, "{what}, {accumulate}: loss {metrics:?} for {wanted_metrics:?}");
            let found = gradients(&mut parts);
            assert_eq!(found.len(), wanted.len());
            let furthest =
                found.iter().zip(&wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            println!("{what}, {accumulate}: off by {:e} of the largest", furthest / largest);
            assert!(furthest <= tolerance * largest, "{what}, {accumulate}: {furthest}");
            let found = memory(&mut parts).transpose().expect("a memory");
            let rows = remembered.iter().flatten().zip(found.iter().flatten());
            for (wanted, found) in rows {
                assert!((wanted - found).abs() <= 1e-4 * wanted.abs(), "{found} for {wanted}");
            }
        }
    }
}

#[test]
fn the_images_of_one_micro_batch_do_not_count_for_another() {
    let Some(gpu) = support::gpu() else { return };
    // Twice the same images: with noise of their own the halves differ from a batch of the first half.
    let mut batch = Batches::new(&digits(), IMAGES / 2, 5, false).batch(0);
    batch.images = batch.images.repeat(2);
    batch.labels = batch.labels.map(|labels| labels.repeat(2));
    let loss = |accumulate: usize| {
        let mut trainer = trainer(&gpu, accumulate, tiny::options());
        trainer.step(&batch).expect("a step's images");
        trainer.metrics().expect("a good step")[0].loss
    };
    let (whole, halves) = (loss(1), loss(2));
    assert!((whole - halves).abs() < 1e-5 * whole, "{whole} {halves}");
    let half = TrainingOptions { batch: IMAGES / 2, ..tiny::options() };
    let mut first =
        Trainer::new(&gpu, tiny::unet(Some(11)), SchedulerConfig::default(), [8, 8], half)
            .expect("a small model");
    let own = |of: &Batch| Batch {
        images: of.images[..of.images.len() / 2].to_vec(),
        labels: of.labels.as_ref().map(|labels| labels[..IMAGES / 2].to_vec()),
    };
    first.step(&own(&batch)).expect("a batch");
    let first = first.metrics().expect("a good step")[0].loss;
    assert!((first - whole).abs() > 1e-3 * whole, "{first} {whole}");
    // A step takes the images of all its micro-batches.
    let mut short = trainer(&gpu, 2, tiny::options());
    let error = short.step(&own(&batch)).expect_err("half of the images").to_string();
    assert_eq!(error, "batch: expected 768 numbers and 12 labels, found 384 numbers and 6 labels");
}

#[test]
fn micro_batches_are_bit_equal_from_run_to_run_and_over_a_break() {
    let Some(gpu) = support::gpu() else { return };
    let options = TrainingOptions { timesteps: Timesteps::Importance, ..tiny::options() };
    let [mut unbroken, mut again, mut broken] = [(); 3].map(|()| trainer(&gpu, 3, options.clone()));
    let heard = train(&mut unbroken, 6);
    assert_eq!(train(&mut again, 6), heard);
    assert!(tiny::state(&mut again) == tiny::state(&mut unbroken));
    assert!(heard.iter().map(|metrics| metrics.step).eq(1..=6));

    train(&mut broken, 4);
    let folder = tempfile::tempdir().expect("a folder for the test");
    broken.save(folder.path(), Json::Null).expect("room");
    let (mut resumed, settings) = Trainer::resume(&gpu, folder.path()).expect("its checkpoint");
    assert_eq!((settings.options.batch, settings.options.accumulate), (4, 3));
    assert_eq!(train(&mut resumed, 6), heard[4..]);
    assert!(tiny::state(&mut resumed) == tiny::state(&mut unbroken));
}

#[test]
fn a_run_goes_on_with_other_micro_batches_and_says_so() {
    let Some(gpu) = support::gpu() else { return };
    let mut whole = trainer(&gpu, 1, tiny::options());
    train(&mut whole, 2);
    let folder = tempfile::tempdir().expect("a folder for the test");
    whole.save(folder.path(), Json::Null).expect("room");
    let wanted = train(&mut whole, 4);

    let open = ddim::pipeline::RunFolder::open(folder.path()).expect("its checkpoint");
    let options = TrainingOptions { batch: 4, accumulate: 3, ..whole.options().clone() };
    let (mut resumed, noted) =
        Trainer::resume_with(&gpu, &open, options, Json::Null).expect("its checkpoint");
    for line in ["batch was 12, is 4", "accumulate was 1, is 3"] {
        assert!(noted.differences.iter().any(|known| known == line), "{:?}", noted.differences);
    }
    let past = &noted.settings.history[0];
    assert_eq!((past.until, past.settings.options.accumulate), (2, 1));
    // The same images, noise and dropout.
    for (found, wanted) in train(&mut resumed, 4).iter().zip(&wanted) {
        assert_eq!(found.step, wanted.step);
        assert!((found.loss - wanted.loss).abs() < 1e-4 * wanted.loss, "{found:?} {wanted:?}");
    }
}

#[test]
fn micro_batches_that_are_too_many_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    for (batch, accumulate, found) in
        [(4, 0, "0"), (1 << 20, 17, "17"), (4, usize::MAX, "18446744073709551615")]
    {
        let options = TrainingOptions { batch, accumulate, ..tiny::options() };
        let scheduler = SchedulerConfig::default();
        let refused = Trainer::new(&gpu, tiny::unet(None), scheduler, [8, 8], options);
        let error = refused.err().expect("a refusal");
        assert!(matches!(error, Error::Training(_)), "{error}");
        let most = (1 << 24) / batch;
        let expected =
            format!("accumulate: expected 1 to {most}, for batches of {batch}, found {found}");
        assert_eq!(error.to_string(), expected);
    }
}
