//! The value of an attribute: in its record, or in runs of clusters that one or several
//! records list. Compressed ones are in `compression`.

use super::extent::{self, Run};
use super::record::{Attribute, Record, attribute_flag};
use super::volume::Volume;
use crate::base::ByteOffset;
use crate::filesystem::{Error, ExtentPlace, FileExtent, Result, index_of, len_of};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A part of the run list of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First cluster of the value that it lists.
    pub(super) first: u64,
    /// The record that it lies in.
    pub(super) record: u64,
}

/// A value outside of its record.
#[derive(Clone, Debug)]
pub(super) struct Mapped {
    pub(super) kind: u32,
    pub(super) name: Arc<[u8]>,
    /// The file that it belongs to.
    pub(super) owner: u64,
    pub(super) extent: super::record::Extent,
    pub(super) flags: u16,
    /// In rising order of clusters; at least one.
    pub(super) segments: Arc<[Segment]>,
    /// The runs of the first one, which most values have no other beside; `None` if they
    /// are damaged.
    first_runs: Option<Arc<[Run]>>,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(super) enum Stream {
    Resident(Arc<[u8]>, u16),
    Mapped(Mapped),
}

impl Stream {
    /// Returns the value whose first part is `attribute` of `record`.
    pub(super) fn new(
        volume: &Volume,
        record: &Record,
        attribute: &Attribute<'_>,
        segments: Vec<Segment>,
    ) -> Result<Self> {
        if !attribute.is_mapped() {
            let value = attribute.value()?.bytes();
            return Ok(Self::Resident(value.into(), attribute.flags));
        }
        Ok(Self::Mapped(Mapped {
            kind: attribute.kind,
            name: attribute.name.into(),
            owner: record.owner(),
            extent: attribute.extent()?,
            flags: attribute.flags,
            segments: segments.into(),
            // Damage is told when somebody reads.
            first_runs: runs_of(attribute, volume.superblock.cluster_count)
                .ok()
                .map(Arc::from),
        }))
    }

    /// Returns what it costs in memory.
    pub(super) fn bytes_len(&self) -> usize {
        match self {
            Self::Resident(value, _) => value.len(),
            Self::Mapped(mapped) => {
                let runs = mapped.first_runs.as_deref().unwrap_or_default();
                size_of_val(runs)
                    .saturating_add(size_of_val::<[Segment]>(&mapped.segments))
                    .saturating_add(mapped.name.len())
            }
        }
    }

    /// Returns its length in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Resident(value, _) => len_of(value),
            Self::Mapped(mapped) => mapped.extent.size,
        }
    }

    /// Returns the bytes that it takes; a value in a record counts in eights.
    pub(super) fn allocated(&self) -> u64 {
        match self {
            Self::Resident(value, _) => len_of(value).saturating_add(7) & !7,
            Self::Mapped(mapped) => mapped.extent.allocated,
        }
    }

    /// Returns the flags of the attribute.
    pub(super) const fn flags(&self) -> u16 {
        match self {
            Self::Resident(_, flags) => *flags,
            Self::Mapped(mapped) => mapped.flags,
        }
    }

    /// Fills `target` from `offset`, as far as there is something; returns how much.
    ///
    /// # Errors
    ///
    /// Unsupported if it is encrypted; Corrupt; Io.
    pub(super) fn read(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<usize> {
        self.expect_plain()?;
        let available = self.size().saturating_sub(offset).min(len_of(target));
        let Some(target) = target.get_mut(..index_of(available)) else {
            return Ok(0);
        };
        let count = target.len();
        match self {
            Self::Resident(value, _) => {
                let from = value.get(index_of(offset)..).unwrap_or_default();
                target.copy_from_slice(from.get(..count).unwrap_or_default());
            }
            Self::Mapped(mapped) => mapped.read(volume, offset, target)?,
        }
        Ok(count)
    }

    /// Returns all of it, if it is no longer than `max`.
    pub(super) fn read_all(&self, volume: &Volume, max: usize) -> Result<Vec<u8>> {
        let size = self.size();
        if index_of(size) > max {
            let expected = "a short value";
            return Err(Error::corrupt("size of an attribute", 0, expected, size));
        }
        let mut bytes = vec![0; index_of(size)];
        self.read(volume, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Tells that it cannot be read because it is encrypted.
    fn expect_plain(&self) -> Result<()> {
        match self.flags() & attribute_flag::ENCRYPTED {
            0 => Ok(()),
            _ => Err(Error::unsupported("an encrypted file (EFS)")),
        }
    }

    /// Gives the written extents that end behind `offset` to `visit`.
    ///
    /// # Errors
    ///
    /// As [`Stream::read`].
    pub(super) fn extents(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        visit: &mut crate::filesystem::ExtentVisitor<'_>,
    ) -> Result<()> {
        self.expect_plain()?;
        if offset >= self.size() {
            return Ok(());
        }
        match self {
            Self::Resident(value, _) => {
                let extent = FileExtent {
                    offset: 0,
                    len: len_of(value),
                    place: ExtentPlace::Encoded,
                };
                let _ = visit(extent);
                Ok(())
            }
            Self::Mapped(mapped) => mapped.extents(volume, offset, visit),
        }
    }
}

impl Mapped {
    /// Tells whether units of it may be compressed.
    pub(super) const fn is_compressed(&self) -> bool {
        self.flags & attribute_flag::COMPRESSED != 0
    }

    fn read(&self, volume: &Volume, offset: ByteOffset, target: &mut [u8]) -> Result<()> {
        let written = self.extent.initialized.saturating_sub(offset);
        let count = index_of(written).min(target.len());
        let (data, zeros) = target.split_at_mut(count);
        zeros.fill(0);
        if data.is_empty() {
            return Ok(());
        }
        match self.is_compressed() {
            true => self.read_compressed(volume, offset, data),
            false => self.read_plain(volume, offset, data),
        }
    }

    /// Fills `target` with the bytes of clusters as they are; holes are zeros.
    pub(super) fn read_plain(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<()> {
        self.read_runs(volume, offset, target, &|place, target| {
            volume.blocks.read_exact_at(place, target)
        })
    }

    /// As [`Mapped::read_plain`], through the cache of blocks.
    pub(super) fn read_metadata(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        target: &mut [u8],
    ) -> Result<()> {
        self.read_runs(volume, offset, target, &|place, target| {
            target.copy_from_slice(&volume.blocks.block(place, target.len())?);
            Ok(())
        })
    }

    fn read_runs(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        target: &mut [u8],
        read: &dyn Fn(ByteOffset, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut walker = Walker::new(self);
        let (mut position, mut rest) = (offset, target);
        while !rest.is_empty() {
            let vcn = position
                .checked_shr(volume.superblock.cluster_log)
                .unwrap_or(0);
            let run = walker.run_at(volume, vcn)?;
            let skip = position.saturating_sub(volume.superblock.offset_of(run.first));
            let left = volume.superblock.offset_of(run.count).saturating_sub(skip);
            let count = index_of(left).min(rest.len()).max(1);
            let (now, later) = rest.split_at_mut(count);
            match run.cluster {
                None => now.fill(0),
                Some(cluster) => {
                    let place = volume.superblock.offset_of(cluster).saturating_add(skip);
                    read(place, now)?;
                }
            }
            position = position.saturating_add(len_of(now));
            rest = later;
        }
        Ok(())
    }

    fn extents(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        visit: &mut crate::filesystem::ExtentVisitor<'_>,
    ) -> Result<()> {
        let mut pending: Option<FileExtent> = None;
        let result = self.walk_extents(volume, offset, &mut |extent| {
            if let Some(before) = &mut pending {
                if goes_on(before, &extent) {
                    before.len = before.len.saturating_add(extent.len);
                    return ControlFlow::Continue(());
                }
                visit(*before)?;
            }
            pending = Some(extent);
            ControlFlow::Continue(())
        });
        match (result, pending) {
            (Ok(ControlFlow::Break(())), _) => Ok(()),
            (result, Some(last)) => {
                let _ = visit(last);
                result.map(|_| ())
            }
            (result, None) => result.map(|_| ()),
        }
    }

    /// Gives runs and compressed units, not yet joined.
    fn walk_extents(
        &self,
        volume: &Volume,
        offset: ByteOffset,
        visit: &mut crate::filesystem::ExtentVisitor<'_>,
    ) -> Result<ControlFlow<()>> {
        let unit = match self.is_compressed() {
            true => self.unit_clusters(volume)?,
            false => 1,
        };
        let end = self.extent.initialized;
        let needed = volume.superblock.clusters_for(end);
        let mut walker = Walker::new(self);
        let mut vcn = offset
            .checked_shr(volume.superblock.cluster_log)
            .unwrap_or(0);
        vcn &= !unit.wrapping_sub(1);
        while volume.superblock.offset_of(vcn) < end {
            let run = walker.run_at(volume, vcn)?;
            let start = volume.superblock.offset_of(vcn);
            // A hole goes on to the end, or to the unit that it ends in.
            let hole_end = match run.end() < needed {
                true => run.end() & !unit.wrapping_sub(1),
                false => u64::MAX,
            };
            // Units whose first cluster is there have content.
            let (next, is_hole) = match run.cluster {
                Some(_) => {
                    let next = run.end().checked_next_multiple_of(unit);
                    (next.unwrap_or(u64::MAX), false)
                }
                None if hole_end > vcn => (hole_end, true),
                None => {
                    let is_hole = self.is_hole(volume, &mut walker, vcn, unit)?;
                    (vcn.saturating_add(unit), is_hole)
                }
            };
            let len = volume
                .superblock
                .offset_of(next)
                .min(end)
                .saturating_sub(start);
            let skip = vcn.saturating_sub(run.first);
            let place = match run.cluster {
                _ if is_hole => None,
                Some(cluster) if !self.is_compressed() => Some(ExtentPlace::Image {
                    offset: volume.superblock.offset_of(cluster.saturating_add(skip)),
                }),
                _ => Some(ExtentPlace::Encoded),
            };
            if let Some(place) = place
                && visit(FileExtent {
                    offset: start,
                    len,
                    place,
                })
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            vcn = next;
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn goes_on(before: &FileExtent, next: &FileExtent) -> bool {
    if before.offset.saturating_add(before.len) != next.offset {
        return false;
    }
    match (before.place, next.place) {
        (ExtentPlace::Encoded, ExtentPlace::Encoded) => true,
        (ExtentPlace::Image { offset: one }, ExtentPlace::Image { offset: other }) => {
            one.saturating_add(before.len) == other
        }
        _ => false,
    }
}

/// Finds runs of a value, the next ones quickly.
pub(super) struct Walker<'a> {
    mapped: &'a Mapped,
    runs: Arc<[Run]>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(mapped: &'a Mapped) -> Self {
        let runs = Arc::new([]);
        Self { mapped, runs }
    }

    /// Returns the run that has the cluster `vcn` of the value.
    ///
    /// # Errors
    ///
    /// Corrupt if none has.
    pub(super) fn run_at(&mut self, volume: &Volume, vcn: u64) -> Result<Run> {
        if let Some(run) = find(&self.runs, vcn) {
            return Ok(run);
        }
        self.runs = self.mapped.segment_runs(volume, vcn)?;
        find(&self.runs, vcn).ok_or_else(|| {
            let expected = "a run for each cluster";
            let place = volume.record_offset(self.mapped.owner);
            Error::corrupt("run list", place, expected, vcn)
        })
    }
}

fn find(runs: &[Run], vcn: u64) -> Option<Run> {
    let index = runs.partition_point(|run| run.end() <= vcn);
    runs.get(index).filter(|run| run.first <= vcn).copied()
}

impl Mapped {
    /// Returns the runs of the part that should list `vcn`.
    fn segment_runs(&self, volume: &Volume, vcn: u64) -> Result<Arc<[Run]>> {
        let index = self
            .segments
            .partition_point(|segment| segment.first <= vcn);
        let segment = index
            .checked_sub(1)
            .and_then(|index| self.segments.get(index));
        let Some(segment) = segment else {
            return Ok(Arc::new([]));
        };
        if let (1, Some(runs)) = (index, &self.first_runs) {
            return Ok(Arc::clone(runs));
        }
        let record = volume.record(segment.record)?;
        let is_own = record.is_in_use && record.owner() == self.owner;
        let attribute = match is_own {
            true => record.find(self.kind, &self.name, segment.first)?,
            false => None,
        };
        let Some(attribute) = attribute.filter(Attribute::is_mapped) else {
            let expected = "the attribute that the list names";
            return Err(Error::corrupt(
                "record of the MFT",
                record.offset,
                expected,
                segment.first,
            ));
        };
        // Offsets in the image are no key: a record may lie in two pieces.
        let position = attribute.offset().saturating_sub(record.offset);
        let key = (record.number, position);
        if let Some(runs) = volume.runs.get(&key) {
            return Ok(runs);
        }
        let runs: Arc<[Run]> = runs_of(&attribute, volume.superblock.cluster_count)?.into();
        volume
            .runs
            .put(key, Arc::clone(&runs), size_of_val::<[Run]>(&runs));
        Ok(runs)
    }
}

/// Decodes the runs of one part of a value, which are as many as it says.
pub(super) fn runs_of(attribute: &Attribute<'_>, cluster_count: u64) -> Result<Vec<Run>> {
    let first = attribute.first_cluster()?;
    let (list, end) = attribute.run_list()?;
    let runs = extent::decode(list, first, cluster_count, attribute.offset())?;
    let found = runs.last().map_or(first, Run::end);
    match end {
        Some(end) if end != found => {
            let expected = "as many clusters as the attribute says";
            Err(Error::corrupt(
                "run list",
                attribute.offset(),
                expected,
                found,
            ))
        }
        _ => Ok(runs),
    }
}
