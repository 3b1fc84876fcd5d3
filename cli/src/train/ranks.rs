//! The other ranks of a run: threads, each with a device of its own, unless a launcher started processes.
use super::{follow::follow, run::Run};
use crate::{cli::Device, console::say, devices::describe, failure::Failure};
use ddim::training::ThreadRank;
use std::{thread, time::Duration};

/// The other ranks of a run.
pub trait OtherRanks {
    /// Which of the adapters that fit is this rank's.
    fn adapter(&self) -> usize {
        0
    }

    /// Lets the others read the folder of a run that goes on: what a break left there is repaired.
    fn folder_is_ready(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Runs `train`, the first rank, while the others train beside it. None waits for another one for too long.
    fn beside<T>(
        &self,
        device: &Device,
        run: &mut Run,
        train: impl FnOnce(&mut Run) -> Result<T, Failure>,
    ) -> Result<T, Failure>;
}

/// As many threads as the run's options say.
pub struct Threads {
    /// Longest wait of a rank for another one.
    pub timeout: Duration,
}

impl OtherRanks for Threads {
    fn beside<T>(
        &self,
        device: &Device,
        run: &mut Run,
        train: impl FnOnce(&mut Run) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let ranks = run.trainer.options().ranks;
        if ranks == 1 {
            return train(run);
        }
        let (images, loading, steps) = (run.images()?, run.loading(), u64::from(run.notes.steps));
        let tuning = run.trainer.gpu().target().tuning.as_deref().cloned();
        let mut group = ThreadRank::group(ranks, self.timeout).into_iter();
        let own = group.next();
        say!("rank 0  {}", describe(run.trainer.gpu()));
        thread::scope(|scope| {
            for (number, rank) in (1..).zip(group) {
                let gpu = device.open_one(number)?.tuned(tuning.clone());
                say!("rank {number}  {}", describe(&gpu));
                let mut other = run.trainer.fork(&gpu)?;
                other.join(Box::new(rank))?;
                let images = &images;
                scope.spawn(move || {
                    let result = follow(&mut other, images, loading, steps);
                    let why = result.err().map_or("it has ended".to_owned(), |e| e.to_string());
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
}
