//! `tintype drafts`: what was written into `create/` and is not a snapshot.

use crate::base::format_byte_len;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::output::printable;
use crate::cli::table::{Align, Table};
use crate::snapshot::{Catalog, LeaseRole, leases};
use crate::source::is_our_mount;
use crate::tree::drafts::{self, Summary};
use crate::tree::{DraftId, XATTR_DRAFT};
use clap::{Args, Subcommand};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use serde::Serialize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Digits of an id that are taken as a prefix at least.
const PREFIX_DIGITS_MIN: usize = 4;
/// The attribute of a draft that publishes it when it is set.
const PUBLISH_ATTRIBUTE: &str = "user.tintype.publish";

/// Show and settle what was left in create/.
///
/// A draft is what was written to `create/` of a mount and did not become a snapshot:
/// its writer was killed, its name ends in .part, or it is all zeros.
#[derive(Debug, Args)]
pub struct DraftsArguments {
    #[command(subcommand)]
    command: DraftsCommand,
}

/// What to do with drafts.
#[derive(Debug, Subcommand)]
enum DraftsCommand {
    /// List drafts
    ///
    /// STATE is *mounted* (a mount has it in its create/), *ready* (complete: the next
    /// mount publishes it) or *left* (its mount is gone). SIZE of a mounted draft is what was
    /// last written down; `ls -l` of create/ shows it now.
    List,
    /// Make a snapshot of a draft as it is
    Publish(DraftArguments),
    /// Throw a draft away
    Remove(DraftArguments),
}

/// Which draft.
#[derive(Debug, Args)]
struct DraftArguments {
    /// Name in create/, or the beginning of an id
    #[arg(value_name = "DRAFT")]
    draft: String,
}

/// A draft as it is printed.
#[derive(Debug, Serialize)]
struct DraftView<'a> {
    id: DraftId,
    name: &'a str,
    image_len_bytes: u64,
    state: &'static str,
}

impl<'a> DraftView<'a> {
    fn new(draft: &'a Summary) -> Self {
        let state = match (draft.is_mounted, draft.is_ready) {
            (true, _) => "mounted",
            (false, true) => "ready",
            (false, false) => "left",
        };
        Self {
            id: draft.id,
            name: &draft.name,
            image_len_bytes: draft.image_len_bytes,
            state,
        }
    }
}

/// Lists, publishes or removes drafts.
pub fn run(arguments: DraftsArguments, context: &Context) -> Result<()> {
    let catalog = context.open()?;
    match arguments.command {
        DraftsCommand::List => list(&catalog, context),
        DraftsCommand::Publish(which) => {
            let draft = find(&catalog, &which.draft)?;
            publish(&catalog, &draft)?;
            done(context, &draft, "published")
        }
        DraftsCommand::Remove(which) => {
            let draft = find(&catalog, &which.draft)?;
            remove(&catalog, &draft)?;
            done(context, &draft, "removed")
        }
    }
}

fn list(catalog: &Catalog, context: &Context) -> Result<()> {
    let mut drafts = drafts::list(catalog)?;
    drafts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let views: Vec<_> = drafts.iter().map(DraftView::new).collect();
    context.output.result(&views, |target| {
        let columns = [
            ("DRAFT", Align::Left),
            ("ID", Align::Left),
            ("SIZE", Align::Right),
            ("STATE", Align::Left),
        ];
        let mut table = Table::new(&columns);
        for view in &views {
            let mut id = view.id.to_string();
            id.truncate(12);
            let size = format_byte_len(view.image_len_bytes);
            table.push(vec![view.name.to_owned(), id, size, view.state.to_owned()]);
        }
        table.write(target)
    })
}

fn done(context: &Context, draft: &Summary, what: &str) -> Result<()> {
    let value = serde_json::json!({ "id": draft.id, "name": draft.name, "result": what });
    context.output.result(&value, |target| {
        writeln!(target, "{what} {}", printable(&draft.name))
    })
}

fn find(catalog: &Catalog, text: &str) -> Result<Summary> {
    let drafts = drafts::list(catalog)?;
    let by_name = drafts.iter().filter(|draft| draft.name == text);
    let mut found: Vec<_> = by_name.collect();
    if found.is_empty() && text.len() >= PREFIX_DIGITS_MIN {
        let prefix = text.to_ascii_lowercase();
        found = drafts
            .iter()
            .filter(|draft| draft.id.to_string().starts_with(&prefix))
            .collect();
    }
    match found.as_slice() {
        [draft] => Ok((*draft).clone()),
        [] => Err(Error::NotFound(format!(
            "there is no draft {text:?}; `tintype drafts list` shows them"
        ))),
        _ => Err(Error::Usage(format!(
            "{text:?} is more than one draft; write the beginning of an id from \
             `tintype drafts list`"
        ))),
    }
}

fn publish(catalog: &Arc<Catalog>, draft: &Summary) -> Result<()> {
    if !draft.is_mounted {
        return Ok(drafts::publish(catalog, &draft.id)?);
    }
    through_mount(catalog, draft, "publishing", |reached| {
        let path = path_of(&reached.file);
        rustix::fs::setxattr(path, PUBLISH_ATTRIBUTE, b"1", XattrFlags::empty())
    })
}

fn remove(catalog: &Arc<Catalog>, draft: &Summary) -> Result<()> {
    if !draft.is_mounted {
        return Ok(drafts::remove(catalog, &draft.id)?);
    }
    through_mount(catalog, draft, "removing", |reached| {
        rustix::fs::unlinkat(&reached.folder, &draft.name, AtFlags::empty())
    })
}

/// A draft in `create/` of a mount. Both are held by descriptors: another file may get the
/// name of the mount point at any time.
struct Reached {
    folder: OwnedFd,
    file: OwnedFd,
}

/// Does something to a draft in `create/` of the mount that works on it. Other mounts may
/// have drafts of the same name, and a mount point that is left an ordinary file.
fn through_mount(
    catalog: &Catalog,
    draft: &Summary,
    action: &str,
    work: impl Fn(&Reached) -> Result<(), Errno>,
) -> Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(Error::io("reading /proc/self/mountinfo"))?;
    let mut mounts = leases(catalog.store())?;
    mounts.retain(|lease| lease.role == LeaseRole::Mount && lease.is_of_this_machine());
    for mount_point in mounts.into_iter().filter_map(|lease| lease.mount_point) {
        let mount_point = Path::new(&mount_point);
        if !is_our_mount(&table, mount_point) {
            continue;
        }
        match reach(mount_point, draft) {
            Ok(Some(reached)) => {
                return work(&reached).map_err(|error| {
                    let path = mount_point.join("create").join(&draft.name);
                    Error::io(format!("{action} {}", path.display()))(error.into())
                });
            }
            Ok(None) => {}
            // It may be another user's.
            Err(error) => log::debug!("{}: {error}", mount_point.display()),
        }
    }
    Err(Error::Refused(format!(
        "a mount works on {}, and it is none that this user can reach; unmount it first",
        draft.name
    )))
}

/// Opens a draft in `create/` of a mount; `None` if the mount has another one of that name.
fn reach(mount_point: &Path, draft: &Summary) -> Result<Option<Reached>, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |folder: BorrowedFd<'_>, name: &Path, more: OFlags| {
        rustix::fs::openat(folder, name, flags | more, Mode::empty())
    };
    let folder = mount_point.join("create");
    let folder = open(CWD, &folder, OFlags::DIRECTORY)?;
    let file = open(folder.as_fd(), Path::new(&draft.name), OFlags::empty())?;
    let mut id = [0_u8; 64];
    let len = rustix::fs::getxattr(path_of(&file), XATTR_DRAFT, &mut id[..])?;
    let is_same = id.get(..len) == Some(draft.id.to_string().as_bytes());
    Ok(is_same.then_some(Reached { folder, file }))
}

/// Returns a path that leads to an open file, whatever became of its name.
fn path_of(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
