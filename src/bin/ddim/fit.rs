//! Training with a progress bar, and what is kept of it.
use crate::{chart, failure::Failure, files, progress::Progress};
use ddim::{
    data::Dataset,
    files::read_text,
    training::{Metrics, Trainer},
};
use std::{
    fmt::Write,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// Steps over which the shown loss is averaged.
const RECENT: usize = 50;

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

    /// Writes `loss.csv` and `loss.svg` to `folder`.
    pub fn save(&self, folder: &Path) -> Result<(), Failure> {
        let mut text = "step,loss,gradient_norm,held_out_loss\n".to_owned();
        let mut held_out = self.held_out.iter().peekable();
        for Metrics { step, loss, gradient_norm } in &self.steps {
            let measured = held_out.next_if(|(at, _)| at == step);
            let measured = measured.map_or(String::new(), |(_, loss)| loss.to_string());
            writeln!(text, "{step},{loss},{gradient_norm},{measured}")
                .expect("a string takes all that is written to it");
        }
        files::write(&folder.join("loss.csv"), text)?;
        files::write(&folder.join("loss.svg"), self.chart()?)
    }

    /// What `save` wrote, as far as `step`. Without the file, or with one of another making, the
    /// history begins anew: nothing depends on it.
    pub fn read(folder: &Path, step: u64) -> Self {
        let mut history = Self::default();
        let text = read_text(&folder.join("loss.csv")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let mut columns = line.split(',');
            let mut number = || columns.next()?.parse::<f64>().ok();
            let (Some(at), Some(loss), Some(norm)) = (number(), number(), number()) else { break };
            if at as u64 > step {
                break;
            }
            let (step, gradient_norm) = (at as u64, norm as f32);
            history.steps.push(Metrics { step, loss: loss as f32, gradient_norm });
            history.held_out.extend(number().map(|loss| (step, loss as f32)));
        }
        history
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
