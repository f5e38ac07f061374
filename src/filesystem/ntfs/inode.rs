//! Files: what the records of one say about it.
//!
//! Source: Linux-NTFS project, NTFS documentation, "$STANDARD_INFORMATION" and
//! "$FILE_NAME"; what ntfs-3g shows for files of Interix and of the Linux subsystem.

use super::attribute_list::{self, Entry};
use super::dir::Index;
use super::index;
use super::interix::{self, Interix};
use super::record::{Record, Reference, kind};
use super::reparse::{self, Reparse};
use super::stream::{Segment, Stream};
use super::time;
use super::volume::Volume;
use crate::base::Fields;
use crate::filesystem::{DeviceNumber, Error, FileTime, FileType, Result};
use std::sync::Arc;

/// The name of the index of a directory: `$I30`.
pub(super) const DIRECTORY_INDEX: &[u8] = b"$\0I\x003\x000\0";

/// Attributes of a file, as `attrib` of Windows shows them.
pub(super) mod file_flag {
    pub(in super::super) const HIDDEN: u32 = 0x2;
    pub(in super::super) const SYSTEM: u32 = 0x4;
    pub(in super::super) const REPARSE_POINT: u32 = 0x400;
    pub(in super::super) const COMPRESSED: u32 = 0x800;
    pub(in super::super) const OFFLINE: u32 = 0x1000;
    pub(in super::super) const ENCRYPTED: u32 = 0x4000;
    pub(in super::super) const RECALL_ON_DATA_ACCESS: u32 = 0x40_0000;
    /// Of a name in a directory: it names a directory.
    pub(in super::super) const IS_DIRECTORY: u32 = 0x1000_0000;
}

mod field {
    pub(super) const CREATED: usize = 0;
    pub(super) const MODIFIED: usize = 8;
    pub(super) const CHANGED: usize = 0x10;
    pub(super) const ACCESSED: usize = 0x18;
    pub(super) const FLAGS: usize = 0x20;
}

/// The four times of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) created: FileTime,
    pub(super) modified: FileTime,
    pub(super) changed: FileTime,
    pub(super) accessed: FileTime,
}

/// A file or directory.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) record: Record,
    list: Option<Vec<Entry>>,
    pub(super) times: Times,
    pub(super) flags: u32,
    pub(super) file_type: FileType,
    pub(super) device: Option<DeviceNumber>,
    pub(super) reparse: Option<Reparse>,
    /// The target of a symbolic link of Interix.
    pub(super) interix_target: Option<Vec<u16>>,
    /// The value without a name; directories have none.
    pub(super) data: Option<Stream>,
    /// The index of names of a directory; `None` if it is damaged.
    pub(super) index: Option<Arc<Index>>,
    /// Names that are not the short form of another one.
    pub(super) link_count: u32,
    /// The directory of its first name.
    pub(super) parent: Option<Reference>,
}

impl Inode {
    /// Reads everything that is needed of most files.
    ///
    /// # Errors
    ///
    /// Corrupt if its records are damaged; Io.
    pub(super) fn load(volume: &Volume, record: Record) -> Result<Self> {
        let list = match record.find(kind::ATTRIBUTE_LIST, b"", 0)? {
            Some(attribute) => {
                let segments = own_segment(&record);
                let list = Stream::new(volume, &record, &attribute, segments)?;
                Some(attribute_list::read(&list, volume, &record)?)
            }
            None => None,
        };
        let standard = record.find(kind::STANDARD_INFORMATION, b"", 0)?;
        let Some(standard) = standard else {
            let expected = "standard information";
            let found = record.number;
            return Err(Error::corrupt(
                "record of the MFT",
                record.offset,
                expected,
                found,
            ));
        };
        let fields = standard.value()?;
        let mut inode = Self {
            times: times(&fields)?,
            flags: fields.le_u32(field::FLAGS)?,
            file_type: match record.is_directory {
                true => FileType::Directory,
                false => FileType::Regular,
            },
            record,
            list,
            device: None,
            reparse: None,
            interix_target: None,
            data: None,
            index: None,
            link_count: 0,
            parent: None,
        };
        inode.count_names(volume)?;
        inode.data = inode.stream(volume, kind::DATA, b"")?;
        inode.find_type(volume)?;
        if inode.file_type == FileType::Directory {
            // Damage is told when somebody looks into it.
            inode.index = Index::load(volume, &inode).ok().map(Arc::new);
        }
        Ok(inode)
    }

    /// Returns what it costs in memory.
    pub(super) fn bytes_len(&self) -> usize {
        let list = self.list.iter().flatten().fold(0_usize, |sum, entry| {
            sum.saturating_add(size_of::<Entry>())
                .saturating_add(entry.name.len())
        });
        let target = self.interix_target.as_ref().map_or(0, Vec::len);
        let index = self.index.as_ref().map_or(0, |index| index.bytes_len());
        size_of::<Self>()
            .saturating_add(list)
            .saturating_add(target.saturating_mul(2))
            .saturating_add(self.reparse.as_ref().map_or(0, Reparse::bytes_len))
            .saturating_add(self.data.as_ref().map_or(0, Stream::bytes_len))
            .saturating_add(index)
            .saturating_add(self.record.bytes_len())
    }

    /// Tells the type and what depends on it.
    fn find_type(&mut self, volume: &Volume) -> Result<()> {
        if self.flags & file_flag::REPARSE_POINT != 0 {
            let reparse = self.read_reparse(volume)?;
            if let Some(file_type) = reparse.file_type() {
                self.file_type = file_type;
            }
            if let Reparse::Special(FileType::CharacterDevice | FileType::BlockDevice) = reparse {
                self.device = interix::linux_device(self, volume)?;
            }
            self.reparse = Some(reparse);
            return Ok(());
        }
        let is_interix = self.flags & file_flag::SYSTEM != 0 && !self.record.is_directory;
        if let (true, Some(data)) = (is_interix, &self.data) {
            let is_hidden = self.flags & file_flag::HIDDEN != 0;
            match interix::find(data, volume, is_hidden)? {
                Some(Interix::Symlink(target)) => {
                    self.file_type = FileType::Symlink;
                    self.interix_target = Some(target);
                }
                Some(Interix::Special(file_type, device)) => {
                    self.file_type = file_type;
                    self.device = device;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn read_reparse(&self, volume: &Volume) -> Result<Reparse> {
        let value = match self.stream(volume, kind::REPARSE_POINT, b"") {
            Ok(Some(stream)) => stream.read_all(volume, reparse::LEN_MAX),
            Ok(None) => Ok(vec![]),
            Err(error) => Err(error),
        };
        match value {
            Ok(value) => Ok(Reparse::parse(&value, self.record.offset)),
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Err(_) => Ok(Reparse::Damaged),
        }
    }

    /// Counts names, and finds the directory of the first one.
    fn count_names(&mut self, volume: &Volume) -> Result<()> {
        let (mut short_count, mut parent) = (0_u32, None);
        let mut look_at = |record: &Record| -> Result<()> {
            for attribute in record.attributes() {
                let attribute = attribute?;
                if attribute.kind != kind::FILE_NAME {
                    continue;
                }
                let name = index::FileName::parse(&attribute.value()?)?;
                match name.is_short {
                    true => short_count = short_count.saturating_add(1),
                    false => parent = parent.or(Some(name.parent)),
                }
            }
            Ok(())
        };
        look_at(&self.record)?;
        let mut others: Vec<u64> = self
            .list
            .iter()
            .flatten()
            .filter(|entry| entry.kind == kind::FILE_NAME)
            .map(|entry| entry.record.number)
            .filter(|number| *number != self.record.number)
            .collect();
        others.sort_unstable();
        others.dedup();
        for number in others {
            look_at(&self.part(volume, number)?)?;
        }
        self.link_count = u32::from(self.record.link_count).saturating_sub(short_count);
        self.parent = parent;
        Ok(())
    }

    /// Returns another record of this file.
    ///
    /// # Errors
    ///
    /// Corrupt if it belongs to another one.
    fn part(&self, volume: &Volume, number: u64) -> Result<Record> {
        let record = volume.record(number)?;
        if record.owner() != self.record.number || !record.is_in_use {
            let expected = "a record of this file";
            return Err(Error::corrupt(
                "base of a record",
                record.offset,
                expected,
                record.base.number,
            ));
        }
        Ok(record)
    }

    /// Returns the value of that type and name (units of UTF-16 as they are stored).
    ///
    /// # Errors
    ///
    /// Corrupt if records are damaged; Io.
    pub(super) fn stream(&self, volume: &Volume, kind: u32, name: &[u8]) -> Result<Option<Stream>> {
        let Some(list) = &self.list else {
            let Some(attribute) = self.record.find(kind, name, 0)? else {
                return Ok(None);
            };
            let segments = own_segment(&self.record);
            return Stream::new(volume, &self.record, &attribute, segments).map(Some);
        };
        let segments: Vec<Segment> = list
            .iter()
            .filter(|entry| entry.kind == kind && *entry.name == *name)
            .map(|entry| Segment {
                first: entry.first,
                record: entry.record.number,
            })
            .collect();
        let Some(first) = segments.first() else {
            return Ok(None);
        };
        let other;
        let record = match first.record == self.record.number {
            true => &self.record,
            false => {
                other = self.part(volume, first.record)?;
                &other
            }
        };
        let Some(attribute) = record.find(kind, name, 0)? else {
            let expected = "the attribute that the list names";
            return Err(Error::corrupt(
                "record of the MFT",
                record.offset,
                expected,
                kind,
            ));
        };
        Stream::new(volume, record, &attribute, segments).map(Some)
    }

    /// Returns the names of all values of a type (units of UTF-16 as they are stored), at
    /// most `max`.
    pub(super) fn stream_names(&self, kind: u32, max: usize) -> Result<Vec<Vec<u8>>> {
        let mut names: Vec<Vec<u8>> = vec![];
        match &self.list {
            Some(list) => {
                let entries = list
                    .iter()
                    .filter(|entry| entry.kind == kind && entry.first == 0);
                names.extend(entries.map(|entry| entry.name.to_vec()).take(max));
            }
            None => {
                for attribute in self.record.attributes() {
                    let attribute = attribute?;
                    if attribute.kind == kind && names.len() < max {
                        names.push(attribute.name.to_vec());
                    }
                }
            }
        }
        Ok(names)
    }
}

fn own_segment(record: &Record) -> Vec<Segment> {
    vec![Segment {
        first: 0,
        record: record.number,
    }]
}

fn times(fields: &Fields<'_>) -> Result<Times> {
    let at = |position| -> Result<FileTime> { Ok(time::decode(fields.le_u64(position)?)) };
    Ok(Times {
        created: at(field::CREATED)?,
        modified: at(field::MODIFIED)?,
        changed: at(field::CHANGED)?,
        accessed: at(field::ACCESSED)?,
    })
}

/// A node with what it was asked through.
pub(super) type Node = Arc<Inode>;
