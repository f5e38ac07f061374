//! Everything that can be told of each entry of a tree, one line for each property: by
//! system calls on a mount of ntfs-3g, and by our reader.

use crate::support::reader::FileImage;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::{
    DirCursor, ErrorKind, ExtentPlace, FileExtent, FileSystem, FileTime, FileType, Metadata, Name,
    NodeId,
};

/// Properties by path; the root's is empty.
pub type Listing = BTreeMap<Vec<u8>, BTreeMap<String, String>>;

const PIECE_LEN: usize = 1 << 20;

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent.is_empty() {
        true => name.to_vec(),
        false => [parent, b"/", name].concat(),
    }
}

/// Type and permissions; ntfs-3g gives special files of the Linux subsystem none.
fn mode(mode: u32) -> String {
    match mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK => format!("{mode:o}"),
        special => format!("{special:o}"),
    }
}

fn hash(size: u64, read: &mut dyn FnMut(u64, &mut [u8])) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE_LEN];
    let mut offset = 0;
    while offset < size {
        let len = PIECE_LEN.min((size - offset) as usize);
        read(offset, &mut piece[..len]);
        hasher.update(&piece[..len]);
        offset += len as u64;
    }
    hasher.finalize().to_hex().to_string()
}

/// Lists what ntfs-3g shows at `root`.
pub fn of_mount(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut pending = vec![vec![]];
    while let Some(path) = pending.pop() {
        let full = root.join(OsStr::from_bytes(&path));
        let stat = std::fs::symlink_metadata(&full).expect("metadata");
        let kind = stat.file_type();
        if kind.is_dir() {
            for entry in std::fs::read_dir(&full).expect("a directory") {
                let name = entry.expect("an entry").file_name().into_vec();
                pending.push(join(&path, &name));
            }
        }
        let mut entry = BTreeMap::new();
        let mut put = |name: &str, value: String| entry.insert(name.to_owned(), value);
        put("mode", mode(stat.mode()));
        put("inode", stat.ino().to_string());
        put("owner", format!("{}:{}", stat.uid(), stat.gid()));
        put("links", stat.nlink().to_string());
        put("blocks", stat.blocks().to_string());
        put(
            "rdev",
            format!("{}:{}", libc::major(stat.rdev()), libc::minor(stat.rdev())),
        );
        put(
            "modified",
            format!("{}.{}", stat.mtime(), stat.mtime_nsec()),
        );
        put(
            "accessed",
            format!("{}.{}", stat.atime(), stat.atime_nsec()),
        );
        put("changed", format!("{}.{}", stat.ctime(), stat.ctime_nsec()));
        if kind.is_symlink() {
            let target = std::fs::read_link(&full).expect("a link").into_os_string();
            put("target", from_root(root, &path, target.as_bytes()));
        } else {
            put("size", stat.size().to_string());
        }
        if kind.is_file() {
            let file = std::fs::File::open(&full).expect("a file");
            let mut read = |offset, target: &mut [u8]| {
                file.read_exact_at(target, offset).expect("content");
            };
            put("content", hash(stat.size(), &mut read));
        }
        entry.extend(streams(&full));
        listing.insert(path, entry);
    }
    listing
}

/// ntfs-3g makes absolute targets of the place that it is mounted at.
fn from_root(root: &Path, path: &[u8], target: &[u8]) -> String {
    let shown = match target.strip_prefix(root.as_os_str().as_bytes()) {
        Some(inner) => {
            let depth = path.iter().filter(|byte| **byte == b'/').count();
            let inner = inner.strip_prefix(b"/").unwrap_or(inner);
            [b"../".repeat(depth), inner.to_vec()].concat()
        }
        None => target.to_vec(),
    };
    // Its links into its own folder end as the target of Windows does.
    shown
        .trim_ascii_end()
        .escape_ascii()
        .to_string()
        .trim_end_matches('/')
        .to_owned()
}

#[expect(unsafe_code, reason = "system calls")]
fn streams(path: &Path) -> BTreeMap<String, String> {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let mut names = vec![0_u8; 1 << 16];
    // SAFETY: the buffer has the length that is given.
    let len = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(len).unwrap_or(0));
    let mut found = BTreeMap::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."))
    {
        let c_name = CString::new(name).expect("no NUL");
        let mut value = vec![0_u8; 1 << 16];
        // SAFETY: as above.
        let len = unsafe {
            let buffer = value.as_mut_ptr().cast();
            libc::lgetxattr(path.as_ptr(), c_name.as_ptr(), buffer, value.len())
        };
        let shown = match usize::try_from(len) {
            Ok(len) => blake3::hash(&value[..len]).to_hex().to_string(),
            Err(_) => TOO_LONG.to_owned(),
        };
        found.insert(stream_name(&name[5..]), shown);
    }
    found
}

/// Linux takes no attribute of more than 64 KiB.
const TOO_LONG: &str = "too long";

fn stream_name(name: &[u8]) -> String {
    format!("stream {}", name.escape_ascii())
}

fn time(time: FileTime) -> String {
    format!("{}.{}", time.seconds, time.nanoseconds)
}

/// Lists a directory in pieces, so that every kind of cursor is used.
pub fn entries(fs: &dyn FileSystem, node: NodeId) -> Vec<(Vec<u8>, NodeId, Option<FileType>)> {
    let mut found: Vec<(Vec<u8>, NodeId, Option<FileType>)> = vec![];
    let mut cursor = DirCursor::START;
    loop {
        let before = found.len();
        fs.read_dir(node, cursor, &mut |entry| {
            assert!(entry.next > cursor);
            cursor = entry.next;
            found.push((entry.name.bytes().to_vec(), entry.node, entry.file_type));
            match found.len() - before {
                37 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .expect("a directory");
        if found.len() == before {
            let names: BTreeSet<_> = found.iter().map(|(name, ..)| name).collect();
            assert_eq!(names.len(), found.len(), "a name is listed twice");
            return found;
        }
    }
}

/// Lists what our reader shows of the image at `path`; names are also looked up, and
/// content is also read from where the extents say it lies.
pub fn of_reader(fs: &dyn FileSystem, image: &Path) -> Listing {
    let image = FileImage::open(image);
    let mut listing = Listing::new();
    let mut pending = vec![(vec![], fs.root())];
    while let Some((path, node)) = pending.pop() {
        let shown = path.escape_ascii().to_string();
        let metadata = fs
            .metadata(node)
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        if metadata.file_type == FileType::Directory {
            for (name, child, file_type) in entries(fs, node) {
                let looked_up = fs.lookup(node, Name::new(&name).expect("a name"));
                assert_eq!(looked_up.unwrap(), Some(child), "{}", name.escape_ascii());
                if let Some(file_type) = file_type {
                    assert_eq!(fs.metadata(child).unwrap().file_type, file_type, "{shown}");
                }
                pending.push((join(&path, &name), child));
            }
            let missing = Name::new(b"surely not there").expect("a name");
            assert_eq!(fs.lookup(node, missing).unwrap(), None);
        }
        listing.insert(path, entry(fs, node, &metadata, &image));
    }
    listing
}

fn entry(
    fs: &dyn FileSystem,
    node: NodeId,
    metadata: &Metadata,
    image: &Arc<dyn ReadAt>,
) -> BTreeMap<String, String> {
    let mut entry = BTreeMap::new();
    let mut put = |name: &str, value: String| entry.insert(name.to_owned(), value);
    let device = metadata
        .device
        .map_or((0, 0), |device| (device.major, device.minor));
    let bits = metadata.file_type.to_mode() | metadata.permissions;
    put("mode", mode(bits.into()));
    put("inode", node.inode.to_string());
    put("owner", format!("{}:{}", metadata.user, metadata.group));
    put("links", metadata.link_count.to_string());
    put("blocks", metadata.block_count_512.to_string());
    put("rdev", format!("{}:{}", device.0, device.1));
    put("modified", time(metadata.modified));
    put("accessed", time(metadata.accessed));
    put("changed", time(metadata.changed));
    if metadata.file_type == FileType::Symlink {
        let target = fs.read_link(node).expect("a target");
        assert_eq!(target.len() as u64, metadata.size);
        put(
            "target",
            target
                .escape_ascii()
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
        );
    } else {
        put("size", metadata.size.to_string());
    }
    if metadata.file_type == FileType::Regular {
        let mut read = |offset, target: &mut [u8]| {
            assert_eq!(
                fs.read_at(node, offset, target).expect("content"),
                target.len()
            );
        };
        put("content", hash(metadata.size, &mut read));
        compare_extents(fs, node, metadata.size, image);
    }
    for name in fs.xattr_names(node).expect("names") {
        let value = match fs.xattr(node, &name) {
            Ok(value) => {
                let value = value.expect("a listed one");
                blake3::hash(&value).to_hex().to_string()
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                TOO_LONG.to_owned()
            }
        };
        let name = name.strip_prefix(b"user.ads.").expect("a stream");
        put(&stream_name(name), value);
    }
    entry
}

/// Content lies where the extents say, and is zeros everywhere else.
fn compare_extents(fs: &dyn FileSystem, node: NodeId, size: u64, image: &Arc<dyn ReadAt>) {
    let mut extents: Vec<FileExtent> = vec![];
    fs.extents(node, 0, &mut |extent| {
        extents.push(extent);
        ControlFlow::Continue(())
    })
    .expect("extents");
    let (mut end, mut buffer) = (0, vec![]);
    let expect_zeros = |from: u64, to: u64, buffer: &mut Vec<u8>| {
        for offset in (from..to.min(size)).step_by(PIECE_LEN) {
            buffer.resize(PIECE_LEN.min((to.min(size) - offset) as usize), 0);
            fs.read_at(node, offset, buffer).expect("content");
            assert!(
                buffer.iter().all(|byte| *byte == 0),
                "data at {offset} in a hole"
            );
        }
    };
    for extent in &extents {
        assert!(extent.offset >= end && extent.len > 0, "{extent:?}");
        expect_zeros(end, extent.offset, &mut buffer);
        end = extent.offset + extent.len;
        let ExtentPlace::Image { offset } = extent.place else {
            continue;
        };
        let len = extent.len.min(size - extent.offset).min(PIECE_LEN as u64) as usize;
        let (mut direct, mut read) = (vec![0; len], vec![0; len]);
        image
            .read_exact_at(offset, &mut direct)
            .expect("inside the image");
        fs.read_at(node, extent.offset, &mut read).expect("content");
        assert!(direct == read, "{extent:?} is not what is read");
        let mut behind = None;
        fs.extents(node, extent.offset, &mut |found| {
            behind = Some(found.offset);
            ControlFlow::Break(())
        })
        .expect("extents");
        assert!(
            behind.is_some_and(|found| found <= extent.offset),
            "{extent:?}: {behind:?}"
        );
    }
    expect_zeros(end, size, &mut buffer);
}

/// Tells every entry and key that differs.
pub fn difference(theirs: &Listing, ours: &Listing) -> Vec<String> {
    let mut differences = vec![];
    let only_ours = ours.keys().filter(|path| !theirs.contains_key(*path));
    for path in theirs.keys().chain(only_ours) {
        let (one, other) = (theirs.get(path), ours.get(path));
        if one == other {
            continue;
        }
        let name = path.escape_ascii();
        let (Some(one), Some(other)) = (one, other) else {
            let only = if one.is_some() { "ntfs-3g" } else { "us" };
            differences.push(format!("{name}: only in {only}"));
            continue;
        };
        let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for key in keys
            .into_iter()
            .filter(|key| one.get(*key) != other.get(*key))
        {
            let (one, other) = (one.get(key), other.get(key));
            differences.push(format!("{name}: {key}: ntfs-3g {one:?}, ours {other:?}"));
        }
    }
    differences
}

/// Fails with the first differences.
pub fn assert_same(what: &str, theirs: &Listing, ours: &Listing) {
    let mut differences = difference(theirs, ours);
    let count = differences.len();
    differences.truncate(40);
    assert!(
        count == 0,
        "{what}: {count} differences\n{}",
        differences.join("\n")
    );
}
