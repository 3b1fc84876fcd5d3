//! Many steps without a host wait in between, and what is told of them.
use super::{step::TrainingGraph, steps::Metrics, trainer::Trainer};
use crate::{clock::Instant, error::Error};
use std::ops::ControlFlow;

/// Time between two readings of the history: often enough for a progress bar.
const REPORT_SECONDS: f64 = 0.5;

impl<M, S> Trainer<M, S> {
    /// Takes steps until `steps` are done in all, or `progress`, which is given the metrics of every step in order,
    /// breaks; `take` is given the steps done before.
    pub(super) fn bursts(
        &mut self,
        steps: u64,
        mut progress: impl FnMut(&[Metrics]) -> ControlFlow<()>,
        mut take: impl FnMut(&mut Self, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // One step, then as many at a time as fill the interval.
        let mut burst = 1;
        while self.steps.submitted < steps {
            let start = Instant::now();
            let end = steps.min(self.steps.submitted + burst);
            let count = end - self.steps.submitted;
            while self.steps.submitted < end {
                take(self, self.steps.submitted)?;
            }
            let broke = progress(&self.metrics()?).is_break();
            let seconds = start.elapsed().as_secs_f64() / count as f64;
            burst =
                (REPORT_SECONDS / seconds).clamp(1.0, TrainingGraph::HISTORY as f64 / 2.0) as u64;
            if broke {
                break;
            }
        }
        Ok(())
    }
}
