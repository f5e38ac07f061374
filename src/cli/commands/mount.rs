//! `tintype mount`: in the foreground, or as a process of its own that is waited for
//! until the mount answers.

use crate::base::ByteLen;
use crate::cli::args::byte_len;
use crate::cli::background;
use crate::cli::context::{Context, open_at};
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::signals;
use crate::cli::substitutes::SubstituteArguments;
use crate::fuse::{self, MountHandle, MountOptions, Unmounter};
use crate::store::OpenOptions;
use clap::Args;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// Of the memory for caches, one part in so many is for the metadata of file systems
/// inside images.
const BLOCK_CACHE_SHARE: u64 = 8;

/// Where the system says whether users may open their mounts to others.
const FUSE_CONFIGURATION: &str = "/etc/fuse.conf";

/// Show the store as a directory tree.
///
/// Below MOUNTPOINT: `snapshots/RESOURCE/NAME/disk.img`, `by-id/`, `by-tag/`, and
/// `create/`: an image that is copied to `create/NAME` becomes a snapshot of resource
/// NAME when its last writer closes it.
///
/// The command returns when the mount answers, and a process in the background serves
/// it; what that has to say goes to the log file. SIGINT, SIGTERM and SIGHUP unmount.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype mount /mnt/tintype
  cp web.img /mnt/tintype/create/web
  ls /mnt/tintype/snapshots/web/latest/
  tintype umount /mnt/tintype")]
pub struct MountArguments {
    /// Directory to mount on, outside the store
    #[arg(value_name = "MOUNTPOINT")]
    mount_point: PathBuf,
    /// Stay in the foreground; the log goes to standard error
    #[arg(long, short)]
    foreground: bool,
    /// Let other users in, as far as permissions allow
    #[arg(long)]
    allow_other: bool,
    /// Memory for decompressed data, indexes and maps, like 512M or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = byte_len, default_value = "256MiB")]
    cache_size: ByteLen,
    /// Threads that answer requests; 0 for a number that fits the machine
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
    /// Without create/
    #[arg(long)]
    read_only: bool,
    /// Never keep a processor busy so that requests in quick succession are answered sooner
    #[arg(long)]
    no_spin: bool,
    /// Log of a mount in the background [default: mount-....log in /var/log/tintype for
    /// root, and in $XDG_STATE_HOME/tintype (~/.local/state/tintype) for others]
    #[arg(long, value_name = "FILE", conflicts_with = "foreground")]
    log_file: Option<PathBuf>,
    #[command(flatten)]
    substitutes: SubstituteArguments,
    /// Serve the mount and tell the process that started this one
    #[arg(long, hide = true)]
    child: bool,
}

/// Mounts.
pub fn run(arguments: &MountArguments, context: &Context) -> Result<()> {
    if arguments.child {
        return background::report(|| serve(arguments, context));
    }
    check_allow_other(arguments, context)?;
    if !arguments.read_only {
        context.ensure_store()?;
    }
    let place = arguments.mount_point.display().to_string();
    let value = |mount_point: &str| serde_json::json!({ "mount_point": mount_point });
    if arguments.foreground {
        let mount = serve(arguments, context)?;
        let text = mount.handle.mount_point().display().to_string();
        context.output.result(&value(&text), |target| {
            writeln!(target, "mounted at {}", printable(&text))
        })?;
        return mount.wait();
    }
    let store =
        std::path::absolute(context.store_path()?).map_err(Error::io("finding the store"))?;
    let log_path = match &arguments.log_file {
        Some(path) => path.clone(),
        None => default_log_path(arguments, context)?,
    };
    let words = child_words(arguments)?;
    background::start(&store, &words, &log_path, context)?;
    context.output.result(&value(&place), |target| {
        writeln!(target, "mounted at {}", printable(&place))
    })?;
    context
        .output
        .note(&format!("the log is in {}", log_path.display()));
    Ok(())
}

/// A mount that a signal ends.
pub struct Mount {
    handle: MountHandle,
    _guard: signals::Guard,
}

impl Mount {
    /// Waits until it is over.
    pub fn wait(self) -> Result<()> {
        self.handle.wait().map_err(Error::io("serving the mount"))
    }
}

/// Mounts, and has signals unmount.
fn serve(arguments: &MountArguments, context: &Context) -> Result<Mount> {
    // A signal may come before there is anything to unmount.
    let unmounter: Arc<Mutex<Option<Unmounter>>> = Arc::default();
    let for_signal = Arc::clone(&unmounter);
    let guard = signals::on_signal(move || unmount(for_signal.lock().as_ref()));
    let block_cache_len_bytes = arguments.cache_size / BLOCK_CACHE_SHARE;
    let options = OpenOptions {
        cache_len_bytes: arguments.cache_size - block_cache_len_bytes,
        ..OpenOptions::default()
    };
    let catalog = open_at(&context.store_path()?, &options)?;
    let usual = MountOptions::new(&arguments.mount_point);
    let owner = usual.substitutes;
    let handle = fuse::mount(
        &catalog,
        &MountOptions {
            allow_other: arguments.allow_other,
            thread_count: arguments.threads.into(),
            read_only: arguments.read_only,
            spins: !arguments.no_spin,
            block_cache_len_bytes,
            spill_folder: context.settings.temporary_folder(),
            substitutes: arguments.substitutes.or_owner(owner.user, owner.group),
            ..usual
        },
    )?;
    *unmounter.lock() = Some(handle.unmounter());
    if signals::received().is_some() {
        unmount(unmounter.lock().as_ref());
    }
    Ok(Mount {
        handle,
        _guard: guard,
    })
}

fn unmount(unmounter: Option<&Unmounter>) {
    if let Some(unmounter) = unmounter
        && let Err(error) = unmounter.unmount()
    {
        log::error!("unmounting failed: {error}");
    }
}

/// Finds out early, and in words, what FUSE would refuse.
fn check_allow_other(arguments: &MountArguments, context: &Context) -> Result<()> {
    if !arguments.allow_other || context.settings.is_root {
        return Ok(());
    }
    let configuration = std::fs::read_to_string(FUSE_CONFIGURATION).unwrap_or_default();
    if configuration
        .lines()
        .any(|line| line.trim() == "user_allow_other")
    {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "--allow-other is not permitted to users here; root can permit it with a line \
         user_allow_other in {FUSE_CONFIGURATION}"
    )))
}

/// Returns the arguments of the process that serves the mount.
fn child_words(arguments: &MountArguments) -> Result<Vec<std::ffi::OsString>> {
    let place = std::path::absolute(&arguments.mount_point)
        .map_err(Error::io("finding the current directory"))?;
    let mut words = vec!["mount".into(), "--child".into()];
    words.push(format!("--cache-size={}", arguments.cache_size).into());
    words.push(format!("--threads={}", arguments.threads).into());
    words.extend(arguments.substitutes.words().into_iter().map(Into::into));
    if arguments.allow_other {
        words.push("--allow-other".into());
    }
    if arguments.read_only {
        words.push("--read-only".into());
    }
    if arguments.no_spin {
        words.push("--no-spin".into());
    }
    words.extend(["--".into(), place.into_os_string()]);
    Ok(words)
}

/// Returns the log file of a mount: one for each place.
fn default_log_path(arguments: &MountArguments, context: &Context) -> Result<PathBuf> {
    let folder = context.settings.log_folder().ok_or_else(|| {
        let message = "HOME is not set; say where the log goes with --log-file";
        Error::Usage(message.to_owned())
    })?;
    let place = std::path::absolute(&arguments.mount_point)
        .map_err(Error::io("finding the current directory"))?;
    let name: String = place
        .to_string_lossy()
        .trim_matches('/')
        .chars()
        .map(|character| {
            if character.is_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .take(60)
        .collect();
    Ok(folder.join(format!("mount-{name}.log")))
}
