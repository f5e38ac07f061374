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

/// Giving way takes longer than this where somebody else works on the processor.
const SHARED_NS: u64 = 3_000;
/// So often in [`STAY_NS`] somebody works there all the time.
const SHARED_COUNT: u32 = 40;
/// Nanoseconds between two decisions where to run.
const STAY_NS: u64 = 2_000_000;

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
        let mut place = Place::default();
        while !self.is_over.load(Ordering::Relaxed) {
            let last = self.last_ns.load(Ordering::Relaxed);
            let now = self.now_ns();
            if Self::is_quick(now.saturating_sub(last)) {
                // Whoever wants this processor goes first.
                std::thread::yield_now();
                if place.is_wrong(now, self.now_ns()) {
                    move_away();
                }
                continue;
            }
            // A request at this very moment calls in vain; the one after it does not.
            self.is_resting.store(true, Ordering::Release);
            std::thread::park();
        }
    }
}

/// Whether the thread is where it should be: if somebody works on its processor all the
/// time, it is the other one that is idle. A client and a mount on different processors may
/// stay there; a thread that goes to and fro until nobody works beside it brings them
/// together.
#[derive(Debug, Default)]
struct Place {
    /// When it began to count.
    since_ns: u64,
    shared_count: u32,
}

impl Place {
    /// Learns from how long giving way took; true if the thread should move.
    fn is_wrong(&mut self, before_ns: u64, after_ns: u64) -> bool {
        if after_ns.saturating_sub(before_ns) > SHARED_NS {
            self.shared_count = self.shared_count.saturating_add(1);
        }
        if after_ns.saturating_sub(self.since_ns) < STAY_NS {
            return false;
        }
        let is_wrong = self.shared_count >= SHARED_COUNT;
        *self = Self {
            since_ns: after_ns,
            shared_count: 0,
        };
        is_wrong
    }
}

/// Moves this thread to the other processor, to stay there.
fn move_away() {
    let here = rustix::thread::sched_getcpu();
    let mut other = rustix::thread::CpuSet::new();
    other.set(usize::from(here == 0));
    if let Err(error) = rustix::thread::sched_setaffinity(None, &other) {
        log::debug!("the thread stays where it is: {error}");
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
    fn it_moves_only_from_where_others_work_all_the_time() {
        let mut place = Place::default();
        let mut now = 1;
        let mut moves = |place: &mut Place, took_ns: u64, count: u32| {
            let mut moves = 0;
            for _ in 0..count {
                let before = now;
                now += took_ns;
                moves += u32::from(place.is_wrong(before, now));
            }
            moves
        };
        assert_eq!(moves(&mut place, 500, 40_000), 0, "nobody else");
        assert_eq!(moves(&mut place, 1_500_000, 20), 0, "somebody, for long");
        // Every two milliseconds, in 20 of turns of 20 us each.
        let count = moves(&mut place, 20_000, 1_000);
        assert!((9..=10).contains(&count), "{count}");
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
