//! What single system calls do on a mount. Needs root and /dev/fuse.

mod damage;
mod drafts;
mod fault;
mod look;
#[path = "../support/saying.rs"]
#[allow(dead_code, reason = "each test binary uses another part of it")]
mod saying;
mod support;
