//! An allocator that counts, so that a target can hold a reader to what it may keep and to what it may copy.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is the system's doing, the counts are beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Relaxed);
        grow(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn grow(size: usize) {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    PEAK.fetch_max(live, Relaxed);
    TOTAL.fetch_add(size, Relaxed);
}

/// What a piece of work took, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    /// Most that it held at a time, beyond what was there before.
    pub peak: usize,
    /// All that it ever asked for, growing in place included.
    pub total: usize,
}

/// Does a piece of work and says what it took.
pub fn metered<T>(work: impl FnOnce() -> T) -> (T, Use) {
    let (live, total) = (LIVE.load(Relaxed), TOTAL.load(Relaxed));
    PEAK.store(live, Relaxed);
    let result = work();
    let taken = Use { peak: PEAK.load(Relaxed).saturating_sub(live), total: TOTAL.load(Relaxed) - total };
    (result, taken)
}

/// Does a piece of work that may hold so many bytes at a time.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let (result, taken) = metered(work);
    assert!(taken.peak <= bytes, "{taken:?}, {bytes} are allowed");
    result
}
