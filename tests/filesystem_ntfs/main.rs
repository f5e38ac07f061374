//! The NTFS reader against ntfs-3g on volumes of each kind, against forms of content
//! that only Windows writes, and against damage and time.
//!
//! Without ntfs-3g, and without root for its mounts, tests say SKIPPED.
#![allow(
    unsafe_code,
    missing_docs,
    reason = "attributes of the oracle need system calls"
)]

mod damage;
mod driver;
mod elsewhere;
mod forms;
mod hostile;
mod listing;
mod machine;
mod mft;
#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;
mod trees;
