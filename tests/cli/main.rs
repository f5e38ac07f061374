//! The command line from outside: every command, text and JSON, exit codes, signals.

mod documents;
mod images;
mod mounts;
#[path = "../support/saying.rs"]
#[allow(dead_code, reason = "each test binary uses another part of it")]
mod saying;
mod signals;
mod snapshots;
mod support;
