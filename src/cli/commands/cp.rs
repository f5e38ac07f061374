//! `tintype cp`.

use crate::base::{Progress, format_byte_len};
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::place::{ImageArguments, Opener, Place};
use crate::cli::problems::Problems;
use crate::cli::progress_display::with_progress;
use crate::contents::{Follow, View, ViewNode};
use crate::export::{self, CopyOptions, HardLinks, Source, Target, Totals, copy, measure};
use crate::filesystem::FileType;
use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A copy that takes longer is measured, for the time that it will yet take.
const MEASURED_AFTER: Duration = Duration::from_secs(2);
/// Threads that fill files: more only wait for each other.
const THREADS_MAX: usize = 8;
/// Files that may be open at a time: one for each level of directories, and each job.
const OPEN_FILES_MAX: u64 = 16_384;

/// Copy files and directories out of a snapshot, or out of an image file.
///
/// A single file keeps its content, mode and times. With -a everything is kept: owners,
/// modes, times to the nanosecond, symbolic and hard links, extended attributes, ACLs,
/// devices, pipes, sockets and holes. Setting owners takes root; without, they are told as
/// not set, unless --no-owner says that this is right. The bits setuid and setgid are
/// dropped where the owner was not set.
///
/// As with cp: if DEST is a directory, the copy gets its own name in it, and / is copied
/// into it; otherwise the copy becomes DEST. A directory that is there already is added to.
/// Files are never replaced unless --force is given, and links in DEST are never followed.
///
/// A file that is damaged is told and left out, the rest is copied, and the exit code is
/// 4. What /etc/fstab mounts below the place and cannot be shown, because it is encrypted for
/// example, is told too; the exit code is 8, or 4 for damage. Ctrl-C removes files that are
/// not whole, and leaves what is.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tintype cp web:/etc/hosts .                       one file
  tintype cp -a web@monday:/var/lib/postgresql /srv/rescue/
  tintype cp -a --no-owner web:/home/ann/thesis .   as an ordinary user
  tintype cp -a --image disk.img / /srv/all-of-it")]
pub struct CpArguments {
    /// SNAPSHOT:PATH, one or several; with --image, paths
    #[arg(value_name = "SNAPSHOT:PATH", required = true)]
    places: Vec<OsString>,
    /// Directory to copy into, or name of the copy
    #[arg(value_name = "DEST", required = true)]
    destination: OsString,
    /// Copy directories, and keep everything as it is
    #[arg(long, short)]
    archive: bool,
    /// Copy directories
    #[arg(long, short, visible_short_alias = 'R')]
    recursive: bool,
    /// Replace files that are there
    #[arg(long, short)]
    force: bool,
    /// With -a, do not set owners: everything belongs to whoever copies
    #[arg(long)]
    no_owner: bool,
    /// Make holes of zeros, too, and not only where the image has holes
    #[arg(long)]
    sparse: bool,
    /// Keep damaged files, with zeros for what cannot be read
    #[arg(long)]
    keep_damaged: bool,
    #[command(flatten)]
    image: ImageArguments,
}

/// Copies files.
pub fn run(arguments: &CpArguments, context: &Context) -> Result<()> {
    let destination = Path::new(&arguments.destination);
    let is_directory = destination.is_dir();
    if arguments.places.len() > 1 && !is_directory {
        return Err(Error::Usage(format!(
            "{} is not a directory; several files need one to go to",
            destination.display()
        )));
    }
    raise_open_files();
    let problems = Problems::new(context);
    let mut opener = Opener::new(context, &arguments.image);
    let start = Instant::now();
    let mut sum = Totals::default();
    let mut links = LinksOfViews {
        is_single: arguments.places.len() == 1,
        known: vec![],
    };
    for text in &arguments.places {
        let copied = opener
            .open(text)
            .and_then(|place| copy_one(&place, arguments, context, &problems, &mut links));
        match copied {
            Ok(totals) => {
                sum.file_count += totals.file_count;
                sum.directory_count += totals.directory_count;
                sum.other_count += totals.other_count;
                sum.len_bytes += totals.len_bytes;
            }
            Err(error) if arguments.places.len() == 1 || is_final(&error) => return Err(error),
            Err(error) => problems.tell(&error),
        }
    }
    let reported = report(context, &sum, start);
    problems.end_after(reported, "the rest was copied")
}

/// Hard links by the view that they come from: names of one file stay names of one file,
/// also if they are copied one after the other.
struct LinksOfViews {
    /// There is one source.
    is_single: bool,
    known: Vec<(Arc<View>, HardLinks)>,
}

impl LinksOfViews {
    fn of(&mut self, view: &Arc<View>) -> &HardLinks {
        let is_same = |(known, _): &(Arc<View>, HardLinks)| Arc::ptr_eq(known, view);
        let index = match self.known.iter().position(is_same) {
            Some(index) => index,
            None => {
                let links = match self.is_single {
                    true => HardLinks::default(),
                    false => HardLinks::lasting(),
                };
                self.known.push((Arc::clone(view), links));
                self.known.len() - 1
            }
        };
        &self.known[index].1
    }
}

/// Tells whether the next source would fare no better.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Export {
            source: export::Error::Interrupted | export::Error::Target { .. },
            ..
        }
    )
}

fn report(context: &Context, sum: &Totals, start: Instant) -> Result<()> {
    let value = serde_json::json!({
        "file_count": sum.file_count,
        "directory_count": sum.directory_count,
        "other_count": sum.other_count,
        "len_bytes": sum.len_bytes,
    });
    if context.output.is_json() {
        return context.output.result(&value, |_| Ok(()));
    }
    let seconds = start.elapsed().as_secs_f64();
    context.output.note(&format!(
        "copied {} files, {} directories, {} others; {}, {seconds:.1} s, {}/s",
        sum.file_count,
        sum.directory_count,
        sum.other_count,
        format_byte_len(sum.len_bytes),
        format_byte_len((sum.len_bytes as f64 / seconds.max(0.001)) as u64),
    ));
    Ok(())
}

fn copy_one(
    place: &Place,
    arguments: &CpArguments,
    context: &Context,
    problems: &Problems<'_>,
    links: &mut LinksOfViews,
) -> Result<Totals> {
    let is_recursive = arguments.archive || arguments.recursive;
    let follow = if is_recursive {
        Follow::No
    } else {
        Follow::Yes
    };
    let (node, metadata) = place.walk(follow)?;
    let is_directory = metadata.file_type == FileType::Directory;
    if is_directory && !is_recursive {
        let label = place.label();
        return Err(Error::Usage(format!(
            "{label} is a directory; copy it with -a, or with -r"
        )));
    }
    if is_directory {
        problems.lacks_parts(place);
    }
    let target = target(Path::new(&arguments.destination), place, is_directory)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = CopyOptions {
        owner: arguments.archive && !arguments.no_owner,
        attributes: arguments.archive,
        links: arguments.archive,
        force: arguments.force,
        sparse: arguments.sparse,
        keep_damaged: arguments.keep_damaged,
        // One more than there are processors: some wait for the disk.
        thread_count: (threads + 1).min(THREADS_MAX),
    };
    let label = place.label();
    let links = links.of(&place.view);
    with_progress(context, &label, |progress| {
        let source = Source {
            view: &place.view,
            node,
        };
        if !is_directory {
            progress.set_total(metadata.size);
        }
        let report = problems.below(label.clone());
        let work = || copy(source, target, links, &options, &report, progress);
        let is_watched = context.settings.error_is_terminal && !context.output.is_quiet();
        let copied = if is_watched && is_directory {
            measured(place, node, progress, work)
        } else {
            work()
        };
        copied.map_err(|source| Error::Export {
            place: label.clone(),
            source,
        })
    })
}

/// Does the work, and sees meanwhile how much it will be, if it takes long.
fn measured<T: Send>(
    place: &Place,
    node: ViewNode,
    progress: &Progress,
    work: impl FnOnce() -> T,
) -> T {
    let (ended, end): (_, Receiver<()>) = crossbeam_channel::bounded(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let is_over = || end.try_recv() == Err(TryRecvError::Disconnected);
            if end.recv_timeout(MEASURED_AFTER) == Err(RecvTimeoutError::Timeout)
                && let Some(len) = measure(&place.view, node, &is_over)
            {
                progress.set_total(len);
            }
        });
        let result = work();
        drop(ended);
        result
    })
}

/// Returns where a copy goes, as cp does it.
fn target(destination: &Path, place: &Place, is_directory: bool) -> Result<Target> {
    let names_directory = destination.as_os_str().as_bytes().ends_with(b"/");
    match std::fs::metadata(destination) {
        Ok(metadata) if metadata.is_dir() => {
            let folder = open_folder(destination)?;
            return Ok(match place.name() {
                Some(name) => Target::Named {
                    folder,
                    name: name.to_vec(),
                },
                None => Target::Into(folder),
            });
        }
        Ok(_) if is_directory || names_directory => {
            return Err(Error::Refused(format!(
                "{} is not a directory",
                destination.display()
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if names_directory && !is_directory {
                let message = format!("there is no directory {}", destination.display());
                return Err(Error::NotFound(message));
            }
        }
        Err(error) => {
            let action = format!("looking at {}", destination.display());
            return Err(Error::io(action)(error));
        }
    }
    let name = destination.file_name().unwrap_or(OsStr::new(""));
    let parent = destination.parent().filter(|p| !p.as_os_str().is_empty());
    Ok(Target::Named {
        folder: open_folder(parent.unwrap_or(Path::new(".")))?,
        name: name.as_bytes().to_vec(),
    })
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
        let action = format!("opening {}", printable(&path.display().to_string()));
        Error::io(action)(error.into())
    })
}

/// Lets the process open more files at a time, as far as the system allows.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    if limit.current.is_some_and(|current| current < maximum) {
        let raised = Rlimit {
            current: Some(maximum),
            maximum: limit.maximum,
        };
        if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
            log::debug!("the limit of open files stays: {error}");
        }
    }
}
