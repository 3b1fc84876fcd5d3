//! How a rank waits.
use std::{
    thread,
    time::{Duration, Instant},
};

/// The first nap, and the longest.
const FIRST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

/// Longer and longer naps between two looks for a message, so that a waiting rank leaves its core to others.
pub struct Naps {
    since: Instant,
    awake: Duration,
    next: Duration,
}

impl Naps {
    /// Naps that begin after `awake`, in which messages are on their way: MPI moves them when it is asked for them.
    pub fn after(awake: Duration) -> Self {
        Self { since: Instant::now(), awake, next: FIRST }
    }

    /// Takes the next one.
    pub fn take(&mut self) {
        if self.since.elapsed() < self.awake {
            return thread::yield_now();
        }
        thread::sleep(self.next);
        self.next = LONGEST.min(self.next * 2);
    }

    /// Something came: more of it may be near.
    pub fn shorten(&mut self) {
        self.next = FIRST;
    }
}
