//! The system calls of sources and targets that no safe wrapper of the standard
//! library offers. Each takes a borrowed descriptor, so it is open during the call.
#![allow(
    unsafe_code,
    reason = "lseek with SEEK_DATA, BLKGETSIZE64, BLKZEROOUT and posix_fadvise have no wrapper in std"
)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

// The `libc` crate has no block ioctls; values from linux/fs.h, the same on every
// architecture that uses asm-generic/ioctl.h, written with its own macros' parts.
#[cfg(any(
    target_arch = "powerpc64",
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "sparc64"
))]
compile_error!("ioctl numbers are encoded differently here; add BLKGETSIZE64 and BLKZEROOUT");

/// `_IOR(0x12, 114, size_t)`.
const BLKGETSIZE64: u64 = 2 << 30 | (size_of::<usize>() as u64) << 16 | 0x12 << 8 | 114;
/// `_IO(0x12, 127)`.
const BLKZEROOUT: u64 = 0x12 << 8 | 127;

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn offset_of(value: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Returns the length of a block device.
pub(super) fn block_device_len(file: &File) -> io::Result<u64> {
    let mut len = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one u64 through the pointer, which is to a live,
    // aligned u64 that nobody else sees.
    check(unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64 as _, &raw mut len) })?;
    Ok(len)
}

/// Writes zeros to a range of a block device: they are there on every later read,
/// unlike after a discard. `range` must lie on the device's sectors.
pub(super) fn block_device_zero(file: &File, range: &Range<u64>) -> io::Result<()> {
    let argument = [range.start, range.end.saturating_sub(range.start)];
    // SAFETY: BLKZEROOUT reads two u64 through the pointer, which is to a live array
    // of two u64; it writes nothing to our memory.
    check(unsafe { libc::ioctl(file.as_raw_fd(), BLKZEROOUT as _, argument.as_ptr()) })
}

/// Tells the kernel that the file will be read from front to back; a hint, so that
/// its failure means nothing.
pub(super) fn advise_sequential(file: &File) {
    // SAFETY: the call takes no pointer; the worst outcome is an error code.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_SEQUENTIAL) };
}

/// Where the next data or hole is.
#[derive(Clone, Copy)]
pub(super) enum Seek {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

/// Returns the next data or hole at or after `offset`; `None` at the end (ENXIO).
/// Moves the position of the descriptor, which nobody here uses.
pub(super) fn seek(file: &File, offset: u64, what: Seek) -> io::Result<Option<u64>> {
    let whence = match what {
        Seek::Data => libc::SEEK_DATA,
        Seek::Hole => libc::SEEK_HOLE,
    };
    // SAFETY: the call takes no pointer.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset_of(offset)?, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}
