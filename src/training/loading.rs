//! Training on batches that worker threads read ahead.
use super::trainer::{Metrics, Trainer};
use crate::{
    data::Loader,
    error::{Error, TrainingError, Unexpected},
    nn::Model,
};
use std::ops::ControlFlow;

impl<M: Model> Trainer<M> {
    /// As [`Trainer::train`], on the batches of a loader: of the options' batch and seed, and at the step that comes
    /// next. The loader's threads read ahead while the device computes.
    ///
    /// # Errors
    /// As [`Trainer::train`], or if an image cannot be read.
    pub fn train_on(
        &mut self,
        loader: &mut Loader,
        steps: u64,
        progress: impl FnMut(&[Metrics]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let images = loader.images();
        self.check_images(images.shape(), images.classes())?;
        let (expected, found) = (self.submitted, loader.step());
        let next = "step of the loader";
        Unexpected::check(expected == found, next, expected, found).map_err(TrainingError::from)?;
        let (expected, found) = (self.options.augment, loader.loading().augment);
        let of = |augment: Option<f64>| augment.map_or("none".into(), |p: f64| p.to_string());
        Unexpected::check(expected == found, "augment of the loader", of(expected), of(found))
            .map_err(TrainingError::from)?;
        self.bursts(steps, progress, |trainer, _| {
            let batch = loader.batch()?;
            if let Some(told) = trainer.graph.condition.vector.filter(|_| found.is_some()) {
                trainer.executor.write(told, loader.told())?;
            }
            trainer.step(&batch)
        })
    }
}
