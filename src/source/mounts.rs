//! Who uses a block device or a disk image: mounts, swap, and what is stacked on
//! top (partitions, LVM, encryption, loop devices). Reads /proc and /sys only; what
//! it cannot read it counts as not used, so it serves for warnings. What must be
//! certain is left to `O_EXCL`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bound on devices stacked upon each other that are looked at.
const STACK_MAX: usize = 4096;

/// One use of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// It, or something on it, is mounted.
    Mounted {
        /// Where.
        mount_point: String,
        /// Whether the file system can change.
        read_write: bool,
    },
    /// It, or something on it, is swap space.
    Swap,
}

impl Use {
    /// Returns why a copy made now is doubtful, or `None` if it is not.
    pub fn read_write_warning(&self) -> Option<String> {
        match self {
            Self::Mounted {
                mount_point,
                read_write: true,
            } => Some(format!(
                "the source was mounted read-write at {mount_point}"
            )),
            Self::Mounted {
                read_write: false, ..
            } => None,
            Self::Swap => Some("the source holds swap space in use".to_owned()),
        }
    }
}

/// Returns the uses of the device with this number, its partitions and whatever is
/// stacked on them.
pub fn uses_of_device(device: u64) -> Vec<Use> {
    let mut devices = BTreeSet::new();
    collect_stack(libc::major(device), libc::minor(device), &mut devices);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut uses = mounts_of(&table, &devices, device_number_of);
    if swap_devices().iter().any(|swap| devices.contains(swap)) {
        uses.push(Use::Swap);
    }
    uses
}

/// Returns the uses of loop devices whose file is the one with this device and inode.
pub fn uses_of_file(device: u64, inode: u64) -> Vec<Use> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return vec![];
    };
    let mut uses = vec![];
    for entry in entries.flatten() {
        let Ok(backing) = fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        let Ok(metadata) = fs::metadata(backing.trim_end_matches('\n')) else {
            continue;
        };
        if (metadata.dev(), metadata.ino()) == (device, inode)
            && let Some((major, minor)) = read_device_number(&entry.path().join("dev"))
        {
            uses.extend(uses_of_device(libc::makedev(major, minor)));
        }
    }
    uses
}

/// Adds the device, its partitions and its holders to `devices`.
fn collect_stack(major: u32, minor: u32, devices: &mut BTreeSet<(u32, u32)>) {
    if devices.len() >= STACK_MAX || !devices.insert((major, minor)) {
        return;
    }
    let folder = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let partitions = children(&folder)
        .into_iter()
        .filter(|path| path.join("partition").exists());
    for path in partitions.chain(children(&folder.join("holders"))) {
        if let Some((major, minor)) = read_device_number(&path.join("dev")) {
            collect_stack(major, minor, devices);
        }
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn read_device_number(path: &Path) -> Option<(u32, u32)> {
    parse_device_number(fs::read_to_string(path).ok()?.trim())
}

fn parse_device_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn device_number_of(path: &str) -> Option<(u32, u32)> {
    let metadata = fs::metadata(path).ok()?;
    metadata
        .file_type()
        .is_block_device()
        .then(|| (libc::major(metadata.rdev()), libc::minor(metadata.rdev())))
}

fn swap_devices() -> Vec<(u32, u32)> {
    let table = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let names = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter_map(|name| device_number_of(&unescape(name)))
        .collect()
}

/// Finds the mounts of `devices` in a mountinfo table (proc_pid_mountinfo(5)). Some
/// file systems (btrfs) have a device number of their own there, so the source's
/// name is looked up as well.
fn mounts_of(
    table: &str,
    devices: &BTreeSet<(u32, u32)>,
    device_number_of: impl Fn(&str) -> Option<(u32, u32)>,
) -> Vec<Use> {
    let mut uses: Vec<Use> = vec![];
    for line in mount_lines(table) {
        let is_ours = line.device.is_some_and(|number| devices.contains(&number))
            || (line.source.starts_with('/')
                && device_number_of(&line.source).is_some_and(|number| devices.contains(&number)));
        let found = Use::Mounted {
            mount_point: line.mount_point,
            read_write: line.read_write,
        };
        if is_ours && !uses.contains(&found) {
            uses.push(found);
        }
    }
    uses
}

/// One mount, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLine {
    /// Major and minor number of the device.
    pub device: Option<(u32, u32)>,
    /// Where it is mounted.
    pub mount_point: String,
    /// Kind of file system.
    pub kind: String,
    /// What is mounted: the path of a device, or any text.
    pub source: String,
    /// Whether the file system can change. This is the option of the superblock: one
    /// mount of it may be read-only, and the file system change through another.
    pub read_write: bool,
}

impl MountLine {
    /// Tells whether it is a mount of a store. The helper of FUSE makes the subtype a part
    /// of the kind; a mount by root, without the helper, shows it as the source alone.
    pub fn is_ours(&self) -> bool {
        self.kind == "fuse.tintype" || (self.kind == "fuse" && self.source == "tintype")
    }
}

/// Tells whether the last mount at `path` in a mountinfo table is one of a store.
pub fn is_our_mount(table: &str, path: &Path) -> bool {
    let mounts = mount_lines(table);
    let at_path = mounts.filter(|line| Path::new(&line.mount_point) == path);
    at_path.last().is_some_and(|line| line.is_ours())
}

/// Reads a mountinfo table (proc_pid_mountinfo(5)), in the order of mounting.
pub fn mount_lines(table: &str) -> impl Iterator<Item = MountLine> {
    table.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let device = left.next().and_then(parse_device_number);
        let mount_point = unescape(left.nth(1)?);
        let mut right = right.split(' ');
        let kind = right.next()?.to_owned();
        let source = unescape(right.next()?);
        let read_write = !right.next()?.split(',').any(|word| word == "ro");
        Some(MountLine {
            device,
            mount_point,
            kind,
            source,
            read_write,
        })
    })
}

/// Replaces the octal escapes (`\040`) of the kernel's tables.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..3).filter(|_| *first == b'\\');
        match escape.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
36 35 8:1 / /mnt/with\\040space rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue
37 35 8:2 / /ro ro,noatime shared:2 - ext4 /dev/sda2 ro
38 35 0:45 / /btrfs rw - btrfs /dev/sdb rw,space_cache
39 35 8:3 / /bind ro - ext4 /dev/sda3 rw
broken line
";

    fn mounted(mount_point: &str, read_write: bool) -> Use {
        Use::Mounted {
            mount_point: mount_point.to_owned(),
            read_write,
        }
    }

    #[test]
    fn mounts_are_found_by_number_and_by_name() {
        let by_name = |name: &str| (name == "/dev/sdb").then_some((8, 16));
        let find = |number| mounts_of(TABLE, &BTreeSet::from([number]), by_name);
        assert_eq!(find((8, 1)), [mounted("/mnt/with space", true)]);
        assert_eq!(find((8, 2)), [mounted("/ro", false)]);
        assert_eq!(find((8, 16)), [mounted("/btrfs", true)]);
        assert_eq!(find((8, 3)), [mounted("/bind", true)]);
        assert_eq!(find((9, 9)), []);
        assert_eq!(mounted("/ro", false).read_write_warning(), None);
    }

    #[test]
    fn a_device_that_is_not_there_has_no_uses() {
        assert_eq!(uses_of_device(libc::makedev(4000, 77)), []);
        assert_eq!(unescape("a\\134b\\"), "a\\b\\");
    }
}
