//! Owns a global allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// It is initialized at compile time and has no destructor, so that reading it allocates
    /// nothing.
    static IS_COUNTED: Cell<bool> = const { Cell::new(true) };
}

/// The system's allocator, which counts every allocation and reallocation of the threads that are
/// counted.
///
/// ```
/// use heartbeat_testkit::CountingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let before = CountingAllocator::count();
/// let boxed = Box::new(17);
/// assert_eq!(CountingAllocator::count() - before, 1);
/// CountingAllocator::leave_out_this_thread();
/// drop(vec![boxed]);
/// assert_eq!(CountingAllocator::count() - before, 1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// How many allocations the counted threads have made.
    #[must_use]
    pub fn count() -> u64 {
        COUNT.load(Ordering::Relaxed)
    }

    /// From now on, does not count what the calling thread allocates.
    pub fn leave_out_this_thread() {
        IS_COUNTED.with(|is_counted| is_counted.set(false));
    }
}

fn note() {
    // The access fails only if the thread is about to end and its thread-local values are dropped.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every method passes its arguments to the system's allocator, which keeps the contract;
// counting neither allocates nor panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}
