//! The command line from outside: every command, text and JSON, exit codes, signals.

mod documents;
mod images;
mod mounts;
mod signals;
mod snapshots;
mod support;
