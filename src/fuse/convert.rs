//! Between the types of the tree and those of the protocol.

use crate::base::Timestamp;
use crate::filesystem::{DeviceNumber, FileTime};
use crate::tree::{Attributes, FileKind};
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes in a block of `st_blocks`.
const STAT_BLOCK: u64 = 512;
pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::File => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

/// Returns the same point in time; the nearest that the system has if it is too far.
fn system_time(from: FileTime) -> SystemTime {
    let seconds = Duration::from_secs(from.seconds.unsigned_abs());
    let whole = if from.seconds >= 0 {
        UNIX_EPOCH.checked_add(seconds)
    } else {
        UNIX_EPOCH.checked_sub(seconds)
    };
    let part = Duration::from_nanos(from.nanoseconds.into());
    whole
        .and_then(|whole| whole.checked_add(part))
        .unwrap_or(UNIX_EPOCH)
}

/// Returns the number of a device as the protocol has it, which is that of the kernel:
/// 12 bits of major number between 8 and 12 bits of the minor one.
fn device_number(from: DeviceNumber) -> u32 {
    let (major, minor) = (from.major & 0xFFF, from.minor & 0xF_FFFF);
    (minor & 0xFF) | (major << 8) | ((minor & !0xFF) << 12)
}

pub(super) fn attributes(from: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(from.inode),
        size: from.len_bytes,
        blocks: from.allocated_len_bytes.div_ceil(STAT_BLOCK),
        atime: system_time(from.accessed_at),
        mtime: system_time(from.modified_at),
        ctime: system_time(from.changed_at),
        // Only sent on another system.
        crtime: UNIX_EPOCH,
        kind: file_type(from.kind),
        perm: from.mode,
        nlink: from.link_count,
        uid: from.uid,
        gid: from.gid,
        rdev: from.device.map_or(0, device_number),
        blksize: from.preferred_io_len,
        flags: 0,
    }
}

pub(super) fn timestamp(from: TimeOrNow) -> Timestamp {
    match from {
        TimeOrNow::SpecificTime(time) => Timestamp::from_system_time(time),
        TimeOrNow::Now => Timestamp::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_of_every_epoch_is_kept() {
        for (seconds, nanoseconds) in [
            (0, 0),
            (-1, 999_999_999),
            (-1, 0),
            (-2_147_483_648, 1),
            (15_032_385_535, 999_999_999),
            (1_833_029_933_770, 7),
        ] {
            let time = system_time(FileTime {
                seconds,
                nanoseconds,
            });
            let found = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).unwrap(),
                Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap(),
            };
            let expected = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
            assert_eq!(found, expected);
        }
        let far = FileTime {
            seconds: i64::MIN,
            nanoseconds: 0,
        };
        let _ = system_time(far);
    }

    #[test]
    fn device_numbers_are_those_of_the_kernel() {
        let number = |major, minor| device_number(DeviceNumber { major, minor });
        assert_eq!(number(8, 1), 0x801);
        assert_eq!(number(1, 3), 0x103);
        assert_eq!(number(259, 0x12345), 0x1231_0345);
    }
}
