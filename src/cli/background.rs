//! A process in the background that is waited for until it is ready. The program
//! starts itself again; the child says on a pipe, its standard output, in one line of
//! JSON, how it went.

use super::commands::mount::Mount;
use super::context::Context;
use super::error::{Error, Result};
use super::exit_code::{self, Code};
use super::signals;
use crate::store::chain;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// This program, also when its file was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// More than two say no more.
const VERBOSE_MAX: u8 = 2;
/// Length at which a log is put aside (`.old`) by the next start.
const LOG_LEN_MAX: u64 = 4 << 20;

/// How the start of the child went.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Exit code; 0 for a mount that answers.
    code: u8,
    message: String,
}

/// Starts the child and waits until it is ready or has failed.
pub fn start(store: &Path, words: &[OsString], log_path: &Path, context: &Context) -> Result<()> {
    let log = open_log(log_path)?;
    let mut command = Command::new(OWN_PROGRAM);
    // A log is kept in any case; more of it if that was asked for.
    let verbose = usize::from(context.verbose.clamp(1, VERBOSE_MAX));
    command
        .arg0("tintype")
        .args(std::iter::repeat_n("--verbose", verbose))
        .arg("--store")
        .arg(store)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command
        .spawn()
        .map_err(Error::io("starting the process of the mount"))?;
    let process_id = child.id();
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        // While it starts, a signal to us is meant for it, too.
        let _guard = signals::on_signal(move || terminate(process_id));
        let read = BufReader::new(output).read_line(&mut line);
        read.map_err(Error::io("waiting for the mount"))?;
    }
    let answer: Answer = serde_json::from_str(&line).unwrap_or_else(|_| Answer {
        code: Code::Failure.number(),
        message: format!(
            "the mount ended while it started; see {}",
            log_path.display()
        ),
    });
    if answer.code == 0 {
        return Ok(());
    }
    // Reaped here; a child that runs is left to init when we end.
    let status = child.wait();
    log::debug!(
        "the child ended with {status:?}; quiet: {}",
        context.output.is_quiet()
    );
    Err(Error::Child {
        code: answer.code,
        message: answer.message,
    })
}

fn terminate(process_id: u32) {
    let process = i32::try_from(process_id)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(process) = process {
        // If it is gone already, all is well.
        let _gone = rustix::process::kill_process(process, rustix::process::Signal::TERM);
    }
}

fn open_log(path: &Path) -> Result<File> {
    let context = |source| Error::Io {
        action: format!("opening the log {}", path.display()),
        source,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(context)?;
    }
    if std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() > LOG_LEN_MAX)
    {
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        std::fs::rename(path, old).map_err(context)?;
    }
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(context)
}

/// In the child: leaves the terminal, mounts, tells the parent, and serves.
pub fn report(serve: impl FnOnce() -> Result<Mount>) -> Result<()> {
    // It fails only for the leader of a group, which a child is not.
    let _session = rustix::process::setsid();
    let mounted = serve();
    let answer = match &mounted {
        Ok(_) => Answer {
            code: 0,
            message: String::new(),
        },
        Err(error) => Answer {
            code: exit_code::of(error, signals::received()).number(),
            message: chain(error),
        },
    };
    tell(&answer)?;
    // Not to keep the file system of the place where we were started busy.
    rustix::process::chdir("/").map_err(|error| Error::io("changing to /")(error.into()))?;
    mounted?.wait()
}

/// Writes the line and lets go of the pipe, which the parent's caller may wait on.
fn tell(answer: &Answer) -> Result<()> {
    let line = serde_json::to_string(answer).unwrap_or_default();
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(Error::output)?;
    let nothing = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(Error::io("opening /dev/null"))?;
    rustix::stdio::dup2_stdout(&nothing)
        .map_err(|error| Error::io("closing standard output")(error.into()))
}
