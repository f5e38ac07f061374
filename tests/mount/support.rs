//! A store, a mount of it under a watchdog, and small helpers.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use tintype::backend::{Backend, LocalBackend};
use tintype::fuse::{MountHandle, MountOptions, mount};
use tintype::snapshot::Catalog;
use tintype::store::{InitOptions, OpenOptions, Store};

/// After this a test's mount is aborted: a hung daemon takes everybody along who
/// touches it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Tells whether mounts are possible here, and says so loudly if they are not.
pub fn can_mount() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let has_fuse = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    if !is_root || !has_fuse {
        super::saying::say_skipped("mount", "no root or no /dev/fuse");
    }
    is_root && has_fuse
}

pub struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let backend = LocalBackend::create(&fixture.store()).unwrap();
        Store::init(&backend, &InitOptions::default()).unwrap();
        fixture
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn catalog(&self) -> Arc<Catalog> {
        let backend: Arc<dyn Backend> = Arc::new(LocalBackend::open(&self.store()).unwrap());
        let options = OpenOptions {
            thread_count: 2,
            ..OpenOptions::default()
        };
        Catalog::open(Store::open(backend, &options).unwrap()).unwrap()
    }

    pub fn mount(&self) -> Mounted {
        self.mount_with("mnt", |_| {})
    }

    pub fn mount_with(&self, name: &str, change: impl FnOnce(&mut MountOptions)) -> Mounted {
        let place = self.path(name);
        fs::create_dir_all(&place).unwrap();
        let mut options = MountOptions::new(&place);
        change(&mut options);
        let handle = mount(&self.catalog(), &options).unwrap();
        Mounted {
            watchdog: Some(watch(&place)),
            handle: Some(handle),
            place,
        }
    }
}

pub struct Mounted {
    handle: Option<MountHandle>,
    watchdog: Option<Sender<()>>,
    place: PathBuf,
}

impl Mounted {
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Ends the mount as if its process had died: requests are cut off, nothing that
    /// is under way is waited for.
    pub fn abort(mut self) {
        abort(&self.place);
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.place)
            .status();
        self.watchdog = None;
        // The locks of drafts go with the process in life; here, with the value.
        drop(self.handle.take());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.unmount().unwrap();
        }
    }
}

fn watch(place: &Path) -> Sender<()> {
    let (stop, stopped) = mpsc::channel::<()>();
    let place = place.to_path_buf();
    let device = device_number(&place);
    std::thread::spawn(move || {
        if stopped.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{}: aborting a mount that hangs", place.display());
            abort_connection(device);
        }
    });
    stop
}

fn device_number(place: &Path) -> u64 {
    // The number of the connection is the minor number of the device.
    let device = fs::metadata(place).unwrap().dev();
    (device & 0xff) | ((device >> 12) & 0xfff00)
}

fn abort(place: &Path) {
    abort_connection(device_number(place));
}

/// Cuts a connection off. Machines that have not booted with systemd do not have the
/// control file system mounted; without it an abort did nothing, and the test waited
/// for its own open files for ever.
fn abort_connection(number: u64) {
    let control = PathBuf::from(format!("/sys/fs/fuse/connections/{number}/abort"));
    if !control.exists() {
        let _ = std::process::Command::new("mount")
            .args(["-t", "fusectl", "fusectl", "/sys/fs/fuse/connections"])
            .status();
    }
    fs::write(&control, "1").unwrap();
}

/// Bytes that do not repeat and do not compress to nothing.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Waits until `check` holds and returns how long that took.
pub fn wait_for(limit: Duration, mut check: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs a line of bash under a time limit; `$M` is the mount.
pub fn shell(mounted: &Mounted, line: &str) -> std::process::Output {
    std::process::Command::new("timeout")
        .args(["60", "bash", "-c", line])
        .env("M", &mounted.place)
        .output()
        .unwrap()
}
