//! Threads for requests that may wait. They are started when they are needed and
//! end when they have been idle, so that 200 closes at once are 200 waits beside
//! each other and none of them stands in the way of a reader. Not for computing.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads at most; what comes beyond is queued.
const THREAD_COUNT_MAX: usize = 256;
/// Bytes of a thread's stack: what other threads have that read file systems.
const STACK_LEN: usize = 2 << 20;
/// How long a thread waits for its next job.
const IDLE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    thread_count: usize,
    idle_count: usize,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    finished: Condvar,
}

/// An elastic pool; clones share it.
#[derive(Clone)]
pub struct SlowPool {
    shared: Arc<Shared>,
    thread_count_max: usize,
}

impl Default for SlowPool {
    fn default() -> Self {
        Self::new(THREAD_COUNT_MAX)
    }
}

impl SlowPool {
    /// Makes a pool of at most so many threads; starts none.
    pub fn new(thread_count_max: usize) -> Self {
        Self {
            shared: Arc::default(),
            thread_count_max,
        }
    }

    /// Runs `job` on a thread of its own as soon as there is one.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.queue(Box::new(job), false);
    }

    /// Runs `job` even if all threads wait: work that others wait for.
    pub fn run_urgent(&self, job: impl FnOnce() + Send + 'static) {
        self.queue(Box::new(job), true);
    }

    fn queue(&self, job: Job, urgent: bool) {
        let mut queue = self.shared.queue.lock();
        if urgent {
            queue.jobs.push_front(job);
        } else {
            queue.jobs.push_back(job);
        }
        if queue.idle_count >= queue.jobs.len() {
            self.shared.filled.notify_one();
        } else if urgent || queue.thread_count < self.thread_count_max {
            self.start_thread(&mut queue);
        }
    }

    fn start_thread(&self, queue: &mut Queue) {
        let shared = Arc::clone(&self.shared);
        let started = std::thread::Builder::new()
            .name("slow".to_owned())
            .stack_size(STACK_LEN)
            .spawn(move || run(&shared));
        match started {
            Ok(_) => queue.thread_count += 1,
            // The job stays queued for the threads that there are.
            Err(error) => log::error!("starting a thread failed: {error}"),
        }
    }

    /// Waits until no job is queued or running, at most for `limit`.
    pub fn wait_until_idle(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut queue = self.shared.queue.lock();
        while !queue.jobs.is_empty() || queue.idle_count < queue.thread_count {
            if self
                .shared
                .finished
                .wait_until(&mut queue, deadline)
                .timed_out()
            {
                return false;
            }
        }
        true
    }
}

fn run(shared: &Shared) {
    let mut queue = shared.queue.lock();
    loop {
        while let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!("a request ended in a fault of the program (see above)");
            }
            queue = shared.queue.lock();
        }
        queue.idle_count += 1;
        shared.finished.notify_all();
        let timed_out = shared.filled.wait_for(&mut queue, IDLE).timed_out();
        queue.idle_count -= 1;
        if timed_out && queue.jobs.is_empty() {
            queue.thread_count -= 1;
            shared.finished.notify_all();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn waiting_jobs_do_not_stop_each_other() {
        let pool = SlowPool::default();
        let barrier = Arc::new(Barrier::new(100));
        for _ in 0..100 {
            let barrier = Arc::clone(&barrier);
            pool.run(move || {
                barrier.wait();
            });
        }
        pool.run(|| panic!("expected by the test"));
        assert!(pool.wait_until_idle(Duration::from_secs(20)));
    }
}
