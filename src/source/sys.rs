//! The one system call of targets that no safe wrapper offers.
#![allow(unsafe_code, reason = "the BLKZEROOUT ioctl has no safe wrapper")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

#[cfg(any(
    target_arch = "powerpc64",
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "sparc64"
))]
compile_error!("ioctl numbers are encoded differently here; add BLKZEROOUT");

/// `_IO(0x12, 127)` of linux/fs.h, which the `libc` crate lacks; the same on every
/// architecture that uses asm-generic/ioctl.h.
const BLKZEROOUT: u64 = 0x12 << 8 | 127;

/// Writes zeros to a range of a block device: they are there on every later read,
/// unlike after a discard. `range` must lie on the device's sectors.
pub(super) fn block_device_zero(file: &File, range: &Range<u64>) -> io::Result<()> {
    let argument = [range.start, range.end.saturating_sub(range.start)];
    // SAFETY: BLKZEROOUT reads two u64 through the pointer, which is to a live array
    // of two u64; it writes nothing to our memory, and the descriptor is open for the
    // life of `file`.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), BLKZEROOUT as _, argument.as_ptr()) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
