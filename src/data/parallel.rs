//! Work on all cores.
use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

/// Calls `work` with the number of each part of `items` and the part, of `length` items or at the end fewer. A browser
/// has one thread.
pub(super) fn in_parts<T: Send>(
    items: &mut [T],
    length: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if cfg!(target_family = "wasm") { 1 } else { cores() };
    let threads = threads.min(items.len().div_ceil(length));
    let parts = Mutex::new(items.chunks_mut(length).enumerate());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        while let Some((number, part)) = next() {
            work(number, part);
        }
    };
    if threads < 2 {
        return run();
    }
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_on_once() {
        for (count, length) in [(0, 3), (1, 3), (7, 3), (900, 7)] {
            let mut items = vec![1; count];
            in_parts(&mut items, length, |number, part| {
                part.iter_mut().zip(number * length..).for_each(|(item, place)| *item += place);
            });
            assert!(items.iter().copied().eq(1..=count), "{count}, {length}");
        }
    }
}
