//! The trees of one file system by number, with the changes of a replayed log laid
//! over them: what all parts of the reader stand on.

use super::compression::DecodedCache;
use super::inode::{RecentInodes, no_inodes};
use super::key::{Key, is_subvolume, kind, object};
use super::node::{Item, Owner, Pointer};
use super::space::Space;
use super::tree::Cursor;
use super::work::Work;
use crate::filesystem::{Error, NodeId, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

/// Roots that are remembered.
const ROOT_COUNT_MAX: usize = 4096;

const ROOT_ITEM_GENERATION: usize = 160;
const ROOT_ITEM_BYTENR: usize = 176;
const ROOT_ITEM_BYTES_USED: usize = 192;
const ROOT_ITEM_REFS: usize = 216;
const ROOT_ITEM_LEVEL: usize = 238;

/// What a replay made of an item: new data, or nothing.
pub(super) type Change = Option<Arc<[u8]>>;
/// The changes of one tree.
pub(super) type Changes = BTreeMap<Key, Change>;

/// What a replayed log changes.
#[derive(Default)]
pub(super) struct Overlay {
    /// By number of the subvolume.
    pub(super) trees: BTreeMap<u64, Changes>,
    /// Checksums of data, by the address of the first sector.
    pub(super) csums: BTreeMap<u64, Arc<[u8]>>,
    /// How far checksums reach at most.
    pub(super) csum_span: u64,
}

/// A root that was looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) pointer: Pointer,
    /// Bytes of the blocks of the tree.
    pub(super) bytes_used: u64,
}

/// One file system.
pub(super) struct Volume {
    pub(super) space: Space,
    pub(super) decoded: DecodedCache,
    pub(super) inodes: RecentInodes,
    /// Set before anything else is asked for.
    pub(super) overlay: Overlay,
    roots: Mutex<BTreeMap<u64, Root>>,
}

/// A tree with what is laid over it.
pub(super) struct Tree<'a> {
    space: &'a Space,
    root: Pointer,
    changes: Option<&'a Changes>,
    /// Where what is done is counted, if it is.
    work: Option<&'a Work>,
}

impl Volume {
    pub(super) fn new(space: Space) -> Self {
        Self {
            space,
            decoded: DecodedCache::new(),
            inodes: no_inodes(),
            overlay: Overlay::default(),
            roots: Mutex::new(BTreeMap::new()),
        }
    }

    /// Returns the tree of trees.
    pub(super) fn root_tree(&self) -> Tree<'_> {
        let superblock = &self.space.superblock;
        self.bare_tree(Pointer {
            bytenr: superblock.root,
            generation: superblock.generation,
            level: superblock.root_level,
            owner: Owner::Tree(object::ROOT_TREE),
            first_key: None,
        })
    }

    /// Returns the tree of chunks.
    pub(super) fn chunk_tree(&self) -> Tree<'_> {
        self.bare_tree(self.space.chunk_root())
    }

    /// Returns the tree at `root` as it is on disk.
    pub(super) fn bare_tree(&self, root: Pointer) -> Tree<'_> {
        Tree {
            space: &self.space,
            root,
            changes: None,
            work: None,
        }
    }

    /// Returns a tree by its number.
    ///
    /// # Errors
    ///
    /// NotFound if there is none, or if it is a subvolume that is being deleted.
    pub(super) fn tree(&self, number: u64) -> Result<Tree<'_>> {
        Ok(Tree {
            space: &self.space,
            root: self.root(number)?.pointer,
            changes: self.overlay.trees.get(&number),
            work: None,
        })
    }

    /// Returns the tree of a subvolume, which `node` is in.
    ///
    /// # Errors
    ///
    /// NotFound if there is none.
    pub(super) fn subvolume_of(&self, node: NodeId) -> Result<Tree<'_>> {
        match is_subvolume(node.subvolume) {
            true => self.tree(node.subvolume),
            false => Err(missing_tree(node.subvolume)),
        }
    }

    /// Returns the root of a tree by its number.
    ///
    /// # Errors
    ///
    /// NotFound if there is none, or if it is a subvolume that is being deleted.
    pub(super) fn root(&self, number: u64) -> Result<Root> {
        if let Some(root) = self.roots.lock().get(&number) {
            return Ok(*root);
        }
        let key = Key::new(number, kind::ROOT_ITEM, u64::MAX);
        // A snapshot's root has the number of its transaction in its key.
        let found = self.root_tree().floor(&key)?;
        let item = found.ok_or_else(|| missing_tree(number))?;
        let root = decode_root(&item)?;
        let mut roots = self.roots.lock();
        if roots.len() >= ROOT_COUNT_MAX {
            roots.clear();
        }
        roots.insert(number, root);
        Ok(root)
    }
}

/// Reads the root that an item of the tree of trees tells.
///
/// # Errors
///
/// NotFound if nothing refers to it any more.
fn decode_root(item: &Item) -> Result<Root> {
    let fields = item.fields();
    let number = item.key.object;
    let owner = match is_subvolume(number) {
        true => Owner::Subvolume,
        false => Owner::Tree(number),
    };
    // Only subvolumes can be deleted; tools leave 0 in other trees.
    if owner == Owner::Subvolume && fields.le_u32(ROOT_ITEM_REFS)? == 0 {
        return Err(missing_tree(number));
    }
    Ok(Root {
        pointer: decode_pointer(item, owner)?,
        bytes_used: fields.le_u64(ROOT_ITEM_BYTES_USED)?,
    })
}

/// Reads where the root lies that an item tells.
pub(super) fn decode_pointer(item: &Item, owner: Owner) -> Result<Pointer> {
    let fields = item.fields();
    Ok(Pointer {
        bytenr: fields.le_u64(ROOT_ITEM_BYTENR)?,
        generation: fields.le_u64(ROOT_ITEM_GENERATION)?,
        level: fields.u8(ROOT_ITEM_LEVEL)?,
        owner,
        first_key: None,
    })
}

fn missing_tree(number: u64) -> Error {
    Error::NotFound {
        what: format!("tree {number}").into(),
    }
}

impl<'a> Tree<'a> {
    /// Lays changes over a tree.
    pub(super) fn with_changes(self, changes: &'a Changes) -> Self {
        Self {
            changes: Some(changes),
            ..self
        }
    }

    /// Counts all that is done with the tree.
    pub(super) fn with_work(self, work: &'a Work) -> Self {
        Self {
            work: Some(work),
            ..self
        }
    }

    /// Counts a look-up; returns an error if there were too many.
    fn count_look_up(&self) -> Result<()> {
        self.work.map_or(Ok(()), Work::look_up)
    }

    /// Returns the item of `key`, if there is one.
    pub(super) fn find(&self, key: &Key) -> Result<Option<Item>> {
        self.count_look_up()?;
        let found = match self.changes.and_then(|changes| changes.get(key)) {
            Some(change) => change
                .as_ref()
                .map(|bytes| Item::of_bytes(*key, Arc::clone(bytes))),
            None => Cursor::seek(self.space, &self.root, key)?
                .until(*key)
                .next()?
                .filter(|item| item.key == *key),
        };
        if let (Some(work), Some(item)) = (self.work, &found) {
            work.look_through(item.bytes().len())?;
        }
        Ok(found)
    }

    /// Returns the last item of the object and type of `key` that is not above it, in
    /// a tree without changes.
    pub(super) fn floor(&self, key: &Key) -> Result<Option<Item>> {
        let found = Cursor::seek_floor(self.space, &self.root, key)?.next()?;
        Ok(found.filter(|item| item.key.is_beside(key) && item.key <= *key))
    }

    /// Walks all items from `key` on.
    pub(super) fn items_from(&self, key: &Key) -> Result<Items<'a>> {
        self.count_look_up()?;
        let cursor = Cursor::seek(self.space, &self.root, key)?;
        let changes = self.changes.map(|changes| changes.range(*key..));
        Ok(Items {
            cursor,
            base: None,
            is_stale: true,
            changes: changes.map(Iterator::peekable),
            all: None,
            work: self.work,
        })
    }

    /// Walks the items of the object and type of `key` from it on.
    pub(super) fn items_beside(&self, key: &Key) -> Result<Items<'a>> {
        let mut items = self.items_from(key)?;
        items.cursor = items.cursor.until(Key {
            offset: u64::MAX,
            ..*key
        });
        Ok(items)
    }

    /// Walks the items of the object and type of `key` from the last one that is not
    /// above it on to those at `last`: extents and checksums begin at a key and reach
    /// beyond it. Some items before that one may come first.
    pub(super) fn items_around(&self, key: &Key, last: u64) -> Result<Items<'a>> {
        self.count_look_up()?;
        let lowest = Key { offset: 0, ..*key };
        let end = Key {
            offset: last,
            ..*key
        };
        let mut cursor = Cursor::seek_floor(self.space, &self.root, key)?.until(end);
        let mut floor = cursor.next()?;
        while floor.as_ref().is_some_and(|item| item.key < lowest) {
            floor = cursor.next()?;
        }
        let mut changes = None;
        if let Some(all) = self.changes {
            // What was taken away may be covered by something before it.
            let mut first = *key;
            for (key, change) in all.range(lowest..=*key).rev() {
                self.work.map_or(Ok(()), Work::step)?;
                if change.is_some() {
                    first = *key;
                    break;
                }
            }
            changes = Some(all.range(first..));
        }
        Ok(Items {
            cursor,
            base: floor,
            is_stale: false,
            changes: changes.map(Iterator::peekable),
            all: self.changes,
            work: self.work,
        })
    }
}

/// A walk over items, changes included.
pub(super) struct Items<'a> {
    cursor: Cursor<'a>,
    /// The next item on disk, unless it has to be read first.
    base: Option<Item>,
    is_stale: bool,
    changes: Option<std::iter::Peekable<btree_map::Range<'a, Key, Change>>>,
    all: Option<&'a Changes>,
    work: Option<&'a Work>,
}

impl Items<'_> {
    /// Returns the next item, or `None` at the end of the tree. Nothing behind it is
    /// read before it is asked for, so damage there does not hide it.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        let found = self.merge()?;
        if let (Some(work), Some(item)) = (self.work, &found) {
            work.look_through(item.bytes().len())?;
        }
        Ok(found)
    }

    fn merge(&mut self) -> Result<Option<Item>> {
        loop {
            self.work.map_or(Ok(()), Work::step)?;
            if self.is_stale {
                self.base = self.cursor.next()?;
                self.is_stale = false;
            }
            let change = self
                .changes
                .as_mut()
                .and_then(|changes| changes.peek().copied());
            let base_key = self.base.as_ref().map(|item| item.key);
            match (base_key, change) {
                (base, Some((key, change))) if base.is_none_or(|base| *key <= base) => {
                    self.changes.as_mut().and_then(Iterator::next);
                    self.is_stale = base == Some(*key);
                    if let Some(bytes) = change {
                        return Ok(Some(Item::of_bytes(*key, Arc::clone(bytes))));
                    }
                }
                (Some(key), _) => {
                    self.is_stale = true;
                    // A walk that begins before a change has not met it yet.
                    if !self.all.is_some_and(|all| all.contains_key(&key)) {
                        return Ok(self.base.take());
                    }
                }
                (None, _) => return Ok(None),
            }
        }
    }

    /// Returns the next item if it belongs to the object and type of `key`.
    pub(super) fn next_beside(&mut self, key: &Key) -> Result<Option<Item>> {
        Ok(self.next()?.filter(|item| item.key.is_beside(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Image, root};
    use super::*;

    const ROOT: u64 = 1 << 20;

    fn key(offset: u64) -> Key {
        Key::new(300, kind::EXTENT_DATA, offset)
    }

    fn offsets(mut items: Items<'_>) -> Vec<(u64, u8)> {
        let mut found = vec![];
        while let Some(item) = items.next().unwrap() {
            found.push((item.key.offset, item.bytes()[0]));
        }
        found
    }

    /// On disk are 0, 10, 20 and 30; 10 is replaced, 20 taken away, 15 and 40 new.
    #[test]
    fn changes_are_laid_over_the_items_on_disk() {
        let mut image = Image::new();
        image.leaf(
            ROOT,
            &[
                (key(0), b"d"),
                (key(10), b"d"),
                (key(20), b"d"),
                (key(30), b"d"),
            ],
        );
        let volume = image.volume();
        let change = |byte: u8| Some(Arc::from([byte]));
        let changes = Changes::from([
            (key(10), change(b'c')),
            (key(15), change(b'c')),
            (key(20), None),
            (key(40), change(b'c')),
        ]);
        let tree = volume.bare_tree(root(ROOT, 0)).with_changes(&changes);
        let all = [(0, b'd'), (10, b'c'), (15, b'c'), (30, b'd'), (40, b'c')];
        assert_eq!(offsets(tree.items_from(&key(0)).unwrap()), all);
        assert_eq!(offsets(tree.items_from(&key(11)).unwrap()), all[2..]);
        assert_eq!(offsets(tree.items_from(&key(50)).unwrap()), []);
        // The last one that is not above may be a change or on disk.
        assert_eq!(
            offsets(tree.items_around(&key(25), u64::MAX).unwrap()),
            all[2..]
        );
        assert_eq!(
            offsets(tree.items_around(&key(45), u64::MAX).unwrap()),
            all[3..]
        );
        assert_eq!(offsets(tree.items_around(&key(5), u64::MAX).unwrap()), all);
        assert!(tree.find(&key(20)).unwrap().is_none());
        assert_eq!(tree.find(&key(10)).unwrap().unwrap().bytes(), b"c");
        assert_eq!(tree.find(&key(30)).unwrap().unwrap().bytes(), b"d");
    }
}
