//! How a rank waits for a message.
use std::{
    thread,
    time::{Duration, Instant},
};

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

/// Exponential backoff: the pause between two tests of a message doubles, so that a waiting rank does not spin.
pub struct Backoff {
    since: Instant,
    awake: Duration,
    next: Duration,
}

impl Backoff {
    /// For `awake` it only yields: messages are on their way, and MPI moves them when they are tested.
    pub fn after(awake: Duration) -> Self {
        Self { since: Instant::now(), awake, next: FIRST }
    }

    /// Pauses, or yields.
    pub fn wait(&mut self) {
        if self.since.elapsed() < self.awake {
            return thread::yield_now();
        }
        thread::sleep(self.next);
        self.next = LONGEST.min(self.next * 2);
    }

    /// Starts again with the first pause: a message came.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}
