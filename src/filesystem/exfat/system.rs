//! What the root directory says about the volume: label, bitmap and up-case table.

use super::entry_set::{kind, type_of};
use super::upcase::{self, Upcase};
use crate::base::{ByteLen, Fields};
use crate::filesystem::fat::clusters::{Allocation, Clusters};
use crate::filesystem::fat::slots::{Place, Slot, Slots};
use crate::filesystem::{Error, Result, index_of, utf16};

/// Where the fields of these entries are.
///
/// Source: exFAT file system specification, sections 7.1 to 7.3.
mod field {
    pub(super) const BITMAP_FLAGS: usize = 1;
    pub(super) const UPCASE_CHECKSUM: usize = 4;
    pub(super) const FIRST_CLUSTER: usize = 20;
    pub(super) const LEN: usize = 24;
    pub(super) const LABEL_LEN: usize = 1;
    pub(super) const LABEL: usize = 2;
}

const LABEL_LEN_MAX: usize = 11;

/// Slots that are looked at for these entries; they are the first ones.
const SLOT_COUNT_MAX: u64 = 4096;

/// A file that the volume keeps for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemFile {
    pub(super) allocation: Allocation,
    pub(super) len: ByteLen,
}

/// What was found.
pub(super) struct System {
    pub(super) label: Vec<u8>,
    /// The bitmap that counts.
    pub(super) bitmap: Option<SystemFile>,
    pub(super) upcase: Upcase,
    pub(super) warnings: Vec<String>,
}

impl System {
    /// Reads the entries in the root directory at `root`.
    ///
    /// # Errors
    ///
    /// Io. Damage is a warning: files can be read without any of it.
    pub(super) fn read(clusters: &Clusters, root: Place, active_table: u8) -> Result<Self> {
        let mut system = Self {
            label: vec![],
            bitmap: None,
            upcase: Upcase::of_unicode(),
            warnings: vec![],
        };
        let mut stored_upcase = None;
        let looked = system.look(clusters, root, active_table, &mut stored_upcase);
        system.warn(looked)?;
        let loaded = match stored_upcase {
            Some((file, checksum)) => load_upcase(clusters, &file, checksum),
            None => {
                let expected = "an entry in the root directory";
                Err(Error::corrupt("up-case table", 0, expected, 0_u8))
            }
        };
        if let Some(table) = system.warn(loaded)? {
            system.upcase = table;
        }
        Ok(system)
    }

    /// Turns damage into a warning.
    fn warn<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Err(damage) => {
                self.warnings.push(damage.to_string());
                Ok(None)
            }
        }
    }

    fn look(
        &mut self,
        clusters: &Clusters,
        root: Place,
        active_table: u8,
        stored_upcase: &mut Option<(SystemFile, u32)>,
    ) -> Result<()> {
        let mut slots = Slots::new(clusters, root, 0)?;
        while let Some(slot) = slots.next()? {
            let fields = Fields::new(&slot.bytes, slot.offset);
            match type_of(&slot) {
                kind::END => break,
                kind::BITMAP if fields.u8(field::BITMAP_FLAGS)? & 1 == active_table => {
                    self.bitmap = Some(SystemFile::read(&slot)?);
                }
                kind::UPCASE => {
                    let checksum = fields.le_u32(field::UPCASE_CHECKSUM)?;
                    *stored_upcase = Some((SystemFile::read(&slot)?, checksum));
                }
                kind::LABEL => self.label = label_in(&fields)?,
                _ => {}
            }
            if slot.index >= SLOT_COUNT_MAX {
                break;
            }
        }
        Ok(())
    }
}

impl SystemFile {
    fn read(slot: &Slot) -> Result<Self> {
        let fields = Fields::new(&slot.bytes, slot.offset);
        Ok(Self {
            allocation: Allocation {
                first: fields.le_u32(field::FIRST_CLUSTER)?,
                contiguous: None,
                place: slot.offset,
            },
            len: fields.le_u64(field::LEN)?,
        })
    }
}

fn label_in(fields: &Fields<'_>) -> Result<Vec<u8>> {
    let len = usize::from(fields.u8(field::LABEL_LEN)?).min(LABEL_LEN_MAX);
    let places = (field::LABEL..).step_by(2).take(len);
    let units: Vec<u16> = places
        .filter_map(|place| fields.le_u16(place).ok())
        .collect();
    Ok(utf16::to_bytes(&units))
}

fn load_upcase(clusters: &Clusters, file: &SystemFile, checksum: u32) -> Result<Upcase> {
    let place = file.allocation.place;
    if file.len == 0 || file.len > upcase::LEN_MAX {
        let expected = "at most 128 KiB";
        return Err(Error::corrupt(
            "up-case table length",
            place,
            expected,
            file.len,
        ));
    }
    let mut bytes = vec![0; index_of(file.len)];
    clusters.read(file.allocation, 0, &mut bytes)?;
    let computed = upcase::checksum(&bytes);
    if computed != checksum {
        let expected = "the checksum of the up-case table";
        return Err(Error::corrupt("TableChecksum", place, expected, checksum));
    }
    Ok(Upcase::parse(&bytes))
}
