//! How far a long piece of work is, told without locks, and the wish to end it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counters that a worker advances and a watcher reads.
#[derive(Debug, Default)]
pub struct Progress {
    total_len_bytes: AtomicU64,
    done_len_bytes: AtomicU64,
    hole_len_bytes: AtomicU64,
    new_len_bytes: AtomicU64,
    stored_len_bytes: AtomicU64,
    is_cancelled: AtomicBool,
}

macro_rules! counter {
    ($(#[$doc:meta])* $get:ident, $(#[$set_doc:meta])* $set:ident) => {
        $(#[$doc])*
        pub fn $get(&self) -> u64 {
            self.$get.load(Ordering::Relaxed)
        }

        $(#[$set_doc])*
        pub fn $set(&self, len: u64) {
            self.$get.store(len, Ordering::Relaxed);
        }
    };
}

impl Progress {
    counter!(
        /// Returns all bytes that there are to do; 0 if that is not known.
        total_len_bytes,
        /// Sets all bytes that there are to do.
        set_total
    );
    counter!(
        /// Returns the bytes of data that are done.
        done_len_bytes,
        /// Sets the bytes of data that are done.
        set_done
    );
    counter!(
        /// Returns the bytes of holes that were passed over.
        hole_len_bytes,
        /// Sets the bytes of holes that were passed over.
        set_holes
    );
    counter!(
        /// Returns the bytes that the store did not have.
        new_len_bytes,
        /// Sets the bytes that the store did not have.
        set_new
    );
    counter!(
        /// Returns the bytes that the store grew by.
        stored_len_bytes,
        /// Sets the bytes that the store grew by.
        set_stored
    );

    /// Adds bytes of data that are done.
    pub fn add_done(&self, len: u64) {
        self.done_len_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Adds bytes of holes that were passed over.
    pub fn add_holes(&self, len: u64) {
        self.hole_len_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Asks the worker to end; it does so with an error, and leaves nothing behind.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Tells whether the worker is asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}
