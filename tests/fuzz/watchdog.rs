//! Ends the process if one input takes too long: nothing else stops a loop. Counts
//! the time that a thread runs, not the time that passes, so a process that is
//! stopped for a while is not taken for one that hangs.
#![expect(unsafe_code, reason = "the clock of a thread is a system call")]

use crate::genome::Genome;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where an input is written that never ended.
pub const FOLDER_VARIABLE: &str = "TINTYPE_FUZZ_FINDINGS";

/// What the process ends with then.
pub const EXIT_CODE: i32 = 77;

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Current {
    input: Option<(Genome, Duration)>,
}

pub struct Watchdog {
    current: Arc<Mutex<Current>>,
    clock: libc::clockid_t,
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the target is ours.
    let code = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(code, 0, "a clock that can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Watchdog {
    /// Watches the thread that calls this, until that ends.
    pub fn start(name: &'static str, time_max: Duration) -> Self {
        let mut clock = 0;
        // SAFETY: the target is ours, the thread is this one.
        let code = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        assert_eq!(code, 0, "a thread has a clock");
        let current = Arc::new(Mutex::new(Current::default()));
        let watched = Arc::downgrade(&current);
        std::thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                if let Some((genome, begin)) = &current.lock().expect("no panic inside").input
                    && read(clock).saturating_sub(*begin) > time_max
                {
                    give_up(name, genome, time_max);
                }
                drop(current);
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { current, clock }
    }

    pub fn begin(&self, input: &Genome) {
        let mut current = self.current.lock().expect("no panic inside");
        current.input = Some((input.clone(), read(self.clock)));
    }

    /// Returns the time that the input took.
    pub fn end(&self) -> Duration {
        let input = self.current.lock().expect("no panic inside").input.take();
        let begin = input.map_or(Duration::MAX, |(_, begin)| begin);
        read(self.clock).saturating_sub(begin)
    }
}

fn give_up(name: &str, genome: &Genome, time_max: Duration) -> ! {
    let bytes = genome.encode();
    let folder = std::env::var_os(FOLDER_VARIABLE).map_or_else(std::env::temp_dir, PathBuf::from);
    let hash = blake3::hash(&bytes).to_hex();
    let path = folder.join(format!("{name}-slow-{}.genome", &hash[..12]));
    let written = std::fs::write(&path, bytes);
    eprintln!(
        "{name}: an input took more than {time_max:?}: {} ({written:?})",
        path.display()
    );
    std::process::exit(EXIT_CODE);
}
