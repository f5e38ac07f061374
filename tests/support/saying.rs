//! Saying what libtest must not capture, for every test binary.

use std::io::Write;

/// Writes a line that libtest does not capture: skips and measurements must be seen.
pub fn say(line: &str) {
    // One write, so that lines of parallel tests do not mix. Losing it is harmless.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says that a whole test is skipped: `scripts/test` counts these lines and repeats them.
pub fn say_skipped(test: &str, why: &str) {
    say(&format!("SKIPPED TEST: {test}: {why}"));
}

/// Says that a test leaves out a part: `scripts/test` repeats these lines.
pub fn say_part_skipped(part: &str, why: &str) {
    say(&format!("SKIPPED PART: {part}: {why}"));
}
