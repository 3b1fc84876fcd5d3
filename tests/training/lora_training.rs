//! Adapters learn a picture, alone, and their file gives what they gave in training.
use crate::common::{copied::folder, support};
use ddim::{
    diffusion::schedule::{Level, SchedulerConfig},
    gpu::{Executor, Gpu},
    graph::Graph,
    latent::noised,
    models::{
        autoencoder_kl::{AutoencoderConfig, Posterior},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    nn::{
        AdaptedWeights, Adapters, Condition, FrozenModel, Model, ModelInputs, ParameterSource,
        Weights,
    },
    ops::Input,
    passes,
    pipeline::RunFolder,
    training::{ADAPTER_FILE, LatentData, Trainer, TrainingOptions},
    value::TensorType,
    weights::{Adapted, LoraFile, Loras},
};
use serde_json::Value as Json;
use std::{ops::ControlFlow, path::Path, sync::Arc};

const TOKENS: usize = 3;
const RANK: usize = 8;
const SIZE: [usize; 2] = [8, 8];
/// Steps in which the loss falls to less than a tenth; after 400 it was 0.094 of the first on lavapipe.
const STEPS: u64 = 500;
/// Timesteps at which the loss is measured, always with the same noise.
const TIMESTEPS: [f32; 8] = [60.0, 180.0, 300.0, 420.0, 540.0, 660.0, 780.0, 900.0];

/// A U-Net of the reference cases with weights of its own.
fn unet() -> (TextUNet, Arc<Weights>) {
    let config = folder("cases_latent").join("models/lora_unet/config.json");
    let unet = TextUNet::new(TextUNetConfig::read(&config).expect("a config")).expect("a U-Net");
    let unet = unet.with_tokens(TOKENS);
    let weights = Weights::initial(&unet.parameters().expect("a checked configuration"), 3);
    (unet, Arc::new(weights))
}

/// With adapters beside all layers, of alpha 4.
fn adapted() -> (TextUNet, Arc<Weights>) {
    let (unet, weights) = unet();
    let adapters = Adapters::of(&unet.parameters().expect("checked"), |_| true, RANK, 4.0);
    (unet.with_adapters(adapters), weights)
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let of = Input::normal(TensorType::f32(&[count]));
    of.tensor(seed).data.into_iter().map(|number| number as f32).collect()
}

fn text(unet: &TextUNet) -> Vec<f32> {
    numbers(TOKENS * unet.config().context_width(), 5)
}

/// One picture and its text.
fn data(unet: &TextUNet) -> LatentData {
    let mean = numbers(SIZE[0] * SIZE[1] * unet.channels(), 6);
    let logvar = vec![-8.0; mean.len()];
    LatentData {
        autoencoder: AutoencoderConfig { scaling_factor: 1.0, ..AutoencoderConfig::default() },
        posteriors: vec![Posterior { mean, logvar }],
        texts: vec![text(unet)],
        vectors: Vec::new(),
        text_of: vec![0],
    }
}

fn options() -> TrainingOptions {
    TrainingOptions {
        batch: 8,
        learning_rate: 1e-2,
        weight_decay: 1e-2,
        decoupled: true,
        ema_decay: 0.0,
        ema_warmup: false,
        ..TrainingOptions::default()
    }
}

fn trainer(gpu: &Gpu) -> Trainer<TextUNet> {
    let (unet, weights) = adapted();
    let mut trainer = Trainer::new(gpu, unet, SchedulerConfig::default(), SIZE, options())
        .expect("a small model");
    trainer.load_frozen(&*weights).expect("its own weights");
    trainer
}

fn train(trainer: &mut Trainer<TextUNet>, steps: u64) {
    let data = data(trainer.model());
    trainer.train_latents(&data, steps, |_| ControlFlow::Continue(())).expect("finite losses");
}

/// What a network predicts of the picture with fixed noise, and the loss.
fn predicted(gpu: &Gpu, unet: &TextUNet, weights: &dyn ParameterSource) -> (Vec<f32>, f64) {
    let (batch, mut graph) = (TIMESTEPS.len(), Graph::new());
    let image = TensorType::f32(&[batch, SIZE[0], SIZE[1], unet.channels()]);
    let x = graph.input(image);
    let timesteps = graph.input(TensorType::f32(&[batch]));
    let condition = Condition::constants(&mut graph, unet, batch);
    let inputs = ModelInputs { x, timesteps, condition };
    let limit = gpu.target().max_binding;
    let model = FrozenModel::new(&mut graph, unet, &inputs, limit).expect("a small model");
    graph.outputs.push(model.prediction);
    let plan = passes::compile(&graph, gpu.target()).expect("a small model");
    let mut executor = Executor::new(gpu, plan).expect("a small model");
    for (arena, pieces) in model.pieces(weights).expect("all parameters") {
        executor.write_pieces(arena, pieces).expect("room");
    }
    let schedule = SchedulerConfig::default().schedule().expect("betas");
    let (latents, noise) = (&data(unet).posteriors[0].mean, numbers(image.shape.elements(), 7));
    let one = latents.len();
    let x_t = TIMESTEPS.iter().zip(noise.chunks(one)).flat_map(|(t, noise)| {
        noised(&Level::of(&schedule, *t as usize).expect("a timestep"), latents, noise)
    });
    executor.write(x, &x_t.collect::<Vec<_>>()).expect("room");
    executor.write(timesteps, &TIMESTEPS).expect("room");
    let context = condition.context.expect("it reads a text");
    executor.write(context, &text(unet).repeat(batch)).expect("room");
    executor.run(1).expect("a device that is there");
    let y = executor.read(model.prediction).expect("a device that is there");
    let squares = y.iter().zip(&noise).map(|(y, noise)| f64::from(y - noise).powi(2));
    let loss = squares.sum::<f64>() / noise.len() as f64;
    (y, loss)
}

/// The prediction of the trainer's adapters.
fn of_trainer(gpu: &Gpu, trainer: &mut Trainer<TextUNet>, base: &Arc<Weights>) -> (Vec<f32>, f64) {
    let (base, adapters) = (Arc::clone(base), trainer.raw_weights().expect("a device"));
    let weights = AdaptedWeights { base, adapters };
    predicted(gpu, trainer.model(), &weights)
}

fn of_file(gpu: &Gpu, folder: &Path) -> (Vec<f32>, f64) {
    let ((unet, base), of) = (unet(), Adapted::Unet);
    let file = LoraFile { path: folder.join(ADAPTER_FILE), strength: 1.0 };
    let specs = unet.parameters().expect("checked");
    let loras = Loras::read(&[file], &[(of, &specs)]).expect("its own file");
    let weights = AdaptedWeights { base, adapters: loras.weights(of) };
    predicted(gpu, &unet.with_adapters(loras.adapters(of)), &weights)
}

#[test]
fn adapters_of_rank_eight_learn_a_picture() {
    let Some(gpu) = support::gpu() else { return };
    let (plain, base) = unet();
    let untrained = predicted(&gpu, &plain, &*base);
    let mut trainer = trainer(&gpu);
    // The second matrices begin with zeros.
    let begun = of_trainer(&gpu, &mut trainer, &base).1;
    assert!((begun - untrained.1).abs() < 1e-4 * begun, "{begun}, without {}", untrained.1);
    train(&mut trainer, STEPS);
    let trained = of_trainer(&gpu, &mut trainer, &base).1;
    assert!(trained < 0.1 * begun, "{trained} of {begun}");
}

#[test]
fn a_file_gives_what_the_trained_network_gave() {
    let Some(gpu) = support::gpu() else { return };
    let (mut trainer, base) = (trainer(&gpu), unet().1);
    let begun = of_trainer(&gpu, &mut trainer, &base);
    train(&mut trainer, 2);
    let trained = of_trainer(&gpu, &mut trainer, &base);
    assert!(trained.0 != begun.0);
    let folder = tempfile::tempdir().expect("room");
    trainer.save_adapters(folder.path(), Json::Null, &[]).expect("room");
    assert!(of_file(&gpu, folder.path()) == trained);
}

#[test]
fn a_run_goes_on_with_the_bits_of_one_without_a_break() {
    let Some(gpu) = support::gpu() else { return };
    let folder = tempfile::tempdir().expect("room");
    let mut whole = trainer(&gpu);
    train(&mut whole, 3);
    whole.save_adapters(folder.path(), Json::Null, &[]).expect("room");
    train(&mut whole, 6);
    let (unet, base) = adapted();
    let opened = RunFolder::open(folder.path()).expect("a checkpoint");
    let (mut resumed, found) = Trainer::resume_adapters(
        &gpu,
        &opened,
        (unet, &*base),
        SchedulerConfig::default(),
        Json::Null,
    )
    .expect("its own checkpoint");
    assert_eq!((resumed.steps(), found.differences), (3, Vec::<String>::new()));
    train(&mut resumed, 6);
    let bits = |of: &mut Trainer<TextUNet>| {
        let weights = of.raw_weights().expect("a device");
        let of = |data: &Vec<f32>| data.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        weights.iter().map(|(_, parameter)| of(&parameter.data)).collect::<Vec<_>>()
    };
    assert!(bits(&mut whole) == bits(&mut resumed));
}
