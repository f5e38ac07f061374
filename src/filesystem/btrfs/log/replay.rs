//! The replay of one subvolume's log: its steps, and the changes that they make.

use super::super::inode;
use super::super::key::{Key, kind};
use super::super::node::{Item, Pointer};
use super::super::volume::{Change, Changes, Items, Tree, Volume};
use super::super::work::Work;
use crate::base::Fields;
use crate::filesystem::{Error, FileType, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Memory of all changes at most; what the kernel logs between two commits is smaller
/// as a rule.
const BYTES_MAX: usize = 8 << 20;
/// What a change costs beside its bytes.
const CHANGE_OVERHEAD_BYTES: usize = 128;
/// What stays taken of it when another one takes its place: the time that it took.
const CHANGE_TIME_BYTES: usize = 64;

/// Memory that a replay may still take.
pub(super) struct Budget {
    left: usize,
    is_exceeded: bool,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            left: BYTES_MAX,
            is_exceeded: false,
        }
    }

    pub(super) const fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    /// Takes room for one change.
    ///
    /// # Errors
    ///
    /// Unsupported if there is none left.
    pub(super) fn take(&mut self, len: usize) -> Result<()> {
        match self
            .left
            .checked_sub(len.saturating_add(CHANGE_OVERHEAD_BYTES))
        {
            Some(left) => self.left = left,
            None => {
                self.is_exceeded = true;
                return Err(Error::unsupported("a log tree that is too large"));
            }
        }
        Ok(())
    }

    /// Gives back what a change took that is no more.
    fn give_back(&mut self, len: usize) {
        let bytes = len.saturating_add(CHANGE_OVERHEAD_BYTES);
        let freed = bytes.saturating_sub(CHANGE_TIME_BYTES);
        self.left = self.left.saturating_add(freed);
    }
}

/// The log and the trees do not fit: the kernel refuses such a mount.
pub(super) fn contradiction(field: &'static str, found: u64) -> Error {
    Error::corrupt(field, 0, "one that fits the subvolume", found)
}

/// A replay in progress.
pub(super) struct Replay<'a> {
    pub(super) volume: &'a Volume,
    subvolume: Pointer,
    log: Pointer,
    changes: Changes,
    budget: &'a mut Budget,
    pub(super) work: &'a Work,
    /// Inodes whose links are counted at the end.
    pub(super) fixups: BTreeSet<u64>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        volume: &'a Volume,
        subvolume: Pointer,
        log: Pointer,
        budget: &'a mut Budget,
        work: &'a Work,
    ) -> Self {
        Self {
            volume,
            subvolume,
            log,
            changes: Changes::new(),
            budget,
            work,
            fixups: BTreeSet::new(),
        }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    /// Makes all steps.
    pub(super) fn run(&mut self) -> Result<()> {
        let ignored = self.inodes()?;
        self.each_item(&ignored, &mut |replay, item| match item.key.kind {
            kind::DIR_INDEX => replay.replay_entry(item),
            _ => Ok(()),
        })?;
        self.each_item(&ignored, &mut |replay, item| match item.key.kind {
            kind::XATTR_ITEM => replay.copy(item),
            kind::INODE_REF | kind::INODE_EXTREF => replay.replay_references(item),
            kind::EXTENT_DATA => replay.replay_extent(item),
            _ => Ok(()),
        })?;
        // Links are counted from the highest inode down, until none is left.
        while let Some(inode) = self.fixups.pop_last() {
            self.count_links(inode)?;
        }
        Ok(())
    }

    /// Brings all inodes of the log into the subvolume; returns those that had no name
    /// any more when they were logged.
    fn inodes(&mut self) -> Result<BTreeSet<u64>> {
        let mut ignored = BTreeSet::new();
        self.each_item(&BTreeSet::new(), &mut |replay, item| {
            if item.key.kind != kind::INODE_ITEM {
                return Ok(());
            }
            if item.fields().le_u32(inode::NLINK)? == 0 {
                replay.budget.take(0)?;
                ignored.insert(item.key.object);
                return Ok(());
            }
            replay.replay_inode(item)
        })?;
        Ok(ignored)
    }

    /// Gives each item of the log to `step`.
    fn each_item(
        &mut self,
        ignored: &BTreeSet<u64>,
        step: &mut dyn FnMut(&mut Self, &Item) -> Result<()>,
    ) -> Result<()> {
        let mut items = self.log().items_from(&Key::new(0, 0, 0))?;
        while let Some(item) = items.next()? {
            if !ignored.contains(&item.key.object) {
                step(self, &item)?;
            }
        }
        Ok(())
    }

    /// Returns the log.
    pub(super) fn log(&self) -> Tree<'a> {
        self.volume.bare_tree(self.log).with_work(self.work)
    }

    /// Returns the subvolume as it is now.
    fn tree(&self) -> Tree<'_> {
        self.volume
            .bare_tree(self.subvolume)
            .with_changes(&self.changes)
            .with_work(self.work)
    }

    /// Returns the item of `key` as it is now.
    pub(super) fn find(&self, key: &Key) -> Result<Option<Item>> {
        self.tree().find(key)
    }

    /// Walks the subvolume as it is now.
    pub(super) fn items_beside(&self, key: &Key) -> Result<Items<'_>> {
        self.tree().items_beside(key)
    }

    /// Walks the subvolume as it is now; see [`Tree::items_around`].
    pub(super) fn items_around(&self, key: &Key, last: u64) -> Result<Items<'_>> {
        self.tree().items_around(key, last)
    }

    /// Puts an item in the place of what is there.
    pub(super) fn put(&mut self, key: Key, bytes: Vec<u8>) -> Result<()> {
        self.budget.take(bytes.len())?;
        self.insert(key, Some(Arc::from(bytes)));
        Ok(())
    }

    /// Takes an item away.
    pub(super) fn remove(&mut self, key: Key) -> Result<()> {
        self.budget.take(0)?;
        self.insert(key, None);
        Ok(())
    }

    fn insert(&mut self, key: Key, change: Change) {
        if let Some(old) = self.changes.insert(key, change) {
            self.budget.give_back(old.map_or(0, |bytes| bytes.len()));
        }
    }

    /// Puts an item of the log into the subvolume as it is.
    pub(super) fn copy(&mut self, item: &Item) -> Result<()> {
        self.put(item.key, item.bytes().to_vec())
    }

    /// Returns the item of an inode.
    pub(super) fn inode_item(&self, number: u64) -> Result<Option<Item>> {
        self.find(&Key::new(number, kind::INODE_ITEM, 0))
    }

    /// Returns an error if the subvolume does not have that inode.
    pub(super) fn expect_inode(&self, number: u64) -> Result<Item> {
        let found = self.inode_item(number)?;
        found.ok_or_else(|| contradiction("inode of a log tree", number))
    }

    /// Changes a number in the item of an inode.
    pub(super) fn change_inode(
        &mut self,
        number: u64,
        position: usize,
        change: impl FnOnce(u64) -> u64,
    ) -> Result<()> {
        let item = self.expect_inode(number)?;
        let mut bytes = item.bytes().to_vec();
        let value = change(item.fields().le_u64(position)?);
        set(&mut bytes, position, value.to_le_bytes());
        self.put(item.key, bytes)
    }
}

/// Returns the type of the inode with this item.
pub(super) fn file_type(fields: &Fields<'_>) -> Result<FileType> {
    let mode = fields.le_u32(inode::MODE)?;
    let found = u16::try_from(mode & 0xFFFF)
        .ok()
        .and_then(FileType::from_mode);
    found.ok_or_else(|| contradiction("inode mode", mode.into()))
}

/// Writes a number into an item; one that is too short stays as it is.
pub(super) fn set<const N: usize>(bytes: &mut [u8], position: usize, value: [u8; N]) {
    if let Some(target) = bytes.get_mut(position..position.saturating_add(N)) {
        target.copy_from_slice(&value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::extent::{
        DISK_BYTENR, EXTENT_ITEM_LEN, NUM_BYTES, TYPE, TYPE_REGULAR,
    };
    use super::super::super::fixture::{Image, root};
    use super::*;
    use crate::filesystem::ErrorKind;

    const ROOT: u64 = 1 << 20;

    /// Puts items until the budget is at its end; returns how many there were.
    fn count_puts(key_of: impl Fn(u64) -> Key) -> u64 {
        let mut image = Image::new();
        image.leaf(ROOT, &[]);
        let volume = image.volume();
        let mut budget = Budget::new();
        let (work, pointer) = (Work::new(), root(ROOT, 0));
        let mut replay = Replay::new(&volume, pointer, pointer, &mut budget, &work);
        let mut count = 0;
        while replay.put(key_of(count), vec![0; 160]).is_ok() {
            count += 1;
        }
        assert!(budget.is_exceeded());
        count
    }

    /// The inode of a file changes with each of its extents, and is kept once.
    #[test]
    fn what_takes_the_place_of_another_change_takes_little_room() {
        let each_new = count_puts(|count| Key::new(count, kind::INODE_ITEM, 0));
        let all_one = count_puts(|_| Key::new(257, kind::INODE_ITEM, 0));
        assert_eq!(each_new, 29_127);
        assert!((130_000..140_000).contains(&all_one), "{all_one}");
    }

    /// An inode and extents of a block each, those of the log up to the end of the file:
    /// each of them looks through all that is left.
    fn overlapping(work: &Work) -> (Result<()>, bool) {
        const LEAVES: u64 = 40;
        const PER_LEAF: u64 = 45;
        let mut image = Image::new();
        let mut place = ROOT;
        let mut tree = |is_log: bool| {
            let mut children = vec![];
            for leaf in 0..LEAVES {
                place += 4096;
                let inode = Key::new(257, kind::INODE_ITEM, 0);
                let mut item = vec![0; 160];
                item[inode::NLINK] = 1;
                set(&mut item, inode::MODE, 0o100_644_u32.to_le_bytes());
                let offsets = (0..PER_LEAF).map(|index| (leaf * PER_LEAF + index) * 4096);
                let extents = offsets.map(|offset| {
                    let mut bytes = vec![0; EXTENT_ITEM_LEN];
                    bytes[TYPE] = TYPE_REGULAR;
                    set(&mut bytes, DISK_BYTENR, (1_u64 << 20).to_le_bytes());
                    let len = if is_log {
                        LEAVES * PER_LEAF * 4096 - offset
                    } else {
                        4096
                    };
                    set(&mut bytes, NUM_BYTES, len.to_le_bytes());
                    (Key::new(257, kind::EXTENT_DATA, offset), bytes)
                });
                let all: Vec<_> = (leaf == 0)
                    .then_some((inode, item))
                    .into_iter()
                    .chain(extents)
                    .collect();
                let borrowed: Vec<_> = all.iter().map(|(key, bytes)| (*key, &bytes[..])).collect();
                image.leaf(place, &borrowed);
                children.push((all[0].0, place));
            }
            place += 4096;
            image.branch(place, 1, &children);
            root(place, 1)
        };
        let (subvolume, log) = (tree(false), tree(true));
        let volume = image.volume();
        let mut budget = Budget::new();
        let mut replay = Replay::new(&volume, subvolume, log, &mut budget, work);
        let result = replay.run();
        (result, budget.is_exceeded())
    }

    #[test]
    fn a_log_that_takes_too_long_is_given_up() {
        let work = Work::with_limit(10 << 20);
        let (result, is_too_large) = overlapping(&work);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(work.is_exceeded() && !is_too_large);
        // Stopped at once, not at the end.
        assert!(work.done() < 11 << 20, "{}", work.done());
        let work = Work::new();
        overlapping(&work).0.unwrap();
        assert!(work.done() > 20 << 20, "{}", work.done());
    }
}
