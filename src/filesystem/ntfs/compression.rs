//! Compressed values: units of up to 16 clusters, each a hole, as it is, or an LZNT1
//! stream in fewer clusters, with holes behind them.
//!
//! Source: Linux-NTFS project, NTFS documentation, "Data Runs", section on compression.

use super::lznt1;
use super::record::attribute_flag;
use super::stream::{Mapped, Walker};
use super::volume::Volume;
use crate::base::ByteOffset;
use crate::filesystem::{Error, Result, index_of, len_of};
use std::sync::Arc;

/// The longest unit: 16 clusters of 4 KiB. Windows compresses nothing on volumes with
/// larger clusters.
const UNIT_LEN_MAX: u64 = 64 << 10;

/// What a decompressed unit is known by: the record, type and name of its value, and its
/// number. Chunks of the overlay filter have no type.
pub(super) type UnitKey = (u64, Option<u32>, Arc<[u8]>, u64);

/// What a unit is.
enum Unit {
    Hole,
    Plain,
    /// So many clusters of a stream.
    Compressed(u64),
}

impl Mapped {
    /// Returns how many clusters are compressed together.
    ///
    /// # Errors
    ///
    /// Unsupported if it is another compression, or its units are too large.
    pub(super) fn unit_clusters(&self, volume: &Volume) -> Result<u64> {
        if self.flags & attribute_flag::COMPRESSED != attribute_flag::LZNT1 {
            let number = self.flags & attribute_flag::COMPRESSED;
            return Err(Error::unsupported(format!("NTFS compression {number}")));
        }
        let clusters = 1_u64.checked_shl(self.extent.unit_log.into());
        let len = clusters.map_or(u64::MAX, |count| volume.superblock.offset_of(count));
        match clusters.filter(|count| *count > 1 && (4096..=UNIT_LEN_MAX).contains(&len)) {
            Some(clusters) => Ok(clusters),
            None => Err(Error::unsupported(format!(
                "compressed units of 2^{} clusters",
                self.extent.unit_log
            ))),
        }
    }

    /// Fills `target`, all of it before the end of what was written.
    pub(super) fn read_compressed(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<()> {
        let clusters = self.unit_clusters(volume)?;
        let unit_len = volume.superblock.offset_of(clusters);
        let mut walker = Walker::new(self);
        let (mut position, mut rest) = (offset, target);
        while !rest.is_empty() {
            let number = position.checked_div(unit_len).unwrap_or(0);
            let start = number.saturating_mul(unit_len);
            let skip = position.saturating_sub(start);
            let count = index_of(unit_len.saturating_sub(skip))
                .min(rest.len())
                .max(1);
            let (now, later) = rest.split_at_mut(count);
            let first = number.saturating_mul(clusters);
            match self.unit(volume, &mut walker, first, clusters)? {
                Unit::Hole => now.fill(0),
                Unit::Plain => self.read_plain(volume, position, now)?,
                Unit::Compressed(stored) => {
                    let bytes = self.decompressed(volume, number, unit_len, stored)?;
                    let from = bytes.get(index_of(skip)..).unwrap_or_default();
                    // The unit was decompressed up to the end of what was written.
                    now.copy_from_slice(from.get(..count).unwrap_or_default());
                }
            }
            position = position.saturating_add(len_of(now));
            rest = later;
        }
        Ok(())
    }

    /// Looks at the runs of a unit: clusters come first, then holes.
    fn unit(
        &self,
        volume: &Volume,
        walker: &mut Walker<'_>,
        first: u64,
        clusters: u64,
    ) -> Result<Unit> {
        let end = first.saturating_add(clusters);
        let needed = volume.superblock.clusters_for(self.extent.size);
        let (mut vcn, mut stored, mut is_hole) = (first, 0_u64, false);
        while vcn < end {
            let run = match walker.run_at(volume, vcn) {
                Ok(run) => run,
                // The last unit may end with the content.
                Err(Error::Corrupt { .. }) if vcn > first && vcn >= needed => break,
                Err(error) => return Err(error),
            };
            let count = run.end().min(end).saturating_sub(vcn);
            match run.cluster {
                None => is_hole = true,
                Some(_) if is_hole => {
                    let expected = "no clusters behind the holes of a unit";
                    let place = volume.record_offset(self.owner);
                    return Err(Error::corrupt("compressed unit", place, expected, vcn));
                }
                Some(_) => stored = stored.saturating_add(count),
            }
            vcn = vcn.saturating_add(count.max(1));
        }
        Ok(match stored {
            0 => Unit::Hole,
            _ if stored == clusters => Unit::Plain,
            _ => Unit::Compressed(stored),
        })
    }

    /// Tells whether a unit has no clusters. One that is damaged has some.
    ///
    /// # Errors
    ///
    /// Io.
    pub(super) fn is_hole(
        &self,
        volume: &Volume,
        walker: &mut Walker<'_>,
        first: u64,
        clusters: u64,
    ) -> Result<bool> {
        match self.unit(volume, walker, first, clusters) {
            Err(Error::Io(error)) => Err(Error::Io(error)),
            found => Ok(matches!(found, Ok(Unit::Hole))),
        }
    }

    fn decompressed(
        &self,
        volume: &Volume,
        number: u64,
        unit_len: u64,
        stored: u64,
    ) -> Result<Arc<[u8]>> {
        let key = (self.owner, Some(self.kind), Arc::clone(&self.name), number);
        if let Some(found) = volume.units.get(&key) {
            return Ok(found);
        }
        let start = number.saturating_mul(unit_len);
        let mut source = vec![0; index_of(volume.superblock.offset_of(stored))];
        self.read_plain(volume, start, &mut source)?;
        let len = self.extent.initialized.saturating_sub(start).min(unit_len);
        let mut target = vec![0; index_of(len.next_multiple_of(4096).min(unit_len))];
        if lznt1::decompress(&source, &mut target).is_none() {
            let expected = "an LZNT1 stream";
            let place = volume.record_offset(self.owner);
            return Err(Error::corrupt("compressed unit", place, expected, number));
        }
        let bytes: Arc<[u8]> = target.into();
        volume.units.put(key, Arc::clone(&bytes), bytes.len());
        Ok(bytes)
    }
}
