//! The same walk over a mounted tree and over what Tintype reads: one line of text for
//! each property of each node, so that differences read well.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, OsStr};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use tintype::filesystem::{
    DirCursor, DirEntry, FileExtent, FileSystem, FileTime, FileType, Name, NodeId,
};

/// What is compared: by path, lines of properties.
pub type Tree = BTreeMap<Vec<u8>, String>;

const CHUNK_LEN: usize = 1 << 20;

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    [parent, b"/", name].concat()
}

fn describe(
    core: &[(&str, String)],
    target: Option<&[u8]>,
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    content: Option<(String, Vec<(u64, u64)>)>,
) -> String {
    let mut text: Vec<String> = core
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if let Some(target) = target {
        text.push(format!("target={}", target.escape_ascii()));
    }
    for (name, value) in xattrs {
        let hash = blake3::hash(value).to_hex();
        text.push(format!(
            "xattr {}={} {hash}",
            name.escape_ascii(),
            value.len()
        ));
    }
    if let Some((hash, data)) = content {
        text.push(format!("content={hash}"));
        text.push(format!("data={data:?}"));
    }
    text.join("\n")
}

fn time(seconds: i64, nanoseconds: i64) -> String {
    format!("{seconds}.{nanoseconds:09}")
}

/// Walks what the kernel shows at `root`.
pub fn kernel_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    // Reading a file brings pages of unwritten extents into the cache, and SEEK_DATA
    // then calls them data: the second name of a file must not ask again.
    let mut contents = BTreeMap::new();
    let mut pending = VecDeque::from([Vec::new()]);
    while let Some(path) = pending.pop_front() {
        let full = root.join(OsStr::from_bytes(&path));
        let stat = std::fs::symlink_metadata(&full).unwrap_or_else(|error| {
            panic!("{}: {error}", full.display());
        });
        let kind = stat.file_type();
        if kind.is_dir() {
            for entry in std::fs::read_dir(&full).expect("a directory") {
                let name = entry.expect("an entry").file_name().into_vec();
                pending.push_back(join(&path, &name));
            }
        }
        // SAFETY: both only take numbers apart.
        let (major, minor) = (libc::major(stat.rdev()), libc::minor(stat.rdev()));
        let core = [
            ("mode", format!("{:o}", stat.mode())),
            ("ino", stat.ino().to_string()),
            ("owner", format!("{}:{}", stat.uid(), stat.gid())),
            ("nlink", stat.nlink().to_string()),
            ("size", stat.size().to_string()),
            ("blocks", stat.blocks().to_string()),
            ("atime", time(stat.atime(), stat.atime_nsec())),
            ("mtime", time(stat.mtime(), stat.mtime_nsec())),
            ("ctime", time(stat.ctime(), stat.ctime_nsec())),
            ("rdev", format!("{major}:{minor}")),
        ];
        let target = kind.is_symlink().then(|| {
            let target = std::fs::read_link(&full).expect("a link");
            target.into_os_string().into_vec()
        });
        // Subvolumes have numbers of their own, and devices.
        let number = (stat.dev(), stat.ino());
        let known = contents.get(&number).cloned();
        let content = kind.is_file().then(|| {
            if let Some(known) = known {
                return known;
            }
            let file = std::fs::File::open(&full).expect("a file");
            let data = kernel_data(&file, stat.size());
            let read = |offset, target: &mut [u8]| {
                file.read_exact_at(target, offset).expect("content");
            };
            (hash(stat.size(), &data, read), data)
        });
        if let Some(content) = &content {
            contents.insert(number, content.clone());
        }
        let xattrs = kernel_xattrs(&full);
        tree.insert(path, describe(&core, target.as_deref(), &xattrs, content));
    }
    tree
}

/// Returns the ranges of a file that the kernel calls data.
#[expect(unsafe_code, reason = "system calls")]
fn kernel_data(file: &std::fs::File, size: u64) -> Vec<(u64, u64)> {
    use std::os::fd::AsRawFd;
    let mut data = Vec::new();
    let mut offset = 0;
    while offset < size {
        // SAFETY: seeking an open file has no further preconditions.
        let start = unsafe { libc::lseek(file.as_raw_fd(), offset as i64, libc::SEEK_DATA) };
        if start < 0 {
            break;
        }
        // SAFETY: as above.
        let end = unsafe { libc::lseek(file.as_raw_fd(), start, libc::SEEK_HOLE) };
        assert!(end > start, "SEEK_HOLE after {start} gave {end}");
        data.push((start as u64, end as u64));
        offset = end as u64;
    }
    data
}

#[expect(unsafe_code, reason = "system calls")]
fn kernel_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let mut names = vec![0_u8; 1 << 16];
    // SAFETY: the buffer has the length that is given.
    let len = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    let names = &names[..usize::try_from(len).unwrap_or(0)];
    let mut xattrs = BTreeMap::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let c_name = CString::new(name).expect("no NUL");
        let mut value = vec![0_u8; 1 << 16];
        // SAFETY: as above.
        let len = unsafe {
            let buffer = value.as_mut_ptr().cast();
            libc::lgetxattr(path.as_ptr(), c_name.as_ptr(), buffer, value.len())
        };
        value.truncate(usize::try_from(len).expect("a value"));
        xattrs.insert(name.to_vec(), value);
    }
    xattrs
}

/// Hashes a file by its ranges of data: holes are told by the ranges themselves.
fn hash(size: u64, data: &[(u64, u64)], read: impl Fn(u64, &mut [u8])) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_LEN];
    for (start, end) in data {
        let mut offset = *start;
        let end = (*end).min(size);
        while offset < end {
            let len = usize::try_from(end - offset)
                .unwrap_or(CHUNK_LEN)
                .min(CHUNK_LEN);
            read(offset, &mut chunk[..len]);
            hasher.update(&chunk[..len]);
            offset += len as u64;
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn show(at: FileTime) -> String {
    time(at.seconds, i64::from(at.nanoseconds))
}

/// A name, its node, and the type that the directory tells.
pub type Entry = (Vec<u8>, NodeId, Option<FileType>);

/// Returns all entries of a directory, asked for a few at a time.
pub fn entries(fs: &dyn FileSystem, node: NodeId) -> tintype::filesystem::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut cursor = DirCursor::START;
    loop {
        let before = found.len();
        fs.read_dir(node, cursor, &mut |entry: DirEntry<'_>| {
            found.push((entry.name.bytes().to_vec(), entry.node, entry.file_type));
            assert!(entry.next > cursor, "a cursor that does not go on");
            cursor = entry.next;
            match found.len() - before {
                1000 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// Returns the ranges of data of a file, joined where they touch.
pub fn data_ranges(
    fs: &dyn FileSystem,
    node: NodeId,
    size: u64,
) -> tintype::filesystem::Result<Vec<(u64, u64)>> {
    let mut data: Vec<(u64, u64)> = Vec::new();
    fs.extents(node, 0, &mut |extent: FileExtent| {
        let end = (extent.offset + extent.len).min(size);
        match data.last_mut() {
            Some(last) if last.1 == extent.offset => last.1 = end,
            _ => data.push((extent.offset, end)),
        }
        ControlFlow::Continue(())
    })?;
    data.retain(|(start, end)| start < end);
    Ok(data)
}

/// Walks what Tintype reads; every name is also looked up.
pub fn our_tree(fs: &dyn FileSystem) -> tintype::filesystem::Result<Tree> {
    our_tree_from(fs, fs.root())
}

/// Walks what Tintype reads below `root`.
pub fn our_tree_from(fs: &dyn FileSystem, root: NodeId) -> tintype::filesystem::Result<Tree> {
    let mut tree = Tree::new();
    let mut pending = VecDeque::from([(Vec::new(), root)]);
    while let Some((path, node)) = pending.pop_front() {
        let stat = fs.metadata(node)?;
        if stat.file_type == FileType::Directory {
            for (name, child, file_type) in entries(fs, node)? {
                let looked_up = fs.lookup(node, Name::new(&name).expect("a name"))?;
                assert_eq!(looked_up, Some(child), "{}", name.escape_ascii());
                if let Some(file_type) = file_type {
                    assert_eq!(fs.metadata(child)?.file_type, file_type);
                }
                pending.push_back((join(&path, &name), child));
            }
            let missing = Name::new(b"surely not there").expect("a name");
            assert_eq!(fs.lookup(node, missing)?, None);
        }
        let mode = stat.file_type.to_mode() | stat.permissions;
        let (major, minor) = stat
            .device
            .map_or((0, 0), |device| (device.major, device.minor));
        let core = [
            ("mode", format!("{mode:o}")),
            ("ino", node.inode.to_string()),
            ("owner", format!("{}:{}", stat.user, stat.group)),
            ("nlink", stat.link_count.to_string()),
            ("size", stat.size.to_string()),
            ("blocks", stat.block_count_512.to_string()),
            ("atime", show(stat.accessed)),
            ("mtime", show(stat.modified)),
            ("ctime", show(stat.changed)),
            ("rdev", format!("{major}:{minor}")),
        ];
        let target = match stat.file_type {
            FileType::Symlink => Some(fs.read_link(node)?),
            _ => None,
        };
        let content = match stat.file_type {
            FileType::Regular => {
                let data = data_ranges(fs, node, stat.size)?;
                let read = |offset, target: &mut [u8]| {
                    let len = fs.read_at(node, offset, target).expect("content");
                    assert_eq!(len, target.len());
                };
                Some((hash(stat.size, &data, read), data))
            }
            _ => None,
        };
        let mut xattrs = BTreeMap::new();
        for name in fs.xattr_names(node)? {
            let value = fs.xattr(node, &name)?.expect("a listed attribute");
            xattrs.insert(name, value);
        }
        tree.insert(path, describe(&core, target.as_deref(), &xattrs, content));
    }
    Ok(tree)
}

/// Fails with the first differences if the trees are not equal.
pub fn compare(what: &str, kernel: &Tree, ours: &Tree) {
    let mut differences = Vec::new();
    for path in kernel
        .keys()
        .chain(ours.keys().filter(|path| !kernel.contains_key(*path)))
    {
        let (theirs, mine) = (kernel.get(path), ours.get(path));
        if theirs == mine {
            continue;
        }
        let name = path.escape_ascii();
        let (Some(theirs), Some(mine)) = (theirs, mine) else {
            let only = if theirs.is_some() {
                "kernel"
            } else {
                "tintype"
            };
            differences.push(format!("{name}: only in {only}"));
            continue;
        };
        for line in theirs
            .lines()
            .filter(|line| !mine.lines().any(|other| other == *line))
        {
            differences.push(format!(
                "{name}: kernel  {}",
                line.get(..300).unwrap_or(line)
            ));
        }
        for line in mine
            .lines()
            .filter(|line| !theirs.lines().any(|other| other == *line))
        {
            differences.push(format!(
                "{name}: tintype {}",
                line.get(..300).unwrap_or(line)
            ));
        }
    }
    let count = differences.len();
    differences.truncate(40);
    assert_eq!(
        count,
        0,
        "{what}: {count} differences\n{}",
        differences.join("\n")
    );
}
