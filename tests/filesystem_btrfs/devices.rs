//! One of several devices: what it holds is read, what it does not is said.

use crate::content;
use crate::oracle::nasty::{Scale, fill};
use crate::support::{Scratch, is_able, run, say, shell, umount};
use crate::walk::{Tree, compare, entries, kernel_tree, our_tree};
use crate::{forget_stubs, open_file};
use std::path::{Path, PathBuf};
use tintype::filesystem::{ErrorKind, FileSystem, FileType};

const SCALE: Scale = Scale {
    large_directory: 700,
    hard_links: 50,
    has_reflink: true,
    has_bigtime: true,
    xattr_len_max: 3000,
};

/// Loop devices that go away.
struct Loops(Vec<String>);

impl Loops {
    fn new(images: &[PathBuf]) -> Self {
        let attach = |image: &PathBuf| {
            let args = ["-f".as_ref(), "--show".as_ref(), image.as_os_str()];
            let output = run("losetup", &args).expect("a loop device");
            String::from_utf8(output.stdout)
                .expect("a name")
                .trim()
                .to_owned()
        };
        Self(images.iter().map(attach).collect())
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            let _ = run("losetup", &["-d".as_ref(), device.as_ref()]);
        }
    }
}

/// Makes a file system over several files; returns them and what the kernel shows.
fn several(scratch: &Scratch, count: usize, mkfs: &str) -> (Vec<PathBuf>, Tree) {
    let point = scratch.join("mount");
    let images: Vec<PathBuf> = (0..count)
        .map(|index| scratch.join(&format!("disk-{index}")))
        .collect();
    for image in &images {
        shell(&format!("truncate -s 700M '{}'", image.display()));
    }
    let loops = Loops::new(&images);
    let devices = loops.0.join(" ");
    let options: Vec<String> = loops
        .0
        .iter()
        .map(|device| format!("device={device}"))
        .collect();
    let line = |rest: &str| {
        format!(
            "mkdir -p '{0}'; mount -o noatime,{rest}{1} {2} '{0}'",
            point.display(),
            options.join(","),
            loops.0[0]
        )
    };
    shell(&format!("mkfs.btrfs -q -f {mkfs} {devices}; {}", line("")));
    fill(&point, SCALE);
    content::fill(&point);
    umount(&point);
    shell(&line("ro,"));
    let tree = kernel_tree(&point);
    umount(&point);
    (images, tree)
}

fn warns(path: &Path) -> bool {
    let fs = open_file(path).expect("opened");
    fs.summary()
        .warnings
        .iter()
        .any(|text| text.contains("devices"))
}

#[test]
fn each_of_two_mirrors_has_everything() {
    let test = "each_of_two_mirrors_has_everything";
    if !is_able(test, &["mkfs.btrfs", "losetup", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    for mkfs in ["-d raid1 -m raid1", "-d raid1c3 -m raid1c3"] {
        let count = if mkfs.contains("c3") { 3 } else { 2 };
        let (images, mut kernel) = several(&scratch, count, mkfs);
        for image in &images {
            assert!(warns(image));
            let mut ours = our_tree(&open_file(image).expect("opened")).expect("read");
            forget_stubs(&mut kernel, &mut ours);
            compare(mkfs, &kernel, &ours);
            std::fs::remove_file(image).expect("removed");
        }
        say(&format!(
            "MEASURED: filesystem_btrfs::{test}: {mkfs}: {} entries on each device",
            kernel.len()
        ));
    }
}

/// Reads every file; returns how many are right and how many are said to be elsewhere.
fn readable(path: &Path) -> (usize, usize) {
    let fs = open_file(path).expect("opened");
    let (mut right, mut elsewhere) = (0, 0);
    let mut pending = vec![fs.root()];
    let mut buffer = vec![0; 4 << 20];
    while let Some(node) = pending.pop() {
        let stat = fs.metadata(node).expect("metadata is on both");
        match stat.file_type {
            FileType::Directory => {
                let children = entries(&fs, node).expect("metadata is on both");
                pending.extend(children.into_iter().map(|(_, child, _)| child));
            }
            FileType::Regular => match fs.read_at(node, 0, &mut buffer) {
                Ok(len) => {
                    assert_eq!(len as u64, stat.size.min(buffer.len() as u64));
                    right += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                    elsewhere += 1;
                }
            },
            _ => {}
        }
    }
    (right, elsewhere)
}

#[test]
fn what_is_on_another_device_is_said() {
    let test = "what_is_on_another_device_is_said";
    if !is_able(test, &["mkfs.btrfs", "losetup", "setfacl"]) {
        return;
    }
    let scratch = Scratch::new();
    for mkfs in ["-d raid0 -m raid1", "-d raid5 -m raid1"] {
        let (images, _) = several(&scratch, 3, mkfs);
        // Two of three have the metadata; the third cannot be opened, and says why.
        let mut opened = 0;
        for image in &images {
            if let Err(error) = open_file(image) {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                continue;
            }
            opened += 1;
            let (right, elsewhere) = readable(image);
            assert!(
                right > 100 && elsewhere > 5,
                "{mkfs}: {right} and {elsewhere}"
            );
            say(&format!(
                "MEASURED: filesystem_btrfs::{test}: {mkfs}: {right} files read, {elsewhere} \
                 said to be elsewhere"
            ));
        }
        assert!(opened >= 1, "{opened}");
        images
            .iter()
            .for_each(|image| std::fs::remove_file(image).expect("removed"));
    }
}
