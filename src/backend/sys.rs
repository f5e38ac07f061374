//! The one system call of the backend that no safe wrapper offers.
#![allow(
    unsafe_code,
    reason = "sync_file_range(2) has no safe wrapper in the crates we use"
)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Asks the kernel to begin writing the bytes from `start` to `end`; a hint, so that
/// its failure means nothing.
pub(super) fn begin_write_back(file: &File, start: u64, end: u64) {
    let (Ok(offset), Ok(len)) = (
        i64::try_from(start),
        i64::try_from(end.saturating_sub(start)),
    ) else {
        return;
    };
    // SAFETY: the descriptor is open for the life of `file`, and the call takes no
    // pointer; the worst outcome is an error code, which is ignored.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}
