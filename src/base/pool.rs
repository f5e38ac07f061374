//! A pool of threads that run short computations, urgent ones first. It is the
//! only place where hashing and compressing run, so their memory and processors
//! are bounded together. It is not for work that waits.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// One computation.
pub type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    urgent: VecDeque<Task>,
    normal: VecDeque<Task>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

/// A fixed number of threads; what was queued is finished before it drops.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `thread_count` threads (at least one).
    pub fn new(thread_count: usize) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            filled: Condvar::new(),
        });
        let threads = (0..thread_count.max(1))
            .map(|number| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("pool-{number}"))
                    .spawn(move || run(&shared))
                    .expect("the system can start a thread")
            })
            .collect();
        Self { shared, threads }
    }

    /// Returns the number of threads.
    pub fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// Queues `task` behind those of its kind.
    pub fn run(&self, task: Task) {
        self.shared.queue.lock().normal.push_back(task);
        self.shared.filled.notify_one();
    }

    /// Queues `task` before all that is not urgent: work that frees memory.
    pub fn run_urgent(&self, task: Task) {
        self.shared.queue.lock().urgent.push_back(task);
        self.shared.filled.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.filled.notify_all();
        let own = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a task of the pool itself.
            if thread.thread().id() != own {
                drop(thread.join());
            }
        }
    }
}

fn run(shared: &Shared) {
    while let Some(task) = next(shared) {
        // A panic is a fault of ours in one task; the task's own guard reports it.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)));
    }
}

fn next(shared: &Shared) -> Option<Task> {
    let mut queue = shared.queue.lock();
    loop {
        if let Some(task) = queue.urgent.pop_front() {
            return Some(task);
        }
        if let Some(task) = queue.normal.pop_front() {
            return Some(task);
        }
        if queue.closed {
            return None;
        }
        shared.filled.wait(&mut queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_tasks_run_even_after_one_panics() {
        let count = Arc::new(AtomicUsize::new(0));
        let pool = Pool::new(2);
        pool.run(Box::new(|| panic!("expected by the test")));
        for _ in 0..100 {
            let count = Arc::clone(&count);
            pool.run_urgent(Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }));
        }
        drop(pool);
        assert_eq!(count.load(Ordering::Relaxed), 100);
    }
}
