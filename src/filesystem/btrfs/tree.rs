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
    /// Items above it are not asked for.
    end: Option<Key>,
    /// Why the way down ended above a leaf; told by the next step.
    failed: Option<Error>,
}

impl<'a> Cursor<'a> {
    /// Goes to the first item that is not below `key`.
    ///
    /// # Errors
    ///
    /// Those of reading the root; damage below it is an error of the first step.
    pub(super) fn seek(space: &'a Space, root: &Pointer, key: &Key) -> Result<Self> {
        Self::go(space, root, key, false)
    }

    /// Goes to the last item that is not above `key`; to the first one if all are.
    ///
    /// # Errors
    ///
    /// Those of reading the root; damage below it is an error of the first step.
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
            end: None,
            failed: None,
        };
        let mut node = space.node(root)?;
        loop {
            let is_leaf = node.level == 0;
            let slot = match is_leaf && !is_floor {
                true => node.rank(key, false)?,
                false => node.rank(key, true)?.saturating_sub(1),
            };
            let child = (!is_leaf).then(|| node.child(slot, root.owner));
            cursor.path.push(Step { node, slot });
            let Some(child) = child else {
                return Ok(cursor);
            };
            match child.and_then(|pointer| space.node(&pointer)) {
                Ok(below) => node = below,
                Err(error) => {
                    cursor.failed = Some(error);
                    return Ok(cursor);
                }
            }
        }
    }

    /// Ends the walk behind `key`: no block is read for what is above it.
    pub(super) fn until(self, key: Key) -> Self {
        Self {
            end: Some(key),
            ..self
        }
    }

    /// Returns the item here and goes on, or `None` at the end. After an error it can be
    /// called again, and goes on behind what is damaged.
    ///
    /// # Errors
    ///
    /// Those of reading the next block; Corrupt if the keys do not rise.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        while let Some(step) = self.path.last_mut() {
            let is_leaf = step.node.level == 0;
            if !is_leaf || step.slot >= step.node.count {
                // A way down that failed ends above a leaf.
                if is_leaf {
                    self.path.pop();
                }
                self.turn()?;
                continue;
            }
            let slot = step.slot;
            step.slot = slot.saturating_add(1);
            let item = step.node.item(slot)?;
            if self.end.is_some_and(|end| end < item.key) {
                self.path.clear();
                return Ok(None);
            }
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
                let first = step.node.key(step.slot)?;
                if self.end.is_some_and(|end| end < first) {
                    self.path.clear();
                    return Ok(());
                }
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

    /// Returns the objects and how often there was an error instead.
    fn all_objects(mut cursor: Cursor<'_>) -> (Vec<u64>, usize) {
        let (mut found, mut errors) = (vec![], 0);
        loop {
            match cursor.next() {
                Ok(Some(item)) => found.push(item.key.object),
                Ok(None) => return (found, errors),
                Err(_) => errors += 1,
            }
            assert!(errors < 10);
        }
    }

    #[test]
    fn a_walk_goes_on_behind_damage() {
        let mut image = image();
        image.damage(LEAVES[1]);
        let volume = image.volume();
        let (space, root) = (&volume.space, root(ROOT, 1));
        let from = |object| all_objects(Cursor::seek(space, &root, &key(object)).unwrap());
        assert_eq!(from(0), (vec![10, 11, 14, 15], 1));
        // Where it begins is damaged.
        assert_eq!(from(13), (vec![14, 15], 1));
        assert_eq!(from(14), (vec![14, 15], 0));
        let around = Cursor::seek_floor(space, &root, &key(13)).unwrap();
        assert_eq!(all_objects(around), (vec![14, 15], 1));
    }

    #[test]
    fn a_walk_reads_no_block_behind_its_end() {
        let mut image = image();
        image.damage(LEAVES[1]);
        let volume = image.volume();
        let (space, root) = (&volume.space, root(ROOT, 1));
        let until = |from, end| {
            let cursor = Cursor::seek(space, &root, &key(from)).unwrap();
            all_objects(cursor.until(end))
        };
        assert_eq!(until(10, key(11)), (vec![10, 11], 0));
        assert_eq!(until(10, key(10)), (vec![10], 0));
        // What is not there and would be the last one of its leaf.
        assert_eq!(until(11, Key::new(11, 1, 5)), (vec![11], 0));
        assert_eq!(until(10, key(12)), (vec![10, 11], 1));
        assert_eq!(until(10, key(14)), (vec![10, 11, 14], 1));
        let missing = Key::new(11, 1, 5);
        assert!(volume.bare_tree(root).find(&missing).unwrap().is_none());
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
            let found = Cursor::seek(space, &root(bytenr, level), &key(0));
            assert!(found.and_then(|mut cursor| cursor.next()).is_err());
        }
    }
}
