//! How far long work is: a bar on a terminal, a line every few seconds elsewhere.
//! Both on standard error.

use super::context::Context;
use super::error::Result;
use super::signals;
use crate::base::{Progress, ProgressReading, format_byte_len};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a bar is drawn.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// How often a line is printed.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Does `work`, shows how far it is, and cancels it when a signal comes.
pub fn with_progress<T: Send>(
    context: &Context,
    title: &str,
    work: impl FnOnce(&Arc<Progress>) -> Result<T>,
) -> Result<T> {
    let progress = Arc::new(Progress::default());
    let _guard = signals::cancel_on_signal(&progress);
    show(context, title, &progress, work)
}

/// Does `work` and shows how far it is. A signal ends the program at once: for work
/// that leaves nothing behind, but may wait for others for ever.
pub fn with_progress_only<T: Send>(
    context: &Context,
    title: &str,
    work: impl FnOnce(&Arc<Progress>) -> Result<T>,
) -> Result<T> {
    show(context, title, &Arc::new(Progress::default()), work)
}

fn show<T: Send>(
    context: &Context,
    title: &str,
    progress: &Arc<Progress>,
    work: impl FnOnce(&Arc<Progress>) -> Result<T>,
) -> Result<T> {
    if context.output.is_quiet() {
        return work(progress);
    }
    let (ended, end) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if context.settings.error_is_terminal {
                draw(title, progress, &end);
            } else {
                print_lines(context, title, progress, &end);
            }
        });
        let result = work(progress);
        // The display ends when the sender is gone.
        drop(ended);
        result
    })
}

fn wait(end: &Receiver<()>, interval: Duration) -> bool {
    end.recv_timeout(interval) == Err(RecvTimeoutError::Timeout)
}

fn draw(title: &str, progress: &Progress, end: &Receiver<()>) {
    // OK to fall back: the templates are constants, and a test reads them.
    let style = |template: &str| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style(UNKNOWN_TEMPLATE));
    bar.set_prefix(title.to_owned());
    let mut has_total = false;
    while wait(end, BAR_INTERVAL) {
        let now = progress.read();
        if let (Some(total), false) = (now.total_len_bytes, has_total) {
            bar.set_length(total);
            bar.set_style(style(TEMPLATE).progress_chars("=> "));
            has_total = true;
        }
        bar.set_position(now.done_len_bytes);
        bar.set_message(stored_text(&now));
    }
    bar.finish_and_clear();
}

const TEMPLATE: &str = "{prefix} [{bar:24}] {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} ETA {eta}{msg}";
const UNKNOWN_TEMPLATE: &str =
    "{prefix} {spinner} {binary_bytes} {binary_bytes_per_sec} {elapsed}{msg}";

fn stored_text(now: &ProgressReading) -> String {
    match now.stored_len_bytes {
        0 => String::new(),
        stored => format!(", {} stored", format_byte_len(stored)),
    }
}

fn print_lines(context: &Context, title: &str, progress: &Progress, end: &Receiver<()>) {
    let start = Instant::now();
    while wait(end, LINE_INTERVAL) {
        let now = progress.read();
        let text = line(
            title,
            now.done_len_bytes,
            now.total_len_bytes,
            start.elapsed(),
        );
        context.output.note(&format!("{text}{}", stored_text(&now)));
    }
}

/// Returns one line: what is done, of how much, how fast, how long yet.
fn line(title: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = done as f64 / seconds;
    let mut text = format!("{title}: {}", format_byte_len(done));
    if let Some(total) = total {
        let percent = done as f64 * 100.0 / total as f64;
        text += &format!(" of {} ({percent:.0} %)", format_byte_len(total));
    }
    text += &format!(", {}/s", format_byte_len(rate as u64));
    if let Some(total) = total.filter(|total| *total >= done && rate >= 1.0) {
        text += &format!(", {:.0} s left", (total - done) as f64 / rate);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_rate_and_time_left() {
        let two = Duration::from_secs(2);
        assert_eq!(
            line("reading", 1 << 20, Some(4 << 20), two),
            "reading: 1.0 MiB of 4.0 MiB (25 %), 512.0 KiB/s, 6 s left"
        );
        assert_eq!(line("reading", 0, None, two), "reading: 0 B, 0 B/s");
    }

    #[test]
    fn templates_are_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        assert!(ProgressStyle::with_template(UNKNOWN_TEMPLATE).is_ok());
    }
}
