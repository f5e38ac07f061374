//! Scratch directories, and what they must not leave behind: mounts below them and
//! loop devices over files in them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that goes away with everything mounted in it, also on a panic.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new() -> Self {
        let base =
            std::env::var_os("TINTYPE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        std::fs::create_dir_all(&base).expect("the scratch base can be made");
        Self::new_in(&base)
    }

    /// Makes one in `base`, or where temporary files go if `base` cannot be written.
    pub fn new_in(base: &Path) -> Self {
        let usable = is_writable(base);
        let base = if usable {
            base.to_owned()
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::Builder::new()
            .prefix("tintype-test-")
            .tempdir_in(base)
            .expect("a scratch directory can be made");
        Self { path: dir.keep() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory in it.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).expect("a scratch directory can be made");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        release_below(&self.path);
        // A mount that could not be detached must not be emptied by us.
        if mounts_below(&self.path).is_empty() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn is_writable(dir: &Path) -> bool {
    tempfile::tempfile_in(dir).is_ok()
}

/// Returns mount points below `path`, the deepest first.
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(path))
        .collect();
    found.sort();
    found.reverse();
    found
}

fn release_below(path: &Path) {
    for point in mounts_below(path) {
        let _ = quiet("umount", &["--lazy".as_ref(), point.as_os_str()]);
        let _ = quiet(
            "fusermount3",
            &["-u".as_ref(), "-z".as_ref(), point.as_os_str()],
        );
    }
    detach_loops_over(path);
}

/// Detaches every loop device whose file lies below `path`.
fn detach_loops_over(path: &Path) {
    let Ok(listing) = Command::new("losetup")
        .args(["-l", "-n", "-O", "NAME,BACK-FILE"])
        .output()
    else {
        return;
    };
    for line in String::from_utf8_lossy(&listing.stdout).lines() {
        let mut words = line.split_whitespace();
        if let (Some(device), Some(file)) = (words.next(), words.next())
            && Path::new(file).starts_with(path)
        {
            let _ = quiet("losetup", &["-d".as_ref(), device.as_ref()]);
        }
    }
}

fn quiet(program: &str, args: &[&std::ffi::OsStr]) -> std::io::Result<std::process::Output> {
    Command::new("timeout")
        .args(["-k", "1", "10", program])
        .args(args)
        .output()
}

/// Tells whether the tests run as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    #[expect(unsafe_code, reason = "a system call")]
    unsafe {
        libc::geteuid() == 0
    }
}

/// Tells whether the large sizes and counts are asked for (`scripts/test --long`).
pub fn long_run() -> bool {
    std::env::var_os("TINTYPE_TEST_LONG").is_some()
}

/// Returns the number in an environment variable, or the default for this kind of run.
pub fn number_from_env(variable: &str, gate: u64, long: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if long_run() { long } else { gate })
}
