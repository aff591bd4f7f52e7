//! A counting global allocator, for benches that install it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// Allocations since the start of the process.
#[derive(Clone, Copy)]
pub struct Allocated {
    /// The number of allocations and reallocations.
    pub count: u64,
    pub bytes: u64,
    /// The bytes that are not freed.
    pub live: u64,
}

pub fn allocated() -> Allocated {
    let (bytes, freed) = (BYTES.load(Ordering::Relaxed), FREED.load(Ordering::Relaxed));
    Allocated { count: COUNT.load(Ordering::Relaxed), bytes, live: bytes.wrapping_sub(freed) }
}

fn count(new: usize, old: usize) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(new as u64, Ordering::Relaxed);
    FREED.fetch_add(old as u64, Ordering::Relaxed);
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: this function's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: this function's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: this function's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}
