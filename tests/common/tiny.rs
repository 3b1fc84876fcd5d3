//! A U-Net that trains in seconds, with everything in it that may hold state: attention, dropout
//! and, if asked for, classes.
#![allow(dead_code, reason = "each test uses a part of it")]

use ddim::{
    data::{Batches, Dataset, digits},
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    models::unet2d::{UNet, UNetConfig},
    nn::Weights,
    pipeline,
    training::{Trainer, TrainingOptions},
};
use std::path::Path;

/// A model for images of 8x8 grey pixels.
pub fn config(classes: Option<usize>) -> UNetConfig {
    let mut config = UNetConfig::parse(
        r#"{"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
            "block_out_channels": [4, 8], "norm_num_groups": 2, "attention_head_dim": 4,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "dropout": 0.1}"#,
    )
    .expect("a consistent model");
    config.num_class_embeds = classes;
    config
}

pub fn unet(classes: Option<usize>) -> UNet {
    UNet::new(config(classes)).expect("a consistent model")
}

/// Four images a step, every setting of the optimizer in use.
pub fn options() -> TrainingOptions {
    TrainingOptions {
        batch: 4,
        learning_rate: 1e-3,
        warmup: 3,
        weight_decay: 0.01,
        decoupled: true,
        clip: Some(1.0),
        ema_decay: 0.9,
        seed: 5,
        ..TrainingOptions::default()
    }
}

pub fn trainer(gpu: &Gpu, classes: Option<usize>) -> Trainer {
    let scheduler = SchedulerConfig::default();
    Trainer::new(gpu, unet(classes), scheduler, [8, 8], options()).expect("a small model")
}

/// A few digits, so that an epoch ends within a test.
pub fn few_digits() -> Dataset {
    let (_, few) = digits().split(0.01, 0).expect("many digits");
    assert_eq!(few.len(), 18);
    few
}

/// Trains without waiting until `steps` steps are done in all.
pub fn advance(trainer: &mut Trainer, data: &Dataset, steps: u64, flip: bool) {
    let options = trainer.options().clone();
    let mut batches = Batches::new(data, options.batch, options.seed, flip);
    while trainer.steps() < steps {
        let batch = batches.batch(trainer.steps());
        trainer.step(&batch).expect("a batch of the plan's size");
    }
}

/// The bits of parameters, moments and moving averages.
pub fn state(trainer: &mut Trainer) -> Vec<Vec<u32>> {
    let arenas = trainer.graph().optimizer.state.concat();
    let mut read = |arena| trainer.executor().read(arena).expect("a device that is there");
    arenas.into_iter().map(|arena| read(arena).into_iter().map(f32::to_bits).collect()).collect()
}

/// The weights of a model that nobody trained.
pub fn untrained(unet: &UNet) -> Weights {
    Weights::initial(&unet.parameters().expect("a consistent model"), 1)
}

/// A pipeline folder with weights that nobody trained; no device is needed.
pub fn pipeline(folder: &Path) {
    let unet = unet(None);
    let weights = untrained(&unet);
    pipeline::write(folder, unet.config(), &SchedulerConfig::default(), &weights).expect("room");
}
