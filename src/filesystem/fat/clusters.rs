//! Clusters of a volume and the chains through them, of FAT and exFAT alike.
//!
//! Finding a place in a chain means following it from its first cluster. A few places
//! on the way are remembered for the chains that were followed last (at most 64 of
//! 8 KiB), so that a look into a long file does not start at its beginning each time.

use super::table::{FIRST_CLUSTER, Table, Window};
use crate::base::{ByteLen, ByteOffset};
use crate::filesystem::{BlockReader, Error, Result, index_of, len_of};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Chains that are remembered.
const TRAIL_COUNT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// Places that are remembered of a chain.
const POINT_COUNT_MAX: usize = 2048;

/// Clusters of a run that are looked for at once, if there is no other limit.
const RUN_COUNT_MAX: u32 = 4096;

/// Which clusters a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Allocation {
    /// The first one.
    pub(in super::super) first: u32,
    /// How many follow each other without a chain in the table.
    pub(in super::super) contiguous: Option<u32>,
    /// Where that is said.
    pub(in super::super) place: ByteOffset,
}

/// Clusters that follow each other on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Run {
    pub(in super::super) cluster: u32,
    pub(in super::super) count: u32,
}

/// Finds loops: neither the first cluster nor the one at the last power of two comes
/// again.
#[derive(Clone, Copy)]
struct LoopGuard {
    first: u32,
    step: u32,
    mark: u32,
}

impl LoopGuard {
    const fn new(first: u32) -> Self {
        Self {
            first,
            step: 0,
            mark: first,
        }
    }

    /// Takes the next cluster; false if the chain is a loop or longer than the volume.
    fn admits(&mut self, cluster: u32, cluster_count: u32) -> bool {
        self.step = self.step.saturating_add(1);
        let is_known = cluster == self.first || cluster == self.mark;
        if is_known || self.step >= cluster_count {
            return false;
        }
        if self.step.is_power_of_two() {
            self.mark = cluster;
        }
        true
    }
}

/// What is remembered of a chain: every `step`th cluster up to the furthest one.
struct Trail {
    first: u32,
    step: u32,
    points: Vec<u32>,
    index: u32,
    cluster: u32,
    guard: LoopGuard,
}

impl Trail {
    fn new(first: u32) -> Self {
        Self {
            first,
            step: 1,
            points: vec![first],
            index: 0,
            cluster: first,
            guard: LoopGuard::new(first),
        }
    }

    /// Returns the last known place at `index` or before it.
    fn nearest(&self, index: u32) -> (u32, u32) {
        if index >= self.index {
            return (self.index, self.cluster);
        }
        let number = index.checked_div(self.step).unwrap_or(0);
        match self.points.get(index_of(number)) {
            Some(cluster) => (number.saturating_mul(self.step), *cluster),
            None => (0, self.first),
        }
    }

    fn advance(&mut self, cluster: u32) {
        self.index = self.index.saturating_add(1);
        self.cluster = cluster;
        // The step is a power of two.
        if self.index & self.step.wrapping_sub(1) == 0 {
            self.points.push(cluster);
        }
        if self.points.len() >= POINT_COUNT_MAX {
            let mut is_kept = false;
            self.points.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.step = self.step.saturating_mul(2);
        }
    }
}

/// The clusters of one volume.
pub(in super::super) struct Clusters {
    pub(in super::super) reader: BlockReader,
    pub(in super::super) table: Table,
    /// Where the first cluster begins.
    data_offset: ByteOffset,
    /// Bits of a place inside a cluster, 9 to 25.
    cluster_log: u32,
    trails: Mutex<LruCache<u32, Arc<Mutex<Trail>>>>,
}

impl Clusters {
    pub(in super::super) fn new(
        reader: BlockReader,
        table: Table,
        data_offset: ByteOffset,
        cluster_log: u32,
    ) -> Self {
        Self {
            reader,
            table,
            data_offset,
            cluster_log,
            trails: Mutex::new(LruCache::new(TRAIL_COUNT_MAX)),
        }
    }

    /// Returns the length of a cluster in bytes.
    pub(in super::super) fn cluster_len(&self) -> ByteLen {
        self.bytes_of(1)
    }

    /// Returns the bytes of that many clusters.
    pub(in super::super) fn bytes_of(&self, count: u32) -> ByteLen {
        u64::from(count).wrapping_shl(self.cluster_log)
    }

    /// Returns how many clusters `len` bytes take.
    pub(in super::super) fn count_for(&self, len: ByteLen) -> u64 {
        len.div_ceil(self.cluster_len().max(1))
    }

    /// Returns the number of the cluster at `position` of a file; beyond all of them
    /// if there cannot be one.
    pub(in super::super) fn index_at(&self, position: u64) -> u32 {
        u32::try_from(position.wrapping_shr(self.cluster_log)).unwrap_or(u32::MAX)
    }

    /// Returns where `cluster`, which the volume has, begins.
    pub(in super::super) fn offset_of(&self, cluster: u32) -> ByteOffset {
        let index = cluster.saturating_sub(FIRST_CLUSTER);
        self.data_offset.saturating_add(self.bytes_of(index))
    }

    /// Returns the cluster that `offset` of the image lies in, and where it begins.
    pub(in super::super) fn cluster_at(&self, offset: ByteOffset) -> Option<(u32, ByteOffset)> {
        let inside = offset.checked_sub(self.data_offset)?;
        let cluster = self.index_at(inside).checked_add(FIRST_CLUSTER)?;
        self.table
            .contains(cluster)
            .then(|| (cluster, self.offset_of(cluster)))
    }

    /// Starts to walk an allocation at its cluster number `index`.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the way there is damaged.
    pub(in super::super) fn walk(&self, allocation: Allocation, index: u32) -> Result<Walker<'_>> {
        if !self.table.contains(allocation.first) {
            let expected = "a cluster of the volume";
            let Allocation { first, place, .. } = allocation;
            return Err(Error::corrupt("first cluster", place, expected, first));
        }
        let mut walker = Walker {
            clusters: self,
            place: allocation.place,
            state: State::End,
            guard: LoopGuard::new(allocation.first),
            window: Window::default(),
        };
        walker.state = match allocation.contiguous {
            Some(count) => State::Contiguous {
                cluster: allocation.first.saturating_add(index),
                left: count.saturating_sub(index),
            },
            // Directories and short files need no trail.
            None if index == 0 => State::At(allocation.first),
            None => match self.find(allocation.first, index, &mut walker.window)? {
                Some(cluster) => {
                    walker.guard.step = index;
                    walker.guard.mark = self.mark_at(allocation.first, index, cluster)?;
                    State::At(cluster)
                }
                None => State::End,
            },
        };
        Ok(walker)
    }

    /// Returns the mark of the guard that came from `first` to `cluster`, number `index`:
    /// who begins there must find the same loop at the same place as who came that way.
    fn mark_at(&self, first: u32, index: u32, cluster: u32) -> Result<u32> {
        let power = 1_u32.wrapping_shl(index.checked_ilog2().unwrap_or(0));
        if power == index {
            return Ok(cluster);
        }
        let mark = self.find(first, power, &mut Window::default())?;
        Ok(mark.unwrap_or(cluster))
    }

    /// Returns cluster number `index` of the chain from `first`; `None` if it ends before.
    fn find(&self, first: u32, index: u32, window: &mut Window) -> Result<Option<u32>> {
        let fresh = || Arc::new(Mutex::new(Trail::new(first)));
        let trail = Arc::clone(self.trails.lock().get_or_insert(first, fresh));
        let known = {
            let trail = trail.lock();
            (index <= trail.index).then(|| trail.nearest(index))
        };
        let nearest = match known {
            Some(nearest) => nearest,
            None => match self.extend(&mut trail.lock(), index, window)? {
                Some(nearest) => nearest,
                None => return Ok(None),
            },
        };
        self.follow(nearest, index, window)
    }

    /// Returns cluster number `index`, coming from one before it.
    fn follow(&self, from: (u32, u32), index: u32, window: &mut Window) -> Result<Option<u32>> {
        let (mut at, mut cluster) = from;
        while at < index {
            let Some(next) = self.table.next(&self.reader, window, cluster)? else {
                return Ok(None);
            };
            (at, cluster) = (at.saturating_add(1), next);
        }
        Ok(Some(cluster))
    }

    /// Follows the chain as far as `index`, and returns the nearest place.
    fn extend(
        &self,
        trail: &mut Trail,
        index: u32,
        window: &mut Window,
    ) -> Result<Option<(u32, u32)>> {
        while trail.index < index {
            let place = trail.cluster;
            let Some(next) = self.table.next(&self.reader, window, place)? else {
                return Ok(None);
            };
            // A copy: the guard must not forget what it saw if this fails twice.
            let mut guard = trail.guard;
            if !guard.admits(next, self.table.cluster_count) {
                return Err(self.loop_at(place, next));
            }
            trail.guard = guard;
            trail.advance(next);
        }
        // Somebody else may have gone further meanwhile.
        Ok(Some(trail.nearest(index)))
    }

    fn loop_at(&self, cluster: u32, next: u32) -> Error {
        let expected = "a chain without loops";
        Error::corrupt("FAT entry", self.table.place(cluster), expected, next)
    }

    /// Fills `target` from `position` of an allocation.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the allocation is damaged or shorter.
    pub(in super::super) fn read(
        &self,
        allocation: Allocation,
        position: u64,
        target: &mut [u8],
    ) -> Result<()> {
        if target.is_empty() {
            return Ok(());
        }
        let mut walker = self.walk(allocation, self.index_at(position))?;
        let mut inside = position & self.cluster_len().wrapping_sub(1);
        let mut rest = target;
        while !rest.is_empty() {
            let wanted = self.count_for(inside.saturating_add(len_of(rest)));
            let limit = u32::try_from(wanted).unwrap_or(u32::MAX);
            let Some(run) = walker.next_run(limit)? else {
                return Err(self.too_short(allocation));
            };
            let available = self.bytes_of(run.count).saturating_sub(inside);
            let (now, later) = rest.split_at_mut(index_of(available).min(rest.len()));
            let offset = self.offset_of(run.cluster).saturating_add(inside);
            self.reader.read_exact_at(offset, now)?;
            rest = later;
            inside = 0;
        }
        Ok(())
    }

    /// Returns the error for an allocation that ends before its file.
    pub(in super::super) fn too_short(&self, allocation: Allocation) -> Error {
        let Allocation { first, place, .. } = allocation;
        let expected = "as many clusters as the length needs";
        Error::corrupt("cluster chain", place, expected, first)
    }
}

#[derive(Clone, Copy)]
enum State {
    /// The next run begins here.
    At(u32),
    /// The next run begins behind this cluster, in the chain.
    After(u32),
    Contiguous {
        cluster: u32,
        left: u32,
    },
    End,
}

/// A place in an allocation that moves on.
#[derive(Clone)]
pub(in super::super) struct Walker<'a> {
    clusters: &'a Clusters,
    place: ByteOffset,
    state: State,
    guard: LoopGuard,
    window: Window,
}

impl Walker<'_> {
    /// Returns the next run, at most `limit` clusters long, or `None` at the end.
    ///
    /// # Errors
    ///
    /// Io; Corrupt if the next cluster is none or the chain is a loop.
    pub(in super::super) fn next_run(&mut self, limit: u32) -> Result<Option<Run>> {
        let (table, reader) = (&self.clusters.table, &self.clusters.reader);
        let cluster = match self.state {
            State::At(cluster) => cluster,
            State::After(last) => match table.next(reader, &mut self.window, last)? {
                Some(next) => self.admit(last, next)?,
                None => {
                    self.state = State::End;
                    return Ok(None);
                }
            },
            State::Contiguous { cluster, left } => return self.contiguous(cluster, left, limit),
            State::End => return Ok(None),
        };
        let mut last = cluster;
        let mut count = 1;
        while count < limit.min(RUN_COUNT_MAX) {
            // What is no good here is an error when it is asked for.
            match table.next(reader, &mut self.window, last) {
                Ok(Some(next)) if next.checked_sub(1) == Some(last) => {
                    last = self.admit(last, next)?;
                    count = count.saturating_add(1);
                }
                _ => break,
            }
        }
        self.state = State::After(last);
        Ok(Some(Run { cluster, count }))
    }

    fn admit(&mut self, last: u32, next: u32) -> Result<u32> {
        match self.guard.admits(next, self.clusters.table.cluster_count) {
            true => Ok(next),
            false => Err(self.clusters.loop_at(last, next)),
        }
    }

    fn contiguous(&mut self, cluster: u32, left: u32, limit: u32) -> Result<Option<Run>> {
        let count = left.min(limit);
        if count == 0 {
            return Ok(None);
        }
        let table = &self.clusters.table;
        let last = cluster.saturating_add(count.saturating_sub(1));
        // A run that leaves the volume is cut, and what is behind it is an error.
        let count = match table.contains(last) {
            true => count,
            false => table
                .cluster_count
                .saturating_add(FIRST_CLUSTER)
                .saturating_sub(cluster),
        };
        if count == 0 || !table.contains(cluster) {
            let expected = "clusters of the volume";
            return Err(Error::corrupt(
                "contiguous file",
                self.place,
                expected,
                cluster,
            ));
        }
        self.state = State::Contiguous {
            cluster: cluster.saturating_add(count),
            left: left.saturating_sub(count),
        };
        Ok(Some(Run { cluster, count }))
    }
}
