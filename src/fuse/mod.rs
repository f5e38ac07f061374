//! The mount: a thin adapter between the kernel's requests and [`crate::tree`], and
//! the life of the mount itself.

mod answer;
mod convert;
mod errno;
mod filesystem;
mod mount_point;
mod session;

pub use session::{Error, MountHandle, MountOptions, Unmounter, mount};
