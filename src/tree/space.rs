//! Spaces: the inodes of one tree of one file system as one part of one snapshot shows
//! it. What the kernel holds of a file is its space and its number there.

use crate::base::SnapshotId;
use crate::contents::ViewNode;
use crate::filesystem::NodeId;
use crate::tree::node::{FIRST_HASHED, hash};
use crate::tree::open_contents::{Part, Shown};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// What makes a space different from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SpaceKey {
    pub(super) snapshot: SnapshotId,
    /// A directory has one place in the kernel's tree, so what `files/` and
    /// `partitions/<n>/files` both show has two numbers.
    pub(super) part: Part,
    /// Which of the part's file systems.
    pub(super) mount: u16,
    /// Which tree of the file system.
    pub(super) subvolume: u64,
}

/// Inodes whose own numbers do not clash.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) key: SpaceKey,
    base: u64,
    /// Where they are read, as long as it is open.
    pub(super) shown: Mutex<Weak<Shown>>,
}

impl Space {
    fn new(key: SpaceKey) -> Self {
        let parts = [
            &key.snapshot.0[..],
            &key.part.0.to_le_bytes(),
            &key.mount.to_le_bytes(),
            &key.subvolume.to_le_bytes(),
        ];
        Self {
            key,
            base: hash("space", &parts),
            shown: Mutex::default(),
        }
    }

    /// Returns the number in the mount of an inode of this space. Two inodes of one
    /// space differ; those of two spaces clash as seldom as random numbers do, whatever
    /// numbers an image gives, because it cannot know the id of its snapshot.
    pub(super) fn number(&self, inode: u64) -> u64 {
        let number = mix(mix(inode) ^ self.base);
        if number < FIRST_HASHED {
            number.wrapping_sub(FIRST_HASHED)
        } else {
            number
        }
    }

    /// Returns the place of an inode in its view.
    pub(super) fn view_node(&self, inode: u64) -> ViewNode {
        ViewNode {
            mount: self.key.mount,
            node: NodeId {
                subvolume: self.key.subvolume,
                inode,
            },
        }
    }

    /// Tells whether the node of a view lies in this space of it.
    pub(super) fn has(&self, node: ViewNode) -> bool {
        node.mount == self.key.mount && node.node.subvolume == self.key.subvolume
    }
}

/// A bijection of 64-bit numbers that looks random.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", the
/// finalizer with the constants of David Stafford ("Mix13").
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// All spaces that are in use.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    known: RwLock<HashMap<SpaceKey, Weak<Space>>>,
}

impl Spaces {
    /// Returns the space of this key, the same one for as long as anybody has it.
    pub(super) fn get(&self, key: SpaceKey) -> Arc<Space> {
        let found = self.known.read().get(&key).and_then(Weak::upgrade);
        if let Some(found) = found {
            return found;
        }
        let mut known = self.known.write();
        if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        let space = Arc::new(Space::new(key));
        known.insert(key, Arc::downgrade(&space));
        space
    }

    /// Forgets spaces that nobody has.
    pub(super) fn tidy(&self) {
        let has_unused = |known: &HashMap<_, Weak<Space>>| {
            let unused = known.values().filter(|space| space.strong_count() == 0);
            unused.count() > 16
        };
        if has_unused(&self.known.read()) {
            let mut known = self.known.write();
            known.retain(|_, space| space.strong_count() > 0);
            known.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(byte: u8, part: u16, mount: u16, subvolume: u64) -> SpaceKey {
        SpaceKey {
            snapshot: SnapshotId([byte; 16]),
            part: Part(part),
            mount,
            subvolume,
        }
    }

    #[test]
    fn every_part_of_the_key_gives_other_numbers() {
        let keys = [
            key(1, 0, 0, 0),
            key(2, 0, 0, 0),
            key(1, 1, 0, 0),
            key(1, 0, 1, 0),
            key(1, 0, 0, 1),
        ];
        let mut numbers = HashSet::new();
        for key in keys {
            let space = Space::new(key);
            for inode in 0..10_000 {
                let number = space.number(inode);
                assert!(number >= FIRST_HASHED);
                assert!(numbers.insert(number), "{key:?} {inode}");
            }
            assert_eq!(space.number(7), Space::new(key).number(7));
        }
    }

    #[test]
    fn a_space_is_forgotten_with_its_last_user() {
        let spaces = Spaces::default();
        let one = spaces.get(key(1, 0, 0, 0));
        assert!(Arc::ptr_eq(&one, &spaces.get(key(1, 0, 0, 0))));
        for subvolume in 1..100 {
            drop(spaces.get(key(1, 0, 0, subvolume)));
        }
        spaces.tidy();
        assert_eq!(spaces.known.read().len(), 1);
        assert!(Arc::ptr_eq(&one, &spaces.get(key(1, 0, 0, 0))));
    }
}
