//! Inodes of a log: what is taken over of each, and how its links are counted.

use super::super::dir_item::search;
use super::super::inode::{GENERATION, NBYTES, NLINK, SIZE};
use super::super::key::{Key, kind};
use super::super::node::Item;
use super::reference::references;
use super::replay::{Replay, file_type, set};
use crate::base::Fields;
use crate::filesystem::{FileType, Result};
use std::collections::HashSet;

impl Replay<'_> {
    /// Brings the inode of `item` into the subvolume: first away with what the log
    /// knows to be gone, then the item, then the links are to be counted.
    pub(super) fn replay_inode(&mut self, item: &Item) -> Result<()> {
        let number = item.key.object;
        let file_type = file_type(&item.fields())?;
        self.remove_old_xattrs(number)?;
        if file_type == FileType::Directory {
            self.remove_old_entries(number)?;
        }
        self.take_over(item, file_type)?;
        if file_type == FileType::Regular {
            // Before extents are replayed: those beyond the end come after this.
            let unit = u64::from(self.volume.space.superblock.sector_len).max(1);
            let size = self.expect_inode(number)?.fields().le_u64(SIZE)?;
            if let Some(end) = size.checked_next_multiple_of(unit) {
                let dropped = self.drop_extents(number, end, u64::MAX)?;
                if dropped > 0 {
                    self.change_inode(number, NBYTES, |old| old.saturating_sub(dropped))?;
                }
            }
        }
        self.fixups.insert(number);
        Ok(())
    }

    fn take_over(&mut self, item: &Item, file_type: FileType) -> Result<()> {
        let logged = item.fields();
        let is_directory = file_type == FileType::Directory;
        let mut bytes = item.bytes().to_vec();
        let present = self.find(&item.key)?;
        // The space that is taken changes with each extent, the size of a directory
        // with each entry.
        let (mut allocated, mut size) = (0, 0);
        if let Some(present) = &present {
            let fields = present.fields();
            if logged.le_u64(GENERATION)? == 0 {
                return self.keep(present, &logged, file_type);
            }
            allocated = fields.le_u64(NBYTES)?;
            if super::replay::file_type(&fields)? == FileType::Directory {
                size = fields.le_u64(SIZE)?;
            }
        }
        set(&mut bytes, NBYTES, allocated.to_le_bytes());
        if is_directory {
            set(&mut bytes, SIZE, size.to_le_bytes());
        }
        if logged.le_u64(GENERATION)? == 0 {
            let transaction = self.volume.space.superblock.generation.saturating_add(1);
            set(&mut bytes, GENERATION, transaction.to_le_bytes());
        }
        self.put(item.key, bytes)
    }

    /// An inode with generation 0 was only logged to exist: at most its size counts.
    fn keep(&mut self, present: &Item, logged: &Fields<'_>, file_type: FileType) -> Result<()> {
        let size = logged.le_u64(SIZE)?;
        let was_regular = super::replay::file_type(&present.fields())? == FileType::Regular;
        if file_type == FileType::Regular && was_regular && size != 0 {
            self.change_inode(present.key.object, SIZE, |_| size)?;
        }
        Ok(())
    }

    /// Takes the attributes away that the log does not have.
    fn remove_old_xattrs(&mut self, number: u64) -> Result<()> {
        let all = Key::new(number, kind::XATTR_ITEM, 0);
        let mut old = vec![];
        let mut items = self.items_beside(&all)?;
        while let Some(item) = items.next_beside(&all)? {
            let logged = self.log().find(&item.key)?;
            let mut names = HashSet::new();
            if let Some(logged) = &logged {
                search::<()>(&logged.fields(), &mut |record| {
                    names.insert(record.name);
                    Ok(None)
                })?;
            }
            let mut kept = vec![];
            let mut is_changed = false;
            search::<()>(&item.fields(), &mut |record| {
                match names.contains(record.name) {
                    true => kept.extend(record.bytes),
                    false => is_changed = true,
                }
                Ok(None)
            })?;
            if is_changed {
                old.push((item.key, kept));
            }
        }
        for (key, kept) in old {
            match kept.is_empty() {
                true => self.remove(key)?,
                false => self.put(key, kept)?,
            }
        }
        Ok(())
    }

    /// Sets the number of links to that of the references; a directory without one
    /// loses its entries. The inode itself is out of reach then.
    pub(super) fn count_links(&mut self, number: u64) -> Result<()> {
        let item = self.expect_inode(number)?;
        let mut count = 0_u32;
        for kind in [kind::INODE_REF, kind::INODE_EXTREF] {
            let all = Key::new(number, kind, 0);
            let mut items = self.items_beside(&all)?;
            while let Some(found) = items.next_beside(&all)? {
                let found = references(&found)?.len();
                count = count.saturating_add(u32::try_from(found).unwrap_or(u32::MAX));
            }
        }
        if item.fields().le_u32(NLINK)? != count {
            let mut bytes = item.bytes().to_vec();
            set(&mut bytes, NLINK, count.to_le_bytes());
            self.put(item.key, bytes)?;
        }
        let is_directory = file_type(&item.fields())? == FileType::Directory;
        if count == 0 && is_directory {
            self.remove_all_entries(number)?;
        }
        Ok(())
    }
}
