//! The mount: a thin adapter between the kernel's requests and [`crate::tree`], and
//! the life of the mount itself.

mod answer;
mod awake;
mod changing;
mod convert;
mod errno;
mod filesystem;
mod listing;
mod mount_point;
mod preload;
mod reading;
mod reply;
mod session;
mod turns;

pub use session::{Error, MountHandle, MountOptions, Unmounter, mount};
