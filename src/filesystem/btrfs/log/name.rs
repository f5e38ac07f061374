//! Names in directories: found, added and taken away, each in its three places (by
//! hash, by number, and as a reference of the inode).

use super::super::checksum::name_hash;
use super::super::dir_item::{encode, search, stored_type};
use super::super::inode::SIZE;
use super::super::key::{Key, kind};
use super::reference::has_name;
use super::replay::{Replay, contradiction, file_type};
use crate::filesystem::{Result, len_of};

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) location: Key,
    pub(super) file_type: u8,
}

impl Replay<'_> {
    /// Returns the entry of a name.
    pub(super) fn entry_by_name(&self, directory: u64, name: &[u8]) -> Result<Option<Entry>> {
        self.entry(&Key::new(directory, kind::DIR_ITEM, name_hash(name)), name)
    }

    /// Returns the entry of a number if it has that name.
    pub(super) fn entry_by_index(
        &self,
        directory: u64,
        index: u64,
        name: &[u8],
    ) -> Result<Option<Entry>> {
        self.entry(&Key::new(directory, kind::DIR_INDEX, index), name)
    }

    fn entry(&self, key: &Key, name: &[u8]) -> Result<Option<Entry>> {
        let Some(item) = self.find(key)? else {
            return Ok(None);
        };
        search(&item.fields(), &mut |record| {
            Ok((record.name == name).then_some(Entry {
                location: record.location,
                file_type: record.stored_type,
            }))
        })
    }

    /// Takes the name of an inode away from a directory.
    ///
    /// # Errors
    ///
    /// Corrupt if the name is not there.
    pub(super) fn unlink(&mut self, directory: u64, inode: u64, name: &[u8]) -> Result<()> {
        let key = Key::new(directory, kind::DIR_ITEM, name_hash(name));
        let present = self.find(&key)?;
        let missing = || contradiction("name of a log tree", directory);
        let present = present.ok_or_else(missing)?;
        if !has_name(&present, name)? {
            return Err(missing());
        }
        let mut kept = vec![];
        search::<()>(&present.fields(), &mut |record| {
            if record.name != name {
                kept.extend(record.bytes);
            }
            Ok(None)
        })?;
        match kept.is_empty() {
            true => self.remove(key)?,
            false => self.put(key, kept)?,
        }
        let index = self
            .remove_reference(inode, directory, name)?
            .ok_or_else(missing)?;
        self.remove(Key::new(directory, kind::DIR_INDEX, index))?;
        // A name counts twice: by hash and by number.
        let len = len_of(name).saturating_mul(2);
        self.change_inode(directory, SIZE, |size| size.saturating_sub(len))?;
        self.fixups.insert(inode);
        Ok(())
    }

    /// Takes an entry away whose place is needed.
    pub(super) fn drop_entry(&mut self, directory: u64, entry: &Entry, name: &[u8]) -> Result<()> {
        if entry.location.kind != kind::INODE_ITEM {
            return Err(contradiction(
                "subvolume in a log tree",
                entry.location.object,
            ));
        }
        self.expect_inode(entry.location.object)?;
        self.unlink(directory, entry.location.object, name)
    }

    /// Adds a name to a directory; returns false if the name or the number is taken.
    pub(super) fn add_entry(
        &mut self,
        directory: u64,
        inode: u64,
        name: &[u8],
        index: u64,
    ) -> Result<bool> {
        let by_name = Key::new(directory, kind::DIR_ITEM, name_hash(name));
        let by_index = Key::new(directory, kind::DIR_INDEX, index);
        let present = self.find(&by_name)?;
        let is_taken = match &present {
            Some(item) => has_name(item, name)?,
            None => false,
        };
        if is_taken || self.find(&by_index)?.is_some() {
            return Ok(false);
        }
        let file_type = file_type(&self.expect_inode(inode)?.fields())?;
        let transaction = self.volume.space.superblock.generation.saturating_add(1);
        let location = Key::new(inode, kind::INODE_ITEM, 0);
        let record = encode(&location, transaction, stored_type(file_type), name);
        let mut all = present.map_or(vec![], |item| item.bytes().to_vec());
        all.extend(&record);
        self.put(by_name, all)?;
        self.put(by_index, record)?;
        let len = len_of(name).saturating_mul(2);
        self.change_inode(directory, SIZE, |size| size.saturating_add(len))?;
        Ok(true)
    }
}
