//! Everything that can be told of each entry of a tree, by the kernel and by us.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use tintype::filesystem::{DirCursor, FileSystem, FileType, Name, NodeId, Result};

/// One entry of a tree.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Record {
    pub inode: u64,
    pub mode: u32,
    pub owner: (u32, u32),
    pub link_count: u64,
    pub size: u64,
    pub block_count: u64,
    /// Accessed, modified, changed.
    pub times: [(i64, u32); 3],
    pub device: (u32, u32),
    pub target: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the data lies, joined and cut at the end of the file.
    pub data: Vec<(u64, u64)>,
    pub hash: Option<blake3::Hash>,
}

pub type Tree = BTreeMap<Vec<u8>, Record>;

fn join(data: &mut Vec<(u64, u64)>, start: u64, end: u64) {
    match data.last_mut() {
        Some(last) if last.1 == start => last.1 = end,
        _ if start < end => data.push((start, end)),
        _ => {}
    }
}

/// Hashes all data, and that there is nothing but zeros around it: the first and the
/// last MiB of every hole.
fn hash(data: &[(u64, u64)], size: u64, read: &mut dyn FnMut(u64, &mut [u8])) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut last = 0;
    for (start, end) in data.iter().copied().chain([(size, size)]) {
        for hole in [
            last..start.min(last + (1 << 20)),
            last.max(start.saturating_sub(1 << 20))..start,
        ] {
            let target = &mut buffer[..(hole.end - hole.start) as usize];
            read(hole.start, target);
            assert!(target.iter().all(|byte| *byte == 0), "a hole with data");
        }
        let mut offset = start;
        while offset < end {
            let count = (end - offset).min(buffer.len() as u64) as usize;
            read(offset, &mut buffer[..count]);
            // Zeros count nowhere, so equal content has one hash whatever the holes.
            for (piece, place) in buffer[..count].chunks(1024).zip((offset..).step_by(1024)) {
                if piece.iter().any(|byte| *byte != 0) {
                    hasher.update(&place.to_le_bytes()).update(piece);
                }
            }
            offset += count as u64;
        }
        last = end;
    }
    hasher.finalize()
}

// The kernel's side.

/// Reads the tree at `root` through the kernel, without `lost+found`.
pub fn of_kernel(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = root.join(&path);
        let record = kernel_record(&full);
        if record.mode & libc::S_IFMT == libc::S_IFDIR {
            for entry in std::fs::read_dir(&full).unwrap() {
                open.push(path.join(entry.unwrap().file_name()));
            }
        }
        tree.insert(path.into_os_string().into_vec(), record);
    }
    tree
}

fn kernel_record(path: &Path) -> Record {
    let stat = std::fs::symlink_metadata(path).unwrap();
    let time = |seconds: i64, nanoseconds: i64| (seconds, nanoseconds as u32);
    let mut record = Record {
        inode: stat.ino(),
        mode: stat.mode(),
        owner: (stat.uid(), stat.gid()),
        link_count: stat.nlink(),
        size: stat.size(),
        block_count: stat.blocks(),
        times: [
            time(stat.atime(), stat.atime_nsec()),
            time(stat.mtime(), stat.mtime_nsec()),
            time(stat.ctime(), stat.ctime_nsec()),
        ],
        device: (libc::major(stat.rdev()), libc::minor(stat.rdev())),
        target: vec![],
        xattrs: kernel_xattrs(path),
        data: vec![],
        hash: None,
    };
    if stat.file_type().is_symlink() {
        record.target = std::fs::read_link(path)
            .unwrap()
            .into_os_string()
            .into_vec();
    } else if stat.file_type().is_file() {
        let file = File::open(path).unwrap();
        record.data = kernel_data(&file, stat.size());
        let mut read = |offset: u64, target: &mut [u8]| file.read_exact_at(target, offset).unwrap();
        record.hash = Some(hash(&record.data, stat.size(), &mut read));
    }
    record
}

fn kernel_data(file: &File, size: u64) -> Vec<(u64, u64)> {
    let mut data = vec![];
    let seek = |offset: u64, whence| {
        // SAFETY: a plain system call on a descriptor that lives.
        unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) }
    };
    let mut offset = 0;
    while offset < size {
        let start = seek(offset, libc::SEEK_DATA);
        if start < 0 {
            break;
        }
        let end = seek(start as u64, libc::SEEK_HOLE) as u64;
        join(&mut data, start as u64, end);
        offset = end;
    }
    data
}

fn kernel_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0_u8; 1 << 16];
    // SAFETY: the buffers are as long as is said.
    let len = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    assert!(len >= 0, "{path:?}: {}", std::io::Error::last_os_error());
    let mut xattrs = BTreeMap::new();
    for name in names[..len as usize]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let c_name = CString::new(name).unwrap();
        let mut value = vec![0_u8; 1 << 16];
        // SAFETY: the buffers are as long as is said.
        let len = unsafe {
            libc::lgetxattr(
                path.as_ptr(),
                c_name.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        assert!(
            len >= 0,
            "{path:?} {c_name:?}: {}",
            std::io::Error::last_os_error()
        );
        value.truncate(len as usize);
        xattrs.insert(name.to_vec(), value);
    }
    xattrs
}

// Our side.

/// Reads the whole tree of `fs`.
pub fn of_reader(fs: &dyn FileSystem) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(PathBuf::new(), fs.root())];
    while let Some((path, node)) = open.pop() {
        let record = reader_record(fs, node)?;
        if record.mode & libc::S_IFMT == libc::S_IFDIR {
            assert!(seen.insert(node), "a directory twice: {path:?}");
            for (name, child) in list(fs, node)? {
                let found = fs.lookup(node, Name::new(&name).unwrap())?;
                assert_eq!(found, Some(child), "look-up of {}", name.escape_ascii());
                open.push((path.join(OsString::from_vec(name)), child));
            }
        }
        tree.insert(path.into_os_string().into_vec(), record);
    }
    Ok(tree)
}

/// Lists a directory in pieces of 7 entries, so that every cursor is used.
fn list(fs: &dyn FileSystem, node: NodeId) -> Result<Vec<(Vec<u8>, NodeId)>> {
    let mut entries = vec![];
    let mut cursor = DirCursor::START;
    loop {
        let before = entries.len();
        fs.read_dir(node, cursor, &mut |entry| {
            assert!(entry.next > cursor);
            cursor = entry.next;
            entries.push((entry.name.bytes().to_vec(), entry.node));
            if entries.len() - before >= 7 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if entries.len() == before {
            return Ok(entries);
        }
    }
}

fn reader_record(fs: &dyn FileSystem, node: NodeId) -> Result<Record> {
    let stat = fs.metadata(node)?;
    let time = |time: tintype::filesystem::FileTime| (time.seconds, time.nanoseconds);
    let mut record = Record {
        inode: node.inode,
        mode: u32::from(stat.file_type.to_mode()) | u32::from(stat.permissions),
        owner: (stat.user, stat.group),
        link_count: stat.link_count.into(),
        size: stat.size,
        block_count: stat.block_count_512,
        times: [time(stat.accessed), time(stat.modified), time(stat.changed)],
        device: stat
            .device
            .map_or((0, 0), |device| (device.major, device.minor)),
        target: vec![],
        xattrs: BTreeMap::new(),
        data: vec![],
        hash: None,
    };
    for name in fs.xattr_names(node)? {
        let value = fs.xattr(node, &name)?.unwrap();
        record.xattrs.insert(name, value);
    }
    if stat.file_type == FileType::Symlink {
        record.target = fs.read_link(node)?;
    } else if stat.file_type == FileType::Regular {
        fs.extents(node, 0, &mut |extent| {
            join(
                &mut record.data,
                extent.offset,
                (extent.offset + extent.len).min(stat.size),
            );
            ControlFlow::Continue(())
        })?;
        let mut read = |offset: u64, target: &mut [u8]| {
            assert_eq!(fs.read_at(node, offset, target).unwrap(), target.len());
        };
        record.hash = Some(hash(&record.data, stat.size, &mut read));
    }
    Ok(record)
}

/// Compares both trees; returns the number of entries.
pub fn assert_same(name: &str, kernel: &Tree, ours: &Tree) -> usize {
    let mut differences = vec![];
    let paths: BTreeSet<_> = kernel.keys().chain(ours.keys()).collect();
    for path in paths {
        if kernel.get(path) != ours.get(path) {
            let (one, other) = (kernel.get(path), ours.get(path));
            differences.push(format!(
                "{}\n  kernel {one:?}\n  ours   {other:?}",
                path.escape_ascii()
            ));
        }
    }
    let first: Vec<_> = differences
        .iter()
        .take(3)
        .map(|text| text.chars().take(1500).collect::<String>())
        .collect();
    assert!(
        differences.is_empty(),
        "{name}: {} differences\n{}",
        differences.len(),
        first.join("\n")
    );
    kernel.len()
}
