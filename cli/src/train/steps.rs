//! From the first step of a run to its last: training, samples, held-out losses, checkpoints.
use super::{
    kept,
    live::Shown,
    run::Run,
    samples,
    watch::{self, Watch},
};
use crate::{
    average,
    failure::Failure,
    progress::{Progress, counted},
};
use ddim::{
    Error,
    data::Loader,
    error::TrainingError,
    training::{LossScale, Validation},
};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// How training ended.
pub enum Ended {
    /// All steps are done, or somebody stopped it, or no more is to be gained; there is a checkpoint.
    Well,
    /// By numbers that are not finite; `kept` is the step of the last checkpoint.
    NotFinite { bad: String, kept: Option<u64> },
}

/// What a run needs on its way.
struct Way<'a> {
    out: &'a Path,
    loader: Loader,
    validation: Option<Validation>,
    watch: Watch,
    shown: Shown,
    progress: Progress,
    /// The step of the last checkpoint, if there is one.
    kept: Option<u64>,
    /// Steps that a loss scale skipped, as far as was said.
    skipped: u64,
}

/// Trains to the last step; `kept` is the step of the last checkpoint, if there is one.
pub fn train(
    run: &mut Run,
    out: &Path,
    kept: Option<u64>,
    stop: &AtomicBool,
) -> Result<Ended, Failure> {
    let (done, total) = (run.trainer.steps(), u64::from(run.notes.steps));
    if done >= total {
        return Ok(Ended::Well);
    }
    kept::repair(out)?;
    let (images, held_out) = run.parts()?;
    let validation = match held_out {
        Some(images) => Some(Validation::new(&run.trainer, images)?.with_workers(run.workers)),
        None => None,
    };
    let (options, loading) = (run.trainer.options(), run.loading());
    let loader = Loader::new(&images, options.images(), options.seed, loading, done);
    let progress = Progress::new("training", done, total, "steps");
    let (watch, shown) = (Watch::begin(run, out)?, Shown::new(run, out));
    let skipped = run.trainer.loss_scale()?.map_or(0, |of| of.skipped);
    let mut way = Way { out, loader, validation, watch, shown, progress, kept, skipped };
    way.watch.show(&way.shown, &run.losses, None);
    let ended = way.go(run, stop);
    let end = match &ended {
        Ok(Ended::NotFinite { bad, .. }) => bad.clone(),
        Err(failure) => failure.line(),
        Ok(Ended::Well) => {
            let last = run.losses.steps.last().map_or(0, |of| of.step);
            format!("The run has ended after step {last}.")
        }
    };
    way.watch.show(&way.shown, &run.losses, Some(&end));
    if ended.is_err() && way.kept.is_none() {
        watch::remove(out)?;
    }
    ended
}

impl Way<'_> {
    fn go(&mut self, run: &mut Run, stop: &AtomicBool) -> Result<Ended, Failure> {
        let total = u64::from(run.notes.steps);
        while run.trainer.steps() < total {
            let until = run.notes.next_stop(run.trainer.steps());
            self.watch.pause();
            let Run { trainer, losses, .. } = &mut *run;
            let Self { watch, shown, progress, .. } = self;
            let hear = watch::listener(watch, shown, losses, progress, stop);
            let result = trainer.train_on(&mut self.loader, until, hear);
            if let Err(Error::Training(error)) = &result
                && let Some(bad) = not_finite(error)
            {
                return Ok(Ended::NotFinite { bad, kept: self.kept });
            }
            result?;
            self.report_skipped(run)?;
            let (steps, stopped) = (run.trainer.steps(), stop.load(Ordering::Relaxed));
            if run.notes.samples_at(steps) && !stopped {
                samples::write(run, self.out, &self.progress, &mut self.watch)?;
            }
            if !stopped && !run.notes.saves_at(steps) {
                continue;
            }
            self.checkpoint(run)?;
            // Not before there is a checkpoint, however early ctrl-c came.
            if stopped || self.is_over(run) {
                break;
            }
        }
        Ok(Ended::Well)
    }

    /// Says how many steps a loss scale skipped since it was last said.
    fn report_skipped(&mut self, run: &mut Run) -> Result<(), Failure> {
        if let Some(LossScale { scale, skipped, .. }) = run.trainer.loss_scale()?
            && skipped > self.skipped
        {
            let (count, steps) = (counted(skipped - self.skipped, "step"), run.trainer.steps());
            let line = format!("step {steps}: {count} skipped, the loss scale is {scale}");
            self.progress.line(&line);
            self.skipped = skipped;
        }
        Ok(())
    }

    /// Measures the held-out loss, and writes a checkpoint.
    fn checkpoint(&mut self, run: &mut Run) -> Result<(), Failure> {
        if self.validation.is_some() {
            self.validate(run)?;
        }
        if let Some(step) = self.kept {
            kept::keep(self.out, step, run.notes.keep)?;
        }
        run.save(self.out)?;
        self.kept = Some(run.trainer.steps());
        average::keep(self.out, run.trainer.steps(), &run.trainer.options().averages)?;
        if run.notes.keep_best {
            kept::keep_best(self.out, &run.losses)?;
        }
        self.watch.show(&self.shown, &run.losses, None);
        Ok(())
    }

    /// Whether the held-out loss has not fallen for too long.
    fn is_over(&self, run: &Run) -> bool {
        let Some(patience) = run.notes.patience.map(|patience| patience as usize) else {
            return false;
        };
        let over = kept::since_best(&run.losses).is_some_and(|since| since >= patience);
        if over {
            let step = run.trainer.steps();
            let line = format!("step {step}: no lower held-out loss for {patience} measurements");
            self.progress.line(&line);
        }
        over
    }

    /// Notes the held-out loss, and says it.
    fn validate(&mut self, run: &mut Run) -> Result<(), Failure> {
        let Some(validation) = &mut self.validation else { return Ok(()) };
        let steps = run.trainer.steps();
        let mut progress: Option<Progress> = None;
        let loss = validation.loss(&mut run.trainer, |done, total| {
            let new = || Progress::new("held out", 0, total as u64, "batches");
            progress.get_or_insert_with(new).update(done as u64, "");
        })?;
        run.losses.held_out.push((steps, loss));
        self.watch.held_out(steps, loss);
        self.progress.line(&format!("step {steps}: held-out loss {loss:.4}"));
        Ok(())
    }
}

/// What was bad, of a step whose numbers were not finite.
fn not_finite(error: &TrainingError) -> Option<String> {
    match error {
        TrainingError::NotFinite { step, loss, norm } => {
            Some(format!("step {step}: the loss is {loss} and the gradient norm {norm}"))
        }
        TrainingError::LossScale { step, loss, norm, scale, in_row } => Some(format!(
            "step {step}: the loss is {loss} and the gradient norm {norm}, after {in_row} skipped steps in a row and at \
             a loss scale of {scale}"
        )),
        _ => None,
    }
}
