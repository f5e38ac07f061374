//! Special files: those of Interix (and of ntfs-3g), system files with a mark in their
//! content, and numbers of devices of the Linux subsystem, in extended attributes.
//!
//! Source: what ntfs-3g documents (`INTX_FILE`); Microsoft, `FILE_FULL_EA_INFORMATION`,
//! and the documentation of file permissions of the Windows Subsystem for Linux.

use super::index;
use super::inode::Inode;
use super::record::kind;
use super::stream::Stream;
use super::volume::Volume;
use crate::base::Fields;
use crate::filesystem::{DeviceNumber, Error, FileType, Result, index_of};

const MARK_LEN: u64 = 8;
const BLOCK_DEVICE: &[u8] = b"IntxBLK\0";
const CHARACTER_DEVICE: &[u8] = b"IntxCHR\0";
const SYMLINK: &[u8] = b"IntxLNK\x01";

/// A mark and a target of 4,096 units.
const LEN_MAX: u64 = MARK_LEN + 2 * 4096;
const DEVICE_LEN: u64 = 24;
const MAJOR: usize = 8;
const MINOR: usize = 16;

/// Extended attributes of a file that are looked through.
const EA_LEN_MAX: usize = 64 << 10;
const EA_DEVICE: &[u8] = b"$LXDEV\0";

/// What a system file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Interix {
    Symlink(Vec<u16>),
    Special(FileType, Option<DeviceNumber>),
}

/// Tells what a system file with that content is; `None` if it is a file.
///
/// # Errors
///
/// Those of reading it.
pub(super) fn find(data: &Stream, volume: &Volume, is_hidden: bool) -> Result<Option<Interix>> {
    match data.size() {
        0 if !is_hidden => return Ok(Some(Interix::Special(FileType::Fifo, None))),
        1 if !is_hidden => return Ok(Some(Interix::Special(FileType::Socket, None))),
        size if size <= MARK_LEN || size > LEN_MAX => return Ok(None),
        _ => {}
    }
    let mut bytes = vec![0; index_of(LEN_MAX)];
    // What cannot be read is a file, and reading it tells why.
    let count = match data.read(volume, 0, &mut bytes) {
        Ok(count) => count,
        Err(Error::Io(error)) => return Err(Error::Io(error)),
        Err(_) => return Ok(None),
    };
    bytes.truncate(count);
    parse(&Fields::new(&bytes, 0))
}

fn parse(fields: &Fields<'_>) -> Result<Option<Interix>> {
    let is_device = crate::filesystem::len_of(fields.bytes()) == DEVICE_LEN;
    let mark = fields.slice(0, index_of(MARK_LEN))?;
    let device = |file_type| -> Result<Option<Interix>> {
        let number = |position| -> Result<u32> {
            Ok(u32::try_from(fields.le_u64(position)?).unwrap_or(u32::MAX))
        };
        let device = DeviceNumber {
            major: number(MAJOR)?,
            minor: number(MINOR)?,
        };
        Ok(Some(Interix::Special(file_type, Some(device))))
    };
    match mark {
        BLOCK_DEVICE if is_device => device(FileType::BlockDevice),
        CHARACTER_DEVICE if is_device => device(FileType::CharacterDevice),
        SYMLINK => {
            let target = index::units(fields.rest(index_of(MARK_LEN)));
            Ok(Some(Interix::Symlink(target)))
        }
        _ => Ok(None),
    }
}

/// Returns the number of a device of the Linux subsystem.
///
/// # Errors
///
/// Those of reading the attributes.
pub(super) fn linux_device(inode: &Inode, volume: &Volume) -> Result<Option<DeviceNumber>> {
    let Some(stream) = inode.stream(volume, kind::EA, b"")? else {
        return Ok(None);
    };
    let bytes = stream.read_all(volume, EA_LEN_MAX)?;
    find_device(&Fields::new(&bytes, inode.record.offset))
}

fn find_device(fields: &Fields<'_>) -> Result<Option<DeviceNumber>> {
    let mut position: usize = 0;
    loop {
        let entry = Fields::new(fields.rest(position), fields.place(position));
        let (Ok(next), Ok(name_len)) = (entry.le_u32(0), entry.u8(5)) else {
            return Ok(None);
        };
        let value = usize::from(name_len).saturating_add(9);
        if entry.slice(8, EA_DEVICE.len()).ok() == Some(EA_DEVICE) {
            return Ok(Some(DeviceNumber {
                major: entry.le_u32(value)?,
                minor: entry.le_u32(value.saturating_add(4))?,
            }));
        }
        if next == 0 {
            return Ok(None);
        }
        position = position.saturating_add(index_of(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart() {
        let device = [
            CHARACTER_DEVICE,
            &[5, 1, 0, 0, 0, 0, 0, 0],
            &[7, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let number = DeviceNumber {
            major: 261,
            minor: 7,
        };
        let found = parse(&Fields::new(&device, 0)).unwrap();
        let expected = Interix::Special(FileType::CharacterDevice, Some(number));
        assert_eq!(found, Some(expected));
        assert_eq!(parse(&Fields::new(&device[..23], 0)).unwrap(), None);
        let link = [SYMLINK, b"t\0o\0"].concat();
        let found = parse(&Fields::new(&link, 0)).unwrap();
        assert_eq!(found, Some(Interix::Symlink(vec![0x74, 0x6F])));
        assert!(parse(&Fields::new(b"short", 0)).is_err());
    }

    #[test]
    fn numbers_of_devices_are_found_behind_others() {
        let entry = |next: u8, name: &[u8], value: &[u8]| {
            let mut bytes = vec![next, 0, 0, 0, 0, name.len() as u8 - 1, value.len() as u8, 0];
            bytes.extend(name);
            bytes.extend(value);
            bytes
        };
        let mut bytes = entry(20, b"$LXMOD\0", &[1, 0, 0, 0]);
        bytes.resize(20, 0);
        bytes.extend(entry(0, EA_DEVICE, &[8, 0, 0, 0, 3, 0, 0, 0]));
        let found = find_device(&Fields::new(&bytes, 0)).unwrap().unwrap();
        assert_eq!((found.major, found.minor), (8, 3));
        assert_eq!(find_device(&Fields::new(&bytes[..20], 0)).unwrap(), None);
        assert_eq!(find_device(&Fields::new(&[], 0)).unwrap(), None);
    }
}
