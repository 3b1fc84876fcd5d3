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
    /// holds. A step that was not finite is an error: nothing was updated in it or since.
    pub fn metrics(
        &mut self,
        optimizer: &Optimizer,
        executor: &mut Executor,
    ) -> Result<Vec<Metrics>, Error> {
        let (history, counter) = executor.read_with(optimizer.history, optimizer.counter)?;
        self.told(&history, &counter)
    }

    /// As [`Steps::metrics`], without blocking.
    pub async fn metrics_async(
        &mut self,
        optimizer: &Optimizer,
        executor: &mut Executor,
    ) -> Result<Vec<Metrics>, Error> {
        let (history, counter) =
            executor.read_with_async(optimizer.history, optimizer.counter).await?;
        self.told(&history, &counter)
    }

    fn told(&mut self, history: &[f32], counter: &[u32]) -> Result<Vec<Metrics>, Error> {
        let counter = Counter::from_words(std::array::from_fn(|word| counter[word]));
        let rows: Vec<&[f32]> = history.chunks_exact(4).collect();
        let row = |index: u64| rows[index as usize % rows.len()];
        if let Some(index) = counter.bad_step.map(u64::from) {
            // The device stands still since the step before; so does the host's count.
            *self = Self { submitted: index, reported: index };
            let (step, loss, norm) = (index + 1, row(index)[0], row(index)[1]);
            return Err(TrainingError::NotFinite { step, loss, norm }.into());
        }
        let first = self.reported.max(self.submitted.saturating_sub(rows.len() as u64));
        let metrics = (first..self.submitted)
            .map(|index| {
                let (step, row) = (index + 1, row(index));
                Metrics { step, loss: row[0], gradient_norm: row[1] }
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
        Ok(())
    }
}
