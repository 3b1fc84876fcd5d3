//! The loss scale of a run in f16, and the steps that it skipped.
use super::{optimizer::Scaling, trainer::Trainer};
use crate::{
    error::{Error, TrainingError},
    ops::NextScale,
};

/// The loss scale of a run in f16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The scale.
    pub scale: f32,
    /// Steps skipped in a row, up to now.
    pub in_row: u64,
    /// Steps skipped in all.
    pub skipped: u64,
}

impl<M, S> Trainer<M, S> {
    /// Waits, then returns the loss scale, if the run has one.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn loss_scale(&mut self) -> Result<Option<LossScale>, Error> {
        let Some(numbers) = self.scaling()? else { return Ok(None) };
        let [scale, _, in_row, skipped] = numbers;
        Ok(Some(LossScale { scale, in_row: in_row as u64, skipped: skipped as u64 }))
    }

    /// The scale, the good steps since it changed, and the steps skipped in a row and in all.
    pub(super) fn scaling(&mut self) -> Result<Option<[f32; 4]>, Error> {
        let Some(Scaling { scale, tally }) = self.graph.optimizer.scaling else { return Ok(None) };
        let scale = self.executor.read(scale)?[0];
        let tally = self.executor.read(tally)?;
        Ok(Some([scale, tally[0], tally[1], tally[2]]))
    }

    /// Goes on with this loss scale, or with that of a new run.
    pub(super) fn set_scaling(&mut self, known: Option<[f32; 4]>) -> Result<(), Error> {
        let Some(Scaling { scale, tally }) = self.graph.optimizer.scaling else { return Ok(()) };
        let [number, good, in_row, skipped] = known.unwrap_or([NextScale::FIRST, 0.0, 0.0, 0.0]);
        self.executor.write(scale, &[number])?;
        self.executor.write(tally, &[good, in_row, skipped, 0.0])
    }

    /// The error of a run that ended in this step.
    pub(super) fn ended(
        &mut self,
        step: u64,
        loss: f32,
        norm: f32,
    ) -> Result<TrainingError, Error> {
        Ok(match self.loss_scale()? {
            None => TrainingError::NotFinite { step, loss, norm },
            Some(LossScale { scale, in_row, .. }) => {
                TrainingError::LossScale { step, loss, norm, scale, in_row }
            }
        })
    }
}
