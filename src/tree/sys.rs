//! The system calls that the standard library lacks: locks of whole files, holes.
#![allow(unsafe_code, reason = "flock, fallocate and lseek have no safe wrapper in std")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Locks the file for this opener alone; false if somebody else has it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: flock takes a descriptor, which `file` keeps open, and no pointer.
    let answer = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if answer == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Frees the space of a range, which reads as zeros afterwards.
pub(super) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = libc::off_t::try_from(offset).map_err(invalid)?;
    let len = libc::off_t::try_from(len).map_err(invalid)?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: fallocate takes a descriptor, which `file` keeps open, and no pointer.
    let answer = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the next data (or hole, if `hole`) at or after `offset`; None at the end.
pub(super) fn seek(file: &File, offset: u64, hole: bool) -> io::Result<Option<u64>> {
    let whence = if hole { libc::SEEK_HOLE } else { libc::SEEK_DATA };
    let Ok(offset) = libc::off_t::try_from(offset) else { return Ok(None) };
    // SAFETY: lseek takes a descriptor, which `file` keeps open, and no pointer.
    let answer = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    if let Ok(place) = u64::try_from(answer) {
        return Ok(Some(place));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENXIO) { Ok(None) } else { Err(error) }
}
