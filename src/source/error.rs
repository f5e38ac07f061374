//! What a source or a restore target answers when it cannot do as asked.

use crate::base::{ByteLen, format_byte_len};
use std::io;
use std::path::PathBuf;

/// A source or target that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, in the present participle.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither a regular file nor a block device.
    #[error(
        "{} is neither a regular file nor a block device; to read a pipe, \
         give - as the source and redirect it to standard input", path.display()
    )]
    NotAnImage {
        /// The path given.
        path: PathBuf,
    },
    /// A file is there and was not to be replaced.
    #[error("{} exists; choose another name, or replace it with --force", path.display())]
    Exists {
        /// The path given.
        path: PathBuf,
    },
    /// A symbolic link leads nowhere, and would be in the way of the file.
    #[error(
        "{} is a symbolic link to {}, which is not there; remove the link, or give the place \
         that it should lead to", path.display(), target.display()
    )]
    DanglingLink {
        /// The path given.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Somebody uses the device.
    #[error("{} is in use: {reason}; nothing was written", path.display())]
    InUse {
        /// The device.
        path: PathBuf,
        /// By whom, and what to do.
        reason: String,
    },
    /// The device is smaller than the image.
    #[error(
        "{} holds {}, and the image needs {} ({} bytes more); nothing was written",
        path.display(), format_byte_len(*device_len_bytes), format_byte_len(*image_len_bytes),
        image_len_bytes.saturating_sub(*device_len_bytes)
    )]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its length.
        device_len_bytes: ByteLen,
        /// What the image needs.
        image_len_bytes: ByteLen,
    },
}

/// Result of opening a source or target.
pub type Result<T, E = Error> = std::result::Result<T, E>;
