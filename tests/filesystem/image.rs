//! Images in files, mounts that always go away, and tools under a time limit.

use super::reader::FileImage;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tintype::filesystem::{BlockCache, FileSystem, OpenOptions};

/// Opens the file system in `path` with a small cache.
pub fn open(path: &Path) -> Arc<dyn FileSystem> {
    let options = OpenOptions::new(BlockCache::new(16 << 20));
    tintype::filesystem::open(FileImage::open(path), &options).unwrap()
}

/// Runs a tool for at most two minutes.
pub fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args(["-k", "5", "120", program])
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs a tool that has to succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let output = output(program, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
}

/// Tells whether loop mounts work here; says so if not.
pub fn can_mount() -> bool {
    // Asked of the kernel, as it answers 0 for root only.
    let is_root = output("id", &["-u"]).stdout == b"0\n";
    let works = is_root && Path::new("/dev/loop-control").exists();
    if !works {
        super::saying::say_skipped("filesystem", "no root or no loop devices");
    }
    works
}

/// A mounted image; unmounted, with its loop device, when it is dropped.
pub struct Mount {
    pub path: PathBuf,
}

impl Mount {
    /// Mounts `image` on a new folder beside it; `None` if the kernel refuses.
    pub fn new(image: &Path, options: &str) -> Option<Self> {
        let path = image.with_extension("mnt");
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("loop,{options}");
        let arguments = [
            "-o",
            &options,
            image.to_str().unwrap(),
            path.to_str().unwrap(),
        ];
        let output = output("mount", &arguments);
        if !output.status.success() {
            println!(
                "the kernel does not mount: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            return None;
        }
        Some(Self { path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = self.path.to_str().unwrap_or_default();
        if !output("umount", &[path]).status.success() {
            output("umount", &["-l", path]);
        }
    }
}

/// Makes an empty image of `len` bytes with `mke2fs`.
pub fn make(path: &Path, len: u64, arguments: &[&str]) {
    File::create(path).unwrap().set_len(len).unwrap();
    run(
        "mke2fs",
        &[&["-q", "-F"], arguments, &[path.to_str().unwrap()]].concat(),
    );
}
