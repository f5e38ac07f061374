//! File systems of every feature set of `mkfs`, filled with the nasty trees, all in one
//! store and seen through one mount: `scripts/diff-walk` compares each with the kernel's
//! own mount of the image. The gate takes some of them, a long run all.

use super::oracle::nasty::{Scale, fill};
use super::oracle::support::{mount, run, umount};
use super::support::{
    Mount, MountOptions, Scratch, long_run, measured, needs, number_from_env, say, shell,
    shell_within, tintype_ok,
};
use super::{btrfs_sets, ext_nasty, ext_sets, xfs_sets};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An image that was made.
struct Made {
    name: String,
    path: PathBuf,
    /// How the kernel mounts it to be compared.
    options: &'static str,
}

/// Makes images in a folder, mounted at another one while they are filled.
struct Maker {
    folder: PathBuf,
    point: PathBuf,
    made: Vec<Made>,
}

impl Maker {
    /// Makes an image by a line of shell, fills it through the kernel, and keeps it.
    fn add(&mut self, name: &str, make: &str, options: &str, fill: impl FnOnce(&Path)) {
        let path = self.folder.join(name);
        if let Err(why) = self.make(&path, make) {
            say(&format!("SKIPPED PART: {name}: {why}"));
            let _ = std::fs::remove_file(&path);
            return;
        }
        forget_devices(name);
        let options = format!("loop,noatime,{options}");
        if let Err(why) = mount(&path, &self.point, &options) {
            say(&format!("SKIPPED PART: {name}: the kernel refuses: {why}"));
            std::fs::remove_file(&path).expect("removed");
            return;
        }
        fill(&self.point);
        umount(&self.point);
        self.keep(name, path, "loop,noatime,ro");
    }

    /// Runs the line; the error is the last line of what it said.
    fn make(&self, path: &Path, line: &str) -> Result<(), String> {
        let finished = shell(line, &[("IMAGE", path.as_os_str())]);
        match finished.ok() {
            true => Ok(()),
            false => Err(format!("{line}: {}", finished.stderr.replace('\n', " "))),
        }
    }

    fn keep(&mut self, name: &str, path: PathBuf, options: &'static str) {
        let name = name.to_owned();
        self.made.push(Made {
            name,
            path,
            options,
        });
    }

    fn ext(&mut self) {
        let size = if long_run() {
            &ext_nasty::FULL
        } else {
            &ext_nasty::SMALL
        };
        for (name, arguments) in ext_sets::SETS.into_iter().step_by(step()) {
            let line = format!(
                "truncate -s 512M $IMAGE; mke2fs -q -F -N 32768 {} $IMAGE >&2",
                arguments.join(" ")
            );
            self.add(&format!("ext-{name}"), &line, "user_xattr,acl", |point| {
                ext_nasty::fill(point, size);
            });
        }
        let source = self.folder.join("source");
        std::fs::create_dir(&source).expect("a folder");
        ext_nasty::fill(&source, &ext_nasty::SMALL);
        for (name, arguments) in ext_sets::FILLED_BY_MKE2FS.into_iter().step_by(step()) {
            let line = format!(
                "mke2fs -q -F -N 4096 -d {} {} $IMAGE 512M >&2",
                source.display(),
                arguments.join(" ")
            );
            let name = format!("ext-{name}");
            let path = self.folder.join(&name);
            self.make(&path, &line).expect("made");
            // The kernel must never write to inline data: see `FILLED_BY_MKE2FS`.
            self.keep(&name, path, "loop,noatime,ro,noload");
        }
    }

    fn xfs(&mut self) {
        for set in xfs_sets::SETS.iter().step_by(step()) {
            let line = format!("truncate -s 1G $IMAGE; mkfs.xfs -q -f {} $IMAGE", set.mkfs);
            self.add(&format!("xfs-{}", set.name), &line, "rw", |point| {
                fill(point, of_this_run(set.scale));
            });
        }
    }

    fn btrfs(&mut self) {
        for set in btrfs_sets::SETS.iter().step_by(step()) {
            let tune = match set.tune {
                "" => String::new(),
                tune => format!("{tune} $IMAGE >&2"),
            };
            let line = format!(
                "truncate -s 1G $IMAGE; mkfs.btrfs -q -f {} $IMAGE; {tune}",
                set.mkfs
            );
            let options = if set.mount.is_empty() {
                "rw"
            } else {
                set.mount
            };
            self.add(&format!("btrfs-{}", set.name), &line, options, |point| {
                fill(point, of_this_run(set.scale));
            });
        }
    }
}

/// Returns which sets are taken: all of them, or in the gate each fourth one.
fn step() -> usize {
    number_from_env("TINTYPE_BROWSE_SETS_STEP", 4, 1).max(1) as usize
}

/// Returns how much is made: in the gate, directories of more than a few blocks and not
/// more.
fn of_this_run(scale: Scale) -> Scale {
    if long_run() {
        return scale;
    }
    Scale {
        large_directory: scale.large_directory.min(700),
        hard_links: scale.hard_links.min(100),
        ..scale
    }
}

/// The kernel remembers devices of btrfs, and would take one image for another.
fn forget_devices(name: &str) {
    if name.starts_with("btrfs") {
        let arguments = ["device", "scan", "--forget"].map(AsRef::as_ref);
        run("btrfs", &arguments).expect("forgotten");
    }
}

/// What came of one comparison.
struct Compared {
    entries: u64,
    differences: Vec<String>,
}

/// Compares one image; `None` if the kernel does not mount it.
fn compare(made: &Made, point: &Path, ours: &Path) -> Option<Compared> {
    forget_devices(&made.name);
    if let Err(why) = mount(&made.path, point, made.options) {
        let name = &made.name;
        say(&format!("SKIPPED PART: {name}: the kernel refuses: {why}"));
        return None;
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/diff-walk");
    let finished = shell_within(
        Duration::from_secs(600),
        "timeout -k 5 590 $TOOL $KERNEL $OURS",
        &[
            ("TOOL", tool.as_os_str()),
            ("KERNEL", point.as_os_str()),
            ("OURS", ours.as_os_str()),
        ],
    );
    umount(point);
    let told = finished.stdout.lines().last().unwrap_or_default();
    let entries = told
        .strip_prefix("trees: ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse().ok());
    let differences = finished
        .stdout
        .lines()
        .filter(|line| line.starts_with("differs: ") || line.starts_with("... and "))
        .map(|line| format!("{}: {line}", made.name))
        .collect();
    let is_told = matches!(finished.code, Some(0 | 1)) && entries.is_some();
    assert!(is_told, "{}: {finished:?}", made.name);
    Some(Compared {
        entries: entries.unwrap_or(0),
        differences,
    })
}

#[test]
fn every_feature_set_is_shown_as_the_kernel_shows_it() {
    needs!(
        "root",
        "fuse",
        "python3",
        "mke2fs",
        "mkfs.xfs",
        "mkfs.btrfs",
        "btrfs",
        "setfacl",
        "fallocate"
    );
    let scratch = Scratch::new();
    let (store, point) = (scratch.join("store"), scratch.join("mnt"));
    let mut maker = Maker {
        folder: scratch.dir("images"),
        point: scratch.dir("kernel"),
        made: vec![],
    };
    maker.ext();
    maker.xfs();
    maker.btrfs();
    tintype_ok(&store, &["init"]);
    for made in &maker.made {
        let image = made.path.to_str().expect("a path in UTF-8");
        tintype_ok(&store, &["create", "--resource", &made.name, image]);
    }
    let mount = Mount::start(&store, &point, &MountOptions::default());
    let (mut entries, mut differences) = (0, vec![]);
    let mut counts = [("ext", 0), ("xfs", 0), ("btrfs", 0)];
    for made in &maker.made {
        let ours = point
            .join("snapshots")
            .join(&made.name)
            .join("latest/files");
        let Some(compared) = compare(made, &maker.point, &ours) else {
            continue;
        };
        entries += compared.entries;
        differences.extend(compared.differences);
        for (format, count) in &mut counts {
            *count += usize::from(made.name.split('-').next() == Some(*format));
        }
    }
    drop(mount);
    measured!(
        "browse::feature_sets: {counts:?}, {entries} entries, {} differences",
        differences.len()
    );
    assert_eq!(differences.len(), 0, "{}", differences.join("\n"));
    let wanted = match step() {
        1 => [12, 8, 8],
        4 => [4, 3, 3],
        _ => [1, 1, 1],
    };
    for ((format, count), wanted) in counts.into_iter().zip(wanted) {
        assert!(count >= wanted, "{format}: {count}");
    }
}
