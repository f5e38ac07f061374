//! The log: lines on standard error, which a background mount sends to its file.

use crate::base::Timestamp;
use log::{LevelFilter, Log, Metadata, Record};
use std::io::Write;

struct ErrorStream;

static LOGGER: ErrorStream = ErrorStream;

impl Log for ErrorStream {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The FUSE library warns of what is no fault: requests that nobody answers, and
        // an unmount of what was unmounted already.
        let most = match metadata.target().split("::").next() {
            Some("fuser") if log::max_level() < LevelFilter::Debug => LevelFilter::Error,
            _ => log::max_level(),
        };
        metadata.level() <= most
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let (time, level) = (Timestamp::now(), record.level());
            // Where the log cannot be written, there is nowhere to say so.
            drop(writeln!(
                std::io::stderr().lock(),
                "{time} {level} {}",
                record.args()
            ));
        }
    }

    fn flush(&self) {}
}

/// Starts logging: warnings; with `-v` what happens; with `-vv` everything.
pub fn start(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Warn,
        (false, 1) => LevelFilter::Info,
        (false, _) => LevelFilter::Debug,
    };
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(level);
    }
}
