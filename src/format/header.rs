//! The header at the start of every object. See docs/format/objects.md, "Header".

use super::cursor::{Cursor, demand};
use super::{Error, Result};
use crate::base::StoreId;

/// First bytes of every object; the last one catches transfers that change text.
const MAGIC: [u8; 8] = *b"TINTYPE\x1a";

/// The format that this version writes.
pub const FORMAT_VERSION: u16 = 1;

/// Length of the encoded header in bytes.
pub const HEADER_LEN: usize = 32;

/// What an object is. Values are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ObjectKind {
    /// Chunks and their trailer.
    Pack = 1,
    /// Places of chunks and hooks.
    Index = 2,
    /// One numbered entry of the log.
    CatalogEntry = 3,
    /// The log folded up to an entry.
    Checkpoint = 4,
    /// A secret of the store.
    Key = 5,
    /// Somebody who is alive.
    Lease = 6,
}

impl ObjectKind {
    fn from_u16(value: u16) -> Result<Self> {
        Ok(match value {
            1 => Self::Pack,
            2 => Self::Index,
            3 => Self::CatalogEntry,
            4 => Self::Checkpoint,
            5 => Self::Key,
            6 => Self::Lease,
            _ => {
                return Err(Error::Field {
                    field: "object kind",
                    expected: "1 to 6",
                    found: value.into(),
                });
            }
        })
    }
}

/// Header of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// What the object is.
    pub kind: ObjectKind,
    /// Which key sealed it; 0 while nothing is encrypted.
    pub key_epoch: u32,
    /// The store that it belongs to.
    pub store: StoreId,
}

impl ObjectHeader {
    /// Returns the header of an object in clear.
    pub fn new(kind: ObjectKind, store: StoreId) -> Self {
        Self {
            kind,
            key_epoch: 0,
            store,
        }
    }

    /// Returns the bytes of the header.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[10..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.key_epoch.to_le_bytes());
        bytes[16..].copy_from_slice(&self.store.0);
        bytes
    }

    /// Reads the header of an object of `kind`.
    ///
    /// # Errors
    ///
    /// If it is no object of ours, of another kind, or of a later format.
    pub fn decode(bytes: &[u8], kind: ObjectKind) -> Result<Self> {
        let mut cursor = Cursor::new("object header", bytes);
        let magic: [u8; 8] = cursor.array()?;
        demand(
            magic == MAGIC,
            "magic",
            "\"TINTYPE\\x1a\"",
            u64::from_le_bytes(magic),
        )?;
        let found = ObjectKind::from_u16(cursor.u16()?)?;
        demand(
            found == kind,
            "object kind",
            "the kind that the name says",
            found as u16,
        )?;
        let version = cursor.u16()?;
        if version != FORMAT_VERSION {
            return Err(Error::Unsupported(format!(
                "object has format version {version}, this program reads {FORMAT_VERSION}"
            )));
        }
        let key_epoch = cursor.u32()?;
        if key_epoch != 0 {
            return Err(Error::Unsupported(format!(
                "object is encrypted (key epoch {key_epoch})"
            )));
        }
        Ok(Self {
            kind,
            key_epoch,
            store: StoreId(cursor.array()?),
        })
    }
}
