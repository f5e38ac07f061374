//! The ingester of a draft at work, and what it does to a writer who is far ahead.

use crate::base::ByteLen;
use crate::tree::content::Content;
use crate::tree::draft::{Body, Draft};
use crate::tree::ingest::Wake;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bytes that wait in the spool before writers are slowed down.
const BACKLOG_LIMIT: ByteLen = 1 << 30;
/// How long one write is held back at most.
const THROTTLE: Duration = Duration::from_secs(2);
/// Bytes that leave the spool before its space is freed.
const CHECKPOINT_LEN: ByteLen = 1 << 30;

impl Draft {
    /// Tells whether the writer is so far ahead that its next write should wait.
    pub fn is_behind(&self) -> bool {
        matches!(self.body(), Body::Working(content) if content.backlog() > BACKLOG_LIMIT)
    }

    /// Waits until the ingester has caught up a little; bounded.
    pub fn throttle(&self) {
        let deadline = Instant::now() + THROTTLE;
        let mut state = self.state.lock();
        while matches!(&state.body, Body::Working(content) if content.backlog() > BACKLOG_LIMIT) {
            if self
                .backlog_shrank
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return;
            }
        }
    }

    /// Starts the ingester if it has something to do and is not at it.
    pub(super) fn start_ingest(&self) {
        let Body::Working(content) = self.body() else {
            return;
        };
        if !content.has_work() || self.is_ingesting.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(own) = self.own.upgrade() {
            self.shared.pool.run_urgent(move || own.ingest(&content));
        }
    }

    fn ingest(&self, content: &Arc<Content>) {
        let own = Weak::clone(&self.own);
        let wake: Wake = Arc::new(move || {
            if let Some(own) = own.upgrade() {
                own.start_ingest();
            }
        });
        loop {
            let turn = self.work.lock();
            let stepped = content.ingest_step(&wake).and_then(|any| {
                if content.settled_len() >= CHECKPOINT_LEN {
                    self.checkpoint(content)?;
                }
                Ok(any)
            });
            drop(turn);
            self.backlog_shrank.notify_all();
            match stepped {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
        }
        self.is_ingesting.store(false, Ordering::Release);
        // What came after the last look found us still at it.
        if self.state.lock().failure.is_none() {
            self.start_ingest();
        }
    }
}
