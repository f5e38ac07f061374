//! The wait of a look at `snapshots/` for a publication that is already queued:
//! the kernel has queued the RELEASE before `close` returned, but it comes a moment
//! after the FLUSH. `cp img create/web && ls snapshots/web` must work; a duplicate of
//! the descriptor may stay open for hours and must not make anybody wait.

use crate::tree::record::DraftId;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long after a FLUSH somebody waits for the RELEASE at most.
const PATIENCE: Duration = Duration::from_millis(200);

/// Drafts whose RELEASE may be on its way.
#[derive(Debug, Default)]
pub(super) struct Publications {
    expected: Mutex<HashMap<DraftId, Instant>>,
    settled: Condvar,
}

impl Publications {
    /// Notes that a FLUSH made the draft ready for publication.
    pub(super) fn expect(&self, id: DraftId) {
        self.expected.lock().insert(id, Instant::now() + PATIENCE);
    }

    /// Notes that the draft is published, written to again, or gone.
    pub(super) fn settle(&self, id: &DraftId) {
        if self.expected.lock().remove(id).is_some() {
            self.settled.notify_all();
        }
    }

    /// Tells whether a look at `snapshots/` should wait.
    pub(super) fn is_expected(&self) -> bool {
        let mut expected = self.expected.lock();
        let now = Instant::now();
        expected.retain(|_, deadline| *deadline > now);
        !expected.is_empty()
    }

    /// Waits for what is expected now, never longer than the patience.
    pub(super) fn wait(&self) {
        let mut expected = self.expected.lock();
        while let Some(deadline) = expected.values().max().copied() {
            if self.settled.wait_until(&mut expected, deadline).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_wait_ends_with_the_publication_or_the_patience() {
        let publications = Arc::new(Publications::default());
        let id = DraftId::random();
        assert!(!publications.is_expected());
        publications.wait();

        publications.expect(id);
        assert!(publications.is_expected());
        let start = Instant::now();
        publications.wait();
        assert!(start.elapsed() >= PATIENCE && start.elapsed() < 5 * PATIENCE);
        assert!(!publications.is_expected());

        publications.expect(id);
        let other = Arc::clone(&publications);
        let thread = std::thread::spawn(move || other.wait());
        publications.settle(&id);
        thread.join().unwrap();
        assert!(!publications.is_expected());
    }
}
