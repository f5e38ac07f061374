//! Readers of file systems against the kernel, against damage and against time.
//!
//! Images are made with the usual tools and filled through the kernel's own mount,
//! which needs root and loop devices; without them those tests say SKIPPED.
#![allow(
    unsafe_code,
    missing_docs,
    reason = "attributes, devices and statfs of the oracle need system calls"
)]

mod backup;
mod dirty;
mod ext;
mod image;
mod mutate;
mod nasty;
#[path = "../fuzz/image.rs"]
#[allow(dead_code, reason = "only images are read here; the fuzzers do more")]
mod pages;
#[path = "../support/reader.rs"]
#[allow(dead_code, reason = "each test binary uses another part of it")]
mod reader;
mod recognised;
mod record;
#[path = "../support/saying.rs"]
#[allow(dead_code, reason = "each test binary uses another part of it")]
mod saying;
mod sets;
