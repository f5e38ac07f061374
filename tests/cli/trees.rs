//! Images with files in them, and trees compared with each other.

use super::nasty;
use super::support::Fixture;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs a tool for at most two minutes.
pub fn tool(program: &str, arguments: &[&OsStr]) -> Output {
    Command::new("timeout")
        .args(["-k", "5", "120", program])
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// Runs a line of bash that must succeed, in a folder, and returns what it prints.
#[track_caller]
pub fn bash(folder: &Path, line: &str) -> String {
    let output = Command::new("timeout")
        .args(["-k", "5", "120", "bash", "-euo", "pipefail", "-c", line])
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("TINTYPE", env!("CARGO_BIN_EXE_tintype"))
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{line}\n{out}\n{err}");
    out
}

/// Tells whether these programs are there; says so loudly if not.
pub fn has_tools(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| {
            let line = format!("command -v {program}");
            !tool("sh", &["-c".as_ref(), line.as_ref()]).status.success()
        })
        .collect();
    if !missing.is_empty() {
        let line = format!("SKIPPED TEST: cli: {test} needs {missing:?}\n");
        drop(std::io::Write::write_all(
            &mut std::io::stderr(),
            line.as_bytes(),
        ));
    }
    missing.is_empty()
}

/// Makes an ext4 image of a folder without root or a mount.
pub fn ext4_of(folder: &Path, image: &Path, len: u64, options: &[&str]) {
    File::create(image).unwrap().set_len(len).unwrap();
    let mut arguments: Vec<&OsStr> = vec!["-q".as_ref(), "-F".as_ref(), "-t".as_ref()];
    arguments.extend(["ext4", "-b", "4096"].map(OsStr::new));
    arguments.extend(options.iter().map(|option| OsStr::new(*option)));
    arguments.extend(["-d".as_ref(), folder.as_os_str(), image.as_os_str()]);
    let output = tool("mke2fs", &arguments);
    assert!(output.status.success(), "{output:?}");
}

/// Flips bytes in the middle of the largest pack: inside the large file, which fills it.
pub fn damage_pack(fixture: &Fixture) {
    let line = "find store/packs -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2";
    let path = bash(&fixture.path("."), line);
    let file = File::options()
        .read(true)
        .write(true)
        .open(fixture.path(path.trim()))
        .unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0x55; 64], middle).unwrap();
}

/// An image that is mounted through a loop device.
pub struct Mounted {
    pub path: PathBuf,
}

impl Mounted {
    pub fn new(image: &Path, options: &str) -> Self {
        let path = image.with_extension("mnt");
        fs::create_dir_all(&path).unwrap();
        let options = format!("loop,{options}");
        let arguments = [
            "-o".as_ref(),
            options.as_ref(),
            image.as_os_str(),
            path.as_os_str(),
        ];
        let output = tool("mount", &arguments);
        assert!(output.status.success(), "{output:?}");
        Self { path }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !tool("umount", &[self.path.as_os_str()]).status.success() {
            tool("umount", &["-l".as_ref(), self.path.as_os_str()]);
        }
    }
}

/// Makes an image of a kind with a tree in it that has everything.
pub fn nasty_image(fixture: &Fixture, kind: &str) -> PathBuf {
    let image = fixture.path("ext4.img");
    File::create(&image).unwrap().set_len(400 << 20).unwrap();
    // Blocks as large as those of most file systems of a host, so that holes agree.
    let line = "mke2fs -q -F -t ext4 -b 4096 ext4.img";
    bash(&fixture.path("."), line);
    let mounted = Mounted::new(&image, "rw");
    let size = nasty::Size {
        entries: 2000,
        links: 300,
        has_huge: false,
    };
    nasty::fill(&mounted.path, &size);
    if kind == "ext4" {
        return image;
    }
    let copied = fixture.path("xfs.img");
    File::create(&copied).unwrap().set_len(400 << 20).unwrap();
    bash(&fixture.path("."), "mkfs.xfs -q -f xfs.img");
    let target = Mounted::new(&copied, "rw");
    // XFS has no room for the largest device numbers and the longest links.
    let from = mounted.path.display();
    bash(
        &target.path,
        &format!("cd {from}; rm char-3 block-3 symlink-4*; cd -; cp -a {from}/. ."),
    );
    copied
}

/// Everything of a file that must be the same on both sides, without its content.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    device: u64,
    target: PathBuf,
    times: [i64; 4],
    /// The first path, in the order of names, that is the same file.
    first: Vec<u8>,
    data: Vec<(u64, u64)>,
}

/// What is compared.
#[derive(Clone, Copy)]
pub struct Compare {
    pub access_times: bool,
    pub sockets: bool,
    pub holes: bool,
}

pub const ALL: Compare = Compare {
    access_times: true,
    sockets: true,
    holes: true,
};

#[expect(unsafe_code, reason = "std has no SEEK_DATA")]
fn data_ranges(path: &Path, len: u64) -> Vec<(u64, u64)> {
    let Ok(file) = File::open(path) else {
        return vec![];
    };
    let seek = |offset: u64, whence| {
        // SAFETY: lseek has no memory effects; the descriptor is open.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) };
        u64::try_from(found).ok()
    };
    let mut ranges = vec![];
    let mut offset = 0;
    while let Some(start) = seek(offset, libc::SEEK_DATA).filter(|start| *start < len) {
        offset = seek(start, libc::SEEK_HOLE).unwrap();
        ranges.push((start, offset));
    }
    ranges
}

fn records(root: &Path, compare: Compare) -> BTreeMap<Vec<u8>, Record> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let relative = path.strip_prefix(root).unwrap();
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                pending.push(entry.unwrap().path());
            }
        }
        if metadata.file_type().is_socket() && !compare.sockets || relative == "lost+found" {
            continue;
        }
        let is_file = metadata.is_file();
        let access = if compare.access_times { 1 } else { 0 };
        let record = Record {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: if is_file { metadata.len() } else { 0 },
            device: metadata.rdev(),
            target: fs::read_link(&path).unwrap_or_default(),
            times: [
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.atime() * access,
                metadata.atime_nsec() * access,
            ],
            first: metadata.ino().to_ne_bytes().to_vec(),
            data: if is_file && compare.holes {
                data_ranges(&path, metadata.len())
            } else {
                vec![]
            },
        };
        found.insert(relative.as_os_str().as_bytes().to_vec(), record);
    }
    let mut firsts: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for (path, record) in &mut found {
        let inode = std::mem::take(&mut record.first);
        record.first = firsts.entry(inode).or_insert_with(|| path.clone()).clone();
    }
    found
}

/// A tree as it must be. What `SEEK_DATA` tells is asked for before anything is read:
/// where a file was only allocated, the kernel counts what it has in memory as data.
pub struct Expected {
    root: PathBuf,
    compare: Compare,
    records: BTreeMap<Vec<u8>, Record>,
}

impl Expected {
    pub fn of(root: &Path, compare: Compare) -> Self {
        Self {
            root: root.to_owned(),
            compare,
            records: records(root, compare),
        }
    }

    /// Fails unless the tree is the same: everything that `stat` tells, hard links,
    /// holes, and by rsync content, extended attributes and ACLs.
    #[track_caller]
    pub fn assert_same(&self, actual: &Path) {
        let (left, right) = (&self.records, records(actual, self.compare));
        assert!(left.len() > 3, "nothing to compare in {:?}", self.root);
        for (path, record) in left {
            let shown = path.escape_ascii();
            assert_eq!(Some(record), right.get(path), "{shown}");
        }
        assert_eq!(
            left.len(),
            right.len(),
            "there is more than there should be"
        );
        let from = [self.root.as_os_str().as_bytes(), b"/"].concat();
        let to = [actual.as_os_str().as_bytes(), b"/"].concat();
        let mut arguments = vec!["-aHAXn", "--checksum", "--delete", "-i"];
        arguments.extend(["--modify-window=-1", "--exclude=/lost+found"]);
        if !self.compare.sockets {
            arguments.push("--no-specials");
        }
        let mut arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
        arguments.extend([OsStr::from_bytes(&from), OsStr::from_bytes(&to)]);
        let output = tool("rsync", &arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let different: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("skipping non-regular"))
            .collect();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(different, [] as [&str; 0]);
    }
}

/// Fails unless two trees are the same; see [`Expected`].
#[track_caller]
pub fn assert_same_tree(expected: &Path, actual: &Path, compare: Compare) {
    Expected::of(expected, compare).assert_same(actual);
}
