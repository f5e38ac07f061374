//! Directories: listings in the order of blocks, and look-ups down the tree.
//!
//! Source: Linux-NTFS project, NTFS documentation, "Directory" and "B*Trees".

use super::fixup;
use super::index::{self, Entries, Entry, FileName};
use super::inode::{DIRECTORY_INDEX, Inode, file_flag};
use super::record::{Reference, kind, number};
use super::stream::Stream;
use super::superblock::STRUCTURE_LOG_MAX;
use super::volume::Volume;
use crate::base::{ByteOffset, Fields};
use crate::filesystem::damage::Damage;
use crate::filesystem::{
    DirCursor, DirEntry, DirVisitor, Error, ErrorKind, FileType, Name, NodeId, Result, index_of,
    utf16,
};
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Blocks of a directory at most: 256 GiB of names at 4 KiB a block.
const BLOCK_COUNT_MAX: u64 = 1 << 26;

/// Levels of a tree that are gone down.
const DEPTH_MAX: usize = 32;

/// Blocks that are looked into for a name that the tree does not lead to: a crafted
/// directory may have more, and the targets of links are looked for in the same way.
const SEARCHED_COUNT_MAX: u32 = 4096;

/// Bits of a cursor that tell the place in a block; the block is above, 0 is the root.
const POSITION_BITS: u32 = STRUCTURE_LOG_MAX + 1;

mod field {
    /// Of a root.
    pub(super) const BLOCK_LEN: usize = 8;
    pub(super) const ROOT_HEADER: usize = 0x10;
    /// Of a block.
    pub(super) const NUMBER: usize = 0x10;
    pub(super) const HEADER: usize = 0x18;
}

/// Where the names of a directory are.
#[derive(Debug)]
pub(super) struct Index {
    root: Arc<[u8]>,
    /// Where the directory's record lies, for messages.
    offset: ByteOffset,
    pub(super) blocks: Option<Stream>,
    bitmap: Option<Stream>,
    block_len: usize,
    /// What numbers of blocks count in, in bytes.
    unit: u64,
}

impl Index {
    /// Looks at the index of names of a directory.
    ///
    /// # Errors
    ///
    /// WrongType if it is none; Corrupt; Io.
    pub(super) fn load(volume: &Volume, inode: &Inode) -> Result<Self> {
        if inode.file_type != FileType::Directory {
            return Err(Error::WrongType {
                expected: FileType::Directory,
                actual: inode.file_type,
            });
        }
        let offset = inode.record.offset;
        let root = inode.stream(volume, kind::INDEX_ROOT, DIRECTORY_INDEX)?;
        let Some(Stream::Resident(root, _)) = root else {
            let expected = "an index of names";
            let found = inode.record.number;
            return Err(Error::corrupt("directory", offset, expected, found));
        };
        let len = Fields::new(&root, offset).le_u32(field::BLOCK_LEN)?;
        let len_max = index_of(1_u64.wrapping_shl(STRUCTURE_LOG_MAX));
        let block_len = fixup::checked_len(len.into(), len_max, offset)?;
        let cluster_len = volume.superblock.cluster_len();
        Ok(Self {
            root,
            offset,
            blocks: inode.stream(volume, kind::INDEX_ALLOCATION, DIRECTORY_INDEX)?,
            bitmap: inode.stream(volume, kind::BITMAP, DIRECTORY_INDEX)?,
            block_len,
            unit: match cluster_len <= u64::from(len) {
                true => cluster_len,
                false => 512,
            },
        })
    }

    /// Returns what it costs in memory.
    pub(super) fn bytes_len(&self) -> usize {
        let streams = [&self.blocks, &self.bitmap].into_iter().flatten();
        streams.fold(
            size_of::<Self>().saturating_add(self.root.len()),
            |sum, stream| sum.saturating_add(stream.bytes_len()),
        )
    }
}

/// A directory that is being read.
pub(super) struct Directory<'a> {
    volume: &'a Volume,
    index: Arc<Index>,
}

impl<'a> Directory<'a> {
    /// Begins to read a directory.
    ///
    /// # Errors
    ///
    /// As [`Index::load`].
    pub(super) fn open(volume: &'a Volume, inode: &Inode) -> Result<Self> {
        let index = match &inode.index {
            Some(index) => Arc::clone(index),
            None => Arc::new(Index::load(volume, inode)?),
        };
        Ok(Self { volume, index })
    }

    fn root_entries(&self) -> Result<Entries<'_>> {
        let root = Fields::new(&self.index.root, self.index.offset);
        let len = self.index.root.len().checked_sub(field::ROOT_HEADER);
        Entries::new(&root.part(field::ROOT_HEADER, len.unwrap_or(usize::MAX))?)
    }

    /// Reads the block that begins at `offset` of the index.
    fn block(&self, offset: u64) -> Result<Vec<u8>> {
        let missing = || {
            let expected = "a block of the directory";
            Error::corrupt("index", self.index.offset, expected, offset)
        };
        let Some(Stream::Mapped(blocks)) = &self.index.blocks else {
            return Err(missing());
        };
        let end = offset.checked_add(self.block_len_bytes());
        if end.is_none_or(|end| end > blocks.extent.initialized) {
            return Err(missing());
        }
        let mut bytes = vec![0; self.index.block_len];
        blocks.read_metadata(self.volume, offset, &mut bytes)?;
        fixup::apply(&mut bytes, b"INDX", self.index.offset)?;
        let found = Fields::new(&bytes, self.index.offset).le_u64(field::NUMBER)?;
        if found.checked_mul(self.index.unit) != Some(offset) {
            let expected = "the number of the block";
            return Err(Error::corrupt("index", self.index.offset, expected, found));
        }
        Ok(bytes)
    }

    fn block_len_bytes(&self) -> u64 {
        u64::try_from(self.index.block_len).unwrap_or(u64::MAX)
    }

    fn entries_of<'b>(&self, block: &'b [u8]) -> Result<Entries<'b>> {
        let fields = Fields::new(block, self.index.offset);
        let len = block.len().checked_sub(field::HEADER);
        Entries::new(&fields.part(field::HEADER, len.unwrap_or(usize::MAX))?)
    }

    /// See [`crate::filesystem::FileSystem::read_dir`]. Names that no file can have, and
    /// damaged blocks, are passed over, and an error at the end.
    pub(super) fn list(&self, cursor: DirCursor, visit: &mut DirVisitor<'_>) -> Result<()> {
        let mut damage = Damage::default();
        let first_block = cursor.0.wrapping_shr(POSITION_BITS);
        if first_block == 0 {
            let flow = self
                .root_entries()
                .and_then(|entries| self.list_node(entries, 0, cursor, visit, &mut damage));
            if damage.pass(flow)?.is_some_and(|flow| flow.is_break()) {
                return damage.end();
            }
        }
        let count = self.block_count()?;
        let mut used = UsedBlocks::default();
        let mut number = first_block.saturating_sub(1);
        while let Some(found) = used.next(self, number, count)? {
            let place = found.saturating_add(1);
            let block = self.block(found.saturating_mul(self.block_len_bytes()));
            let flow = block.and_then(|block| {
                let entries = self.entries_of(&block)?;
                self.list_node(entries, place, cursor, visit, &mut damage)
            });
            if damage.pass(flow)?.is_some_and(|flow| flow.is_break()) {
                break;
            }
            number = place;
        }
        damage.end()
    }

    fn block_count(&self) -> Result<u64> {
        let size = self.index.blocks.as_ref().map_or(0, Stream::size);
        let count = size.checked_div(self.block_len_bytes()).unwrap_or(0);
        if count > BLOCK_COUNT_MAX || count > 0 && self.index.bitmap.is_none() {
            let expected = "at most 67,108,864 blocks, and a bitmap of them";
            return Err(Error::corrupt(
                "directory",
                self.index.offset,
                expected,
                count,
            ));
        }
        Ok(count)
    }

    /// Gives the entries of one node that are behind the cursor.
    fn list_node(
        &self,
        entries: Entries<'_>,
        place: u64,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
        damage: &mut Damage,
    ) -> Result<ControlFlow<()>> {
        let at = |position: usize| {
            let position = u64::try_from(position).unwrap_or(u64::MAX);
            place.wrapping_shl(POSITION_BITS).saturating_add(position)
        };
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.name.filter(|name| is_listed(&entry, name)) else {
                continue;
            };
            if at(entry.position) < cursor.0 {
                continue;
            }
            let bytes = utf16::to_bytes(&index::units(name.name));
            let name_shown = Name::of_image(&bytes, self.index.offset);
            let Some(name_shown) = damage.pass(name_shown)? else {
                continue;
            };
            let flow = visit(DirEntry {
                name: name_shown,
                node: NodeId::new(entry.reference.number),
                file_type: type_of(&name),
                next: DirCursor(at(entry.end)),
            });
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Finds a name in the tree; `compare` tells how the one that is wanted stands to the
    /// name of an entry (units of UTF-16 as they are stored).
    ///
    /// # Errors
    ///
    /// Corrupt if the way down is damaged; Io.
    pub(super) fn search(
        &self,
        compare: &dyn Fn(&[u8]) -> Ordering,
    ) -> Result<Option<(Reference, Vec<u8>)>> {
        let mut child = match search_node(self.root_entries()?, compare)? {
            Step::Found(reference, name) => return Ok(Some((reference, name))),
            Step::Down(child) => child,
        };
        for _ in 0..DEPTH_MAX {
            let Some(number) = child else {
                return Ok(None);
            };
            let block = self.block(number.saturating_mul(self.index.unit))?;
            child = match search_node(self.entries_of(&block)?, compare)? {
                Step::Found(reference, name) => return Ok(Some((reference, name))),
                Step::Down(child) => child,
            };
        }
        let expected = "at most 32 levels";
        Err(Error::corrupt("index", self.index.offset, expected, 33_u8))
    }

    /// Finds the file of exactly that name; where the way down the tree is damaged, by a
    /// look at all blocks that are not.
    ///
    /// # Errors
    ///
    /// As [`Directory::search`].
    pub(super) fn find(&self, name: &[u16]) -> Result<Option<Reference>> {
        let upcase = &self.volume.upcase;
        let wanted = name.iter().copied();
        let found = self.search(&|other| {
            let other = index::units_of(other);
            upcase
                .compare(wanted.clone(), other.clone())
                .then_with(|| wanted.clone().cmp(other))
        });
        let found = match found {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Some(self.find_in_any(name)?.ok_or(error)?)
            }
            found => found?.map(|(reference, _)| reference),
        };
        Ok(found.filter(|reference| is_shown(reference.number)))
    }

    /// Looks for a name in each of the first blocks.
    fn find_in_any(&self, name: &[u16]) -> Result<Option<Reference>> {
        let is_same = |found: &[u8]| index::units_of(found).eq(name.iter().copied());
        let find = |entries: Entries<'_>| {
            let mut entries = entries.map_while(Result::ok);
            let is_it = |entry: &Entry<'_>| entry.name.is_some_and(|found| is_same(found.name));
            entries.find(is_it).map(|entry| entry.reference)
        };
        if let Ok(entries) = self.root_entries()
            && let Some(found) = find(entries)
        {
            return Ok(Some(found));
        }
        let (mut used, mut number, count) = (UsedBlocks::default(), 0, self.block_count()?);
        for _ in 0..SEARCHED_COUNT_MAX {
            let Some(place) = used.next(self, number, count)? else {
                break;
            };
            match self.block(place.saturating_mul(self.block_len_bytes())) {
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                Err(_) => {}
                Ok(block) => {
                    let found = self.entries_of(&block).ok().and_then(find);
                    if let Some(found) = found {
                        return Ok(Some(found));
                    }
                }
            }
            number = place.saturating_add(1);
        }
        Ok(None)
    }

    /// Finds a file by its name in any case, and how that is written.
    ///
    /// # Errors
    ///
    /// As [`Directory::search`].
    pub(super) fn find_folded(&self, name: &[u16]) -> Result<Option<(Reference, Vec<u16>)>> {
        if let Some(found) = self.find(name)? {
            return Ok(Some((found, name.to_vec())));
        }
        let upcase = &self.volume.upcase;
        let found =
            self.search(&|other| upcase.compare(name.iter().copied(), index::units_of(other)))?;
        let found = found.filter(|(reference, _)| is_shown(reference.number));
        Ok(found.map(|(reference, name)| (reference, index::units(&name))))
    }
}

/// What a node has of a name.
enum Step {
    Found(Reference, Vec<u8>),
    /// It is below this node, or nowhere.
    Down(Option<u64>),
}

fn search_node(entries: Entries<'_>, compare: &dyn Fn(&[u8]) -> Ordering) -> Result<Step> {
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.name else {
            return Ok(Step::Down(entry.child));
        };
        match compare(name.name) {
            Ordering::Equal => return Ok(Step::Found(entry.reference, name.name.to_vec())),
            Ordering::Less => return Ok(Step::Down(entry.child)),
            Ordering::Greater => {}
        }
    }
    Ok(Step::Down(None))
}

/// Tells whether a record is for users: others are the volume's own files.
pub(super) const fn is_shown(number: u64) -> bool {
    number >= number::FIRST_USER || number == number::ROOT
}

/// The root lists itself; a file is not listed by the short form of its name.
fn is_listed(entry: &Entry<'_>, name: &FileName<'_>) -> bool {
    !name.is_short && entry.reference.number >= number::FIRST_USER
}

/// Returns the type if the flags of the name tell it.
const fn type_of(name: &FileName<'_>) -> Option<FileType> {
    if name.flags & (file_flag::REPARSE_POINT | file_flag::SYSTEM) != 0 {
        return None;
    }
    match name.flags & file_flag::IS_DIRECTORY {
        0 => Some(FileType::Regular),
        _ => Some(FileType::Directory),
    }
}

/// Blocks of a directory that are in use, by its bitmap.
#[derive(Default)]
struct UsedBlocks {
    /// Bytes of the bitmap, and where they begin in it.
    bytes: Vec<u8>,
    start: u64,
}

/// Bytes of a bitmap that are read at once.
const BITMAP_PIECE_LEN: u64 = 4096;

impl UsedBlocks {
    /// Returns the first block from `number` on that is in use; below `count`.
    fn next(&mut self, directory: &Directory<'_>, number: u64, count: u64) -> Result<Option<u64>> {
        let Some(bitmap) = &directory.index.bitmap else {
            return Ok(None);
        };
        let mut number = number;
        while number < count {
            let byte_index = number / 8;
            let piece = byte_index & !(BITMAP_PIECE_LEN - 1);
            if self.bytes.is_empty() || piece != self.start {
                self.bytes.resize(index_of(BITMAP_PIECE_LEN), 0);
                let len = bitmap.read(directory.volume, piece, &mut self.bytes)?;
                self.bytes.truncate(len);
                self.start = piece;
            }
            let index = byte_index.saturating_sub(self.start);
            let Some(byte) = self.bytes.get(index_of(index)) else {
                let expected = "a bit for each block";
                let place = directory.index.offset;
                return Err(Error::corrupt(
                    "bitmap of a directory",
                    place,
                    expected,
                    number,
                ));
            };
            let rest = byte.checked_shr(u32::try_from(number % 8).unwrap_or(0));
            match rest.unwrap_or(0) {
                0 => number = byte_index.saturating_add(1).saturating_mul(8),
                rest => {
                    let skip = u64::from(rest.trailing_zeros());
                    let found = number.saturating_add(skip);
                    return Ok((found < count).then_some(found));
                }
            }
        }
        Ok(None)
    }
}
