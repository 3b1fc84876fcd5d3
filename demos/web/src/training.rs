//! Training on the digits that the crate carries.
use crate::{Gpu, model::Model};
use ddim::{
    data::{Batches, Dataset, digits},
    diffusion::schedule::SchedulerConfig,
    error::Error,
    models::unet2d::{UNet, UNetConfig},
    training::{Trainer, TrainingOptions},
};
use wasm_bindgen::prelude::*;

/// A model of 701,345 parameters in training.
#[wasm_bindgen]
pub struct Training {
    trainer: Trainer,
    data: Dataset,
}

#[wasm_bindgen]
impl Training {
    /// Begins with `batch` images a step.
    ///
    /// # Errors
    /// If the device refuses.
    #[wasm_bindgen(constructor)]
    pub fn new(gpu: &Gpu, batch: usize, seed: u32) -> Result<Self, JsError> {
        let options = TrainingOptions {
            batch,
            learning_rate: 2e-3,
            ema_decay: 0.99,
            seed: seed.into(),
            ..TrainingOptions::default()
        };
        let trainer = Trainer::new(&gpu.0, unet()?, SchedulerConfig::default(), [8, 8], options)?;
        Ok(Self { trainer, data: digits() })
    }

    /// Takes `count` steps and returns their losses.
    ///
    /// # Errors
    /// If the device refuses, or a step met numbers that are not finite.
    pub async fn steps(&mut self, count: u32) -> Result<Vec<f32>, JsError> {
        let options = self.trainer.options();
        let mut batches = Batches::new(&self.data, options.batch, options.seed, false);
        for _ in 0..count {
            self.trainer.step(&batches.batch(self.trainer.steps()))?;
        }
        let metrics = self.trainer.metrics_async().await?;
        Ok(metrics.iter().map(|step| step.loss).collect())
    }

    /// The model with the moving average of the weights.
    ///
    /// # Errors
    /// If the device is lost.
    pub async fn model(&mut self) -> Result<Model, JsError> {
        let weights = self.trainer.averaged_weights_async().await?;
        Ok(Model::new(self.trainer.model().clone(), self.trainer.scheduler().clone(), weights))
    }
}

/// The model of `ddim demo`.
pub fn unet() -> Result<UNet, Error> {
    let config = include_str!("../../../benches/models/digits.json");
    UNet::new(UNetConfig::parse(config)?)
}
