//! Training with a progress bar, and what is kept of it.
use crate::{chart, failure::Failure, progress::Progress};
use ddim::{
    data::Dataset,
    files::read,
    training::{Metrics, RunFolder, Trainer},
};
use serde_json::Value as Json;
use std::{
    fmt::Write,
    io::ErrorKind,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Steps over which the shown loss is averaged.
const RECENT: usize = 50;

/// The file of the losses, below the run's folder; its largest size in bytes, which is that of some
/// thirty million steps; its first line.
const LOSSES: &str = "training/loss.csv";
const LARGEST: u64 = 1 << 30;
const HEADER: &str = "step,loss,gradient_norm,held_out_loss";

/// The losses of a run.
#[derive(Default)]
pub struct History {
    /// Of every step: step, loss, norm of the gradient.
    pub steps: Vec<Metrics>,
    /// On held-out images, after a step.
    pub held_out: Vec<(u64, f32)>,
}

impl History {
    /// The mean of the last losses.
    pub fn recent(&self) -> Option<f32> {
        let last = &self.steps[self.steps.len().saturating_sub(RECENT)..];
        let sum: f32 = last.iter().map(|metrics| metrics.loss).sum();
        (!last.is_empty()).then(|| sum / last.len() as f32)
    }

    /// The chart as an SVG.
    pub fn chart(&self) -> Result<String, Failure> {
        let steps: Vec<_> = self.steps.iter().map(|of| (of.step, of.loss)).collect();
        chart::losses(&steps, &self.held_out)
    }

    /// Saves a run with its losses as parts of the checkpoint: `loss.csv` and `loss.svg`.
    pub fn save(&self, trainer: &mut Trainer, folder: &Path, notes: Json) -> Result<(), Failure> {
        let mut text = HEADER.to_owned() + "\n";
        let mut held_out = self.held_out.iter().peekable();
        for Metrics { step, loss, gradient_norm } in &self.steps {
            let measured = held_out.next_if(|(at, _)| at == step);
            let measured = measured.map_or(String::new(), |(_, loss)| loss.to_string());
            writeln!(text, "{step},{loss},{gradient_norm},{measured}")
                .expect("a string takes all that is written to it");
        }
        let chart = self.chart()?;
        let beside = [(LOSSES, text.as_bytes()), ("training/loss.svg", chart.as_bytes())];
        Ok(trainer.save_with(folder, notes, &beside)?)
    }

    /// What `save` wrote, as far as `step`. A run of the library alone has no such file, and begins
    /// its history here.
    pub fn read(folder: &RunFolder, step: u64) -> Result<Self, Failure> {
        let path = folder.path(LOSSES);
        let bytes = match read(&path, LARGEST) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.map_err(|error| Failure::file(&path, error))?,
        };
        let text = String::from_utf8(bytes).map_err(|error| Failure::file(&path, error))?;
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        if header != HEADER {
            let message = format!("line 1: expected {HEADER:?}, found {header:?}");
            return Err(Failure::file(path, message));
        }
        let mut history = Self::default();
        for (index, line) in lines.enumerate() {
            let last = history.steps.last().map_or(0, |last| last.step);
            let next = |(of, _): &(Metrics, _)| of.step > last;
            let Some((metrics, held_out)) = Self::parse(line).filter(next) else {
                let expected = format!("{HEADER} with a step after {last}");
                let message = format!("line {}: expected {expected}, found {line:?}", index + 2);
                return Err(Failure::file(path, message));
            };
            // Rows beyond the checkpoint are those of steps that are done again.
            if metrics.step <= step {
                history.held_out.extend(held_out.map(|loss| (metrics.step, loss)));
            }
            history.steps.push(metrics);
        }
        history.steps.retain(|metrics| metrics.step <= step);
        Ok(history)
    }

    /// A row: step, loss, norm of the gradient, and perhaps the held-out loss.
    fn parse(line: &str) -> Option<(Metrics, Option<f32>)> {
        let columns: Vec<&str> = line.split(',').collect();
        let [step, loss, norm, held_out] = columns[..] else { return None };
        let number = |text: &str| text.parse::<f32>().ok();
        let held_out = if held_out.is_empty() { None } else { Some(number(held_out)?) };
        let finite = |text: &str| number(text).filter(|number| number.is_finite());
        let (loss, gradient_norm) = (finite(loss)?, finite(norm)?);
        Some((Metrics { step: step.parse().ok()?, loss, gradient_norm }, held_out))
    }
}

/// Trains until `until` steps are done in all, or `stop` is set.
pub fn train(
    trainer: &mut Trainer,
    data: &Dataset,
    (until, flip): (u64, bool),
    history: &mut History,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    trainer.train(data, until, flip, |metrics| {
        history.steps.extend(metrics);
        if let (Some(last), Some(loss)) = (metrics.last(), history.recent()) {
            progress.update(last.step, &format!("loss {loss:.4}"));
        }
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}
