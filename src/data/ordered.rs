//! Work of several threads, handed out in order from a bounded queue.
use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What is made of the numbers from `first` to `end`, in their order, by threads that are at most some pieces
/// ahead.
pub(super) struct Ordered<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
    waited: Duration,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// A piece is made, or a thread has panicked.
    made: Condvar,
    /// A piece is taken, or nobody wants any more.
    taken: Condvar,
    ahead: u64,
    end: u64,
}

struct State<T> {
    /// The next number that a thread begins with.
    begun: u64,
    /// The next number that is handed out.
    next: u64,
    made: BTreeMap<u64, T>,
    panicked: bool,
    ended: bool,
}

impl<T> Shared<T> {
    /// A thread that panics holds no lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next number to work on, as soon as there is room for it.
    fn begin(&self) -> Option<u64> {
        let full = |state: &mut State<T>| {
            !state.ended && state.begun < self.end && state.begun >= state.next + self.ahead
        };
        let waited = self.taken.wait_while(self.lock(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let number = state.begun;
        (!state.ended && number < self.end).then(|| {
            state.begun += 1;
            number
        })
    }
}

/// Tells of a thread that ends early.
struct Watch<T>(Arc<Shared<T>>);

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().panicked = true;
            self.0.made.notify_all();
        }
    }
}

impl<T: Send + 'static> Ordered<T> {
    /// Begins with `workers` threads.
    pub fn new(
        workers: usize,
        ahead: usize,
        [first, end]: [u64; 2],
        make: impl Fn(u64) -> T + Send + Sync + 'static,
    ) -> Self {
        let made = BTreeMap::new();
        let state = State { begun: first, next: first, made, panicked: false, ended: false };
        let (state, made, taken) = (Mutex::new(state), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state, made, taken, ahead: ahead.max(1) as u64, end });
        let make = Arc::new(make);
        let worker = |_| {
            let (watch, make) = (Watch(Arc::clone(&shared)), Arc::clone(&make));
            thread::spawn(move || {
                while let Some(number) = watch.0.begin() {
                    let piece = make(number);
                    watch.0.lock().made.insert(number, piece);
                    watch.0.made.notify_all();
                }
            })
        };
        let threads = (0..workers.max(1)).map(worker).collect();
        Self { shared, threads, waited: Duration::ZERO }
    }

    /// Time for which [`Iterator::next`] has waited.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<T> Ordered<T> {
    /// Lets the threads end.
    fn end(&self) {
        self.shared.lock().ended = true;
        self.shared.taken.notify_all();
    }
}

/// The same, or without threads where there are no workers.
pub(super) fn in_order<T: Send + 'static>(
    workers: usize,
    [first, end]: [u64; 2],
    make: impl Fn(u64) -> T + Send + Sync + 'static,
) -> Box<dyn Iterator<Item = T>> {
    match workers {
        0 => Box::new((first..end).map(make)),
        _ => Box::new(Ordered::new(workers, 4 * workers, [first, end], make)),
    }
}

impl<T: Send + 'static> Iterator for Ordered<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let since = Instant::now();
        let mut state = self.shared.lock();
        if state.next >= self.shared.end {
            return None;
        }
        let absent =
            |state: &mut State<T>| !state.panicked && !state.made.contains_key(&state.next);
        if absent(&mut state) {
            let waited = self.shared.made.wait_while(state, absent);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            self.waited += since.elapsed();
        }
        let number = state.next;
        let piece = state.made.remove(&number);
        state.next += u64::from(piece.is_some());
        drop(state);
        self.shared.taken.notify_all();
        if piece.is_none() {
            self.end();
            self.threads.drain(..).map(JoinHandle::join).for_each(|end| {
                end.unwrap_or_else(|cause| panic::resume_unwind(cause));
            });
        }
        piece
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            // What it was at is no longer wanted.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn pieces_come_in_order_and_few_are_ahead() {
        let begun = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&begun);
        let squares = Ordered::new(7, 5, [3, 60], move |number| {
            counted.fetch_max(number, Ordering::Relaxed);
            // Later numbers are quicker.
            thread::sleep(Duration::from_micros(100 * (60 - number)));
            number * number
        });
        for (number, square) in (3..).zip(squares) {
            assert_eq!(square, number * number);
            assert!(begun.load(Ordering::Relaxed) <= number + 5);
        }
        assert_eq!(begun.load(Ordering::Relaxed), 59);
    }

    #[test]
    fn whoever_stops_early_waits_for_nothing() {
        let endless = Ordered::new(3, 4, [0, u64::MAX], |number| number);
        assert_eq!(endless.take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    #[should_panic(expected = "number 7")]
    fn a_panic_of_a_thread_is_that_of_the_reader() {
        Ordered::new(2, 4, [0, 100], |number| assert!(number != 7, "number {number}")).count();
    }
}
