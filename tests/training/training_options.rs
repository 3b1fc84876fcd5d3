//! What a network can be trained on: predictions, losses, ways of drawing timesteps, dropped
//! labels.
use std::ops::ControlFlow;

use crate::common::{support, tiny};
use ddim::{
    Error,
    data::{Batches, Dataset, digits},
    diffusion::schedule::{PredictionType, SchedulerConfig, Variance},
    error::TrainingError,
    gpu::Gpu,
    graph::Graph,
    models::unet2d::{UNet, UNetConfig},
    ops::{Input, VariationalBound},
    passes,
    reference::{Environment, evaluate},
    training::{Loss, Timesteps, Trainer, TrainingOptions},
    value::TensorType,
};

/// Few enough timesteps for each to be drawn ten times within a test.
const TIMESTEPS: usize = 20;

fn scheduler(prediction_type: PredictionType, variance_type: Variance) -> SchedulerConfig {
    let num_train_timesteps = TIMESTEPS;
    let default = SchedulerConfig::default();
    SchedulerConfig {
        num_train_timesteps,
        beta_end: 0.3,
        prediction_type,
        variance_type,
        ..default
    }
}

/// A tiny network without dropout, with as many outputs as the variance asks for.
fn config(variance: Variance, classes: Option<usize>) -> UNetConfig {
    let out_channels = if variance == Variance::LearnedRange { 2 } else { 1 };
    UNetConfig { out_channels, dropout: 0.0, ..tiny::config(classes) }
}

fn options() -> TrainingOptions {
    TrainingOptions { batch: 16, learning_rate: 5e-3, ema_decay: 0.9, ..Default::default() }
}

fn trainer(
    gpu: &Gpu,
    scheduler: SchedulerConfig,
    classes: Option<usize>,
    options: TrainingOptions,
) -> Result<Trainer, Error> {
    let unet = UNet::new(config(scheduler.variance_type, classes)).expect("a consistent model");
    Trainer::new(gpu, unet, scheduler, [8, 8], options)
}

/// The losses of so many steps.
fn losses(trainer: &mut Trainer, data: &Dataset, steps: u64) -> Vec<f32> {
    tiny::advance(trainer, data, steps, false);
    let metrics = trainer.metrics().expect("good steps");
    metrics.iter().map(|metrics| metrics.loss).collect()
}

#[test]
fn every_option_lowers_its_loss() {
    let Some(gpu) = support::gpu() else { return };
    let (small, learned) = (Variance::FixedSmall, Variance::LearnedRange);
    let loss = |loss| TrainingOptions { loss, ..options() };
    let weighted = TrainingOptions { min_snr_gamma: Some(5.0), ..options() };
    let drawn = |timesteps| TrainingOptions { timesteps, ..options() };
    let (epsilon, v) = (PredictionType::Epsilon, PredictionType::VPrediction);
    let runs = [
        (PredictionType::Sample, small, options()),
        (v, small, weighted),
        (epsilon, small, drawn(Timesteps::Antithetic)),
        (epsilon, Variance::FixedLarge, loss(Loss::Vlb)),
        (epsilon, learned, TrainingOptions { timesteps: Timesteps::Importance, ..loss(Loss::Vlb) }),
        (epsilon, learned, loss(Loss::Hybrid)),
        (epsilon, learned, loss(Loss::Simple)),
    ];
    for (prediction, variance, options) in runs {
        let what = format!("{prediction} {variance:?} {options:?}");
        let mut trainer =
            trainer(&gpu, scheduler(prediction, variance), None, options).expect("a small model");
        let losses = losses(&mut trainer, &digits(), 40);
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        let (first, last) = (mean(&losses[..8]), mean(&losses[32..]));
        assert!(last < 0.9 * first, "{first} to {last}: {what}");
    }
}

#[test]
fn a_rate_that_fell_to_zero_moves_no_weight() {
    let Some(gpu) = support::gpu() else { return };
    let schedule = scheduler(PredictionType::Epsilon, Variance::FixedSmall);
    let options = TrainingOptions { decay_steps: Some(3), ..options() };
    let mut trainer = trainer(&gpu, schedule, None, options).expect("a small model");
    let data = digits();
    let parameters_after = |steps| {
        tiny::advance(&mut trainer, &data, steps, false);
        tiny::state(&mut trainer)[0].clone()
    };
    let [second, third, fourth] = [2, 3, 4].map(parameters_after);
    assert!(second != third, "the third step is the last that moves");
    assert!(third == fourth);
}

#[test]
fn weights_of_one_change_nothing() {
    let Some(gpu) = support::gpu() else { return };
    let schedule = || scheduler(PredictionType::Epsilon, Variance::FixedSmall);
    // No signal-to-noise ratio is above this.
    let options =
        [None, Some(1e9)].map(|gamma| TrainingOptions { min_snr_gamma: gamma, ..options() });
    let [plain, weighted] = options.map(|options| {
        let mut trainer = trainer(&gpu, schedule(), None, options).expect("a small model");
        losses(&mut trainer, &digits(), 3)
    });
    // The same sums in another order; Adam's first steps are the signs of gradients.
    for (plain, weighted) in plain.iter().zip(&weighted) {
        assert!((plain - weighted).abs() < 1e-3 * plain, "{plain} {weighted}");
    }
    assert!((plain[0] - weighted[0]).abs() < 1e-6 * plain[0], "{} {}", plain[0], weighted[0]);
}

#[test]
fn the_hybrid_loss_teaches_the_bound_to_the_variance_alone() {
    let of = TensorType::f32(&[3, 4, 4, 3]);
    let gradient = |frozen_mean| {
        let mut graph = Graph::new();
        let output = TensorType::f32(&[3, 4, 4, 6]);
        let inputs = [
            Input::uniform(output, -1.0, 1.0),
            Input::uniform(of, -1.0, 1.0),
            Input::normal(of),
            Input::values(TensorType::f32(&[3]), vec![5.0, 11.0, 19.0]),
        ];
        let schedule = scheduler(PredictionType::Epsilon, Variance::LearnedRange);
        let rows = schedule
            .schedule()
            .expect("a schedule")
            .vlb_rows(&ddim::diffusion::schedule::Prediction::default(), Variance::LearnedRange);
        let rows = rows.expect("signal everywhere").into_iter().map(f64::from).collect();
        let table = TensorType::f32(&[TIMESTEPS, VariationalBound::COLUMNS]);
        let inputs: Vec<Input> = inputs.into_iter().chain([Input::values(table, rows)]).collect();
        let operands: Vec<_> = inputs.iter().map(|input| graph.input(input.of)).collect();
        let op = VariationalBound {
            learned: true,
            clip: None,
            half_bin: (1.0 / 255.0).into(),
            frozen_mean,
        };
        let bound = graph.push(op, &operands).expect("operands that fit");
        let seed = graph.input(graph.type_of(bound));
        let wrt = passes::gradient(&mut graph, bound, seed, &operands[..1]).expect("a gradient");
        let mut given: Environment = operands
            .iter()
            .zip(&inputs)
            .map(|(&value, input)| (value, input.tensor(u64::from(input.of.bytes() as u32))))
            .collect();
        given.insert(seed, Input::normal(graph.type_of(seed)).tensor(8));
        evaluate(&graph, given)
            .expect("every input is given")
            .remove(&wrt[0].expect("it depends on the output"))
            .expect("computed")
    };
    let (whole, frozen) = (gradient(false), gradient(true));
    for (whole, frozen) in whole.data.chunks(6).zip(frozen.data.chunks(6)) {
        assert_eq!(frozen[..3], [0.0; 3]);
        assert_eq!(frozen[3..], whole[3..]);
        assert!(whole.iter().all(|slope| *slope != 0.0), "{whole:?}");
    }
}

#[test]
fn dropped_labels_teach_the_null_label() {
    let Some(gpu) = support::gpu() else { return };
    let last_row = |label_drop| {
        let schedule = scheduler(PredictionType::Epsilon, Variance::FixedSmall);
        let options = TrainingOptions { label_drop, ..options() };
        let mut trainer = trainer(&gpu, schedule, Some(11), options).expect("a small model");
        let read = |trainer: &mut Trainer| {
            let weights = trainer.raw_weights().expect("weights");
            let table = weights.get("class_embedding.weight").expect("a table of classes");
            let row = table.data.len() / 11;
            table.data[10 * row..].to_vec()
        };
        let before = read(&mut trainer);
        losses(&mut trainer, &digits(), 2);
        (before, read(&mut trainer))
    };
    let (before, after) = last_row(0.0);
    assert_eq!(before, after, "no image has the null label");
    let (before, after) = last_row(0.5);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
}

#[test]
fn a_break_changes_no_bit_of_what_is_remembered() {
    let Some(gpu) = support::gpu() else { return };
    let data = digits();
    let options = TrainingOptions {
        timesteps: Timesteps::Importance,
        loss: Loss::Hybrid,
        min_snr_gamma: Some(5.0),
        label_drop: 0.2,
        ..options()
    };
    let start = || {
        let schedule = scheduler(PredictionType::VPrediction, Variance::LearnedRange);
        trainer(&gpu, schedule, Some(11), options.clone()).expect("a small model")
    };
    let memory = |trainer: &mut Trainer| {
        let memory = trainer.graph().memory.expect("timesteps are drawn by importance");
        trainer.executor().read(memory).expect("a device that is there")
    };
    // Enough for every timestep to have ten losses, so that probabilities depend on them.
    let (before, after) = (36, 40);
    let mut unbroken = start();
    let all = losses(&mut unbroken, &data, after);
    let remembered = memory(&mut unbroken);
    assert!(remembered.chunks(11).all(|row| row[10] >= 10.0 && row[..10].iter().all(|l| *l > 0.0)));

    let mut broken = start();
    let mut heard = losses(&mut broken, &data, before);
    let folder = tempfile::tempdir().expect("a folder for the test");
    broken.save(folder.path(), serde_json::Value::Null).expect("room");
    drop(broken);
    let (mut resumed, settings) = Trainer::resume(&gpu, folder.path()).expect("its checkpoint");
    assert_eq!(settings.options, options);
    heard.extend(losses(&mut resumed, &data, after));
    assert_eq!(heard, all);
    assert_eq!(memory(&mut resumed), remembered);
    assert!(tiny::state(&mut resumed) == tiny::state(&mut unbroken));

    // A bad step is not remembered.
    let mut batch = Batches::new(&data, options.batch, options.seed, false).batch(after);
    batch.images[5] = f32::NAN;
    resumed.step(&batch).expect("nobody has looked yet");
    assert!(resumed.metrics().is_err());
    assert_eq!(memory(&mut resumed), remembered);
}

#[test]
fn options_that_do_not_suit_are_refused() {
    let Some(gpu) = support::gpu() else { return };
    let plain = || scheduler(PredictionType::Epsilon, Variance::FixedSmall);
    let refused = |classes, change: &dyn Fn(&mut TrainingOptions)| {
        let mut options = options();
        change(&mut options);
        let error = trainer(&gpu, plain(), classes, options).err().expect("a refusal");
        assert!(matches!(error, Error::Training(TrainingError::Option { .. })), "{error}");
        error.to_string()
    };
    let text = refused(Some(11), &|options| options.label_drop = 1.0);
    assert!(text.contains("label_drop: expected 0 to 1, without 1, found 1"), "{text}");
    refused(Some(11), &|options| options.label_drop = f64::NAN);
    refused(None, &|options| options.label_drop = 0.1);
    refused(None, &|options| options.min_snr_gamma = Some(0.0));
    refused(None, &|options| options.hybrid_lambda = -1.0);
    let text = refused(None, &|options| (options.warmup, options.decay_steps) = (8, Some(8)));
    assert!(text.contains("decay_steps: expected more than the 8 steps of the warm-up"), "{text}");
    let text = refused(None, &|options| options.loss = Loss::Hybrid);
    assert!(text.contains("variance_type: expected learned_range"), "{text}");
    let weighted_bound = |options: &mut TrainingOptions| {
        (options.loss, options.min_snr_gamma) = (Loss::Vlb, Some(5.0));
    };
    refused(None, &weighted_bound);

    let learned = SchedulerConfig { variance_type: Variance::LearnedRange, ..plain() };
    let unet = UNet::new(config(Variance::FixedSmall, None)).expect("a consistent model");
    let error = Trainer::new(&gpu, unet, learned, [8, 8], options()).err().expect("a refusal");
    assert!(error.to_string().contains("out_channels: expected 2"), "{error}");

    // Ten classes of data leave no row for the null label.
    let dropping = TrainingOptions { label_drop: 0.1, ..options() };
    let mut ten = trainer(&gpu, plain(), Some(10), dropping).expect("a small model");
    let error = ten.train(&digits(), 1, false, |_| ControlFlow::Continue(()));
    let error = error.expect_err("too many classes");
    let expected = Error::Training(TrainingError::Classes { expected: 9, found: Some(10) });
    assert_eq!(error.to_string(), expected.to_string());
}
