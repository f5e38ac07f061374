//! An allocator that counts what one thread holds, so that a run has a bound.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Above this an allocation fails, which ends the process: nothing else would.
const SINGLE_BYTES_MAX: usize = 4 << 30;

pub struct Counting;

fn count(change: isize) {
    // Gone while a thread ends; nothing is measured then.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: everything is passed on to the allocator of the system.
#[expect(unsafe_code, reason = "an allocator is unsafe by its signature")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > SINGLE_BYTES_MAX {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > SINGLE_BYTES_MAX {
            return std::ptr::null_mut();
        }
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        if len > SINGLE_BYTES_MAX {
            return std::ptr::null_mut();
        }
        count(len as isize - layout.size() as isize);
        unsafe { System.realloc(place, layout, len) }
    }
}

/// What a thread held at most since this was made.
pub struct Watch {
    start: isize,
}

impl Watch {
    pub fn start() -> Self {
        let start = HELD.get();
        PEAK.set(start);
        Self { start }
    }

    /// Returns the bytes above what was held at the start.
    pub fn peak_bytes(&self) -> usize {
        usize::try_from(PEAK.get() - self.start).unwrap_or(0)
    }
}
