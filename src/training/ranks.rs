//! A trainer as one rank of several.
use super::{
    buckets::Bucket,
    collective::{Alone, Collective},
    optimizer::Optimizer,
    trainer::Trainer,
};
use crate::{
    error::{Error, TrainingError, Unexpected},
    gpu::Gpu,
    nn::Model,
    ops::Counter,
    value::Value,
};
use std::borrow::Cow;

impl<M, S> Trainer<M, S> {
    /// Takes part in a run of [`TrainingOptions::ranks`](super::TrainingOptions::ranks): from here on each step
    /// takes this rank's micro-batches, adds the gradients of all ranks up on the host and updates the weights by
    /// the sum. Every rank must be given the same data, in the same state. Of the micro-batches of a step, which
    /// follow from the global batch alone, rank `r` of `n` has those numbered `r`, `r + n`, and so on.
    ///
    /// # Errors
    /// If there are other ranks than the options say, or the device is lost.
    pub fn join(&mut self, collective: Box<dyn Collective>) -> Result<(), Error> {
        self.collective = collective;
        self.check_ranks()?;
        let step = self.counter()?.step;
        self.write_counter(step)
    }

    /// Takes part no longer; the other ranks end and are told why.
    pub fn leave(&mut self, why: &str) {
        self.collective.end(why);
        self.collective = Box::new(Alone);
    }

    /// Refuses steps without the other ranks.
    pub(super) fn check_ranks(&self) -> Result<(), TrainingError> {
        let (expected, found) = (self.options.ranks, self.collective.ranks());
        Ok(Unexpected::check(expected == found, "ranks", expected, found)?)
    }

    /// Goes on after so many steps.
    pub(super) fn write_counter(&mut self, step: u32) -> Result<(), Error> {
        let first_image = (self.collective.rank() * self.options.batch) as u32;
        let counter = Counter { seed: self.options.seed, step, first_image, ..Counter::default() };
        self.executor.write_u32(self.graph.optimizer.counter, &counter.words())
    }

    /// Runs the last micro-batch of a step, and adds up what the ranks computed in it.
    pub(super) fn run_and_add_up(&mut self) -> Result<(), Error> {
        self.run_and_add_up_gradients()?;
        let loss = self.graph.loss;
        self.add_up_with(loss, |_| ())?;
        // Each rank knows the numbers of its own images; those of the others are of an earlier step.
        let (batch, ranks) = (self.options.batch, self.options.ranks);
        for value in self.graph.collected.clone() {
            let rank = self.collective.rank();
            self.add_up_with(value, |numbers| {
                for (part, numbers) in numbers.chunks_mut(batch).enumerate() {
                    if part % ranks != rank {
                        numbers.fill(0.0);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Runs the last micro-batch of a step, and adds up the gradients bucket by bucket: the device computes the next
    /// ones meanwhile.
    fn run_and_add_up_gradients(&mut self) -> Result<(), Error> {
        let Optimizer { gradients, buckets, .. } = &self.graph.optimizer;
        let part = |of: &Bucket| (gradients[of.arena], of.elements.clone());
        let parts: Vec<_> = buckets.iter().map(part).collect();
        let readings = self.executor.run_section_reading(Optimizer::GRADIENTS, &parts)?;
        let mut sums = Vec::with_capacity(buckets.len());
        for (bucket, reading) in buckets.iter().zip(readings) {
            let mut numbers = self.executor.finish_reading(reading)?;
            self.collective.sum(&mut numbers)?;
            sums.push((bucket, numbers));
        }
        // A long write waits for the device, so all of them come last.
        sums.sort_by_key(|(bucket, _)| (bucket.arena, bucket.elements.start));
        for own in sums.chunk_by(|(a, _), (b, _)| a.arena == b.arena) {
            let pieces = own.iter().map(|(_, numbers)| Ok(Cow::Borrowed(&numbers[..])));
            self.executor.write_pieces(gradients[own[0].0.arena], pieces)?;
        }
        Ok(())
    }

    fn add_up_with(&mut self, value: Value, clear: impl Fn(&mut [f32])) -> Result<(), Error> {
        let mut numbers = self.executor.read(value)?;
        clear(&mut numbers);
        self.collective.sum(&mut numbers)?;
        self.executor.write(value, &numbers)
    }
}

impl<M: Model + Clone> Trainer<M> {
    /// A trainer in the same state, on this device: that of another rank.
    ///
    /// # Errors
    /// As [`Trainer::new`], or if a device is lost.
    pub fn fork(&mut self, gpu: &Gpu) -> Result<Self, Error> {
        let (model, scheduler) = (self.model.clone(), self.scheduler.clone());
        let mut other = Self::new(gpu, model, scheduler, self.size, self.options.clone())?;
        other.set_state(&self.state()?)?;
        other.history.clone_from(&self.history);
        Ok(other)
    }
}
