//! Asking the kernel to begin writing, so that an fsync later finds little to do.
#![allow(
    unsafe_code,
    reason = "sync_file_range(2) has no safe wrapper in the crates we use"
)]

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// Asks the kernel to begin writing a range of a file to the medium; a hint, so that its
/// failure means nothing. Returns before it is written.
pub fn begin_write_back(file: &File, range: Range<u64>) {
    let len = range.end.saturating_sub(range.start);
    // A length of 0 would mean everything up to the end.
    let (Ok(offset), Ok(len), false) = (i64::try_from(range.start), i64::try_from(len), len == 0)
    else {
        return;
    };
    // SAFETY: the descriptor is open for the life of `file`, and the call takes no
    // pointer; the worst outcome is an error code, which is ignored.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}
