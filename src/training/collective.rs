//! Ranks that train one model together, each on images of its own.
use crate::error::TrainingError;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How the ranks of a run add up what each of them computed. Every rank trains the same model, from the same
/// weights, on its part of a step's images; so all of them take the same step.
///
/// ```
/// use ddim::{error::TrainingError, training::{Alone, Collective}};
///
/// fn mean(of: &mut dyn Collective, number: f32) -> Result<f32, TrainingError> {
///     let mut numbers = [number];
///     of.sum(&mut numbers)?;
///     Ok(numbers[0] / of.ranks() as f32)
/// }
/// assert_eq!(mean(&mut Alone, 3.0)?, 3.0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub trait Collective: Send {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn ranks(&self) -> usize;

    /// Replaces `numbers` by the sum of those of all ranks. They are added in the order of the ranks, so that
    /// each rank has the same bits, and each run.
    ///
    /// # Errors
    /// [`TrainingError::Rank`] if another rank ended or keeps this one waiting for too long, or gave another
    /// number of numbers.
    fn sum(&mut self, numbers: &mut [f32]) -> Result<(), TrainingError>;

    /// Ends the run of all ranks, which are told why.
    fn end(&mut self, why: &str);
}

/// A run of one rank.
///
/// Example: [`Collective`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn sum(&mut self, _: &mut [f32]) -> Result<(), TrainingError> {
        Ok(())
    }

    fn end(&mut self, _: &str) {}
}

/// A rank among threads of one process. When it is dropped, the others end.
///
/// ```
/// use ddim::{error::TrainingError, training::{Collective, ThreadRank}};
/// use std::{thread, time::Duration};
///
/// fn sum(mut rank: ThreadRank) -> Result<[f32; 2], TrainingError> {
///     let mut numbers = [rank.rank() as f32, 1.0];
///     rank.sum(&mut numbers).map(|()| numbers)
/// }
/// let ranks = ThreadRank::group(2, Duration::from_secs(10));
/// let threads = ranks.into_iter().map(|rank| thread::spawn(move || sum(rank)));
/// for thread in threads.collect::<Vec<_>>() {
///     assert_eq!(thread.join().expect("no panic")?, [1.0, 2.0]);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Debug)]
pub struct ThreadRank {
    rank: usize,
    group: Arc<Group>,
}

#[derive(Debug)]
struct Group {
    timeout: Duration,
    meeting: Mutex<Meeting>,
    changed: Condvar,
}

/// Where the ranks of a group meet: each brings its numbers, the last one adds them up, each takes the sum.
#[derive(Debug)]
struct Meeting {
    brought: Vec<Option<Vec<f32>>>,
    sum: Option<Arc<[f32]>>,
    /// Which ranks have taken the sum.
    taken: Vec<bool>,
    /// The first rank that ended, and why.
    ended: Option<(usize, String)>,
}

impl ThreadRank {
    /// The ranks of a group. None waits longer than `timeout` for the others.
    pub fn group(ranks: usize, timeout: Duration) -> Vec<Self> {
        let meeting = Meeting {
            brought: vec![None; ranks],
            sum: None,
            taken: vec![false; ranks],
            ended: None,
        };
        let (meeting, changed) = (Mutex::new(meeting), Condvar::new());
        let group = Arc::new(Group { timeout, meeting, changed });
        (0..ranks).map(|rank| Self { rank, group: Arc::clone(&group) }).collect()
    }
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.end("it has ended");
    }
}

impl Group {
    /// A thread that panicked leaves nothing half done that another would read.
    fn lock(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`, or for too long.
    fn wait_until<'a>(
        &self,
        mut meeting: MutexGuard<'a, Meeting>,
        ready: impl Fn(&Meeting) -> bool,
    ) -> Result<MutexGuard<'a, Meeting>, TrainingError> {
        let start = Instant::now();
        loop {
            if ready(&meeting) {
                return Ok(meeting);
            }
            if let Some((rank, why)) = meeting.ended.clone() {
                return Err(TrainingError::Rank { rank, why });
            }
            let Some(left) = self.timeout.checked_sub(start.elapsed()) else {
                let late = meeting.brought.iter().position(Option::is_none).unwrap_or_default();
                let why = format!("it did not come within {:?}", self.timeout);
                return Err(TrainingError::Rank { rank: late, why });
            };
            let waited = self.changed.wait_timeout(meeting, left);
            meeting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Collective for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.group.lock().brought.len()
    }

    fn sum(&mut self, numbers: &mut [f32]) -> Result<(), TrainingError> {
        let group = Arc::clone(&self.group);
        // The sum before this one is taken by all.
        let mut meeting = group.wait_until(group.lock(), |meeting| meeting.sum.is_none())?;
        meeting.brought[self.rank] = Some(numbers.to_vec());
        if meeting.brought.iter().all(Option::is_some) {
            let brought: Vec<_> = meeting.brought.iter_mut().filter_map(Option::take).collect();
            match added(brought) {
                Ok(sum) => meeting.sum = Some(sum.into()),
                Err((rank, why)) => meeting.ended = Some((rank, why)),
            }
            group.changed.notify_all();
        }
        let mut meeting = group.wait_until(meeting, |meeting| meeting.sum.is_some())?;
        let sum = meeting.sum.clone().unwrap_or_default();
        numbers.copy_from_slice(&sum);
        meeting.taken[self.rank] = true;
        if meeting.taken.iter().all(|taken| *taken) {
            meeting.taken.fill(false);
            meeting.sum = None;
            group.changed.notify_all();
        }
        Ok(())
    }

    fn end(&mut self, why: &str) {
        self.group.lock().ended.get_or_insert_with(|| (self.rank, why.to_owned()));
        self.group.changed.notify_all();
    }
}

/// The sum, in the order of the ranks, or the rank whose numbers are too many or too few.
fn added(brought: Vec<Vec<f32>>) -> Result<Vec<f32>, (usize, String)> {
    let mut brought = brought.into_iter().enumerate();
    let mut sum = brought.next().map(|(_, first)| first).unwrap_or_default();
    for (rank, numbers) in brought {
        if numbers.len() != sum.len() {
            let (expected, found) = (sum.len(), numbers.len());
            return Err((rank, format!("expected {expected} numbers as of rank 0, found {found}")));
        }
        sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn numbers_are_added_in_the_order_of_the_ranks() {
        // In f32 the order decides.
        let of = |rank: usize| vec![[1e8_f32, 1.0, -1e8, 1.0][rank], rank as f32];
        let ranks = ThreadRank::group(4, SOON);
        let sums: Vec<Vec<f32>> = thread::scope(|scope| {
            let threads: Vec<_> = ranks
                .into_iter()
                .map(|mut rank| {
                    scope.spawn(move || {
                        // The later ones come first.
                        thread::sleep(Duration::from_millis(20 * (4 - rank.rank()) as u64));
                        let mut sum = || {
                            let mut numbers = of(rank.rank());
                            rank.sum(&mut numbers).expect("all come");
                            numbers
                        };
                        [sum(), sum(), sum()].concat()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let wanted = [((1e8_f32 + 1.0) + -1e8) + 1.0, 6.0];
        assert!(sums.iter().all(|sum| *sum == wanted.repeat(3)), "{sums:?}");
    }

    #[test]
    fn a_rank_that_ends_or_does_not_come_ends_the_others() {
        let told = |end: fn(ThreadRank)| {
            let mut ranks = ThreadRank::group(2, Duration::from_millis(200));
            let other = ranks.pop().expect("two ranks");
            let mut first = ranks.pop().expect("two ranks");
            thread::scope(|scope| {
                scope.spawn(move || end(other));
                first.sum(&mut [1.0]).expect_err("nobody comes").to_string()
            })
        };
        let found = told(|mut rank| rank.end("disk full"));
        assert_eq!(found, "rank 1: disk full");
        assert_eq!(told(drop), "rank 1: it has ended");
        let found = told(|rank| {
            thread::sleep(Duration::from_secs(1));
            drop(rank);
        });
        assert_eq!(found, "rank 1: it did not come within 200ms");
        let found = told(|mut rank| {
            let error = rank.sum(&mut [1.0, 2.0]).expect_err("too many");
            assert_eq!(error.to_string(), "rank 1: expected 1 numbers as of rank 0, found 2");
        });
        assert_eq!(found, "rank 1: expected 1 numbers as of rank 0, found 2");
    }
}
