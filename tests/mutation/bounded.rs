//! What reading a file may take: memory, and a second of the processor.
#![allow(unsafe_code, reason = "an allocator that counts is one")]

use super::Format;
use cpu_time::ThreadTime;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// CPU time of a read, at most.
const SLOW: Duration = Duration::from_secs(1);

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static SUM: AtomicUsize = AtomicUsize::new(0);

/// Reads of files that began, and that ended.
pub static BEGUN: AtomicU64 = AtomicU64::new(0);
pub static ENDED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator; it counts. Users make it the program's.
pub struct Counting;

fn count(layout: Layout) {
    let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
    MOST.fetch_max(held, Relaxed);
    SUM.fetch_add(layout.size(), Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes that a call allocated.
pub struct Taken {
    /// At once, at most.
    pub most: usize,
    /// One after another.
    pub sum: usize,
}

/// What `f` allocates while no other thread does.
pub fn measured<T>(f: impl FnOnce() -> T) -> (Taken, T) {
    let (held, sum) = (HELD.load(Relaxed), SUM.load(Relaxed));
    MOST.store(held, Relaxed);
    BEGUN.fetch_add(1, Relaxed);
    let result = f();
    ENDED.fetch_add(1, Relaxed);
    let (most, sum) = (MOST.load(Relaxed).saturating_sub(held), SUM.load(Relaxed) - sum);
    (Taken { most, sum }, result)
}

/// Reads a file within its bounds; says whether it is whole. Of weights the sum of all that is allocated counts.
pub fn read(format: Format, bytes: &[u8], what: &str) -> bool {
    let started = ThreadTime::now();
    let (taken, whole) = measured(|| format.read(bytes));
    let time = started.elapsed();
    assert!(time < SLOW, "{what}: {time:?} of CPU time");
    let (taken, more) = if format.is_weights() { (taken.sum, 16) } else { (taken.most, 64) };
    let allowed = 4 * format.unpacked(bytes).max(bytes.len() as u64) + (more << 20);
    assert!(
        taken as u64 <= allowed,
        "{what}: {taken} bytes of memory for a file of {}, {allowed} allowed",
        bytes.len()
    );
    whole
}
