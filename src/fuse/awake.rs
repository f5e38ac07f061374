//! Keeping the other processor awake, on a machine of two, while requests come in quick
//! succession.
//!
//! A client and the thread that answers it take turns: one of them always waits. Where a
//! processor is free, the kernel wakes whoever waits there, and to wake a processor that
//! has gone to sleep takes several times as long as the request, above all in a virtual
//! machine, which leaves its processor to the host. With something to do for the other
//! processor, client and mount stay on one: it never sleeps while one of them has work.
//! What keeps the other processor busy gives way at every turn. Its priority is the usual
//! one: with a lower one the scheduler would move one of the two to its processor. More
//! than two processors cannot be kept awake like this; there [`crate::fuse::turns`] looks
//! for requests before it sleeps.
//!
//! Source: `select_idle_sibling`, `wake_affine_weight` in `kernel/sched/fair.c` of Linux.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests that are not further apart come in quick succession; so long after the last
/// one the processor may sleep.
const QUICK: Duration = Duration::from_millis(1);

/// The processors that are online, as the kernel lists them.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// Keeps the other processor awake until dropped.
#[derive(Debug)]
pub(super) struct Awake {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    began_at: Instant,
    /// When the last request came, since `began_at`.
    last_ns: AtomicU64,
    is_resting: AtomicBool,
    is_over: AtomicBool,
}

impl Shared {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began_at.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_quick(gap_ns: u64) -> bool {
        Duration::from_nanos(gap_ns) < QUICK
    }

    fn run(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let last = self.last_ns.load(Ordering::Relaxed);
            if Self::is_quick(self.now_ns().saturating_sub(last)) {
                // Whoever wants this processor goes first.
                std::thread::yield_now();
                continue;
            }
            // A request at this very moment calls in vain; the one after it does not.
            self.is_resting.store(true, Ordering::Release);
            std::thread::park();
        }
    }
}

/// Tells whether the machine has two processors, and this process may use both.
pub(super) fn is_of_use() -> bool {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    usable == 2 && std::fs::read_to_string(ONLINE).is_ok_and(|list| list.trim() == "0-1")
}

impl Awake {
    /// Begins; does nothing until requests come.
    pub(super) fn begin() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            began_at: Instant::now(),
            last_ns: AtomicU64::new(0),
            is_resting: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("awake".to_owned())
            .spawn(move || own.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Says that a request came.
    pub(super) fn note(&self) {
        let shared = &self.shared;
        let now = shared.now_ns();
        let last = shared.last_ns.swap(now, Ordering::Relaxed);
        if Shared::is_quick(now.saturating_sub(last))
            && shared.is_resting.load(Ordering::Relaxed)
            && shared.is_resting.swap(false, Ordering::Acquire)
        {
            self.call();
        }
    }

    fn call(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.call();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(awake: &Awake) -> bool {
        awake.shared.is_resting.load(Ordering::Relaxed)
    }

    fn wait_until_it_rests(awake: &Awake) {
        let started = Instant::now();
        while !rests(awake) {
            assert!(started.elapsed() < Duration::from_secs(20));
            std::thread::sleep(QUICK);
        }
    }

    #[test]
    fn only_requests_in_quick_succession_keep_it_awake() {
        let awake = Awake::begin().unwrap();
        wait_until_it_rests(&awake);
        for _ in 0..5 {
            awake.note();
            assert!(rests(&awake), "a single request");
            std::thread::sleep(QUICK * 2);
        }
        let started = Instant::now();
        loop {
            // A busy machine may take a millisecond between the two.
            awake.note();
            awake.note();
            if !rests(&awake) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20));
        }
        wait_until_it_rests(&awake);
    }

    #[test]
    fn it_ends_while_it_rests_and_while_it_does_not() {
        let awake = Awake::begin().unwrap();
        wait_until_it_rests(&awake);
        drop(awake);
        let awake = Awake::begin().unwrap();
        awake.note();
        awake.note();
        drop(awake);
    }
}
