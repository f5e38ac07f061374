//! The command line from outside: every command, text and JSON, exit codes, signals.

mod browse;
mod cp;
mod cp_force;
mod cp_properties;
mod cp_stopped;
mod documents;
mod images;
mod missing;
mod mounts;
#[path = "../filesystem/nasty.rs"]
#[allow(
    unsafe_code,
    dead_code,
    reason = "one tree for all oracles; it needs system calls"
)]
mod nasty;
mod output;
#[path = "../support/saying.rs"]
#[allow(dead_code, reason = "each test binary uses another part of it")]
mod saying;
mod signals;
mod snapshots;
mod support;
mod tar;
mod trees;
