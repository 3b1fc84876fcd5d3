//! How far a run on the device is, and what the device holds of it.
use super::optimizer::Optimizer;
use crate::{
    error::{Error, TrainingError},
    gpu::Executor,
    nn::{ParameterSource, Weights},
    ops::Counter,
};

/// Metrics of a step.
///
/// Example: [`crate::training::Losses`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Its loss.
    pub loss: f32,
    /// Norm of all gradients together, before clipping.
    pub gradient_norm: f32,
    /// The loss scale, of a run in f16.
    pub loss_scale: Option<f32>,
}

/// A step whose numbers are not finite, and that was not skipped.
struct BadStep {
    /// Counted from 1.
    step: u64,
    loss: f32,
    norm: f32,
}

impl BadStep {
    /// The error of a run with these numbers of a loss scale, or without.
    fn error(self, scaling: Option<[f32; 4]>) -> TrainingError {
        let Self { step, loss, norm } = self;
        match scaling {
            None => TrainingError::NotFinite { step, loss, norm },
            Some([scale, _, in_row, _]) => {
                TrainingError::LossScale { step, loss, norm, scale, in_row: in_row as u64 }
            }
        }
    }
}

/// The steps of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steps {
    /// Steps submitted.
    pub submitted: u64,
    /// Steps whose metrics were read.
    pub reported: u64,
}

impl Steps {
    /// Waits, then returns what the steps since the last call recorded: the last of them that the history
    /// holds, those left out that a loss scale skipped. A step that was not finite, and not skipped, is an
    /// error: nothing was updated in it or since.
    pub fn metrics(
        &mut self,
        optimizer: &Optimizer,
        executor: &mut Executor,
    ) -> Result<Vec<Metrics>, Error> {
        let (history, counter) = executor.read_with(optimizer.history, optimizer.counter)?;
        match self.told(optimizer, &history, &counter) {
            Ok(metrics) => Ok(metrics),
            Err(bad) => Err(bad.error(optimizer.scaled(executor)?).into()),
        }
    }

    /// As [`Steps::metrics`], without blocking.
    pub async fn metrics_async(
        &mut self,
        optimizer: &Optimizer,
        executor: &mut Executor,
    ) -> Result<Vec<Metrics>, Error> {
        let (history, counter) =
            executor.read_with_async(optimizer.history, optimizer.counter).await?;
        match self.told(optimizer, &history, &counter) {
            Ok(metrics) => Ok(metrics),
            Err(bad) => Err(bad.error(optimizer.scaled_async(executor).await?).into()),
        }
    }

    fn told(
        &mut self,
        optimizer: &Optimizer,
        history: &[f32],
        counter: &[u32],
    ) -> Result<Vec<Metrics>, BadStep> {
        let counter = Counter::from_words(std::array::from_fn(|word| counter[word]));
        let rows: Vec<&[f32]> = history.chunks_exact(4).collect();
        let row = |index: u64| rows[index as usize % rows.len()];
        if let Some(index) = counter.bad_step.map(u64::from) {
            // The device stands still since the step before; so does the host's count.
            *self = Self { submitted: index, reported: index };
            return Err(BadStep { step: index + 1, loss: row(index)[0], norm: row(index)[1] });
        }
        let first = self.reported.max(self.submitted.saturating_sub(rows.len() as u64));
        let scaled = optimizer.scaling.is_some();
        let good = (first..self.submitted).filter(|index| row(*index)[3] == 1.0);
        let metrics = good
            .map(|index| {
                let (step, row) = (index + 1, row(index));
                let loss_scale = scaled.then_some(row[2]);
                Metrics { step, loss: row[0], gradient_norm: row[1], loss_scale }
            })
            .collect();
        self.reported = self.submitted;
        Ok(metrics)
    }
}

impl Optimizer {
    /// The device's own count of steps, once it has done what was submitted.
    pub(super) fn counted(&self, executor: &mut Executor) -> Result<Counter, Error> {
        let words = executor.read_u32(self.counter)?;
        Ok(Counter::from_words(std::array::from_fn(|word| words[word])))
    }

    /// A part of the state by the parameters' names.
    pub(super) fn read_part(&self, executor: &mut Executor, part: usize) -> Result<Weights, Error> {
        self.arenas.weights(self.state[part].iter().map(|&arena| executor.read(arena)))
    }

    /// As [`Optimizer::read_part`], without blocking.
    pub(super) async fn read_part_async(
        &self,
        executor: &mut Executor,
        part: usize,
    ) -> Result<Weights, Error> {
        let mut arenas = Vec::new();
        for &arena in &self.state[part] {
            arenas.push(executor.read_async(arena).await?);
        }
        self.arenas.weights(arenas.into_iter().map(Ok))
    }

    pub(super) fn write_part(
        &self,
        executor: &mut Executor,
        part: usize,
        weights: &dyn ParameterSource,
    ) -> Result<(), Error> {
        for (&arena, pieces) in self.state[part].iter().zip(self.arenas.pieces(weights)?) {
            executor.write_pieces(arena, pieces)?;
        }
        if part == 0 && self.halves.iter().any(Option::is_some) {
            executor.run_section(Self::HALVES)?;
        }
        Ok(())
    }
}
