//! The search in trees: from a root down to an item, and on to the next ones, without
//! recursion. Levels fall by one a step and keys rise all the way, so a walk meets
//! each block at most once whatever the blocks say.

use super::key::Key;
use super::node::{Item, LEVEL_MAX, Node, Pointer};
use super::space::Space;
use crate::filesystem::{Error, Result};

struct Step {
    node: Node,
    slot: usize,
}

/// A place in a tree.
pub(super) struct Cursor<'a> {
    space: &'a Space,
    root: Pointer,
    /// From the root to a leaf; empty at the end.
    path: Vec<Step>,
    last: Option<Key>,
}

impl<'a> Cursor<'a> {
    /// Goes to the first item that is not below `key`.
    ///
    /// # Errors
    ///
    /// Those of reading the blocks on the way.
    pub(super) fn seek(space: &'a Space, root: &Pointer, key: &Key) -> Result<Self> {
        Self::go(space, root, key, false)
    }

    /// Goes to the last item that is not above `key`; to the first one if all are.
    ///
    /// # Errors
    ///
    /// Those of reading the blocks on the way.
    pub(super) fn seek_floor(space: &'a Space, root: &Pointer, key: &Key) -> Result<Self> {
        Self::go(space, root, key, true)
    }

    fn go(space: &'a Space, root: &Pointer, key: &Key, is_floor: bool) -> Result<Self> {
        if root.level > LEVEL_MAX {
            return Err(space.superblock_error("root level", root.level.into()));
        }
        let mut cursor = Self {
            space,
            root: *root,
            path: Vec::with_capacity(usize::from(root.level).saturating_add(1)),
            last: None,
        };
        let mut pointer = *root;
        loop {
            let node = space.node(&pointer)?;
            let is_leaf = node.level == 0;
            let slot = match is_leaf && !is_floor {
                true => node.rank(key, false)?,
                false => node.rank(key, true)?.saturating_sub(1),
            };
            if !is_leaf {
                pointer = node.child(slot, root.owner)?;
            }
            cursor.path.push(Step { node, slot });
            if is_leaf {
                return Ok(cursor);
            }
        }
    }

    /// Returns the item here and goes on, or `None` at the end.
    ///
    /// # Errors
    ///
    /// Those of reading the next block; Corrupt if the keys do not rise.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        while let Some(step) = self.path.last_mut() {
            if step.slot >= step.node.count {
                self.path.pop();
                self.turn()?;
                continue;
            }
            let item = step.node.item(step.slot)?;
            step.slot = step.slot.saturating_add(1);
            if self.last.is_some_and(|last| last >= item.key) {
                let offset = item.fields().offset();
                let expected = "one above the last";
                return Err(Error::corrupt(
                    "item key",
                    offset,
                    expected,
                    item.key.object,
                ));
            }
            self.last = Some(item.key);
            return Ok(Some(item));
        }
        Ok(None)
    }

    /// Goes to the beginning of the next leaf, after the last one was left.
    fn turn(&mut self) -> Result<()> {
        let mut pointer = loop {
            let Some(step) = self.path.last_mut() else {
                return Ok(());
            };
            step.slot = step.slot.saturating_add(1);
            if step.slot < step.node.count {
                break step.node.child(step.slot, self.root.owner)?;
            }
            self.path.pop();
        };
        loop {
            let node = self.space.node(&pointer)?;
            let first = node.key(0)?;
            if self.last.is_some_and(|last| last >= first) {
                let expected = "one above the last";
                return Err(Error::corrupt(
                    "first key",
                    pointer.bytenr,
                    expected,
                    first.object,
                ));
            }
            let is_leaf = node.level == 0;
            if !is_leaf {
                pointer = node.child(0, self.root.owner)?;
            }
            self.path.push(Step { node, slot: 0 });
            if is_leaf {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Image, root};
    use super::*;

    const ROOT: u64 = 1 << 20;
    const LEAVES: [u64; 3] = [ROOT + 4096, ROOT + 8192, ROOT + 12_288];

    fn key(object: u64) -> Key {
        Key::new(object, 1, 0)
    }

    /// Three leaves with the objects 10 to 15, two each.
    fn image() -> Image {
        let mut image = Image::new();
        for (index, leaf) in LEAVES.into_iter().enumerate() {
            let first = 10 + 2 * index as u64;
            image.leaf(leaf, &[(key(first), b"one"), (key(first + 1), b"other")]);
        }
        let children = [
            (key(10), LEAVES[0]),
            (key(12), LEAVES[1]),
            (key(14), LEAVES[2]),
        ];
        image.branch(ROOT, 1, &children);
        image
    }

    fn objects(mut cursor: Cursor<'_>) -> (Vec<u64>, bool) {
        let mut found = vec![];
        loop {
            match cursor.next() {
                Ok(Some(item)) => found.push(item.key.object),
                Ok(None) => return (found, true),
                Err(_) => return (found, false),
            }
        }
    }

    #[test]
    fn walks_begin_where_they_are_asked_to() {
        let volume = image().volume();
        let (space, root) = (&volume.space, root(ROOT, 1));
        let from = |object| objects(Cursor::seek(space, &root, &key(object)).unwrap()).0;
        assert_eq!(from(0), [10, 11, 12, 13, 14, 15]);
        assert_eq!(from(13), [13, 14, 15]);
        assert_eq!(from(16), [] as [u64; 0]);
        let around = |key| objects(Cursor::seek_floor(space, &root, &key).unwrap()).0;
        assert_eq!(around(Key::new(12, 1, 5))[0], 12);
        assert_eq!(around(Key::new(12, 0, 5))[0], 11);
        assert_eq!(around(key(99)), [15]);
        assert_eq!(around(key(1))[0], 10);
    }

    #[test]
    fn damage_does_not_hide_what_is_before_it() {
        let mut image = image();
        image.leaf(LEAVES[1], &[(key(12), b""), (key(14), b"")]);
        let volume = image.volume();
        let cursor = Cursor::seek(&volume.space, &root(ROOT, 1), &key(0)).unwrap();
        assert_eq!(objects(cursor), (vec![10, 11, 12, 14], false));
    }

    #[test]
    fn loops_and_wrong_levels_are_refused() {
        let mut image = image();
        let children = [
            (key(10), LEAVES[0]),
            (key(12), LEAVES[0]),
            (key(14), LEAVES[2]),
        ];
        image.branch(ROOT, 1, &children);
        image.branch(ROOT + 16_384, 2, &[(key(10), ROOT + 16_384)]);
        let volume = image.volume();
        let space = &volume.space;
        let cursor = Cursor::seek(space, &root(ROOT, 1), &key(0)).unwrap();
        assert_eq!(objects(cursor), (vec![10, 11], false));
        for (bytenr, level) in [(ROOT, 2), (ROOT, 0), (ROOT, 9), (ROOT + 16_384, 2), (77, 0)] {
            assert!(Cursor::seek(space, &root(bytenr, level), &key(0)).is_err());
        }
    }
}
