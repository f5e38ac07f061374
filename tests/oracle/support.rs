//! Scratch directories with mounts that go away with the test, and commands under a
//! limit of time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory that goes away with everything that is mounted in it.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("tintype-oracle-")
            .tempdir()
            .expect("a scratch directory can be made");
        Self { path: dir.keep() }
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut points: Vec<&str> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|point| Path::new(point).starts_with(&self.path))
            .collect();
        points.sort_unstable();
        let mut is_free = true;
        for point in points.iter().rev() {
            // The loop devices were made by mount and go with it.
            is_free &= run("umount", &[point.as_ref()]).is_ok()
                || run("umount", &["-l".as_ref(), point.as_ref()]).is_ok();
        }
        if is_free {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Runs a program for at most two minutes; the error is what it said.
pub fn run(program: &str, args: &[&std::ffi::OsStr]) -> Result<Output, String> {
    let output = Command::new("timeout")
        .args(["-k", "5", "120", program])
        .args(args)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {args:?}: {} {said}", output.status))
}

/// Runs a line of shell for at most two minutes, and fails the test if it fails.
pub fn shell(line: &str) {
    if let Err(why) = run("sh", &["-ec".as_ref(), line.as_ref()]) {
        panic!("{why}");
    }
}

/// Mounts an image; the error is what mount said. Which file system it is, is found
/// out by mount.
pub fn mount(image: &Path, point: &Path, options: &str) -> Result<(), String> {
    std::fs::create_dir_all(point).map_err(|error| error.to_string())?;
    let args = ["-o".as_ref(), options.as_ref()];
    let paths = [image.as_os_str(), point.as_os_str()];
    run("mount", &[&args[..], &paths[..]].concat()).map(|_| ())
}

/// Takes a mount away. Somebody else may look at it for a moment: a program of the
/// machine that goes through new mounts.
pub fn umount(point: &Path) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(why) = run("umount", &[point.as_os_str()]) {
        let is_busy = why.contains("busy") && std::time::Instant::now() < until;
        assert!(is_busy, "{why}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Prints what libtest does not capture.
pub fn say(line: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Tells, loudly, whether the test can run here: as root, with these programs.
pub fn is_able(test: &str, programs: &[&str]) -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    #[expect(unsafe_code, reason = "a system call")]
    let is_root = unsafe { libc::geteuid() } == 0;
    let missing = programs
        .iter()
        .find(|program| run("which", &[program.as_ref()]).is_err());
    let why = match (is_root, missing) {
        (false, _) => "needs root".to_owned(),
        (_, Some(program)) => format!("no {program}"),
        (true, None) => return true,
    };
    say(&format!(
        "SKIPPED TEST: {}::{test}: {why}",
        env!("CARGO_CRATE_NAME")
    ));
    false
}

/// Returns a number from the environment, or the one of the gate.
pub fn number(variable: &str, gate: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(gate)
}

/// Random numbers with a seed that is printed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }
}
