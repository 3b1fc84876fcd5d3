//! Training with a progress bar, and what is kept of it.
use crate::{failure::Failure, files, plot, progress::Progress, smoothing::smoothed};
use ddim::{
    data::Dataset,
    nn::Model,
    pipeline::{CLASS_NAMES, RunFolder, class_names_json},
    training::{Losses, Metrics, Trainer},
};
use serde_json::Value as Json;
use std::{
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// The file of the losses, below the run's folder; its largest size in bytes, which is that of some
/// thirty million steps.
const LOSSES: &str = "training/loss.csv";
const LARGEST: u64 = 1 << 30;

/// Saves a run with its losses and the names of its classes, if it has any, as parts of the
/// checkpoint.
pub fn save(
    losses: &Losses,
    trainer: &mut Trainer,
    folder: &Path,
    notes: Json,
    class_names: &[String],
) -> Result<(), Failure> {
    let beside = beside(losses, class_names)?;
    let beside: Vec<_> = beside.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    Ok(trainer.save_with(folder, notes, &beside)?)
}

/// The losses and the names of the classes as files of a checkpoint.
pub fn beside(
    losses: &Losses,
    class_names: &[String],
) -> Result<Vec<(&'static str, String)>, Failure> {
    let chart = plot::losses(losses, &plot::WIDE)?;
    let mut files = vec![(LOSSES, losses.to_csv()), ("training/loss.svg", chart)];
    if !class_names.is_empty() {
        files.push((CLASS_NAMES, class_names_json(class_names)));
    }
    Ok(files)
}

/// What `save` wrote, as far as `step`. A run of the library alone has no such file, and begins its
/// losses here.
pub fn read_losses(folder: &RunFolder, step: u64) -> Result<Losses, Failure> {
    let path = folder.path(LOSSES);
    let Some(text) = files::read_text(&path, LARGEST)? else { return Ok(Losses::default()) };
    Ok(Losses::parse(&path, &text, step)?)
}

/// Trains until `until` steps are done in all, or `stop` is set.
pub fn train<M: Model>(
    trainer: &mut Trainer<M>,
    data: &Dataset,
    (until, flip): (u64, bool),
    losses: &mut Losses,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    Ok(trainer.train(data, until, flip, listener(losses, progress, stop))?)
}

/// Notes the losses of steps and says how far a training is; it ends when `stop` is set.
pub fn listener(
    losses: &mut Losses,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> impl FnMut(&[Metrics]) -> ControlFlow<()> {
    move |metrics| saw(metrics, losses, progress, stop)
}

/// Notes the losses of steps and says how far a training is; it breaks when `stop` is set.
pub fn saw(
    metrics: &[Metrics],
    losses: &mut Losses,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> ControlFlow<()> {
    losses.steps.extend(metrics);
    if let (Some(last), Some(loss)) = (metrics.last(), smoothed(&losses.steps)) {
        progress.update(last.step, &format!("loss {loss:.4}"));
    }
    match stop.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}
