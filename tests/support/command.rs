//! Running programs under a limit of time, in a process group of their own.

use super::mount;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command of a test may take unless it says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// Peak resident memory, as wait4 tells it.
    pub max_rss_bytes: u64,
}

impl Finished {
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Fails the test with everything the command said, unless it ended well.
    #[track_caller]
    pub fn expect_ok(self, what: &str) -> Self {
        assert!(
            self.ok(),
            "{what}: exit {:?} after {:?}\nstdout: {}\nstderr: {}",
            self.code,
            self.elapsed,
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Runs the built program. The environment's store is never used.
pub fn tintype<S: AsRef<OsStr>>(store: &Path, args: &[S]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tintype"));
    command
        .env_remove("TINTYPE_STORE")
        .arg("--store")
        .arg(store)
        .args(args);
    run(command, LIMIT)
}

/// Runs the built program, which must succeed, and returns its standard output.
#[track_caller]
pub fn tintype_ok<S: AsRef<OsStr>>(store: &Path, args: &[S]) -> String {
    let shown: Vec<String> = args
        .iter()
        .map(|a| a.as_ref().to_string_lossy().into_owned())
        .collect();
    tintype(store, args)
        .expect_ok(&format!("tintype {}", shown.join(" ")))
        .stdout
}

fn bash(script: &str, variables: &[(&str, &OsStr)]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    command
        .env("LC_ALL", "C")
        .env("TINTYPE", env!("CARGO_BIN_EXE_tintype"));
    command.envs(variables.iter().copied());
    command
}

/// Runs a bash script (`-euo pipefail`) with variables in its environment.
pub fn shell(script: &str, variables: &[(&str, &OsStr)]) -> Finished {
    run(bash(script, variables), LIMIT)
}

/// Like [`shell`], but may take no longer than `limit`.
pub fn shell_within(limit: Duration, script: &str, variables: &[(&str, &OsStr)]) -> Finished {
    run(bash(script, variables), limit)
}

/// Runs a bash script that must succeed and returns its standard output, trimmed.
#[track_caller]
pub fn shell_ok(script: &str, variables: &[(&str, &OsStr)]) -> String {
    shell(script, variables)
        .expect_ok(script)
        .stdout
        .trim_end()
        .to_owned()
}

/// Starts a bash script in the background; output goes to /dev/null.
pub fn spawn_shell(script: &str, variables: &[(&str, &OsStr)]) -> Child {
    bash(script, variables)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash starts")
}

fn run(mut command: Command, limit: Duration) -> Finished {
    let started = Instant::now();
    let scratch = tempfile::tempdir().expect("a directory for the output");
    let file =
        |name: &str| std::fs::File::create(scratch.path().join(name)).expect("an output file");
    // Files and not pipes: a background child that keeps a pipe open would hold us.
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (code, max_rss_bytes) = wait(child, limit);
    let text = |name: &str| {
        let bytes = std::fs::read(scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut stderr = text("err");
    if started.elapsed() >= limit {
        stderr.push_str("\n(killed: it took longer than the test allows)");
    }
    Finished {
        code,
        stdout: text("out"),
        stderr,
        elapsed: started.elapsed(),
        max_rss_bytes,
    }
}

/// Waits for a child; beyond the limit aborts mounts, then kills the whole group.
fn wait(child: Child, limit: Duration) -> (Option<i32>, u64) {
    let deadline = Instant::now() + limit;
    let mut aborted = false;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(end) = try_wait4(&child) {
            return end;
        }
        if Instant::now() >= deadline {
            if !aborted {
                mount::abort_all();
                aborted = true;
            }
            kill_group(child.id());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Returns exit code and peak memory of a child that has ended.
#[expect(
    unsafe_code,
    reason = "std does not tell the resource usage of a child"
)]
fn try_wait4(child: &Child) -> Option<(Option<i32>, u64)> {
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage, and both pointers live through the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (
            libc::wait4(child.id() as i32, &mut status, libc::WNOHANG, &mut usage),
            usage,
        )
    };
    if pid == 0 {
        return None;
    }
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    Some((code, usage.ru_maxrss as u64 * 1024))
}

/// Kills a process group that the test has started.
pub fn kill_group(leader: u32) {
    // SAFETY: kill has no memory effects; the group is one that this test made.
    #[expect(unsafe_code, reason = "a system call")]
    unsafe {
        libc::kill(-(leader as i32), libc::SIGKILL);
    }
}

/// Polls until `condition` holds; false if it does not within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
