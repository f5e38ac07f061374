//! NTFS as ntfs-3g shows it: names, content in all forms that are documented, streams,
//! links and special files. Owners and modes are those of the options. The log is not
//! replayed, and nothing is decrypted.
//!
//! Source: the documentation of the Linux-NTFS project, and Microsoft's of what it makes
//! public ([MS-FSCC], [MS-XCA]); `docs/reference/filesystems-ntfs.md` has it in full.

mod attribute_list;
mod bounded;
mod compression;
mod dir;
mod extent;
mod file;
mod fixup;
mod huffman;
mod index;
mod inode;
mod interix;
mod link;
mod log;
mod lznt1;
mod lzx;
mod record;
mod reparse;
mod stream;
mod superblock;
mod time;
mod usage;
mod volume;
mod wof;
mod xattr;
mod xpress;

use super::exfat::upcase::Upcase;
use super::{
    BlockReader, Consistency, DirCursor, DirVisitor, Error, ExtentVisitor, FileSystem, FileType,
    Metadata, Name, NodeFlags, NodeId, OpenOptions, RangeVisitor, Result, SpaceUsage, Substitutes,
    Summary, len_of, utf16,
};
use crate::base::{ByteOffset, ReadAt};
use dir::Directory;
use inode::{Inode, Node, file_flag};
use record::{kind, number};
use std::sync::{Arc, OnceLock};
use stream::Stream;
use superblock::Superblock;
use volume::Volume;

/// An opened NTFS.
pub struct Ntfs {
    summary: Summary,
    volume: Volume,
    /// Free clusters and records, counted when somebody asks.
    free: OnceLock<(u64, u64)>,
    substitutes: Substitutes,
}

/// What `$Volume` says.
struct VolumeState {
    label: Vec<u8>,
    version: (u8, u8),
    flags: u16,
}

/// Flags of a volume.
const IS_DIRTY: u16 = 0x0001;
const IS_BEING_CHECKED: u16 = 0x4000;

/// Why a volume that a hibernated Windows has mounted is dirty.
pub const HIBERNATED: &str = "Windows is hibernated; what it had not written is missing";

/// The longest target of a link that Linux takes.
const LINK_LEN_MAX: usize = 4095;

/// Bytes of the table of upper case.
const UPCASE_LEN: usize = 128 << 10;

/// Tells whether a copy of the boot sector of an NTFS lies at the end of `image`.
///
/// # Errors
///
/// Only if reading fails.
pub(super) fn has_copy(image: &dyn ReadAt) -> Result<bool> {
    Ok(copy_of_boot_sector(image)?.is_some())
}

/// Tells whether `image` begins as an NTFS and the MFT is where that says; its copy in the
/// middle of the volume may be a leftover.
///
/// # Errors
///
/// Only if reading fails.
pub(super) fn has_mft(image: &dyn ReadAt) -> Result<bool> {
    let mut sector = [0; superblock::LEN];
    if image.len() < len_of(&sector) {
        return Ok(false);
    }
    image.read_exact_at(0, &mut sector)?;
    let Ok(found) = Superblock::parse(&sector, 0) else {
        return Ok(false);
    };
    let offset = found.offset_of(found.mft_cluster);
    let mut magic = *b"FILE";
    if offset.saturating_add(len_of(&magic)) > image.len() {
        return Ok(false);
    }
    image.read_exact_at(offset, &mut magic)?;
    Ok(magic == *b"FILE")
}

/// Returns the boot sector that lies in the last sector of `image`.
fn copy_of_boot_sector(image: &dyn ReadAt) -> Result<Option<Superblock>> {
    for sector_len in [512_u64, 1024, 2048, 4096] {
        let end = image.len() & !sector_len.wrapping_sub(1);
        let Some(offset) = end.checked_sub(sector_len) else {
            continue;
        };
        let mut sector = [0; superblock::LEN];
        image.read_exact_at(offset, &mut sector)?;
        match Superblock::parse(&sector, offset) {
            Ok(mut found) if found.len == end => {
                found.is_copy = true;
                return Ok(Some(found));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// Opens the NTFS that fills `image`.
///
/// # Errors
///
/// See [`FileSystem`].
pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Ntfs> {
    let mut volume = match open_volume(&image, options, None) {
        Err(Error::Corrupt {
            field,
            offset,
            expected,
            actual,
        }) => {
            let copy = copy_of_boot_sector(&*image)?;
            let opened = copy.map(|copy| open_volume(&image, options, Some(copy)));
            match opened {
                Some(Err(Error::Io(error))) => return Err(Error::Io(error)),
                Some(Ok(volume)) => volume,
                Some(Err(_)) | None => {
                    return Err(Error::corrupt(field, offset, expected, actual));
                }
            }
        }
        result => result?,
    };
    let mut warnings = warnings_of(&volume);
    match read_upcase(&volume)? {
        Some(upcase) => volume.upcase = upcase,
        None => {
            volume.upcase = Upcase::of_unicode();
            warnings.push("its table of upper case ($UpCase) is damaged".to_owned());
        }
    }
    let summary = summarize(&volume, warnings)?;
    Ok(Ntfs {
        summary,
        volume,
        free: OnceLock::new(),
        substitutes: options.substitutes,
    })
}

/// Opens the volume by its boot sector, or by a copy of that.
fn open_volume(
    image: &Arc<dyn ReadAt>,
    options: &OpenOptions,
    copy: Option<Superblock>,
) -> Result<Volume> {
    let blocks = BlockReader::new(Arc::clone(image), Arc::clone(&options.cache));
    let superblock = match copy {
        Some(copy) => copy,
        None => {
            let mut sector = [0; superblock::LEN];
            blocks.read_exact_at(0, &mut sector)?;
            Superblock::parse(&sector, 0)?
        }
    };
    Volume::open(superblock, blocks)
}

fn warnings_of(volume: &Volume) -> Vec<String> {
    let mut warnings = vec![];
    let (len, image_len) = (volume.superblock.len, volume.blocks.len());
    if volume.superblock.is_copy {
        let warning = "the boot sector is damaged; its copy at the end of the volume was read";
        warnings.push(warning.to_owned());
    }
    // Not every partition has room for the copy of the boot sector.
    if len.saturating_sub(4096) > image_len {
        warnings.push(format!(
            "the file system has {len} bytes, the image {image_len}"
        ));
    }
    if volume.is_mirror {
        let warning = "the first record of the MFT is damaged; its copy ($MFTMirr) was read";
        warnings.push(warning.to_owned());
    }
    if volume.is_mft_short {
        warnings.push("not all pieces of the MFT can be found; files are missing".to_owned());
    }
    warnings
}

/// Returns the table of upper case; `None` if it is damaged.
fn read_upcase(volume: &Volume) -> Result<Option<Upcase>> {
    let found = volume.inode(number::UPCASE).and_then(|inode| {
        match inode.stream(volume, kind::DATA, b"")? {
            Some(stream) => stream.read_all(volume, UPCASE_LEN),
            None => Ok(vec![]),
        }
    });
    match found {
        Ok(bytes) => {
            let table = Upcase::of_units(&bytes);
            let [small, large] = [[0x61, 0x7A], [0x41, 0x5A]];
            let is_right = bytes.len() == UPCASE_LEN && table.fold(&small) == large;
            Ok(is_right.then_some(table))
        }
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(_) => Ok(None),
    }
}

fn summarize(volume: &Volume, mut warnings: Vec<String>) -> Result<Summary> {
    let state = match volume_state(volume) {
        Ok(state) => Some(state),
        Err(Error::Io(error)) => return Err(Error::Io(error)),
        Err(error) => {
            warnings.push(format!(
                "its label and state ($Volume) cannot be read: {error}"
            ));
            None
        }
    };
    let reason = match &state {
        None => Some("its state ($Volume) cannot be read"),
        Some(state) if state.flags & (IS_DIRTY | IS_BEING_CHECKED) != 0 => {
            Some("it was not unmounted, or damage was seen ($Volume says dirty)")
        }
        Some(_) => match log::damage(volume)? {
            None if is_hibernated(volume)? => Some(HIBERNATED),
            reason => reason,
        },
    };
    let superblock = &volume.superblock;
    let version = state.as_ref().map(|state| state.version);
    Ok(Summary {
        format: "ntfs",
        label: state.map(|state| state.label).unwrap_or_default(),
        uuid: Some(format!("{:016X}", superblock.serial)),
        fs_block_len: u32::try_from(superblock.cluster_len()).unwrap_or(0),
        len: superblock.len,
        features: version
            .map(|(major, minor)| format!("version {major}.{minor}"))
            .into_iter()
            .collect(),
        consistency: match reason {
            Some(reason) => Consistency::Dirty { reason },
            None => Consistency::Clean,
        },
        warnings,
    })
}

/// Reads `$Volume`.
///
/// Source: Linux-NTFS project, NTFS documentation, "$VOLUME_INFORMATION".
fn volume_state(volume: &Volume) -> Result<VolumeState> {
    const VERSION: usize = 8;
    const FLAGS: usize = 10;
    let inode = volume.inode(number::VOLUME)?;
    let label = inode.stream(volume, kind::VOLUME_NAME, b"")?;
    let label = match label {
        Some(label) => label.read_all(volume, 512)?,
        None => vec![],
    };
    let information = inode.record.find(kind::VOLUME_INFORMATION, b"", 0)?;
    let Some(information) = information else {
        let place = inode.record.offset;
        let expected = "the volume's information";
        return Err(Error::corrupt(
            "record of the MFT",
            place,
            expected,
            number::VOLUME,
        ));
    };
    let fields = information.value()?;
    let [major, minor] = fields.array(VERSION)?;
    Ok(VolumeState {
        label: utf16::to_bytes(&index::units(&label)),
        version: (major, minor),
        flags: fields.le_u16(FLAGS)?,
    })
}

/// Tells whether the file of a hibernated Windows lies in the root.
fn is_hibernated(volume: &Volume) -> Result<bool> {
    let name: Vec<u16> = "hiberfil.sys".encode_utf16().collect();
    let found = volume.inode(number::ROOT).and_then(|root| {
        let Some((found, _)) = Directory::open(volume, &root)?.find_folded(&name)? else {
            return Ok(false);
        };
        let inode = volume.inode_by(found)?;
        let mut mark = [0; 4];
        file::read(volume, &inode, 0, &mut mark)?;
        Ok(mark.eq_ignore_ascii_case(b"hibr"))
    });
    match found {
        Err(Error::Io(error)) => Err(Error::Io(error)),
        result => Ok(result.unwrap_or(false)),
    }
}

impl Ntfs {
    /// Returns a file of users; the volume's own are hidden.
    fn node(&self, node: NodeId) -> Result<Node> {
        if node.subvolume != 0 || !dir::is_shown(node.inode) {
            return Err(Error::NotFound {
                what: "file with this number".into(),
            });
        }
        self.volume.inode(node.inode)
    }

    /// Returns size and allocated bytes of a directory: those of its index.
    fn directory_len(inode: &Inode) -> (u64, u64) {
        let index = inode.index.as_ref();
        let blocks = index.and_then(|index| index.blocks.as_ref());
        blocks.map_or((0, 0), |blocks| (blocks.size(), blocks.allocated()))
    }

    fn metadata_of(&self, inode: &Inode) -> Result<Metadata> {
        let data = inode.data.as_ref();
        let allocated = data.map_or(0, Stream::allocated);
        let (size, allocated) = match inode.file_type {
            FileType::Directory => Self::directory_len(inode),
            FileType::Symlink => {
                let target = link::target(&self.volume, inode)?;
                (super::len_of(&target), allocated)
            }
            _ => {
                let elsewhere = wof::allocated(&self.volume, inode)?;
                let size = data.map_or(0, Stream::size);
                (size, allocated.saturating_add(elsewhere))
            }
        };
        let permissions = self.substitutes.permissions(inode.file_type);
        Ok(Metadata {
            file_type: inode.file_type,
            permissions,
            user: self.substitutes.user,
            group: self.substitutes.group,
            link_count: inode.link_count,
            size,
            block_count_512: allocated.div_ceil(512),
            preferred_io_len: u32::try_from(self.volume.superblock.cluster_len()).unwrap_or(4096),
            accessed: inode.times.accessed,
            modified: inode.times.modified,
            changed: inode.times.changed,
            created: Some(inode.times.created),
            device: inode.device,
            generation: inode.record.sequence.into(),
            flags: NodeFlags {
                is_encrypted: inode.flags & file_flag::ENCRYPTED != 0,
                is_compressed: inode.flags & file_flag::COMPRESSED != 0,
                ..NodeFlags::default()
            },
        })
    }
}

impl FileSystem for Ntfs {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(number::ROOT)
    }

    /// Exactly, as ntfs-3g does; the short form of a name too.
    fn lookup(&self, directory: NodeId, name: Name<'_>) -> Result<Option<NodeId>> {
        let directory = self.node(directory)?;
        let directory = Directory::open(&self.volume, &directory)?;
        let Some(units) = utf16::from_bytes(name.bytes()) else {
            return Ok(None);
        };
        match directory.find(&units)? {
            Some(found) => {
                let inode = self.volume.inode_by(found)?;
                Ok(Some(NodeId::new(inode.record.number)))
            }
            None => Ok(None),
        }
    }

    fn read_dir(
        &self,
        directory: NodeId,
        cursor: DirCursor,
        visit: &mut DirVisitor<'_>,
    ) -> Result<()> {
        let directory = self.node(directory)?;
        Directory::open(&self.volume, &directory)?.list(cursor, visit)
    }

    fn metadata(&self, node: NodeId) -> Result<Metadata> {
        self.metadata_of(&*self.node(node)?)
    }

    fn read_at(&self, node: NodeId, offset: ByteOffset, target: &mut [u8]) -> Result<usize> {
        file::read(&self.volume, &*self.node(node)?, offset, target)
    }

    fn extents(
        &self,
        node: NodeId,
        offset: ByteOffset,
        visit: &mut ExtentVisitor<'_>,
    ) -> Result<()> {
        file::extents(&self.volume, &*self.node(node)?, offset, visit)
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>> {
        let target = link::target(&self.volume, &*self.node(node)?)?;
        match target.len() {
            0..=LINK_LEN_MAX => Ok(target),
            _ => Err(Error::unsupported("a link with a target above 4,095 bytes")),
        }
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Vec<u8>>> {
        xattr::names(&*self.node(node)?)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        xattr::value(&self.volume, &*self.node(node)?, name)
    }

    fn statfs(&self) -> Result<SpaceUsage> {
        usage::space(self)
    }

    fn allocated_ranges(&self, visit: &mut RangeVisitor<'_>) -> Result<()> {
        usage::allocated_ranges(self, visit)
    }
}
