//! Small objects as a whole: header, length, checksum, payload. See
//! docs/format/objects.md, "Envelope".

use super::cursor::{Cursor, demand, demand_checksum};
use super::{HEADER_LEN, ObjectHeader, ObjectKind, Result};
use crate::base::StoreId;

/// Bytes before the payload.
const PRELUDE_LEN: usize = HEADER_LEN + 16;

/// Returns the bytes of an object with `payload`.
pub fn seal_envelope(header: &ObjectHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PRELUDE_LEN + payload.len());
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(payload);
    let checksum = super::checksum(&bytes).to_le_bytes();
    bytes[HEADER_LEN + 8..PRELUDE_LEN].copy_from_slice(&checksum);
    bytes
}

/// Returns the payload of an object of `kind` of `store`.
///
/// # Errors
///
/// If a single byte is not as it was sealed, or it belongs to another store.
pub fn open_envelope(bytes: &[u8], kind: ObjectKind, store: StoreId) -> Result<&[u8]> {
    let header = ObjectHeader::decode(bytes, kind)?;
    let mut cursor = Cursor::new("envelope", bytes);
    cursor.take(HEADER_LEN)?;
    let len = cursor.u64()?;
    let checksum = cursor.u64()?;
    demand(
        len == cursor.remaining_len() as u64,
        "payload length",
        "the rest of the object",
        len,
    )?;
    let mut blank = bytes.to_vec();
    if let Some(field) = blank.get_mut(HEADER_LEN + 8..PRELUDE_LEN) {
        field.fill(0);
    }
    demand_checksum("envelope", checksum, &blank)?;
    demand(
        header.store == store,
        "store id",
        "the id in config.json",
        0_u64,
    )?;
    cursor.take(cursor.remaining_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_anywhere_is_refused() {
        let store = StoreId([3; 16]);
        let header = ObjectHeader::new(ObjectKind::CatalogEntry, store);
        let sealed = seal_envelope(&header, b"{\"a\":1}");
        assert_eq!(
            open_envelope(&sealed, ObjectKind::CatalogEntry, store).unwrap(),
            b"{\"a\":1}"
        );
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open_envelope(&bytes, ObjectKind::CatalogEntry, store).is_err(),
                "bit {bit}"
            );
        }
        for len in 0..sealed.len() {
            assert!(open_envelope(&sealed[..len], ObjectKind::CatalogEntry, store).is_err());
        }
        assert!(open_envelope(&sealed, ObjectKind::Key, store).is_err());
        assert!(open_envelope(&sealed, ObjectKind::CatalogEntry, StoreId([4; 16])).is_err());
    }
}
