//! Records of the MFT, and the attributes in them.
//!
//! Source: Linux-NTFS project, NTFS documentation, "FILE Record", "Standard Attribute
//! Header" and "Attributes"; Microsoft, `FILE_RECORD_SEGMENT_HEADER` and
//! `ATTRIBUTE_RECORD_HEADER`.

use super::fixup;
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, index_of, len_of};
use std::sync::Arc;

/// Types of attributes.
pub(super) mod kind {
    pub(in super::super) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in super::super) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in super::super) const FILE_NAME: u32 = 0x30;
    pub(in super::super) const VOLUME_NAME: u32 = 0x60;
    pub(in super::super) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in super::super) const DATA: u32 = 0x80;
    pub(in super::super) const INDEX_ROOT: u32 = 0x90;
    pub(in super::super) const INDEX_ALLOCATION: u32 = 0xA0;
    pub(in super::super) const BITMAP: u32 = 0xB0;
    pub(in super::super) const REPARSE_POINT: u32 = 0xC0;
    pub(in super::super) const EA: u32 = 0xE0;
}

/// Records that mean something of their own.
pub(super) mod number {
    pub(in super::super) const MFT: u64 = 0;
    pub(in super::super) const LOG: u64 = 2;
    pub(in super::super) const VOLUME: u64 = 3;
    pub(in super::super) const ROOT: u64 = 5;
    pub(in super::super) const BITMAP: u64 = 6;
    pub(in super::super) const UPCASE: u64 = 10;
    /// From here on are files of users.
    pub(in super::super) const FIRST_USER: u64 = 16;
}

/// A number that names a record and which of its users is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) number: u64,
    /// 0 if any is meant.
    pub(super) sequence: u16,
}

impl Reference {
    pub(super) const fn new(raw: u64) -> Self {
        let [.., low, high] = raw.to_le_bytes();
        Self {
            number: raw & 0xFFFF_FFFF_FFFF,
            sequence: u16::from_le_bytes([low, high]),
        }
    }
}

mod field {
    pub(super) const SEQUENCE: usize = 0x10;
    pub(super) const LINKS: usize = 0x12;
    pub(super) const ATTRIBUTES: usize = 0x14;
    pub(super) const FLAGS: usize = 0x16;
    pub(super) const USED: usize = 0x18;
    pub(super) const BASE: usize = 0x20;
    /// Of an attribute.
    pub(super) const KIND: usize = 0;
    pub(super) const LEN: usize = 4;
    pub(super) const IS_MAPPED: usize = 8;
    pub(super) const NAME_LEN: usize = 9;
    pub(super) const NAME: usize = 0xA;
    pub(super) const ATTRIBUTE_FLAGS: usize = 0xC;
    pub(super) const VALUE_LEN: usize = 0x10;
    pub(super) const VALUE: usize = 0x14;
    pub(super) const FIRST: usize = 0x10;
    pub(super) const LAST: usize = 0x18;
    pub(super) const RUNS: usize = 0x20;
    pub(super) const UNIT: usize = 0x22;
    pub(super) const ALLOCATED: usize = 0x28;
    pub(super) const SIZE: usize = 0x30;
    pub(super) const INITIALIZED: usize = 0x38;
    pub(super) const COMPRESSED: usize = 0x40;
}

const IN_USE: u16 = 1;
const IS_DIRECTORY: u16 = 2;
const ATTRIBUTE_LEN_MIN: usize = 0x18;
const END: u32 = 0xFFFF_FFFF;

/// Flags of an attribute.
pub(super) mod attribute_flag {
    pub(in super::super) const COMPRESSED: u16 = 0x00FF;
    pub(in super::super) const LZNT1: u16 = 0x0001;
    pub(in super::super) const ENCRYPTED: u16 = 0x4000;
    pub(in super::super) const SPARSE: u16 = 0x8000;
}

/// A record that was read, its update sequence applied.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    /// Where its first byte lies in the image, for messages.
    pub(super) offset: ByteOffset,
    pub(super) sequence: u16,
    pub(super) link_count: u16,
    pub(super) is_in_use: bool,
    pub(super) is_directory: bool,
    /// The record that this one belongs to; number 0 and sequence 0 if it is one itself.
    pub(super) base: Reference,
    attributes: usize,
    bytes: Arc<[u8]>,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// Corrupt if it is none.
    pub(super) fn parse(mut bytes: Vec<u8>, number: u64, offset: ByteOffset) -> Result<Self> {
        fixup::apply(&mut bytes, b"FILE", offset)?;
        let fields = Fields::new(&bytes, offset);
        let used = fields.le_u32(field::USED)?;
        if u64::from(used) > len_of(&bytes) {
            let place = fields.place(field::USED);
            let expected = "the length of a record";
            return Err(Error::corrupt("used bytes", place, expected, used));
        }
        let flags = fields.le_u16(field::FLAGS)?;
        let (sequence, link_count) = (
            fields.le_u16(field::SEQUENCE)?,
            fields.le_u16(field::LINKS)?,
        );
        let attributes = usize::from(fields.le_u16(field::ATTRIBUTES)?);
        let base = Reference::new(fields.le_u64(field::BASE)?);
        bytes.truncate(index_of(used));
        Ok(Self {
            number,
            offset,
            sequence,
            link_count,
            is_in_use: flags & IN_USE != 0,
            is_directory: flags & IS_DIRECTORY != 0,
            base,
            attributes,
            bytes: bytes.into(),
        })
    }

    /// Tells whether it is the first one of a file. The first record of the MFT has the
    /// number 0, and a sequence number.
    pub(super) const fn is_first(&self) -> bool {
        self.base.number == 0 && self.base.sequence == 0
    }

    /// Returns the number of the file that it belongs to.
    pub(super) const fn owner(&self) -> u64 {
        match self.is_first() {
            true => self.number,
            false => self.base.number,
        }
    }

    /// Returns what a copy of it costs in memory.
    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns its attributes; what is behind damage is not given.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            fields: Fields::new(&self.bytes, self.offset),
            position: Some(self.attributes),
        }
    }

    /// Returns the attribute of that type, name and first cluster.
    ///
    /// # Errors
    ///
    /// Corrupt if attributes before it are damaged.
    pub(super) fn find(&self, kind: u32, name: &[u8], first: u64) -> Result<Option<Attribute<'_>>> {
        for attribute in self.attributes() {
            let attribute = attribute?;
            if attribute.kind == kind
                && attribute.name == name
                && attribute.first_cluster()? == first
            {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }
}

/// Gives the attributes of a record one after the other.
pub(super) struct Attributes<'a> {
    fields: Fields<'a>,
    position: Option<usize>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.position.take()?;
        match Attribute::parse(&self.fields, position) {
            Ok(None) => None,
            Ok(Some(attribute)) => {
                self.position = position.checked_add(attribute.fields.bytes().len());
                Some(Ok(attribute))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// An attribute in a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    fields: Fields<'a>,
    pub(super) kind: u32,
    /// Units of UTF-16 as they are stored.
    pub(super) name: &'a [u8],
    pub(super) flags: u16,
    is_mapped: bool,
}

/// Where an attribute outside of its record lies, and how long it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// Length of the content in bytes.
    pub(super) size: u64,
    /// Bytes that were written; the rest is zeros.
    pub(super) initialized: u64,
    /// Bytes of clusters, holes of sparse and compressed ones not counted.
    pub(super) allocated: u64,
    /// The power of two of clusters that are compressed together.
    pub(super) unit_log: u8,
}

impl<'a> Attribute<'a> {
    fn parse(record: &Fields<'a>, position: usize) -> Result<Option<Self>> {
        let head = record.part(position, 4)?;
        let kind = head.le_u32(field::KIND)?;
        if kind == END {
            return Ok(None);
        }
        let len = record.part(position, 8)?.le_u32(field::LEN)?;
        if index_of(len) < ATTRIBUTE_LEN_MIN || len % 8 != 0 {
            let expected = "a multiple of 8 from 24 on";
            return Err(Error::corrupt(
                "attribute length",
                head.offset(),
                expected,
                len,
            ));
        }
        let fields = record.part(position, index_of(len))?;
        let name_len = usize::from(fields.u8(field::NAME_LEN)?).saturating_mul(2);
        let name = match name_len {
            0 => &[],
            _ => fields.slice(usize::from(fields.le_u16(field::NAME)?), name_len)?,
        };
        Ok(Some(Self {
            fields,
            kind,
            name,
            flags: fields.le_u16(field::ATTRIBUTE_FLAGS)?,
            is_mapped: fields.u8(field::IS_MAPPED)? != 0,
        }))
    }

    /// Returns where it begins in the image.
    pub(super) const fn offset(&self) -> ByteOffset {
        self.fields.offset()
    }

    /// Tells whether its value lies in clusters of its own.
    pub(super) const fn is_mapped(&self) -> bool {
        self.is_mapped
    }

    /// Returns the cluster of the value that this part begins with.
    pub(super) fn first_cluster(&self) -> Result<u64> {
        match self.is_mapped {
            true => Ok(self.fields.le_u64(field::FIRST)?),
            false => Ok(0),
        }
    }

    /// Returns a value that lies in the record.
    ///
    /// # Errors
    ///
    /// Corrupt if it lies elsewhere, or reaches beyond the attribute.
    pub(super) fn value(&self) -> Result<Fields<'a>> {
        if self.is_mapped {
            let expected = "a value in the record";
            return Err(Error::corrupt(
                "attribute",
                self.offset(),
                expected,
                self.kind,
            ));
        }
        let len = index_of(self.fields.le_u32(field::VALUE_LEN)?);
        let start = usize::from(self.fields.le_u16(field::VALUE)?);
        Ok(self.fields.part(start, len)?)
    }

    /// Returns how long a value outside of the record is; only its first part knows.
    ///
    /// # Errors
    ///
    /// Corrupt if it cannot be.
    pub(super) fn extent(&self) -> Result<Extent> {
        let size = self.fields.le_u64(field::SIZE)?;
        if i64::try_from(size).is_err() {
            let expected = "63 bits";
            let place = self.fields.place(field::SIZE);
            return Err(Error::corrupt(
                "size of an attribute",
                place,
                expected,
                size,
            ));
        }
        let has_holes = self.flags & (attribute_flag::COMPRESSED | attribute_flag::SPARSE) != 0;
        let allocated = match has_holes {
            true => field::COMPRESSED,
            false => field::ALLOCATED,
        };
        Ok(Extent {
            size,
            initialized: self.fields.le_u64(field::INITIALIZED)?.min(size),
            allocated: self.fields.le_u64(allocated)?,
            unit_log: self.fields.u8(field::UNIT)?,
        })
    }

    /// Returns the list of runs, and the cluster behind the last one; `None` if the
    /// attribute does not tell.
    pub(super) fn run_list(&self) -> Result<(&'a [u8], Option<u64>)> {
        let start = usize::from(self.fields.le_u16(field::RUNS)?);
        let end = match self.fields.le_u64(field::LAST)? {
            0 => None,
            last => Some(last.wrapping_add(1)),
        };
        let len = self.fields.bytes().len().checked_sub(start);
        let list = self.fields.slice(start, len.unwrap_or(usize::MAX))?;
        Ok((list, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of 1 KiB with these attributes.
    pub(in super::super) fn record(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4] = 0x30;
        bytes[6] = 3;
        bytes[0x14] = 0x38;
        bytes[0x16] = 1;
        bytes[0x38..0x38 + attributes.len()].copy_from_slice(attributes);
        let end = 0x38 + attributes.len();
        bytes[end..end + 4].fill(0xFF);
        bytes[0x18..0x1A].copy_from_slice(&(end as u16 + 8).to_le_bytes());
        bytes
    }

    fn resident(kind: u8, value: &[u8]) -> Vec<u8> {
        let len = (0x18 + value.len()).next_multiple_of(8);
        let mut bytes = vec![0; len];
        bytes[0] = kind;
        bytes[4] = len as u8;
        bytes[0x10] = value.len() as u8;
        bytes[0x14] = 0x18;
        bytes[0x18..0x18 + value.len()].copy_from_slice(value);
        bytes
    }

    #[test]
    fn attributes_are_found() {
        let attributes = [resident(0x10, b"one"), resident(0x80, b"content")].concat();
        let record = Record::parse(record(&attributes), 7, 0).unwrap();
        let found = record.find(kind::DATA, b"", 0).unwrap().unwrap();
        assert_eq!(found.value().unwrap().bytes(), b"content");
        assert!(record.find(kind::EA, b"", 0).unwrap().is_none());
        assert!(record.is_in_use && !record.is_directory);
    }

    #[test]
    fn damaged_attributes_are_errors() {
        for (position, value) in [
            (4, 0),
            (4, 9),
            (5, 9),
            (9, 200),
            (0x14, 250),
            (0x11, 2),
            (8, 1),
        ] {
            let mut attributes = resident(0x80, b"content");
            attributes[position] = value;
            let record = Record::parse(record(&attributes), 7, 0).unwrap();
            let found = record.find(kind::DATA, b"", 0);
            let value = found.and_then(|found| found.map(|found| found.value()).transpose());
            assert!(!matches!(value, Ok(Some(_))), "{position}");
        }
        let mut bytes = record(&[]);
        bytes[0x1A] = 9;
        assert!(Record::parse(bytes, 7, 0).is_err());
    }

    #[test]
    fn references_have_two_parts() {
        let found = Reference::new(0x1234_0000_0000_0567);
        assert_eq!((found.number, found.sequence), (0x567, 0x1234));
    }
}
