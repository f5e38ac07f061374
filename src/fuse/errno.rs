//! The only place where an error of the tree becomes an errno.

use crate::tree::{Error, Kind};
use fuser::Errno;

/// Returns the errno for a failed operation.
pub(super) fn errno(error: &Error) -> Errno {
    match error.kind() {
        Kind::NotFound => Errno::ENOENT,
        Kind::Exists => Errno::EEXIST,
        Kind::NotADirectory => Errno::ENOTDIR,
        Kind::IsADirectory => Errno::EISDIR,
        Kind::ReadOnly => Errno::EROFS,
        Kind::NotPermitted => Errno::EPERM,
        Kind::NoSpace => Errno::ENOSPC,
        Kind::Quota => Errno::EDQUOT,
        // The data is lost or the disk fails: the caller cannot do anything about it.
        Kind::Damaged | Kind::Io => Errno::EIO,
        // The image itself is like this: what the kernel says of a corrupt file system.
        Kind::Inconsistent => Errno::from_i32(libc::EUCLEAN),
        // It is there, so ENOENT would mislead.
        Kind::Unsupported => Errno::EOPNOTSUPP,
        Kind::Invalid => Errno::EINVAL,
        Kind::NoData => Errno::ENODATA,
        Kind::NoSuchPlace => Errno::ENXIO,
        Kind::TooLarge => Errno::EFBIG,
        Kind::NameTooLong => Errno::ENAMETOOLONG,
        Kind::Busy => Errno::EBUSY,
        Kind::TooMuch => Errno::ENOSPC,
    }
}
