//! The other ranks of a run: threads, each with a device of its own.
use super::run::Run;
use crate::{cli::Device, failure::Failure};
use ddim::{data::Loader, training::ThreadRank};
use std::{ops::ControlFlow, thread, time::Duration};

/// Runs `train`, rank 0, while the other ranks of the run train beside it. No rank waits longer than
/// `timeout` for another one.
pub fn beside<T>(
    device: &Device,
    run: &mut Run,
    timeout: Duration,
    train: impl FnOnce(&mut Run) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let ranks = run.trainer.options().ranks;
    if ranks == 1 {
        return train(run);
    }
    let (images, loading, steps) = (run.parts()?.0, run.loading(), u64::from(run.notes.steps));
    let tuning = run.trainer.gpu().target().tuning.as_deref().cloned();
    let mut group = ThreadRank::group(ranks, timeout).into_iter();
    let own = group.next();
    thread::scope(|scope| {
        for rank in group {
            let mut other = run.trainer.fork(&device.open()?.tuned(tuning.clone()))?;
            other.join(Box::new(rank))?;
            let (options, done) = (other.options(), other.steps());
            let mut loader = Loader::new(&images, options.images(), options.seed, loading, done);
            scope.spawn(move || {
                let result = other.train_on(&mut loader, steps, |_| ControlFlow::Continue(()));
                let why = result.err().map_or("it has ended".to_owned(), |error| error.to_string());
                other.leave(&why);
            });
        }
        if let Some(own) = own {
            run.trainer.join(Box::new(own))?;
        }
        let result = train(run);
        // The others wait for no step that nobody takes.
        run.trainer.leave("the run has ended");
        result
    })
}
