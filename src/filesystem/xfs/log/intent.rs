//! Intents: what a chain of transactions promised to do next. If the chain was cut by
//! the crash, the kernel does it at the next mount. Of those that readers can see,
//! changes of extents are made here; the others are told.

use super::super::extent::{Extent, Patch};
use super::super::superblock::Superblock;
use super::transaction::Item;
use crate::filesystem::{Consistency, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds of intents that readers can see, and of their ends.
const EXTENT: u16 = 0x1244;
const EXTENT_DONE: u16 = 0x1245;
const ATTRIBUTE: u16 = 0x1246;
const ATTRIBUTE_DONE: u16 = 0x1247;
const EXCHANGE: u16 = 0x1248;
const EXCHANGE_DONE: u16 = 0x1249;

/// What to do with an extent, and where.
const TYPE_MASK: u32 = 0xFF;
const TYPE_MAP: u32 = 1;
const TYPE_UNMAP: u32 = 2;
const FLAG_ATTRIBUTE_FORK: u32 = 1 << 31;
const FLAG_UNWRITTEN: u32 = 1 << 30;
const FLAG_REALTIME: u32 = 1 << 29;

/// Intents that nobody has done yet, while the log is read.
const PENDING_MAX: usize = 65_536;

/// Changes of extents that are left in the end. Each chain of transactions that was
/// under way leaves one; every look at the extents of their inodes lays all over them.
const PATCHES_MAX: usize = 512;

/// What was promised and is not done yet.
#[derive(Debug, Default)]
pub(super) struct Intents {
    /// By id: the place in the log's order, and the change.
    extents: BTreeMap<u64, (u64, ExtentIntent)>,
    extent_count: u64,
    attributes: BTreeSet<u64>,
    exchanges: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct ExtentIntent {
    inode: u64,
    flags: u32,
    patch: Patch,
}

/// What the intents come to.
pub(super) struct Outcome {
    pub(super) consistency: Consistency,
    pub(super) patches: BTreeMap<u64, Arc<[Patch]>>,
    pub(super) warnings: Vec<String>,
}

impl Intents {
    /// Notes an intent, or that it is done.
    ///
    /// # Errors
    ///
    /// Unsupported if the kind of item is not known.
    pub(super) fn add(&mut self, item: &Item, kind: u16) -> Result<()> {
        let format = item.format();
        // All of them have their id behind two 16-bit and one 32-bit number.
        let id = format.le_u64(8)?;
        match kind {
            EXTENT => {
                let intent = ExtentIntent::read(item)?;
                // An id is an address in the kernel's memory: one at a time has it.
                self.extents.insert(id, (self.extent_count, intent));
                self.extent_count = self.extent_count.saturating_add(1);
            }
            EXTENT_DONE => {
                self.extents.remove(&id);
            }
            ATTRIBUTE => {
                self.attributes.insert(id);
            }
            ATTRIBUTE_DONE => {
                self.attributes.remove(&id);
            }
            EXCHANGE => {
                self.exchanges.insert(id);
            }
            EXCHANGE_DONE => {
                self.exchanges.remove(&id);
            }
            _ => {
                return Err(Error::unsupported(format!("log items of kind {kind:#x}")));
            }
        }
        let counts = [
            self.extents.len(),
            self.attributes.len(),
            self.exchanges.len(),
        ];
        if counts.iter().any(|count| *count > PENDING_MAX) {
            return Err(Error::unsupported("more than 65536 intents in a log"));
        }
        Ok(())
    }

    /// Returns what is left to do.
    ///
    /// # Errors
    ///
    /// Corrupt if a promised extent cannot be.
    pub(super) fn finish(self, superblock: &Superblock) -> Result<Outcome> {
        let mut patches: BTreeMap<u64, Vec<Patch>> = BTreeMap::new();
        let mut is_complete = true;
        let mut left: Vec<_> = self.extents.into_values().collect();
        left.sort_unstable_by_key(|(order, _)| *order);
        if left.len() > PATCHES_MAX {
            return Err(Error::unsupported("more than 512 unfinished intents"));
        }
        for (_, intent) in &left {
            if intent.flags & (FLAG_ATTRIBUTE_FORK | FLAG_REALTIME) != 0 {
                is_complete = false;
                continue;
            }
            let extent = &intent.patch.extent;
            if extent.count == 0 || !superblock.has_blocks(extent.fs_block, extent.count) {
                let expected = "an extent to map or unmap";
                return Err(Error::corrupt(
                    "me_startblock",
                    0,
                    expected,
                    extent.fs_block,
                ));
            }
            patches.entry(intent.inode).or_default().push(intent.patch);
        }
        let mut warnings = Vec::new();
        if !patches.is_empty() {
            let count = left.len();
            warnings.push(format!("{count} promised changes of extents were made"));
        }
        let reason = if !self.exchanges.is_empty() {
            Some("the log was replayed, but an exchange of extents was cut in the middle")
        } else if !self.attributes.is_empty() {
            Some("the log was replayed, but a change of attributes was cut in the middle")
        } else if !is_complete {
            Some("the log was replayed, but a change of extents was cut in the middle")
        } else {
            None
        };
        let shared = |(inode, list): (u64, Vec<Patch>)| (inode, Arc::from(list));
        Ok(Outcome {
            consistency: match reason {
                Some(reason) => Consistency::Dirty { reason },
                None => Consistency::Replayed,
            },
            patches: patches.into_iter().map(shared).collect(),
            warnings,
        })
    }
}

impl ExtentIntent {
    /// Source: `xfs_log_format.h`, `xfs_bui_log_format` and `xfs_map_extent`.
    fn read(item: &Item) -> Result<Self> {
        let format = item.format();
        let count = format.le_u32(4)?;
        if count != 1 {
            return Err(Error::corrupt("bui_nextents", 0, "1", count));
        }
        let map = format.part(16, 32)?;
        let flags = map.le_u32(28)?;
        let is_mapped = match flags & TYPE_MASK {
            TYPE_MAP => true,
            TYPE_UNMAP => false,
            other => return Err(Error::corrupt("me_flags", 0, "map or unmap", other)),
        };
        Ok(Self {
            inode: map.le_u64(0)?,
            flags,
            patch: Patch {
                extent: Extent {
                    fs_block: map.le_u64(8)?,
                    file_block: map.le_u64(16)?,
                    count: u64::from(map.le_u32(24)?),
                    is_unwritten: flags & FLAG_UNWRITTEN != 0,
                },
                is_mapped,
            },
        })
    }
}
