//! The log of a file system that was not unmounted after `fsync`: a tree for each
//! subvolume with what was forced to disk since the last commit. It is replayed in
//! memory, so that what is shown is what a mount shows after its recovery.
//!
//! Source: the comments of the kernel's `fs/btrfs/tree-log.c`; the order of the steps
//! and the rules of each are those of its recovery.

mod directory;
mod extent;
mod inode;
mod name;
mod reference;
mod replay;

use super::key::{Key, kind, object};
use super::node::{Owner, Pointer};
use super::volume::{Overlay, Tree, Volume, decode_pointer};
use super::work::Work;
use crate::filesystem::{Error, ErrorKind, Result};
use replay::{Budget, Replay};
use std::sync::Arc;

/// Subvolumes with logs: the kernel has as many as were written between two commits.
const LOG_COUNT_MAX: usize = 4096;

/// What became of the log.
pub(super) enum Recovery {
    /// These changes are to be laid over the trees.
    Done(Overlay),
    /// It was not replayed, and why.
    Refused(&'static str),
}

/// Replays the log.
///
/// # Errors
///
/// Io if the medium fails.
pub(super) fn recover(volume: &Volume) -> Result<Recovery> {
    let (mut budget, work) = (Budget::new(), Work::new());
    let error = match replay_all(volume, &mut budget, &work) {
        Ok(overlay) => return Ok(Recovery::Done(overlay)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::Io => Err(error),
        _ if budget.is_exceeded() => Ok(Recovery::Refused(
            "its log tree is too large to be replayed in memory",
        )),
        _ if work.is_exceeded() => Ok(Recovery::Refused(
            "its log tree would take too long to be replayed",
        )),
        ErrorKind::Unsupported => Ok(Recovery::Refused(
            "its log tree is on another device or needs something unknown",
        )),
        _ => Ok(Recovery::Refused("its log tree is damaged")),
    }
}

fn replay_all(volume: &Volume, budget: &mut Budget, work: &Work) -> Result<Overlay> {
    let mut overlay = Overlay::default();
    let mut logs = vec![];
    let key = Key::new(object::TREE_LOG, kind::ROOT_ITEM, 0);
    let tree = volume.bare_tree(root_of_logs(volume)).with_work(work);
    let mut items = tree.items_beside(&key)?;
    while let Some(item) = items.next_beside(&key)? {
        let pointer = decode_pointer(&item, Owner::Tree(object::TREE_LOG))?;
        logs.push((item.key.offset, pointer));
        if logs.len() > LOG_COUNT_MAX {
            return Err(Error::unsupported("more than 4,096 log trees"));
        }
    }
    for (number, pointer) in logs {
        let subvolume = match volume.root(number) {
            Ok(root) if root.pointer.owner == Owner::Subvolume => root.pointer,
            // It was deleted, and its log has no meaning any more.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
            Ok(_) => return Err(replay::contradiction("log of a subvolume", number)),
        };
        let log = volume.bare_tree(pointer).with_work(work);
        take_checksums(volume, &log, budget, &mut overlay)?;
        let mut replay = Replay::new(volume, subvolume, pointer, budget, work);
        replay.run()?;
        overlay.trees.insert(number, replay.into_changes());
    }
    Ok(overlay)
}

/// Returns the tree of the logs. It belongs to the transaction behind the last commit.
fn root_of_logs(volume: &Volume) -> Pointer {
    let superblock = &volume.space.superblock;
    Pointer {
        bytenr: superblock.log_root,
        generation: superblock.generation.saturating_add(1),
        level: superblock.log_root_level,
        owner: Owner::Tree(object::TREE_LOG),
        first_key: None,
    }
}

/// Takes the checksums of the data that a log speaks of.
fn take_checksums(
    volume: &Volume,
    log: &Tree<'_>,
    budget: &mut Budget,
    overlay: &mut Overlay,
) -> Result<()> {
    let superblock = &volume.space.superblock;
    let key = Key::new(object::CSUMS, kind::EXTENT_CSUM, 0);
    let mut items = log.items_beside(&key)?;
    while let Some(item) = items.next_beside(&key)? {
        let bytes: Arc<[u8]> = item.bytes().into();
        budget.take(bytes.len())?;
        let count = bytes.chunks(superblock.checksum.len().max(1)).len();
        let span = u64::try_from(count)
            .unwrap_or(u64::MAX)
            .saturating_mul(superblock.sector_len.into());
        overlay.csum_span = overlay.csum_span.max(span);
        // The logs of two subvolumes that share an extent both have its checksums, one of
        // them perhaps only those of a part.
        let known = overlay.csums.entry(item.key.offset).or_default();
        if known.len() < bytes.len() {
            *known = bytes;
        }
    }
    Ok(())
}
