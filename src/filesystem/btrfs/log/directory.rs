//! Entries of logged directories. The log has ranges of entry numbers that it knows
//! all about: what the subvolume has there and the log has not was removed.

use super::super::dir_item::search;
use super::super::key::{Key, kind};
use super::super::node::Item;
use super::name::Entry;
use super::reference::has_name;
use super::replay::{Replay, contradiction};
use crate::filesystem::{FileType, Result};
use std::ops::RangeInclusive;

/// Entries that are collected before they are removed.
const VICTIM_COUNT_MAX: usize = 1024;

/// A name that is to be removed, and its number.
struct Victim {
    index: u64,
    name: Vec<u8>,
    entry: Entry,
}

impl Replay<'_> {
    /// Removes the entries of `directory` that the log knows to be gone.
    pub(super) fn remove_old_entries(&mut self, directory: u64) -> Result<()> {
        if self.inode_item(directory)?.is_none() {
            return Ok(());
        }
        let all = Key::new(directory, kind::DIR_LOG_INDEX, 0);
        let mut ranges = self.log().items_beside(&all)?;
        let mut lowest = 0;
        while let Some(range) = ranges.next_beside(&all)? {
            let end = range.fields().le_u64(0)?;
            if end < lowest {
                continue;
            }
            self.remove_entries(directory, range.key.offset.max(lowest)..=end, true)?;
            let Some(next) = end.checked_add(1) else {
                break;
            };
            lowest = next;
        }
        Ok(())
    }

    /// Removes all entries of a directory that has no name any more.
    pub(super) fn remove_all_entries(&mut self, directory: u64) -> Result<()> {
        self.remove_entries(directory, 0..=u64::MAX, false)
    }

    /// Removes the entries in a range of numbers, those that are logged excepted.
    fn remove_entries(
        &mut self,
        directory: u64,
        range: RangeInclusive<u64>,
        has_log: bool,
    ) -> Result<()> {
        let (mut start, end) = range.into_inner();
        loop {
            let victims = self.victims(directory, start..=end, has_log)?;
            let is_last = victims.len() < VICTIM_COUNT_MAX;
            for victim in victims {
                self.drop_entry(directory, &victim.entry, &victim.name)?;
                start = victim.index;
            }
            match start.checked_add(1) {
                Some(next) if !is_last => start = next,
                _ => return Ok(()),
            }
        }
    }

    /// Finds entries in a range of numbers that are not logged.
    fn victims(
        &self,
        directory: u64,
        range: RangeInclusive<u64>,
        has_log: bool,
    ) -> Result<Vec<Victim>> {
        let first = Key::new(directory, kind::DIR_INDEX, *range.start());
        let mut items = self.items_beside(&first)?;
        // Both are sorted by number.
        let mut logged = self.log().items_from(&first)?;
        let mut next_logged = if has_log { logged.next()? } else { None };
        let mut found = vec![];
        while let Some(item) = items.next_beside(&first)? {
            if !range.contains(&item.key.offset) || found.len() >= VICTIM_COUNT_MAX {
                break;
            }
            while next_logged
                .as_ref()
                .is_some_and(|logged| logged.key < item.key)
            {
                next_logged = logged.next()?;
            }
            let candidate = next_logged.as_ref().filter(|logged| logged.key == item.key);
            let (name, entry) = only_entry(&item)?;
            let is_kept = match candidate {
                Some(logged) => has_name(logged, &name)?,
                None => false,
            };
            if !is_kept {
                found.push(Victim {
                    index: item.key.offset,
                    name,
                    entry,
                });
            }
        }
        Ok(found)
    }

    /// Brings an entry of the log into the subvolume, if the inode it names is there.
    pub(super) fn replay_entry(&mut self, item: &Item) -> Result<()> {
        let (directory, index) = (item.key.object, item.key.offset);
        self.expect_inode(directory)?;
        let (name, logged) = only_entry(item)?;
        let inode = logged.location.object;
        let exists = logged.location.kind == kind::INODE_ITEM && self.inode_item(inode)?.is_some();
        let (mut is_named, mut is_numbered) = (false, false);
        if let Some(entry) = self.entry_by_name(directory, &name)? {
            is_named = entry == logged;
            if entry != logged && exists {
                self.drop_entry(directory, &entry, &name)?;
            }
        }
        if let Some(entry) = self.entry_by_index(directory, index, &name)? {
            is_numbered = entry == logged;
            if entry != logged && exists {
                self.drop_entry(directory, &entry, &name)?;
            }
        }
        // With a reference in the log the name comes with that.
        let is_there = is_named && is_numbered;
        if is_there || !exists || self.has_logged_reference(inode, directory, &name)? {
            return Ok(());
        }
        if !self.add_entry(directory, inode, &name, index)? {
            return Ok(());
        }
        self.add_reference(inode, directory, &name, index)?;
        let is_directory =
            logged.file_type == super::super::dir_item::stored_type(FileType::Directory);
        if !is_directory {
            self.fixups.insert(inode);
        }
        Ok(())
    }
}

/// Returns the one entry that an item by number has.
fn only_entry(item: &Item) -> Result<(Vec<u8>, Entry)> {
    let found = search(&item.fields(), &mut |record| {
        let entry = Entry {
            location: record.location,
            file_type: record.stored_type,
        };
        Ok(Some((record.name.to_vec(), entry)))
    })?;
    found.ok_or_else(|| contradiction("entry of a log tree", item.key.offset))
}
