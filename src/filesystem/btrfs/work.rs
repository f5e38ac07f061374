//! A limit for the work of a replay: a crafted log can name the same things again and
//! again, so its length alone bounds nothing.

use crate::filesystem::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Units at most, of about a nanosecond each.
const LIMIT: u64 = 2 << 30;
/// Units of a way from the root of a tree to an item.
const LOOK_UP: u64 = 1024;
/// Units of going on to the next item or change.
const STEP: u64 = 32;

/// What a replay has done.
#[derive(Debug)]
pub(super) struct Work {
    done: AtomicU64,
    limit: u64,
}

impl Work {
    pub(super) const fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    pub(super) const fn with_limit(limit: u64) -> Self {
        Self {
            done: AtomicU64::new(0),
            limit,
        }
    }

    /// Returns the units that were done.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.done() > self.limit
    }

    /// Counts a look-up.
    ///
    /// # Errors
    ///
    /// Unsupported if the limit is exceeded, as all of these.
    pub(super) fn look_up(&self) -> Result<()> {
        self.add(LOOK_UP)
    }

    /// Counts a step.
    pub(super) fn step(&self) -> Result<()> {
        self.add(STEP)
    }

    /// Counts bytes that will be looked through.
    pub(super) fn look_through(&self, len: usize) -> Result<()> {
        self.add(u64::try_from(len).unwrap_or(u64::MAX))
    }

    fn add(&self, units: u64) -> Result<()> {
        let done = self.done().saturating_add(units);
        self.done.store(done, Ordering::Relaxed);
        match done > self.limit {
            true => Err(Error::unsupported("a log tree that takes too long")),
            false => Ok(()),
        }
    }
}
