//! The entries that make one file: its attributes and times, its stream, its name, and
//! whatever else belongs to it, under one checksum.
//!
//! Source: exFAT file system specification, sections 6 and 7.

use crate::base::{ByteOffset, Fields};
use crate::filesystem::fat::slots::{Slot, Slots};
use crate::filesystem::{Error, Result};

/// Types of entries. The highest bit says that it is in use, the next that it belongs
/// to the one before, the third that it may be ignored.
pub(super) mod kind {
    pub(in super::super) const END: u8 = 0x00;
    pub(in super::super) const BITMAP: u8 = 0x81;
    pub(in super::super) const UPCASE: u8 = 0x82;
    pub(in super::super) const LABEL: u8 = 0x83;
    pub(in super::super) const FILE: u8 = 0x85;
    pub(in super::super) const STREAM: u8 = 0xC0;
    pub(in super::super) const NAME: u8 = 0xC1;
    pub(in super::super) const SECONDARY: u8 = 0xC0;
    pub(in super::super) const BENIGN: u8 = 0x20;
}

const SECONDARY_COUNT: usize = 1;
const CHECKSUM: usize = 2;
const NAME_LEN: usize = 3;
const NAME_UNITS: usize = 2;
const UNITS_PER_ENTRY: usize = 15;

/// What is wrong with a set that is otherwise whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The checksum that is stored, and not that of the set.
    Checksum(u16),
    /// An entry that must be understood and is not.
    Unknown(u8),
}

/// The entries of one file.
#[derive(Clone, Debug)]
pub(super) struct EntrySet {
    /// The first entry and the stream.
    pub(super) file: [u8; 32],
    pub(super) stream: [u8; 32],
    pub(super) name: Vec<u16>,
    pub(super) flaw: Option<Flaw>,
    /// Where the first and the last entry lie, and the number of the slot behind.
    pub(super) offset: ByteOffset,
    pub(super) last_offset: ByteOffset,
    pub(super) first_index: u64,
    pub(super) next_index: u64,
}

/// What came of reading a set.
pub(super) enum Read {
    Whole(Box<EntrySet>),
    /// It is no set; this entry does not belong to it any more.
    Broken(Error, Option<Slot>),
}

/// Returns the type of an entry.
pub(super) fn type_of(slot: &Slot) -> u8 {
    slot.bytes.first().copied().unwrap_or(kind::END)
}

impl EntrySet {
    /// Reads the set that begins with `first`, of which `slots` has the rest.
    ///
    /// # Errors
    ///
    /// Those of the directory.
    pub(super) fn read(slots: &mut Slots<'_>, first: &Slot) -> Result<Read> {
        let fields = Fields::new(&first.bytes, first.offset);
        let count = fields.u8(SECONDARY_COUNT)?;
        let broken = |rest| Ok(Read::Broken(broken_at(first.offset, count), rest));
        let mut set = Self {
            file: first.bytes,
            stream: [0; 32],
            name: vec![],
            flaw: None,
            offset: first.offset,
            last_offset: first.offset,
            first_index: first.index,
            next_index: first.index.saturating_add(1),
        };
        let mut sum = checksum_of_first(&first.bytes);
        let mut name_len = 0;
        for number in 0..count {
            let Some(slot) = slots.next()? else {
                return broken(None);
            };
            let found = type_of(&slot);
            if found & kind::SECONDARY != kind::SECONDARY
                || (number == 0) != (found == kind::STREAM)
            {
                return broken(Some(slot));
            }
            if found == kind::STREAM {
                set.stream = slot.bytes;
                name_len = slot.bytes.get(NAME_LEN).copied().map_or(0, usize::from);
            } else if found == kind::NAME {
                push_units(&mut set.name, &slot);
            } else if found & kind::BENIGN == 0 {
                set.flaw = Some(Flaw::Unknown(found));
            }
            sum = slot.bytes.iter().fold(sum, add);
            set.last_offset = slot.offset;
            set.next_index = slot.index.saturating_add(1);
        }
        if name_len == 0 || set.name.len() < name_len {
            return broken(None);
        }
        set.name.truncate(name_len);
        let stored = fields.le_u16(CHECKSUM)?;
        if stored != sum {
            set.flaw = Some(Flaw::Checksum(stored));
        }
        Ok(Read::Whole(Box::new(set)))
    }

    /// Fails if the set has a flaw.
    ///
    /// # Errors
    ///
    /// Corrupt or Unsupported.
    pub(super) fn check(&self) -> Result<()> {
        match self.flaw {
            None => Ok(()),
            Some(Flaw::Checksum(found)) => {
                let expected = "the checksum of the entries";
                let place = self.offset.saturating_add(2);
                Err(Error::corrupt("SetChecksum", place, expected, found))
            }
            Some(Flaw::Unknown(found)) => Err(Error::unsupported(format!(
                "exFAT directory entry of type {found:#04x}"
            ))),
        }
    }
}

fn broken_at(offset: ByteOffset, count: u8) -> Error {
    let expected = "a stream and the entries of a name";
    Error::corrupt("directory entry set", offset, expected, count)
}

fn push_units(name: &mut Vec<u16>, slot: &Slot) {
    let fields = Fields::new(&slot.bytes, slot.offset);
    let places = (NAME_UNITS..).step_by(2).take(UNITS_PER_ENTRY);
    name.extend(places.filter_map(|place| fields.le_u16(place).ok()));
}

fn add(sum: u16, byte: &u8) -> u16 {
    sum.rotate_right(1).wrapping_add(u16::from(*byte))
}

/// The checksum is not part of itself.
fn checksum_of_first(bytes: &[u8; 32]) -> u16 {
    let (before, rest) = bytes.split_at(CHECKSUM);
    let behind = rest.iter().skip(2);
    before.iter().chain(behind).fold(0, add)
}
