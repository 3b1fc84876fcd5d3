//! Times of repeated runs.
use super::record::Row;
use crate::failure::Failure;
use ddim::{bench_cases::BenchModel, gpu::Executor};
use std::time::{Duration, Instant};

/// At most so many runs make one sample: the queue of a driver is finite.
const MOST_RUNS: f64 = 1000.0;

/// A sample by the host's clock lasts so many spans: its start and end weigh more.
const LONGER_SPANS: f64 = 12.0;

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

    /// The host's time of a whole model: of `steps` runs from a fresh start, submitting and waiting
    /// included; or, if that is one, of a run among as many as a trajectory has at most.
    pub fn host(
        self,
        executor: &mut Executor,
        steps: usize,
        row: Row,
        mut restart: impl FnMut(&mut Executor) -> Result<(), ddim::Error>,
    ) -> Result<Row, Failure> {
        let mut time = |times: usize| -> Result<f64, Failure> {
            restart(executor)?;
            executor.wait()?;
            let start = Instant::now();
            executor.run(steps * times)?;
            executor.wait()?;
            Ok(start.elapsed().as_secs_f64() / times as f64)
        };
        // The first compiles.
        time(1)?;
        let fill = LONGER_SPANS * self.span.as_secs_f64() / time(1)?.max(1e-9);
        let times =
            if steps > 1 { 1 } else { fill.clamp(1.0, BenchModel::TRAJECTORY as f64) as usize };
        let each = (0..self.samples).map(|_| time(times)).collect::<Result<_, _>>()?;
        Ok(summarised(row, each))
    }
}

fn summarised(row: Row, mut times: Vec<f64>) -> Row {
    times.sort_by(f64::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or(0.0);
    let spread = [at(0), at(times.len().saturating_sub(1))];
    Row { seconds: at(times.len() / 2), spread, ..row }
}
