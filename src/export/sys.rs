//! Closing a file, with what the system says of it.
#![allow(
    unsafe_code,
    reason = "close(2) has no safe wrapper that returns its answer"
)]

use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;

/// Closes another descriptor of `file`. NFS, CIFS, FUSE and quotas may say only then that
/// there is no room for what was written, and what drops a file does not listen.
pub(super) fn close_another(file: &File) -> io::Result<()> {
    let another = file.try_clone()?.into_raw_fd();
    // SAFETY: the descriptor was made just now, and nothing else knows of it.
    if unsafe { libc::close(another) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
