//! The volume: its geometry, where the MFT lies, and records and nodes by number.

use super::attribute_list::{self, Entry};
use super::bounded::Bounded;
use super::compression::UnitKey;
use super::extent::Run;
use super::inode::Inode;
use super::record::{Record, Reference, kind, number};
use super::stream::{self, Stream};
use super::superblock::Superblock;
use crate::base::ByteOffset;
use crate::filesystem::exfat::upcase::Upcase;
use crate::filesystem::{BlockReader, Error, Result, index_of, len_of};
use std::sync::Arc;

/// Runs of the MFT that are held, 32 bytes each.
const MFT_RUN_COUNT_MAX: usize = 1 << 16;

/// What caches hold in bytes: run lists that do not begin a value, nodes, decompressed
/// units and chunks.
const RUNS_BYTES_MAX: usize = 2 << 20;
const INODES_BYTES_MAX: usize = 6 << 20;
const UNITS_BYTES_MAX: usize = 2 << 20;

/// Bytes of the MFT that are read at once: neighbours are looked at one after the other.
const PIECE_LEN: u64 = 4096;

/// What everything else is read from.
pub(super) struct Volume {
    pub(super) superblock: Superblock,
    pub(super) blocks: BlockReader,
    /// Which units of names are the same.
    pub(super) upcase: Upcase,
    mft: Vec<Run>,
    /// Records that may be in use.
    record_count: u64,
    /// Whether records of the MFT cannot be found.
    pub(super) is_mft_short: bool,
    /// Whether the copy of its first records was read.
    pub(super) is_mirror: bool,
    pub(super) runs: Bounded<(u64, u64), Arc<[Run]>>,
    pub(super) inodes: Bounded<u64, Arc<Inode>>,
    pub(super) units: Bounded<UnitKey, Arc<[u8]>>,
}

impl Volume {
    /// Finds the MFT.
    ///
    /// # Errors
    ///
    /// Corrupt if neither its first record nor the copy of it can be read.
    pub(super) fn open(superblock: Superblock, blocks: BlockReader) -> Result<Self> {
        let mut volume = Self {
            superblock,
            blocks,
            upcase: Upcase::of_units(&[]),
            mft: vec![],
            record_count: 0,
            is_mft_short: false,
            is_mirror: false,
            runs: Bounded::new(RUNS_BYTES_MAX),
            inodes: Bounded::new(INODES_BYTES_MAX),
            units: Bounded::new(UNITS_BYTES_MAX),
        };
        let first = volume.superblock.mft_cluster;
        match volume.load_mft(first) {
            Err(Error::Corrupt {
                field,
                offset,
                expected,
                actual,
            }) => {
                volume.mft = vec![];
                let mirror = volume.superblock.mirror_cluster;
                volume
                    .load_mft(mirror)
                    .map_err(|_| Error::corrupt(field, offset, expected, actual))?;
                volume.is_mirror = true;
            }
            result => result?,
        }
        Ok(volume)
    }

    /// Reads the runs of the MFT from its first record, which lies at `cluster`.
    fn load_mft(&mut self, cluster: u64) -> Result<()> {
        let offset = self.superblock.offset_of(cluster);
        let bytes = self.blocks.block(offset, self.superblock.record_len)?;
        let record = Record::parse(bytes.to_vec(), number::MFT, offset)?;
        let missing = || Error::corrupt("MFT", offset, "an attribute with its runs", 0_u8);
        let data = record.find(kind::DATA, b"", 0)?.ok_or_else(missing)?;
        if !record.is_in_use || !data.is_mapped() {
            return Err(missing());
        }
        let extent = data.extent()?;
        self.mft = stream::runs_of(&data, self.superblock.cluster_count)?;
        let record_len = len_of_record(&self.superblock);
        self.record_count = extent.initialized.checked_div(record_len).unwrap_or(0);
        if let Some(list) = record.find(kind::ATTRIBUTE_LIST, b"", 0)? {
            let segments = [stream::Segment {
                first: 0,
                record: 0,
            }];
            let list = Stream::new(self, &record, &list, segments.to_vec())?;
            let added = attribute_list::read(&list, self, &record)
                .and_then(|entries| self.add_mft_runs(&entries));
            match added {
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                result => self.is_mft_short = result.is_err(),
            }
        }
        let mapped = self.mft.last().map_or(0, Run::end);
        let needed = self.superblock.clusters_for(extent.initialized);
        self.is_mft_short |= mapped < needed;
        Ok(())
    }

    /// Adds the runs of further records, which lie in what is known of the MFT.
    fn add_mft_runs(&mut self, entries: &[Entry]) -> Result<()> {
        for entry in entries {
            if entry.kind != kind::DATA || !entry.name.is_empty() || entry.first == 0 {
                continue;
            }
            let record = self.record(entry.record.number)?;
            let end = self.mft.last().map_or(0, Run::end);
            let is_own = record.is_in_use && record.owner() == number::MFT;
            let found = record.find(kind::DATA, b"", entry.first)?;
            let found = found.filter(|found| is_own && found.is_mapped());
            let Some(found) = found.filter(|_| entry.first == end) else {
                let expected = "the next runs of the MFT";
                return Err(Error::corrupt("MFT", record.offset, expected, entry.first));
            };
            let runs = stream::runs_of(&found, self.superblock.cluster_count)?;
            if self.mft.len().saturating_add(runs.len()) > MFT_RUN_COUNT_MAX {
                return Err(Error::unsupported("an MFT in more than 65,536 pieces"));
            }
            self.mft.extend(runs);
        }
        Ok(())
    }

    /// Returns how many records there are.
    pub(super) const fn record_count(&self) -> u64 {
        self.record_count
    }

    /// Returns where a record begins in the image, or 0 if it cannot be found.
    pub(super) fn record_offset(&self, number: u64) -> ByteOffset {
        let position = number.saturating_mul(len_of_record(&self.superblock));
        self.mft_place(position).map_or(0, |(offset, _)| offset)
    }

    /// Returns where a byte of the MFT lies, and how many follow it there.
    fn mft_place(&self, position: u64) -> Option<(ByteOffset, u64)> {
        let vcn = position.checked_shr(self.superblock.cluster_log)?;
        let index = self.mft.partition_point(|run| run.end() <= vcn);
        let run = self.mft.get(index).filter(|run| run.first <= vcn)?;
        let skip = position.checked_sub(self.superblock.offset_of(run.first))?;
        let left = self.superblock.offset_of(run.count).checked_sub(skip)?;
        let offset = self.superblock.offset_of(run.cluster?).checked_add(skip)?;
        Some((offset, left))
    }

    /// Returns the record with that number.
    ///
    /// # Errors
    ///
    /// NotFound if the MFT has no such record; Corrupt if it is damaged; Io.
    pub(super) fn record(&self, number: u64) -> Result<Record> {
        let missing = || Error::NotFound {
            what: "record of the MFT".into(),
        };
        if number >= self.record_count {
            // While the MFT is being found, its length is not known yet.
            return Err(missing());
        }
        let record_len = self.superblock.record_len;
        let start = number
            .checked_mul(len_of_record(&self.superblock))
            .ok_or_else(missing)?;
        let mut bytes = Vec::with_capacity(record_len);
        let mut first = None;
        while bytes.len() < record_len {
            let position = start.saturating_add(len_of(&bytes));
            let (offset, left) = self.mft_place(position).ok_or_else(missing)?;
            let count = index_of(left).min(record_len.saturating_sub(bytes.len()));
            self.append_mft(position, offset, count.max(1), &mut bytes)?;
            first = first.or(Some(offset));
        }
        bytes.truncate(record_len);
        Record::parse(bytes, number, first.unwrap_or(0))
    }

    /// Adds `count` bytes at `position` of the MFT, which lie at `offset`, to `target`.
    fn append_mft(
        &self,
        position: u64,
        offset: ByteOffset,
        count: usize,
        target: &mut Vec<u8>,
    ) -> Result<()> {
        let inside = position & PIECE_LEN.wrapping_sub(1);
        let end = inside.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        let piece = self.mft_place(position.saturating_sub(inside));
        let start = offset.saturating_sub(inside);
        let is_whole = piece.is_some_and(|piece| piece.0 == start && piece.1 >= PIECE_LEN);
        if is_whole && end <= PIECE_LEN {
            // What is damaged beside the record does not matter to it.
            if let Ok(block) = self.blocks.block(start, index_of(PIECE_LEN))
                && let Some(bytes) = block.get(index_of(inside)..index_of(end))
            {
                target.extend_from_slice(bytes);
                return Ok(());
            }
        }
        target.extend_from_slice(&self.blocks.block(offset, count)?);
        Ok(())
    }

    /// Returns a node.
    ///
    /// # Errors
    ///
    /// NotFound if the record is not in use or belongs to another one; otherwise as
    /// [`Volume::record`].
    pub(super) fn inode(&self, number: u64) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.get(&number) {
            return Ok(inode);
        }
        let record = self.record(number)?;
        if !record.is_in_use || !record.is_first() {
            return Err(Error::NotFound {
                what: "file in this record of the MFT".into(),
            });
        }
        let inode = Arc::new(Inode::load(self, record)?);
        self.inodes
            .put(number, Arc::clone(&inode), inode.bytes_len());
        Ok(inode)
    }

    /// Returns the node that a directory names.
    ///
    /// # Errors
    ///
    /// As [`Volume::inode`]; Corrupt if the record has another user by now.
    pub(super) fn inode_by(&self, reference: Reference) -> Result<Arc<Inode>> {
        let inode = self.inode(reference.number)?;
        let found = inode.record.sequence;
        if reference.sequence != 0 && reference.sequence != found {
            let expected = "the sequence number of the reference";
            let place = inode.record.offset;
            return Err(Error::corrupt("record of the MFT", place, expected, found));
        }
        Ok(inode)
    }
}

fn len_of_record(superblock: &Superblock) -> u64 {
    u64::try_from(superblock.record_len).unwrap_or(u64::MAX)
}
