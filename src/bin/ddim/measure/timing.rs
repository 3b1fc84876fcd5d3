//! Times of repeated runs.
use super::record::Row;
use crate::failure::Failure;
use ddim::gpu::Executor;
use std::time::{Duration, Instant};

/// At most so many runs make one sample: the queue of a driver is finite.
const MOST_RUNS: f64 = 1000.0;

/// How often something is timed.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    /// Samples, of which the median counts.
    pub samples: usize,
    /// Runs fill this time in each.
    pub span: Duration,
}

impl Repeats {
    /// The device's time of a run, after one that compiles.
    pub fn device(self, executor: &mut Executor, row: Row) -> Result<Row, Failure> {
        executor.run(1)?;
        let once = executor.time(1)?;
        let runs = self.span.as_secs_f64() / once.as_secs_f64().max(1e-9);
        let runs = runs.clamp(1.0, MOST_RUNS) as usize;
        let mut each = Vec::new();
        for _ in 0..self.samples {
            each.push(executor.time(runs)?.as_secs_f64() / runs as f64);
        }
        Ok(summarised(row, each))
    }

    /// The host's time of `runs` runs together, submitting and waiting included, each from a fresh
    /// start.
    pub fn host(
        self,
        executor: &mut Executor,
        runs: usize,
        row: Row,
        mut restart: impl FnMut(&mut Executor) -> Result<(), ddim::Error>,
    ) -> Result<Row, Failure> {
        let mut each = Vec::new();
        // The first compiles.
        for sample in 0..=self.samples {
            restart(executor)?;
            executor.wait()?;
            let (start, now) = (Instant::now(), if sample == 0 { 1 } else { runs });
            executor.run(now)?;
            executor.wait()?;
            if sample > 0 {
                each.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(summarised(row, each))
    }
}

fn summarised(row: Row, mut times: Vec<f64>) -> Row {
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(0.0);
    let spread = [at(0), at(times.len().saturating_sub(1))];
    Row { seconds: at(times.len() / 2), spread, ..row }
}
