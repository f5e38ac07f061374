//! A store with a mount of it that ends with the test, however the test ends.

use super::command::{shell, tintype_ok, wait_until};
use super::images::{dense_image, sparse_image};
use super::say;
use super::scratch::Scratch;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Connections of all mounts that this process has made and not yet taken down.
static CONNECTIONS: Mutex<Vec<(u64, u32)>> = Mutex::new(Vec::new());

/// Returns why FUSE cannot be used here, if so.
pub fn fuse_is_usable() -> Result<(), String> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map(drop)
        .map_err(|error| format!("/dev/fuse: {error}"))
}

/// Aborts all mounts of this process: whoever waits for one gets an error at once.
pub fn abort_all() {
    let connections = CONNECTIONS
        .lock()
        .map(|list| list.clone())
        .unwrap_or_default();
    for (connection, pid) in connections {
        say(&format!(
            "watchdog: aborting FUSE connection {connection} of process {pid}"
        ));
        abort(connection, pid);
    }
}

fn abort(connection: u64, pid: u32) {
    let control = PathBuf::from(format!("/sys/fs/fuse/connections/{connection}/abort"));
    if !control.exists() {
        let mount = "mount -t fusectl fusectl /sys/fs/fuse/connections";
        let _ = Command::new("sh")
            .args(["-c", mount])
            .stderr(Stdio::null())
            .status();
    }
    // Without the control file system the end of the daemon does the same.
    if std::fs::write(&control, "1").is_err() {
        signal(pid, libc::SIGKILL);
    }
}

/// Sends a signal to a process that this test has started.
#[expect(unsafe_code, reason = "a system call")]
fn signal(pid: u32, number: i32) {
    // SAFETY: kill has no memory effects.
    unsafe {
        libc::kill(pid as i32, number);
    }
}

/// Returns the FUSE connection number of a mount point: the minor number of its device.
pub fn connection_of(mountpoint: &Path) -> u64 {
    let device = std::fs::metadata(mountpoint)
        .map(|meta| meta.dev())
        .unwrap_or(0);
    u64::from(libc::minor(device))
}

/// Returns the peak resident memory of a process.
pub fn vm_hwm_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("VmHWM");
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u64>().ok());
    kib.expect("a number") * 1024
}

/// How to mount.
#[derive(Debug, Clone, Default)]
pub struct MountOptions {
    /// Arguments after `mount --foreground`, before the mount point.
    pub args: Vec<String>,
}

/// A mount in a process of its own, in the foreground.
#[derive(Debug)]
pub struct Mount {
    child: Child,
    point: PathBuf,
    connection: u64,
    /// From starting the program until the mount answered.
    pub ready_after: Duration,
    log: PathBuf,
}

impl Mount {
    /// Mounts `store` at `point` and waits until it answers.
    #[track_caller]
    pub fn start(store: &Path, point: &Path, options: &MountOptions) -> Self {
        // Fails on a stale mount point, which the program is to clean.
        let _ = std::fs::create_dir_all(point);
        let parent = point.parent().expect("a mount point has a parent");
        let outside = std::fs::metadata(parent).expect("stat").dev();
        let log = point.with_extension("log");
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log of the mount");
        let started = Instant::now();
        // A background job of a shell ignores SIGINT, and the program would honour that.
        let mut child = Command::new("env")
            .args([
                "--default-signal=INT,TERM,HUP",
                env!("CARGO_BIN_EXE_tintype"),
            ])
            .env_remove("TINTYPE_STORE")
            .arg("--store")
            .arg(store)
            .args(["mount", "--foreground"])
            .args(&options.args)
            .arg(point)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .expect("the program starts");
        let mut ended = None;
        let ready = wait_until(Duration::from_secs(30), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || std::fs::metadata(point).is_ok_and(|meta| meta.dev() != outside)
        });
        let ready_after = started.elapsed();
        if !ready || ended.is_some() {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "no mount: {ended:?}\n{}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
        }
        let connection = connection_of(point);
        CONNECTIONS
            .lock()
            .expect("no test panics here")
            .push((connection, child.id()));
        Self {
            child,
            point: point.to_owned(),
            connection,
            ready_after,
            log,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn point(&self) -> &Path {
        &self.point
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Tells whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it with SIGKILL, as a crash would; the mount point stays stale.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.forget();
    }

    /// Sends a signal.
    pub fn signal(&self, number: i32) {
        signal(self.child.id(), number);
    }

    /// Waits for the end after a signal; returns the exit code.
    pub fn end(mut self) -> Option<i32> {
        let code = self.wait_for_end(Duration::from_secs(30));
        self.forget();
        code
    }

    fn wait_for_end(&mut self, limit: Duration) -> Option<i32> {
        let mut status = None;
        wait_until(limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    fn forget(&self) {
        if let Ok(mut list) = CONNECTIONS.lock() {
            list.retain(|(connection, _)| *connection != self.connection);
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_alive() {
            signal(self.child.id(), libc::SIGTERM);
            if self.wait_for_end(Duration::from_secs(20)).is_none() && self.is_alive() {
                say(&format!(
                    "the mount at {:?} did not end on SIGTERM",
                    self.point
                ));
                abort(self.connection, self.child.id());
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        self.forget();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4000);
            eprintln!(
                "--- the mount's log ---\n{}",
                log.get(from..).unwrap_or(&log)
            );
        }
    }
}

/// A store, a mount of it, and two images to work with.
#[derive(Debug)]
pub struct Fixture {
    // Dropped in this order: the mount must end before its directory goes.
    pub mount: Option<Mount>,
    pub store: PathBuf,
    pub scratch: Scratch,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(&MountOptions::default())
    }

    pub fn with(options: &MountOptions) -> Self {
        let scratch = Scratch::new();
        let store = scratch.join("store");
        tintype_ok(&store, &["init"]);
        sparse_image(&scratch.join("img.raw"));
        dense_image(&scratch.join("dense.raw"));
        let mount = Some(Mount::start(&store, &scratch.join("mnt"), options));
        Self {
            mount,
            store,
            scratch,
        }
    }

    pub fn point(&self) -> PathBuf {
        self.scratch.join("mnt")
    }

    /// Mounts again after the mount was taken away.
    pub fn remount(&mut self, options: &MountOptions) {
        self.mount = None;
        self.mount = Some(Mount::start(&self.store, &self.point(), options));
    }

    /// Runs a script with M (mount), C (create/), W (scratch), S (store), IMG and DENSE.
    pub fn shell(&self, script: &str) -> super::Finished {
        let (point, img, dense) = (
            self.point(),
            self.scratch.join("img.raw"),
            self.scratch.join("dense.raw"),
        );
        let create = point.join("create");
        let variables: &[(&str, &OsStr)] = &[
            ("M", point.as_os_str()),
            ("C", create.as_os_str()),
            ("W", self.scratch.path().as_os_str()),
            ("S", self.store.as_os_str()),
            ("IMG", img.as_os_str()),
            ("DENSE", dense.as_os_str()),
        ];
        shell(script, variables)
    }

    /// Like [`Fixture::shell`]; must succeed; returns standard output, trimmed.
    #[track_caller]
    pub fn shell_ok(&self, script: &str) -> String {
        self.shell(script)
            .expect_ok(script)
            .stdout
            .trim_end()
            .to_owned()
    }

    /// Returns the snapshot directories of a resource, in no order, without `latest`.
    pub fn snapshots(&self, resource: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.point().join("snapshots").join(resource)) else {
            return Vec::new();
        };
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name() != "latest")
            .map(|entry| entry.path())
            .collect()
    }

    /// Returns the names of all resources.
    pub fn resources(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.point().join("snapshots")).expect("snapshots/");
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Waits until there are `count` snapshots, then a moment longer, and checks that
    /// there are not more.
    #[track_caller]
    pub fn expect_count(&self, resource: &str, count: usize) -> Vec<PathBuf> {
        if count > 0 {
            wait_until(Duration::from_secs(10), || {
                self.snapshots(resource).len() >= count
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let found = self.snapshots(resource);
        let drafts = self.shell("ls -la $C").stdout;
        assert_eq!(
            found.len(),
            count,
            "snapshots of {resource}: {found:?}; create/:\n{drafts}"
        );
        found
    }

    /// Checks that the one snapshot of a resource has the SHA-256 of a file.
    #[track_caller]
    pub fn expect_one(&self, resource: &str, expected: &Path) {
        let found = self.expect_count(resource, 1);
        assert_same(&found[0].join("disk.img"), expected);
    }
}

/// Compares two files by size and SHA-256, and says where they begin to differ.
#[track_caller]
fn assert_same(actual: &Path, expected: &Path) {
    let script = "a=$(sha256sum <\"$A\"); b=$(sha256sum <\"$B\"); [ \"$a\" = \"$b\" ] && exit 0; \
                  ls -l \"$A\" \"$B\" >&2; cmp \"$A\" \"$B\" >&2";
    let variables: &[(&str, &OsStr)] = &[("A", actual.as_os_str()), ("B", expected.as_os_str())];
    let _ = shell(script, variables).expect_ok("the SHA-256 of the snapshot is that of the image");
}
