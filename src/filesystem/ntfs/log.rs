//! The log of changes, as far as it tells whether the volume was left in order. It is
//! never replayed: Windows alone knows how, and ntfs-3g throws it away.
//!
//! Source: Linux-NTFS project, NTFS documentation, "$LogFile".

use super::fixup;
use super::record::{kind, number};
use super::volume::Volume;
use crate::base::Fields;
use crate::filesystem::{Error, Result, index_of};

/// What is read of its front: two restart pages of 4 KiB.
const PAGE_LEN: usize = 4096;

mod field {
    /// Of a page.
    pub(super) const PAGE_LEN: usize = 0x10;
    pub(super) const AREA: usize = 0x18;
    /// Of its restart area.
    pub(super) const SEQUENCE: usize = 0;
    pub(super) const CLIENTS_IN_USE: usize = 0xC;
    pub(super) const FLAGS: usize = 0xE;
    pub(super) const END: usize = 0x10;
}

const NO_CLIENT: u16 = 0xFFFF;
const IS_CLEAN: u16 = 2;

/// Tells why the volume may not be in order; `None` if it is.
///
/// # Errors
///
/// Io.
pub(super) fn damage(volume: &Volume) -> Result<Option<&'static str>> {
    match newest(volume) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some("its log ($LogFile) is not empty and was not replayed")),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) => Ok(Some("its log ($LogFile) cannot be read")),
    }
}

/// Tells whether the newer restart page says that nothing is to be done.
fn newest(volume: &Volume) -> Result<bool> {
    let inode = volume.inode(number::LOG)?;
    let data = inode.stream(volume, kind::DATA, b"")?;
    let missing = || Error::unsupported("a volume without a log");
    let data = data.ok_or_else(missing)?;
    let mut found: Option<(u64, bool)> = None;
    let mut offset = 0;
    for _ in 0..2 {
        let mut page = vec![0; PAGE_LEN];
        data.read(volume, offset, &mut page)?;
        if offset == 0 && fixup::is_empty_log(&page) {
            return Ok(true);
        }
        let (page_len, state) = parse(page)?;
        if let Some(state) = state {
            found = found.max(Some(state));
        }
        offset = page_len;
    }
    found.map(|(_, is_clean)| is_clean).ok_or_else(missing)
}

/// Returns the length of a page, and its place among others and whether it is clean.
fn parse(mut page: Vec<u8>) -> Result<(u64, Option<(u64, bool)>)> {
    let len = u64::from(Fields::new(&page, 0).le_u32(field::PAGE_LEN)?);
    let Ok(checked) = fixup::checked_len(len, PAGE_LEN, 0) else {
        return Ok((u64::try_from(PAGE_LEN).unwrap_or(0), None));
    };
    page.truncate(checked);
    if fixup::apply(&mut page, b"RSTR", 0).is_err() {
        return Ok((len, None));
    }
    let fields = Fields::new(&page, 0);
    let area = fields.part(index_of(fields.le_u16(field::AREA)?), field::END)?;
    let is_clean = area.le_u16(field::CLIENTS_IN_USE)? == NO_CLIENT
        || area.le_u16(field::FLAGS)? & IS_CLEAN != 0;
    Ok((len, Some((area.le_u64(field::SEQUENCE)?, is_clean))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(clients: u16, flags: u8) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"RSTR");
        bytes[4..8].copy_from_slice(&[0x1E, 0, 9, 0]);
        bytes[0x11] = 0x10;
        bytes[0x18] = 0x40;
        bytes[0x40] = 7;
        bytes[0x4C..0x4E].copy_from_slice(&clients.to_le_bytes());
        bytes[0x4E] = flags;
        bytes
    }

    #[test]
    fn a_page_tells_how_the_volume_was_left() {
        assert_eq!(parse(page(0, 0)).unwrap(), (4096, Some((7, false))));
        assert_eq!(parse(page(0, 2)).unwrap(), (4096, Some((7, true))));
        assert_eq!(parse(page(NO_CLIENT, 0)).unwrap(), (4096, Some((7, true))));
        let mut torn = page(0, 0);
        torn[511] = 1;
        assert_eq!(parse(torn).unwrap(), (4096, None));
        assert_eq!(parse(vec![0; 4096]).unwrap(), (4096, None));
    }
}
