//! Directories: entries by name and in order, and the way into other subvolumes.

use super::checksum::name_hash;
use super::dir_item::{DirItem, search};
use super::inode::{directory_of_stub, stub_in};
use super::key::{Key, is_subvolume, kind, object};
use super::volume::Volume;
use crate::filesystem::damage::Damage;
use crate::filesystem::{
    DirCursor, DirEntry, DirVisitor, Error, ErrorKind, FileType, Name, NodeId, Result,
};

/// Cursors lie below this, and so do the numbers of entries.
const CURSOR_LIMIT: u64 = 1 << 62;

/// The longest path that the kernel takes.
const PATH_LEN_MAX: usize = 4096;

const ROOT_REF_DIRID: usize = 0;
const ROOT_REF_NAME_LEN: usize = 16;
const ROOT_REF_NAME: usize = 18;

impl Volume {
    /// See [`crate::filesystem::FileSystem::lookup`].
    pub(super) fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        self.inode_of_type(directory, FileType::Directory)?;
        if directory_of_stub(directory).is_some() {
            return Ok(None);
        }
        let key = Key::new(directory.inode, kind::DIR_ITEM, name_hash(name.bytes()));
        let Some(item) = self.subvolume_of(directory)?.find(&key)? else {
            return Ok(None);
        };
        search(
            &item.fields(),
            &mut |found| match found.name == name.bytes() {
                true => self.target(directory, &found).map(Some),
                false => Ok(None),
            },
        )
    }

    /// See [`crate::filesystem::FileSystem::read_dir`].
    pub(super) fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        self.inode_of_type(directory, FileType::Directory)?;
        if directory_of_stub(directory).is_some() {
            return Ok(());
        }
        let key = Key::new(directory.inode, kind::DIR_INDEX, cursor.0);
        let mut items = self.subvolume_of(directory)?.items_beside(&key)?;
        let mut damage = Damage::default();
        loop {
            let item = match damage.pass(items.next_beside(&key))? {
                Some(Some(item)) => item,
                Some(None) => break,
                // What is behind a damaged block is listed.
                None => continue,
            };
            let fields = item.fields();
            let next = item.key.offset.saturating_add(1);
            if next >= CURSOR_LIMIT {
                let expected = "below 2^62";
                return Err(Error::corrupt(
                    "entry number",
                    fields.offset(),
                    expected,
                    next,
                ));
            }
            // An item has one entry: no two have one number.
            let ended = search(&fields, &mut |found| {
                let entry = DirEntry {
                    name: Name::of_image(found.name, found.offset)?,
                    node: self.target(directory, &found)?,
                    file_type: found.file_type(),
                    next: DirCursor(next),
                };
                Ok(Some(visit(entry).is_break()))
            });
            if damage.pass(ended)?.flatten() == Some(true) {
                break;
            }
        }
        damage.end()
    }

    /// Returns what an entry of `directory` leads to.
    fn target(&self, directory: NodeId, entry: &DirItem<'_>) -> Result<NodeId> {
        match entry.location.kind {
            kind::INODE_ITEM => Ok(NodeId {
                subvolume: directory.subvolume,
                inode: entry.location.object,
            }),
            kind::ROOT_ITEM => self.subvolume_target(directory, entry),
            other => {
                let expected = "an inode or a subvolume";
                Err(Error::corrupt(
                    "entry target",
                    entry.offset,
                    expected,
                    other,
                ))
            }
        }
    }

    /// Returns the root of the subvolume that an entry leads to. A snapshot has the
    /// entries of the subvolume it was made of, but the subvolumes below that are not
    /// in it: they are empty directories.
    fn subvolume_target(&self, directory: NodeId, entry: &DirItem<'_>) -> Result<NodeId> {
        let number = entry.location.object;
        let key = Key::new(directory.subvolume, kind::ROOT_REF, number);
        let reference = self.root_tree().find(&key)?;
        let is_here = match &reference {
            Some(item) => {
                let fields = item.fields();
                let name_len = usize::from(fields.le_u16(ROOT_REF_NAME_LEN)?);
                fields.le_u64(ROOT_REF_DIRID)? == directory.inode
                    && fields.slice(ROOT_REF_NAME, name_len)? == entry.name
            }
            None => false,
        };
        if !is_here || !is_subvolume(number) {
            return Ok(stub_in(directory));
        }
        match self.root(number) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(stub_in(directory)),
            // A damaged root is an error of the subvolume, not of this directory.
            _ => Ok(subvolume_root(number)),
        }
    }

    /// Returns the subvolume that a mount without options shows.
    pub(super) fn default_subvolume(&self) -> Result<u64> {
        let name = b"default";
        let directory = self.space.superblock.root_dir;
        let key = Key::new(directory, kind::DIR_ITEM, name_hash(name));
        let Some(item) = self.root_tree().find(&key)? else {
            return Ok(object::FS_TREE);
        };
        let found = search(&item.fields(), &mut |found| {
            Ok((found.name == name).then_some(found.location.object))
        })?;
        Ok(found.unwrap_or(object::FS_TREE))
    }

    /// Returns the root of the subvolume `number`, if there is one.
    pub(super) fn subvolume_by_number(&self, number: u64) -> Result<NodeId> {
        let node = subvolume_root(number);
        self.subvolume_of(node)?;
        Ok(node)
    }

    /// Returns the root of the subvolume at `path` from the top level.
    pub(super) fn subvolume_by_path(&self, path: &[u8]) -> Result<NodeId> {
        let missing = || Error::NotFound {
            what: format!("subvolume {}", path.escape_ascii()).into(),
        };
        if path.len() > PATH_LEN_MAX {
            return Err(missing());
        }
        let mut node = subvolume_root(object::FS_TREE);
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            let name = Name::new(part).ok_or_else(missing)?;
            node = self.lookup(node, name)?.ok_or_else(missing)?;
        }
        match node == subvolume_root(node.subvolume) {
            true => Ok(node),
            false => Err(missing()),
        }
    }
}

/// Returns the root of the subvolume `number`.
pub(super) const fn subvolume_root(number: u64) -> NodeId {
    NodeId {
        subvolume: number,
        inode: object::FIRST_FREE,
    }
}
