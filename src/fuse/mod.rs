//! The mount: a thin adapter between the kernel's requests and [`crate::tree`], and
//! the life of the mount itself.

mod answer;
mod changes;
mod convert;
mod directories;
mod errno;
mod filesystem;
mod looks;
mod mount_point;
mod session;

pub use session::{Error, MountHandle, MountOptions, Unmounter, mount};
