//! A model with cross attention to a context: sampling, guidance and training.
use crate::common::support;
use ddim::{
    Error,
    data::{Batch, digits},
    diffusion::{Guidance, Sampler, samplers::Table, schedule::SchedulerConfig},
    gpu::Gpu,
    nn::{self, Layers, Model, ModelInputs, Weights},
    ops::Attention,
    training::{Trainer, TrainingOptions},
    value::{TensorType, Value},
};

/// Tokens of a context and channels of each.
const TOKENS: usize = 3;
const WIDTH: usize = 6;

/// Attention of the pixels to the tokens of a context, over images of 8x8 grey pixels.
#[derive(Clone, Copy)]
struct CrossAttention;

impl Model for CrossAttention {
    fn channels(&self) -> usize {
        1
    }

    fn context_type(&self, batch: usize) -> Option<TensorType> {
        Some(TensorType::f32(&[batch, TOKENS, WIDTH]))
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let context = inputs.condition.context.expect("the model asks for one");
        let q = layers.linear("to_q", inputs.x, 8)?;
        let k = layers.linear("to_k", context, 8)?;
        let v = layers.linear("to_v", context, 8)?;
        let h = layers.push(Attention::to_all(2), &[q, k, v])?;
        layers.linear("to_out", h, 1)
    }
}

fn weights() -> Weights {
    let parameters = nn::parameters(&CrossAttention, [1, 8, 8]).expect("a small model");
    Weights::initial(&parameters, 1)
}

/// The context of an image.
fn context(number: usize) -> Vec<f32> {
    (0..TOKENS * WIDTH).map(|i| ((7 * number + i) as f32).sin()).collect()
}

fn sampler(gpu: &Gpu, guidance: Option<Guidance>) -> Sampler {
    let table: Table = SchedulerConfig::default().ddim(4, 0.0).expect("four steps");
    Sampler::new(gpu, &CrossAttention, &weights(), [2, 8, 8], &table, guidance, 3)
        .expect("a small model")
}

/// Two images, each of the context of its number.
fn sample(sampler: &mut Sampler, contexts: &[usize]) -> Vec<f32> {
    let contexts: Vec<f32> = contexts.iter().flat_map(|&number| context(number)).collect();
    sampler.set_context(&contexts).expect("contexts of this batch");
    sampler.sample(2, |_| {}).expect("a device that is there")
}

#[test]
fn an_image_follows_its_own_context() {
    let Some(gpu) = support::gpu() else { return };
    let mut sampler = sampler(&gpu, None);
    let both = sample(&mut sampler, &[1, 2]);
    let same = sample(&mut sampler, &[1, 1]);
    assert_eq!(both[..64], same[..64], "the second image's context changes the first image");
    assert_ne!(both[64..], same[64..], "the second image does not read its context");
    let error = sampler.set_context(&context(1)).expect_err("one of two").to_string();
    assert!(error.contains("takes 36 elements, found 18"), "{error}");
}

/// With a scale of 1 the prediction without context does not count, with another one it does.
#[test]
fn guidance_takes_the_context_of_nothing_first() {
    let Some(gpu) = support::gpu() else { return };
    let plain = sample(&mut sampler(&gpu, None), &[1, 2]);
    let guided =
        |scale| sample(&mut sampler(&gpu, Some(Guidance::of_scale(scale, 0))), &[0, 0, 1, 2]);
    let (one, three) = (guided(1.0), guided(3.0));
    // Kernels are chosen by size, and the batch is twice as large.
    assert!(plain.iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-4), "{plain:?} {one:?}");
    assert!(plain.iter().zip(&three).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn training_reaches_the_layers_of_the_context() {
    let Some(gpu) = support::gpu() else { return };
    let options = TrainingOptions { batch: 2, learning_rate: 1e-2, ..TrainingOptions::default() };
    let scheduler = SchedulerConfig::default();
    let mut trainer =
        Trainer::new(&gpu, CrossAttention, scheduler, [8, 8], options).expect("a small model");
    let error = trainer.train(&digits(), 1, false, |_| std::ops::ControlFlow::Continue(()));
    let error = error.expect_err("digits have no context").to_string();
    assert_eq!(error, "the model takes a context f32[2,3,6], found none");

    let before = trainer.raw_weights().expect("a device that is there");
    let value = trainer.graph().condition.context.expect("the model takes one");
    let images = digits().images()[..128].to_vec();
    for number in 0..3 {
        let contexts = [context(number), context(number + 1)].concat();
        trainer.executor().write(value, &contexts).expect("contexts of this batch");
        trainer.step(&Batch { images: images.clone(), labels: None }).expect("a batch of two");
    }
    assert!(trainer.metrics().expect("finite losses").iter().all(|m| m.loss > 0.0));
    let after = trainer.raw_weights().expect("a device that is there");
    for (name, parameter) in before.iter().filter(|(name, _)| name.ends_with("weight")) {
        assert_ne!(after.get(name).expect("the same names").data, parameter.data, "{name}");
    }
}
