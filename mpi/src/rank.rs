//! A process as a rank of several.
use crate::{
    meeting::{End, Status},
    mpi_thread::{Place, Reply, Task, run},
};
use ddim::{error::TrainingError, training::Collective};
use std::{
    io, mem, process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Time in which a launcher hears what a process wrote last.
const HEARD: Duration = Duration::from_millis(300);

/// Time in which MPI ends a process that called its abort.
const ABORTED: Duration = Duration::from_secs(10);

/// A process among those that a launcher of MPI started (`mpirun`, `mpiexec`, `srun`). Clones are the same rank.
///
/// The last thing that it does with the others is [`MpiRank::finish`], or [`MpiRank::abort`] if it failed: a
/// process that ends without either is taken for one that crashed.
///
/// ```no_run
/// use ddim::training::Collective;
/// use ddim_mpi::MpiRank;
/// use std::time::Duration;
///
/// let mut rank = MpiRank::start(Duration::from_secs(600))?;
/// let mut numbers = [1.0];
/// rank.sum(&mut numbers)?;
/// assert_eq!(numbers[0], rank.ranks() as f32);
/// rank.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MpiRank(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    place: Place,
    timeout: Duration,
    tasks: Sender<Task>,
    status: Arc<Status>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How the meetings ended, if they did.
    ended: Option<End>,
    /// Whether MPI has ended.
    finished: bool,
    /// The memory in which numbers go to the thread of MPI and come back.
    numbers: Vec<f32>,
}

/// Why MPI did not start.
///
/// Example: [`MpiRank`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It did before: a process starts it once.
    #[error("MPI was started in this process before")]
    Again,
    /// It takes too long: some other process did not start.
    #[error("MPI did not start within {0:?}")]
    Late(Duration),
    /// The thread that would call it did not start.
    #[error("the thread of MPI: {0}")]
    Thread(#[from] io::Error),
}

impl MpiRank {
    /// Starts MPI. Neither that nor any wait for the other ranks takes longer than `timeout`.
    ///
    /// # Errors
    /// If it was started before, or takes too long. What MPI itself finds wrong ends the process with its message.
    pub fn start(timeout: Duration) -> Result<Self, StartError> {
        let (started, place) = mpsc::channel();
        let (tasks, asked) = mpsc::channel();
        let status = Arc::new(Status::default());
        let seen = Arc::clone(&status);
        let thread = thread::Builder::new().name("mpi".into());
        thread.spawn(move || run(&started, &asked, &seen))?;
        let place = place.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => StartError::Late(timeout),
            RecvTimeoutError::Disconnected => StartError::Again,
        })?;
        let state = Mutex::default();
        Ok(Self(Arc::new(Shared { place, timeout, tasks, status, state })))
    }

    /// The number of this rank among those of its machine, from 0.
    ///
    /// Example: [`MpiRank`].
    pub fn local_rank(&self) -> usize {
        self.0.place.local
    }

    /// The name of its machine.
    ///
    /// Example: [`MpiRank`].
    pub fn host(&self) -> &str {
        &self.0.place.host
    }

    /// Tells all ranks a text, of 2,000 bytes at most, and returns those of all.
    ///
    /// # Errors
    /// As [`Collective::sum`].
    pub fn all_gather(&self, text: &str) -> Result<Vec<String>, TrainingError> {
        self.ask(|reply| Task::AllGather(text.to_owned(), reply))
    }

    /// Whether a rank ended the run, and all know.
    ///
    /// Example: [`MpiRank`].
    pub fn is_over(&self) -> bool {
        self.state().ended.as_ref().is_some_and(|end| end.agreed)
    }

    /// Whether MPI has ended: this process is on its own.
    ///
    /// Example: [`MpiRank`].
    pub fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Ends the run, unless a rank did before, and MPI with it.
    ///
    /// # Errors
    /// If another rank does not come, or did not come before.
    pub fn finish(&self) -> Result<(), TrainingError> {
        if self.is_finished() {
            return Ok(());
        }
        if !self.is_over() {
            self.leave("it has ended")?;
        }
        self.request(Task::Finish)?;
        self.state().finished = true;
        Ok(())
    }

    /// Ends all ranks, this process with them, with a status other than 0; what it wrote before is heard first. If
    /// MPI has ended it does nothing.
    ///
    /// Example: [`MpiRank`].
    pub fn abort(&self) {
        if self.is_finished() {
            return;
        }
        thread::sleep(HEARD);
        self.0.status.abort.store(true, Ordering::Relaxed);
        if self.0.tasks.send(Task::Abort).is_ok() {
            thread::sleep(ABORTED);
        }
        // A launcher ends the others of a process that went without a word.
        process::exit(1);
    }

    /// Tells the others that the run has ended; an error says that not all of them heard.
    fn leave(&self, why: &str) -> Result<(), TrainingError> {
        match self.ask(|reply| Task::End(why.to_owned(), reply)) {
            Err(error) if !self.is_over() => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the thread of MPI, unless the run has ended.
    fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Task) -> Result<T, TrainingError> {
        if let Some(end) = &self.state().ended {
            return Err(error(end));
        }
        self.request(ask)
    }

    fn request<T>(&self, ask: impl FnOnce(Reply<T>) -> Task) -> Result<T, TrainingError> {
        let Shared { place, timeout, tasks, status, .. } = &*self.0;
        let (reply, answer) = mpsc::channel();
        let gone = || End { rank: place.rank, why: "MPI has ended".into(), agreed: false };
        let end = match tasks.send(ask(reply)).map(|()| answer.recv_timeout(*timeout)) {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(end))) => end,
            Ok(Err(RecvTimeoutError::Timeout)) => {
                let late =
                    Some(status.late.load(Ordering::Relaxed)).filter(|&late| late < place.ranks);
                let why = format!("it did not come within {timeout:?}");
                End { rank: late.unwrap_or(place.rank), why, agreed: false }
            }
            Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => gone(),
        };
        let error = error(&end);
        self.state().ended.get_or_insert(end);
        Err(error)
    }

    /// A thread that panicked leaves nothing half done that another would read.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collective for MpiRank {
    fn rank(&self) -> usize {
        self.0.place.rank
    }

    fn ranks(&self) -> usize {
        self.0.place.ranks
    }

    fn sum(&mut self, numbers: &mut [f32]) -> Result<(), TrainingError> {
        let mut sent = mem::take(&mut self.state().numbers);
        sent.clear();
        sent.extend_from_slice(numbers);
        let sum = self.ask(|reply| Task::Sum(sent, reply))?;
        numbers.copy_from_slice(&sum);
        self.state().numbers = sum;
        Ok(())
    }

    fn end(&mut self, why: &str) {
        // Who does not come is named by `finish`.
        let _ = self.leave(why);
    }
}

fn error(End { rank, why, .. }: &End) -> TrainingError {
    TrainingError::Rank { rank: *rank, why: why.clone() }
}
