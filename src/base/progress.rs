//! How far long work has come, shared between the work and whoever shows it, and
//! the wish that it stop. Counting never waits.

use super::ByteLen;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// No total is known.
const UNKNOWN: u64 = u64::MAX;

/// Counters of one piece of long work. The work adds, somebody else looks.
#[derive(Debug)]
pub struct Progress {
    total_len_bytes: AtomicU64,
    done_len_bytes: AtomicU64,
    hole_len_bytes: AtomicU64,
    new_len_bytes: AtomicU64,
    stored_len_bytes: AtomicU64,
    cancelled: AtomicBool,
}

/// What a [`Progress`] said at one moment; the counters may be a little apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressReading {
    /// All there is to do, holes included; `None` while unknown.
    pub total_len_bytes: Option<ByteLen>,
    /// What is done, holes included.
    pub done_len_bytes: ByteLen,
    /// The part of it that was a hole and cost nothing.
    pub hole_len_bytes: ByteLen,
    /// The part of it that the store did not have.
    pub new_len_bytes: ByteLen,
    /// What the store grew by: the new bytes, compressed.
    pub stored_len_bytes: ByteLen,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            total_len_bytes: AtomicU64::new(UNKNOWN),
            done_len_bytes: AtomicU64::new(0),
            hole_len_bytes: AtomicU64::new(0),
            new_len_bytes: AtomicU64::new(0),
            stored_len_bytes: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        }
    }
}

impl Progress {
    /// Returns counters at zero with no total.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what there is to do, holes included.
    pub fn set_total(&self, len: ByteLen) {
        self.total_len_bytes.store(len, Ordering::Relaxed);
    }

    /// Counts `len` bytes of data as done.
    pub fn add_done(&self, len: ByteLen) {
        self.done_len_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Counts `len` bytes of a hole as done.
    pub fn add_hole(&self, len: ByteLen) {
        self.hole_len_bytes.fetch_add(len, Ordering::Relaxed);
        self.done_len_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Counts `len` bytes that the store did not have.
    pub fn add_new(&self, len: ByteLen) {
        self.new_len_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Counts `len` bytes by which the store grew.
    pub fn add_stored(&self, len: ByteLen) {
        self.stored_len_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Asks the work to stop; it ends with an `Interrupted` error, soon.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Tells whether the work is to stop. The work MUST ask at least once in every
    /// few MiB, and before it publishes anything.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Returns the counters as they are now.
    pub fn read(&self) -> ProgressReading {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressReading {
            total_len_bytes: Some(load(&self.total_len_bytes)).filter(|total| *total != UNKNOWN),
            done_len_bytes: load(&self.done_len_bytes),
            hole_len_bytes: load(&self.hole_len_bytes),
            new_len_bytes: load(&self.new_len_bytes),
            stored_len_bytes: load(&self.stored_len_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_count_as_done() {
        let progress = Progress::new();
        assert_eq!(progress.read().total_len_bytes, None);
        progress.set_total(100);
        progress.add_done(10);
        progress.add_hole(20);
        progress.add_new(5);
        progress.add_stored(2);
        assert!(!progress.is_cancelled());
        progress.cancel();
        assert!(progress.is_cancelled());
        let expected = ProgressReading {
            total_len_bytes: Some(100),
            done_len_bytes: 30,
            hole_len_bytes: 20,
            new_len_bytes: 5,
            stored_len_bytes: 2,
        };
        assert_eq!(progress.read(), expected);
    }
}
