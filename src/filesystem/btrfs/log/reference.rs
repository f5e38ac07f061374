//! References of inodes to the directories that they have names in.
//!
//! Source: btrfs documentation, "On-disk format" (inode ref, inode extref).

use super::super::checksum::reference_hash;
use super::super::dir_item::search;
use super::super::key::{Key, kind};
use super::super::node::Item;
use super::super::volume::Tree;
use super::super::work::Work;
use super::replay::{Replay, contradiction};
use crate::filesystem::Result;
use std::collections::HashSet;

const REF_HEADER_LEN: usize = 10;
const EXTREF_HEADER_LEN: usize = 18;

/// A name of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) parent: u64,
    pub(super) index: u64,
    pub(super) name: &'a [u8],
    /// The record on disk.
    pub(super) bytes: &'a [u8],
}

impl Reference<'_> {
    fn is(&self, parent: u64, name: &[u8]) -> bool {
        self.parent == parent && self.name == name
    }
}

/// Returns the references of an item.
pub(super) fn references(item: &Item) -> Result<Vec<Reference<'_>>> {
    let fields = item.fields();
    let is_long = item.key.kind == kind::INODE_EXTREF;
    let mut found = vec![];
    let mut position = 0;
    while position < fields.bytes().len() {
        let header_len = if is_long {
            EXTREF_HEADER_LEN
        } else {
            REF_HEADER_LEN
        };
        let header = fields.part(position, header_len)?;
        let (parent, index, name_len) = match is_long {
            true => (header.le_u64(0)?, header.le_u64(8)?, header.le_u16(16)?),
            false => (item.key.offset, header.le_u64(0)?, header.le_u16(8)?),
        };
        let len = header_len.saturating_add(name_len.into());
        let bytes = fields.slice(position, len)?;
        found.push(Reference {
            parent,
            index,
            name: bytes.get(header_len..).unwrap_or_default(),
            bytes,
        });
        position = position.saturating_add(len);
    }
    Ok(found)
}

/// Tells whether an item has a reference to a name in `parent`.
fn has_reference(item: &Item, parent: u64, name: &[u8]) -> Result<bool> {
    Ok(references(item)?.iter().any(|found| found.is(parent, name)))
}

/// Names of the log: those of the item that was asked for last are kept, because an item
/// is asked for once for each of its names.
#[derive(Default)]
struct LoggedNames {
    key: Option<Key>,
    names: HashSet<(u64, Vec<u8>)>,
}

impl LoggedNames {
    fn has(&mut self, log: &Tree<'_>, work: &Work, key: Key, name: (u64, &[u8])) -> Result<bool> {
        if self.key != Some(key) {
            self.names.clear();
            if let Some(item) = log.find(&key)? {
                // A copy of each name costs more than to look at it.
                work.look_through(item.bytes().len().saturating_mul(4))?;
                let found = references(&item)?;
                let owned = found.iter().map(|name| (name.parent, name.name.to_vec()));
                self.names.extend(owned);
            }
            self.key = Some(key);
        }
        let (parent, name) = name;
        Ok(self.names.contains(&(parent, name.to_vec())))
    }
}

/// Returns the key of a reference of `inode` in its short and its long form.
pub(super) fn keys(inode: u64, parent: u64, name: &[u8]) -> [Key; 2] {
    [
        Key::new(inode, kind::INODE_REF, parent),
        Key::new(inode, kind::INODE_EXTREF, reference_hash(parent, name)),
    ]
}

/// Returns the one of the two that is of this form.
fn key_of(inode: u64, (parent, name): (u64, &[u8]), form: u8) -> Key {
    let [short, long] = keys(inode, parent, name);
    if form == kind::INODE_REF { short } else { long }
}

impl Replay<'_> {
    /// Brings the references of `item`, and the names they tell, into the subvolume.
    pub(super) fn replay_references(&mut self, item: &Item) -> Result<()> {
        let inode = item.key.object;
        let logged = references(item)?;
        let mut is_searched = false;
        for reference in &logged {
            // The directory was not logged and is not there: nothing is taken over.
            if self.inode_item(reference.parent)?.is_none() {
                return Ok(());
            }
            self.expect_inode(inode)?;
            if self.is_in_directory(inode, reference)? {
                continue;
            }
            if !is_searched && self.remove_conflicts(inode, reference, &mut is_searched)? {
                return Ok(());
            }
            self.add_logged_name(inode, reference, item.key.kind)?;
        }
        self.remove_unlogged_names(item, &logged)?;
        self.copy(item)
    }

    /// Tells whether the directory has the name already, under the same number.
    fn is_in_directory(&self, inode: u64, reference: &Reference<'_>) -> Result<bool> {
        let (parent, name) = (reference.parent, reference.name);
        let by_index = self.entry_by_index(parent, reference.index, name)?;
        if by_index.is_none_or(|entry| entry.location.object != inode) {
            return Ok(false);
        }
        let by_name = self.entry_by_name(parent, name)?;
        Ok(by_name.is_some_and(|entry| entry.location.object == inode))
    }

    /// Takes away what is in the way of a name: other names of the inode in that
    /// directory that the log does not have, and other inodes under it. Returns
    /// whether it is a root's reference to itself.
    fn remove_conflicts(
        &mut self,
        inode: u64,
        reference: &Reference<'_>,
        is_searched: &mut bool,
    ) -> Result<bool> {
        let (parent, name) = (reference.parent, reference.name);
        let mut logged = LoggedNames::default();
        for key in keys(inode, parent, name) {
            let Some(item) = self.find(&key)? else {
                continue;
            };
            *is_searched = true;
            if key.kind == kind::INODE_REF && inode == parent {
                return Ok(true);
            }
            for victim in references(&item)?
                .iter()
                .filter(|victim| victim.parent == parent)
            {
                let own = key_of(inode, (parent, victim.name), key.kind);
                if !logged.has(&self.log(), self.work, own, (parent, victim.name))? {
                    self.unlink(parent, inode, victim.name)?;
                }
            }
        }
        if let Some(entry) = self.entry_by_index(parent, reference.index, name)? {
            self.drop_entry(parent, &entry, name)?;
        }
        if let Some(entry) = self.entry_by_name(parent, name)? {
            self.drop_entry(parent, &entry, name)?;
        }
        Ok(false)
    }

    /// Tells whether the log has a reference of `inode` to a name, in any form.
    pub(super) fn has_logged_reference(
        &self,
        inode: u64,
        parent: u64,
        name: &[u8],
    ) -> Result<bool> {
        for key in keys(inode, parent, name) {
            if let Some(item) = self.log().find(&key)?
                && has_reference(&item, parent, name)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add_logged_name(&mut self, inode: u64, reference: &Reference<'_>, form: u8) -> Result<()> {
        let (parent, name) = (reference.parent, reference.name);
        let own = key_of(inode, (parent, name), form);
        let is_present = match self.find(&own)? {
            Some(item) => has_reference(&item, parent, name)?,
            None => false,
        };
        if is_present {
            // The same name under another number.
            self.unlink(parent, inode, name)?;
        }
        if let Some(other) = self.entry_by_name(parent, name)? {
            // It belongs to an inode whose turn comes later.
            self.expect_inode(other.location.object)?;
            self.unlink(parent, other.location.object, name)?;
        }
        match self.add_entry(parent, inode, name, reference.index)? {
            true => Ok(()),
            false => Err(contradiction("entry number of a log tree", reference.index)),
        }
    }

    /// Takes the names away that the subvolume's item has and the log's has not.
    fn remove_unlogged_names(&mut self, item: &Item, logged: &[Reference<'_>]) -> Result<()> {
        let Some(present) = self.find(&item.key)? else {
            return Ok(());
        };
        let logged: HashSet<_> = logged.iter().map(|new| (new.parent, new.name)).collect();
        for old in references(&present)? {
            if !logged.contains(&(old.parent, old.name)) {
                self.expect_inode(old.parent)?;
                self.unlink(old.parent, item.key.object, old.name)?;
            }
        }
        Ok(())
    }

    /// Takes a reference away; returns the number of its entry.
    pub(super) fn remove_reference(
        &mut self,
        inode: u64,
        parent: u64,
        name: &[u8],
    ) -> Result<Option<u64>> {
        for key in keys(inode, parent, name) {
            let Some(item) = self.find(&key)? else {
                continue;
            };
            let (mut index, mut kept) = (None, vec![]);
            for found in references(&item)? {
                if found.is(parent, name) {
                    index = Some(found.index);
                } else {
                    kept.extend(found.bytes);
                }
            }
            if index.is_some() {
                match kept.is_empty() {
                    true => self.remove(key)?,
                    false => self.put(key, kept)?,
                }
                return Ok(index);
            }
        }
        Ok(None)
    }

    /// Adds a reference, in the long form if the short one has no room.
    pub(super) fn add_reference(
        &mut self,
        inode: u64,
        parent: u64,
        name: &[u8],
        index: u64,
    ) -> Result<()> {
        let [short, long] = keys(inode, parent, name);
        let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
        let room = self.item_len_max();
        let mut bytes = self
            .find(&short)?
            .map_or(vec![], |item| item.bytes().to_vec());
        bytes.extend(index.to_le_bytes());
        bytes.extend(name_len);
        bytes.extend(name);
        if bytes.len() <= room {
            return self.put(short, bytes);
        }
        let mut bytes = self
            .find(&long)?
            .map_or(vec![], |item| item.bytes().to_vec());
        bytes.extend(parent.to_le_bytes());
        bytes.extend(index.to_le_bytes());
        bytes.extend(name_len);
        bytes.extend(name);
        self.put(long, bytes)
    }

    /// Returns how long an item of this file system can be.
    fn item_len_max(&self) -> usize {
        let node_len = crate::filesystem::index_of(self.volume.space.superblock.node_len);
        // The header of a block and that of an item.
        node_len.saturating_sub(101 + 25)
    }
}

/// Tells whether an item has a record of this name; in attributes and entries alike.
pub(super) fn has_name(item: &Item, name: &[u8]) -> Result<bool> {
    let found = search(&item.fields(), &mut |record| {
        Ok((record.name == name).then_some(()))
    })?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_both_forms_are_read() {
        let mut short = vec![7, 0, 0, 0, 0, 0, 0, 0, 2, 0, b'a', b'b'];
        short.extend([8, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'c']);
        let item = Item::of_bytes(Key::new(300, kind::INODE_REF, 256), short.clone().into());
        let found = references(&item).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.parent, found.index))
            .collect();
        assert_eq!(told, [(256, 7), (256, 8)]);
        assert_eq!(found[1].name, b"c");
        let mut long = 300_u64.to_le_bytes().to_vec();
        long.extend(&short[..12]);
        let item = Item::of_bytes(Key::new(301, kind::INODE_EXTREF, 1), long.into());
        assert_eq!(references(&item).unwrap()[0].parent, 300);
        assert!(has_reference(&item, 300, b"ab").unwrap());
        assert!(!has_reference(&item, 301, b"ab").unwrap());
        let cut = Item::of_bytes(item.key, item.bytes()[..19].into());
        assert!(references(&cut).is_err());
    }
}
