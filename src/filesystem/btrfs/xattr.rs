//! Extended attributes: full names and values as the kernel shows them. ACLs are kept
//! in the form that is shown, so nothing has to be changed.

use super::checksum::name_hash;
use super::dir_item::search;
use super::inode::directory_of_stub;
use super::key::{Key, kind};
use super::volume::Volume;
use crate::filesystem::{Error, NodeId, Result};

/// The longest name that the kernel lets pass.
const NAME_LEN_MAX: usize = 255;

/// Names of one inode; the kernel lists 65,536 bytes of them at most.
const NAME_COUNT_MAX: usize = 32_768;

impl Volume {
    /// See [`crate::filesystem::FileSystem::xattr_names`].
    pub(super) fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        self.inode(node)?;
        let mut names = vec![];
        if directory_of_stub(node).is_some() {
            return Ok(names);
        }
        let key = Key::new(node.inode, kind::XATTR_ITEM, 0);
        let mut items = self.subvolume_of(node)?.items_beside(&key)?;
        while let Some(item) = items.next_beside(&key)? {
            search::<()>(&item.fields(), &mut |found| {
                if is_shown(found.name) {
                    names.push(found.name.to_vec());
                }
                Ok(None)
            })?;
            if names.len() > NAME_COUNT_MAX {
                return Err(Error::unsupported("more than 32,768 extended attributes"));
            }
        }
        Ok(names)
    }

    /// See [`crate::filesystem::FileSystem::xattr`].
    pub(super) fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inode(node)?;
        if directory_of_stub(node).is_some() || !is_shown(name) {
            return Ok(None);
        }
        let key = Key::new(node.inode, kind::XATTR_ITEM, name_hash(name));
        let Some(item) = self.subvolume_of(node)?.find(&key)? else {
            return Ok(None);
        };
        search(&item.fields(), &mut |found| {
            Ok((found.name == name).then(|| found.data.to_vec()))
        })
    }
}

fn is_shown(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.contains(&0)
}
