//! Which threads of the session wait for the kernel's next request. The kernel wakes
//! waiting threads in turn, so with several of them each request goes to the one that
//! has slept longest, on a processor that sleeps too: a request takes 20 us instead of
//! 7. So as long as one thread keeps up, the others rest here; where a request is left
//! waiting, one of them is called.
//!
//! What would go wrong: the only waiting thread takes a request that lasts (a read from
//! a slow disk), and the next request comes after it has looked for one. Therefore rest
//! is short: after [`REST_MAX`] a thread waits for requests again, whatever happens.

use crate::fuse::awake::{self, Awake};
use parking_lot::{Condvar, Mutex};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest that a request can be left waiting while threads rest.
const REST_MAX: Duration = Duration::from_millis(2);

/// How long a thread that has answered looks for the next request before it sleeps. To
/// wake a sleeping processor takes longer than most requests, above all in a virtual
/// machine; the next request of a client that walks or copies comes sooner than that.
const LOOK_MAX: Duration = Duration::from_micros(50);

/// The threads of one session.
#[derive(Debug, Default)]
pub(super) struct Turns {
    device: OnceLock<OwnedFd>,
    /// Threads that wait for requests. Approximate: a request that takes no turn does
    /// not count.
    waiting: AtomicIsize,
    resting: AtomicUsize,
    /// There is a processor for the client beside the one of the thread that looks.
    looks: AtomicBool,
    /// Instead of looking, on a machine of two processors.
    awake: OnceLock<Awake>,
    calls: Mutex<usize>,
    called: Condvar,
}

/// A thread that answers a request, until this is dropped.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Begins, with as many threads as wait for requests on `device`. If it `spins`, a
    /// processor is kept busy for moments in which it could sleep.
    pub(super) fn begin(&self, device: OwnedFd, thread_count: usize, spins: bool) {
        self.waiting.fetch_add(
            isize::try_from(thread_count).unwrap_or(isize::MAX),
            Ordering::Relaxed,
        );
        // Each is set once: there is one session for each adapter.
        drop(self.device.set(device));
        if !spins {
            return;
        }
        if awake::is_of_use()
            && let Ok(awake) = Awake::begin()
        {
            drop(self.awake.set(awake));
            return;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.looks.store(processors > 1, Ordering::Relaxed);
    }

    /// Says that this thread answers a request. To be kept until it is answered.
    pub(super) fn take(&self) -> Turn<'_> {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(awake) = self.awake.get() {
            awake.note();
        }
        self.share();
        Turn(self)
    }

    /// Calls a thread that rests if a request is left waiting.
    fn share(&self) {
        if self.resting.load(Ordering::Relaxed) > 0
            && self.waiting.load(Ordering::Relaxed) <= 0
            && self.has_request()
        {
            *self.calls.lock() += 1;
            self.called.notify_one();
        }
    }

    fn has_request(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(device) = self.device.get() else {
            return false;
        };
        let mut asked = [PollFd::new(device, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut asked, Some(&at_once)).is_ok_and(|count| count > 0)
    }

    /// Ends a turn: rests if another thread waits for requests, and otherwise looks for
    /// the next one before it sleeps.
    fn end(&self) {
        let others = self.waiting.load(Ordering::Relaxed);
        if others > 0 {
            self.rest();
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if others <= 0 {
            self.look();
        }
    }

    /// Returns when there is a request, or none came for a while.
    fn look(&self) {
        let started = Instant::now();
        while self.looks.load(Ordering::Relaxed)
            && started.elapsed() < LOOK_MAX
            && !self.has_request()
        {
            // Whoever wants this processor, the client perhaps, goes first.
            std::thread::yield_now();
        }
    }

    fn rest(&self) {
        let mut calls = self.calls.lock();
        self.resting.fetch_add(1, Ordering::Relaxed);
        if *calls == 0 {
            self.called.wait_for(&mut calls, REST_MAX);
        }
        *calls = calls.saturating_sub(1);
        self.resting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn<'_> {
    /// To be called now and then by what takes long.
    pub(super) fn share(&self) {
        self.0.share();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;

    /// Returns turns of two threads whose device is a pipe, and its other end.
    fn turns() -> (Arc<Turns>, std::io::PipeWriter) {
        let (device, kernel) = std::io::pipe().unwrap();
        let turns = Arc::new(Turns::default());
        turns.begin(device.into(), 2, false);
        (turns, kernel)
    }

    #[test]
    fn a_thread_rests_while_another_waits_and_not_for_long() {
        let (turns, _kernel) = turns();
        let started = Instant::now();
        drop(turns.take());
        assert!(started.elapsed() >= REST_MAX);
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 2);
        assert_eq!(turns.resting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_last_thread_does_not_rest() {
        let (turns, _kernel) = turns();
        let (one, other) = (turns.take(), turns.take());
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 0);
        drop(other);
        // This thread had no reason to rest; the next one has.
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 1);
        drop(one);
        assert_eq!(turns.waiting.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_request_that_waits_calls_a_thread_that_rests() {
        let (turns, mut kernel) = turns();
        for _ in 0..50 {
            let one = turns.take();
            // The second thread answers, sees that nobody waits, and does not rest.
            turns.resting.fetch_add(1, Ordering::Relaxed);
            turns.waiting.fetch_sub(1, Ordering::Relaxed);
            one.share();
            assert_eq!(*turns.calls.lock(), 0, "nothing waits");
            kernel.write_all(b"x").unwrap();
            one.share();
            assert_eq!(*turns.calls.lock(), 1);
            *turns.calls.lock() = 0;
            let mut byte = [0];
            rustix::io::read(turns.device.get().unwrap(), &mut byte).unwrap();
            turns.resting.fetch_sub(1, Ordering::Relaxed);
            turns.waiting.fetch_add(2, Ordering::Relaxed);
            std::mem::forget(one);
        }
    }
}
