//! What single system calls do on a mount. Needs root and /dev/fuse.

mod damage;
mod drafts;
mod fault;
mod look;
mod support;
