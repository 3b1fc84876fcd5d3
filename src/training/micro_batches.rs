//! One step of a trainer, micro-batch by micro-batch.
use super::{TrainingOptions, optimizer::Optimizer, trainer::Trainer};
use crate::{
    data::Batch,
    error::{Error, TrainingError, Unexpected},
};

impl<M, S> Trainer<M, S> {
    /// Submits one step on the images of all its micro-batches, without waiting.
    ///
    /// # Errors
    /// If the batch has not the size of a step, or the device refuses.
    pub fn step(&mut self, batch: &Batch) -> Result<(), Error> {
        self.step_told(batch, None)
    }

    /// The same; `told` is what the model is told of each image beside its label.
    pub(super) fn step_told(&mut self, batch: &Batch, told: Option<&[f32]>) -> Result<(), Error> {
        let parts = self.options.parts();
        if parts == 1 {
            return self.step_of(|trainer, _| {
                trainer.write_told(told)?;
                trainer.write(batch)
            });
        }
        let image = self.graph.graph.type_of(self.graph.x0).shape.elements();
        let (expected, found) = (parts * image, batch.images.len());
        let labels = batch.labels.as_deref().map_or(self.options.images(), <[u32]>::len);
        if expected != found || labels != self.options.images() {
            let expected = format!("{expected} numbers and {} labels", self.options.images());
            let found = format!("{found} numbers and {labels} labels");
            return Err(TrainingError::from(Unexpected::new("batch", expected, found)).into());
        }
        self.step_of(|trainer, part| {
            let images = batch.images[part * image..][..image].to_vec();
            let own = trainer.options.batch;
            let labels = batch.labels.as_ref();
            let labels = labels.map(|labels| labels[part * own..][..own].to_vec());
            let own = told.map(|told| told.len() / parts);
            trainer.write_told(told.zip(own).map(|(told, own)| &told[part * own..][..own]))?;
            trainer.write(&Batch { images, labels })
        })
    }

    fn write_told(&mut self, told: Option<&[f32]>) -> Result<(), Error> {
        match self.graph.condition.vector.zip(told) {
            Some((value, told)) => self.executor.write(value, told),
            None => Ok(()),
        }
    }

    /// Submits one step, of one rank without waiting; `write` writes the micro-batch of this number.
    pub(super) fn step_of(
        &mut self,
        mut write: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check_ranks()?;
        let TrainingOptions { accumulate, ranks, .. } = self.options;
        if self.options.parts() == 1 {
            write(self, 0)?;
            self.executor.run(1)?;
        } else {
            for round in 0..accumulate {
                write(self, round * ranks + self.collective.rank())?;
                if ranks > 1 && round + 1 == accumulate {
                    self.run_and_add_up()?;
                } else {
                    self.executor.run_section(Optimizer::GRADIENTS)?;
                }
            }
            self.executor.run_section(Optimizer::UPDATE)?;
        }
        self.steps.submitted += 1;
        Ok(())
    }

    /// Writes the images of a micro-batch.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        self.executor.write(self.graph.x0, &batch.images)?;
        match self.graph.condition.labels {
            Some(labels) => {
                self.executor.write_u32(labels, batch.labels.as_deref().unwrap_or_default())
            }
            None => Ok(()),
        }
    }
}
