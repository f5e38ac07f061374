//! The log: is it clean, and if not, what did it want to change. Its changes are laid
//! over the image; nothing is written to it.
//!
//! Source: XFS Algorithms & Data Structures, "Journaling Log"; `xfs_log_format.h`.

mod area;
mod buffer_item;
mod head;
mod inode_item;
mod intent;
mod record;
mod replay;
mod transaction;

use super::extent::Patch;
use super::overlay::Overlay;
use super::superblock::Superblock;
use crate::base::ReadAt;
use crate::filesystem::{Consistency, Error, Result, Spill};
use area::LogArea;
use head::find_ends;
use replay::Replay;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What became of the log.
pub(super) struct Recovery {
    pub(super) consistency: Consistency,
    pub(super) overlay: Option<Arc<Overlay>>,
    /// Inodes whose extent trees were given from one file to another.
    pub(super) reowned: BTreeSet<u64>,
    /// Extents that the log promised to map or unmap, by inode.
    pub(super) patches: BTreeMap<u64, Arc<[Patch]>>,
    pub(super) warnings: Vec<String>,
}

impl Recovery {
    fn without_replay(consistency: Consistency) -> Self {
        Self {
            consistency,
            overlay: None,
            reowned: BTreeSet::new(),
            patches: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    fn dirty(reason: &'static str) -> Self {
        Self::without_replay(Consistency::Dirty { reason })
    }
}

/// Looks whether the log is clean and replays it if it is not.
///
/// A log that cannot be replayed is no error: the state on disk is shown, and why.
///
/// # Errors
///
/// Io if a medium fails.
pub(super) fn recover(
    image: &Arc<dyn ReadAt>,
    superblock: &Superblock,
    spill: &Arc<dyn Spill>,
) -> Result<Recovery> {
    if superblock.log_start == 0 {
        return Ok(Recovery::dirty("the log is on another device"));
    }
    let outcome = LogArea::new(Arc::clone(image), superblock)
        .and_then(|area| recover_from(&area, image, superblock, spill));
    match outcome {
        Ok(recovery) => Ok(recovery),
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(error) => {
            let mut recovery = Recovery::dirty(match &error {
                Error::Unsupported { .. } => "the log needs a feature that is missing here",
                _ => "the log is damaged",
            });
            recovery
                .warnings
                .push(format!("the log was not replayed: {error}"));
            Ok(recovery)
        }
    }
}

fn recover_from(
    area: &LogArea,
    image: &Arc<dyn ReadAt>,
    superblock: &Superblock,
    spill: &Arc<dyn Spill>,
) -> Result<Recovery> {
    let ends = match find_ends(area)? {
        None => return Ok(Recovery::without_replay(Consistency::Clean)),
        Some(ends) => ends,
    };
    if superblock.features.has_unknown_log_feature() {
        return Err(Error::unsupported("a feature of the log"));
    }
    let overlay = Overlay::new(Arc::clone(image), Arc::clone(spill));
    let mut replay = Replay::new(superblock, overlay);
    replay.run(area, &ends)?;
    replay.finish()
}

/// Compares two log sequence numbers: cycle first, then block, as unsigned numbers.
pub(super) const fn is_at_least(one: u64, other: u64) -> bool {
    one >= other
}
