//! ext2, ext3 and ext4. Reads everything that Linux mounts; content and names that
//! are encrypted (fscrypt) are told and not shown, fs-verity is told and not checked.
//!
//! Source: Linux documentation, filesystems/ext4 (on-disk format).

mod acl;
mod backup;
mod checksum;
mod dir;
mod extent;
mod file;
mod group;
mod indirect;
mod inode;
mod journal;
mod name_index;
mod superblock;
mod time;
mod usage;
mod xattr;

use crate::base::{ByteOffset, ReadAt};
use crate::filesystem::{
    BlockReader, Consistency, DirCursor, DirVisitor, Error, ExtentPlace, ExtentVisitor, FileExtent,
    FileSystem, Metadata, Name, NodeId, OpenOptions, RangeVisitor, Result, SpaceUsage, Summary,
};
use group::Group;
use inode::Inode;
use journal::{Replay, Replayed};
use name_index::NameIndexes;
use std::ops::ControlFlow;
use std::sync::Arc;
use superblock::{SUPERBLOCK_LEN, SUPERBLOCK_OFFSET, Superblock, feature};

/// Kinds of cached blocks; the owner's checksum seed is mixed in where it counts.
const BLOCK_KIND_EXTENT: u32 = 0x6578_7401;
const BLOCK_KIND_DIRECTORY: u32 = 0x6578_7402;
const BLOCK_KIND_XATTR: u32 = 0x6578_7403;

const ROOT_INODE: u32 = 2;

/// An opened ext file system.
pub struct Ext {
    reader: BlockReader,
    superblock: Superblock,
    /// The image after the replay, if there was one.
    replayed: Option<Arc<Replayed>>,
    summary: Summary,
    /// Whether the block bitmaps can be trusted.
    is_settled: bool,
    is_from_backup: bool,
    names: NameIndexes,
}

/// Opens the ext file system that fills `image`.
///
/// # Errors
///
/// See [`FileSystem`].
pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Ext> {
    let mut ext = open_as_it_is(image, options, false)?;
    // A backup does not say whether the journal is to be replayed.
    if !ext.superblock.has_incompat(feature::RECOVER) && !ext.has_journal_unknown() {
        return Ok(ext);
    }
    match journal::replay(&ext)? {
        Replay::Nothing => {}
        Replay::Refused(reason) => {
            ext.summary.consistency = Consistency::Dirty { reason };
            return Ok(ext);
        }
        Replay::Done(replayed) => {
            let replayed = Arc::new(replayed);
            let image: Arc<dyn ReadAt> = replayed.clone();
            // The journal may have the superblock, and not all that was beside it.
            ext = open_as_it_is(image, options, ext.is_from_backup)?;
            ext.replayed = Some(replayed);
        }
    }
    if !ext.is_from_backup {
        ext.summary.consistency = Consistency::Replayed;
    }
    Ok(ext)
}

/// Tells whether a backup of the superblock of an ext lies in `image`.
///
/// # Errors
///
/// Only if reading fails.
pub(super) fn has_backup(image: &dyn ReadAt) -> Result<bool> {
    Ok(backup::find(image)?.is_some())
}

/// Returns the superblock, and whether it is a backup, which it is if the first one is
/// known to be damaged.
fn read_superblock(
    image: &dyn ReadAt,
    reader: &BlockReader,
    is_damaged: bool,
) -> Result<(Superblock, bool)> {
    if is_damaged && let Some(found) = backup::find(image)? {
        return Ok((found, true));
    }
    let mut bytes = [0; SUPERBLOCK_LEN];
    reader.read_exact_at(SUPERBLOCK_OFFSET, &mut bytes)?;
    match Superblock::decode(&bytes, SUPERBLOCK_OFFSET) {
        Err(Error::Corrupt {
            field,
            offset,
            expected,
            actual,
        }) => match backup::find(image)? {
            Some(found) => Ok((found, true)),
            None => Err(Error::corrupt(field, offset, expected, actual)),
        },
        found => Ok((found?, false)),
    }
}

fn open_as_it_is(image: Arc<dyn ReadAt>, options: &OpenOptions, is_damaged: bool) -> Result<Ext> {
    let reader = BlockReader::new(Arc::clone(&image), Arc::clone(&options.cache));
    let (mut superblock, is_from_backup) = read_superblock(&*image, &reader, is_damaged)?;
    let mut summary = summarize(&superblock, reader.len());
    if is_from_backup {
        let reason = "its superblock is damaged, and a backup was read";
        summary.consistency = Consistency::Dirty { reason };
        let group = superblock.backup_group;
        summary.warnings.push(format!(
            "the superblock is damaged; the backup in group {group} was read, whose numbers of \
             free space are old"
        ));
    } else {
        superblock.backup_group = 0;
    }
    // The orphans of a file system that was not unmounted are still in the bitmaps,
    // so those name too much and never too little.
    let is_whole = superblock.is_clean || superblock.has_incompat(feature::RECOVER);
    let is_settled = is_whole && !is_from_backup;
    let names = NameIndexes::new();
    Ok(Ext {
        reader,
        superblock,
        replayed: None,
        summary,
        is_settled,
        is_from_backup,
        names,
    })
}

fn summarize(superblock: &Superblock, image_len: u64) -> Summary {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = superblock.uuid;
    let uuid = format!(
        "{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-{g:02x}{h:02x}-{i:02x}{j:02x}-\
         {k:02x}{l:02x}{m:02x}{n:02x}{o:02x}{p:02x}"
    );
    let consistency = if superblock.is_clean {
        Consistency::Clean
    } else {
        Consistency::Dirty {
            reason: "it was not unmounted, and it has no journal",
        }
    };
    let mut warnings = vec![];
    if superblock.len() > image_len {
        let len = superblock.len();
        warnings.push(format!(
            "the file system has {len} bytes, the image {image_len}"
        ));
    }
    Summary {
        format: superblock.format(),
        label: superblock.label.clone(),
        uuid: Some(uuid),
        fs_block_len: superblock.block_len.get(),
        len: superblock.len(),
        features: superblock.feature_names(),
        consistency,
        warnings,
    }
}

impl Ext {
    fn has_journal_unknown(&self) -> bool {
        self.is_from_backup && self.superblock.journal_inode != 0
    }

    fn group(&self, number: u32) -> Result<Group> {
        if number >= self.superblock.group_count() {
            let expected = "a group of the file system";
            return Err(Error::corrupt("group", SUPERBLOCK_OFFSET, expected, number));
        }
        Group::read(&self.reader, &self.superblock, number)
    }

    fn inode(&self, node: NodeId) -> Result<Inode> {
        let number = u32::try_from(node.inode)
            .ok()
            .filter(|_| node.subvolume == 0);
        let missing = || Error::NotFound {
            what: format!("inode {}", node.inode).into(),
        };
        Inode::read(self, number.ok_or_else(missing)?)
    }

    /// Gives `count` blocks at `place`, block `block` of a file, to `visit`: what the
    /// journal replaced does not lie there.
    fn give_pieces(
        &self,
        block: u64,
        place: u64,
        count: u64,
        visit: &mut ExtentVisitor<'_>,
    ) -> ControlFlow<()> {
        let (mut block, mut place, mut count) = (block, place, count);
        while count > 0 {
            let (run, is_new) = match &self.replayed {
                Some(replayed) => replayed.run(place, count),
                None => (count, false),
            };
            let offset = self.superblock.offset_of(place);
            visit(FileExtent {
                offset: self.superblock.offset_of(block),
                len: self.superblock.offset_of(run),
                place: if is_new {
                    ExtentPlace::Encoded
                } else {
                    ExtentPlace::Image { offset }
                },
            })?;
            block = block.saturating_add(run);
            place = place.saturating_add(run);
            count = count.saturating_sub(run.max(1));
        }
        ControlFlow::Continue(())
    }
}

impl FileSystem for Ext {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(ROOT_INODE.into())
    }

    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        let inode = self.inode(directory)?;
        let found = dir::lookup(self, &inode, name)?;
        Ok(found.map(|number| NodeId::new(number.into())))
    }

    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        dir::read(self, &self.inode(directory)?, cursor, visit)
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        self.inode(node)?.metadata(&self.superblock)
    }

    fn read_at(&self, node: NodeId, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        let inode = self.inode(node)?;
        file::check_readable(&inode)?;
        file::read(self, &inode, offset, target)
    }

    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        let inode = self.inode(node)?;
        file::check_readable(&inode)?;
        file::extents(self, &inode, offset, visit)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        file::read_link(self, &self.inode(node)?)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        xattr::names(self, &self.inode(node)?)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        xattr::value(self, &self.inode(node)?, name)
    }

    fn statfs(&self) -> Result<SpaceUsage> {
        usage::space(self)
    }

    fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        usage::allocated_ranges(self, visit)
    }
}
