//! Runs in pieces: into a caller's encoder, or submitted bit by bit while the caller goes on.
use super::{
    Executor,
    executor::{Recording, record_all},
};
use crate::error::Error;
use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Submissions that the device has at once while a caller is told of their progress: enough for it never
/// to pause.
const UNDER_WAY: usize = 2;

/// How much of a run [`Executor::record`] takes at once; it always takes one launch.
///
/// Example: [`crate::gpu::TextureConverter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many launches.
    Launches(usize),
    /// As many launches as take so long, by the times of the last [`Executor::profile`], or else by
    /// their work and how long the last wait was.
    Time(Duration),
}

/// When a caller is told how many runs are done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// After each submission.
    Submissions,
    /// After each run, however many submissions it takes.
    Runs,
}

/// How far a [`Run`] is.
///
/// Example: [`Run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Launches that the device has done.
    pub done: usize,
    /// Launches of all runs together.
    pub of: usize,
}

impl Progress {
    /// Whether the device has done them all.
    pub fn is_finished(self) -> bool {
        self.done == self.of
    }
}

/// Runs of a plan under way: [`Run::poll`] submits what comes next, and nothing waits. Dropped before its
/// end it submits no more; what it has submitted is done, and the executor can be used again.
///
/// ```no_run
/// use ddim::gpu::{Executor, Gpu, GpuOptions};
/// # use ddim::{graph::Graph, passes};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let plan = passes::compile(&Graph::new(), gpu.target())?;
///
/// let mut executor = Executor::new(&gpu, plan)?;
/// let mut run = executor.start(100)?;
/// loop {
///     let progress = run.poll()?;
///     if progress.is_finished() {
///         break;
///     }
///     println!("{} of {} launches", progress.done, progress.of); // Draw a frame meanwhile.
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
pub struct Run<'e> {
    pub(super) executor: &'e mut Executor,
    times: usize,
    submitted: usize,
    /// Submissions that the device has done, counted by the callbacks of the queue.
    done: Arc<AtomicUsize>,
    /// Where the submissions end that were not seen to be done.
    under_way: VecDeque<usize>,
    /// Submissions that were seen to be done.
    seen: usize,
    finished: usize,
}

impl Executor {
    /// The longest submission for batch work, the default: operating systems reset a GPU that is busy
    /// for seconds with one command buffer. Predictions err.
    pub const BATCH: Duration = Duration::from_millis(400);
    /// The longest submission beside a host that draws frames.
    pub const FRAME: Duration = Duration::from_millis(3);

    /// Sets how long a submission may take by prediction: that of at least one launch.
    pub fn limit_submissions(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// Records the next launches of a run into the caller's encoder, and says whether the run is finished
    /// with them; then the next call begins a new run. Nothing is submitted but the uploads of inputs that
    /// were never written. Submit the encoder before anything else is asked of the executor. Any other run
    /// gives up the one that is being recorded.
    ///
    /// # Errors
    /// If the device is lost.
    pub fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        budget: Budget,
    ) -> Result<bool, Error> {
        self.gpu.check_now()?;
        let Recording { due, launches, next } = match self.recording.take() {
            Some(recording) => recording,
            None => self.begin_recording()?,
        };
        let (most, longest) = match budget {
            Budget::Launches(most) => (most.max(1), Duration::MAX),
            Budget::Time(longest) => (usize::MAX, longest),
        };
        let end = match launches.is_empty() {
            true => 0,
            false => {
                self.cut(&launches, next, launches.len(), longest).min(next.saturating_add(most))
            }
        };
        let steps: Vec<_> = launches[next..end].iter().map(|&at| &self.steps[at]).collect();
        record_all(encoder, &steps);
        self.stats.dispatches += steps.len() as u64;
        let finished = end == launches.len();
        if !finished {
            self.recording = Some(Recording { due, launches, next: end });
        }
        Ok(finished)
    }

    fn begin_recording(&mut self) -> Result<Recording, Error> {
        self.make_parts_ready()?;
        let due = std::mem::take(&mut self.due);
        let setup = due.iter().flat_map(|&section| self.sections[section].clone());
        let launches = setup.chain(self.run.iter().copied()).collect();
        Ok(Recording { due, launches, next: 0 })
    }

    /// Gives up the run that is being recorded. Its setup has to run again.
    pub(super) fn give_up_recording(&mut self) {
        if let Some(recording) = self.recording.take() {
            self.due.extend(recording.due);
        }
    }

    /// Runs the plan `times` times and waits. Whenever the device has done a command buffer, `hear`
    /// is told how many of these runs it has done; it always has the next one to go on with.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn run_with(&mut self, times: usize, mut hear: impl FnMut(usize)) -> Result<(), Error> {
        self.hear_of(times, Told::Submissions, |done| {
            hear(done);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Runs the plan `times` times and waits. `hear` is told of the end of each run, and stops the rest:
    /// then the device does the runs that it has, two at most, and the result is the number of runs done.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn run_while(
        &mut self,
        times: usize,
        hear: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        self.hear_of(times, Told::Runs, hear)
    }

    /// Runs the plan `times` times and waits; `hear` is told how many runs the device has done, and may stop.
    fn hear_of(
        &mut self,
        times: usize,
        told: Told,
        mut hear: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        self.make_ready()?;
        self.staged = 0;
        let (launches, mut under_way) = (self.run.clone(), VecDeque::new());
        let (total, mut submitted, mut stopped) = (times * launches.len(), 0, false);
        loop {
            let more = submitted < total && !stopped;
            if more {
                let limit = match told {
                    Told::Submissions => total,
                    Told::Runs => (submitted / launches.len() + 1) * launches.len(),
                };
                let end = self.cut(&launches, submitted, limit, self.longest);
                let index = self.submit(&launches, submitted..end, record_all)?;
                submitted = end;
                if told == Told::Submissions || end == limit {
                    under_way.push_back((index, end));
                }
            }
            if more && under_way.len() <= UNDER_WAY {
                continue;
            }
            let Some((index, end)) = under_way.pop_front() else { break };
            self.gpu.wait(Some(index))?;
            stopped |= hear(end / launches.len()).is_break();
        }
        self.wait()?;
        Ok(submitted / launches.len().max(1))
    }

    /// Begins `times` runs of the plan, one after another, without waiting. Nothing is submitted before
    /// the first [`Run::poll`] but the setup.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn start(&mut self, times: usize) -> Result<Run<'_>, Error> {
        self.make_ready()?;
        self.staged = 0;
        let (submitted, done, under_way, seen, finished) = Default::default();
        Ok(Run { executor: self, times, submitted, done, under_way, seen, finished })
    }
}

impl Run<'_> {
    /// Submits what comes next if the device has less than two submissions to do, and says how far it
    /// is. Never waits.
    ///
    /// # Errors
    /// If the device refuses the work or is lost.
    pub fn poll(&mut self) -> Result<Progress, Error> {
        let launches = self.executor.run.clone();
        let of = self.times * launches.len();
        self.executor.gpu.check_now()?;
        self.see();
        while self.under_way.len() < UNDER_WAY && self.submitted < of {
            let longest = self.executor.longest;
            let end = self.executor.cut(&launches, self.submitted, of, longest);
            self.executor.submit(&launches, self.submitted..end, record_all)?;
            let done = Arc::clone(&self.done);
            self.executor.gpu.queue().on_submitted_work_done(move || {
                done.fetch_add(1, Ordering::SeqCst);
            });
            self.under_way.push_back(end);
            self.submitted = end;
        }
        Ok(Progress { done: self.finished, of })
    }

    /// Takes note of the submissions that the device has done.
    fn see(&mut self) {
        let done = self.done.load(Ordering::SeqCst);
        for end in self.under_way.drain(..done - self.seen) {
            self.finished = end;
        }
        self.seen = done;
        if self.under_way.is_empty() {
            // Pauses of the caller would count as time of the device.
            self.executor.running = None;
        }
    }

    /// Submits what is left, and blocks until the device has done it.
    ///
    /// # Errors
    /// As [`Run::poll`].
    pub fn finish(mut self) -> Result<(), Error> {
        while !self.poll()?.is_finished() {
            self.executor.wait()?;
        }
        Ok(())
    }
}
