//! A further name of a file that was copied: a hard link to the first one.

use super::copy::Shared;
use super::error::{Error, Result};
use super::file::Item;
use super::links::{First, Known};
use super::report::count;
use super::target::{self, Identity};
use crate::filesystem::FileType;
use rustix::fs::AtFlags;
use rustix::io::Errno;

/// Makes a name a link to the first one of its file. Returns false if it is to be copied:
/// it is the first, or the first is not there any more, or takes no more links.
pub(super) fn make(shared: &Shared<'_>, item: &Item<'_>) -> bool {
    let result = match shared.links.meet(item.node) {
        Known::Nothing => return false,
        Known::Failed => Err(Error::SameFile),
        Known::At(first) => link_to(shared, &first, item),
    };
    match result {
        Ok(false) => return false,
        Ok(true) if item.metadata.file_type == FileType::Regular => {
            count(&shared.counters.files);
        }
        Ok(true) => count(&shared.counters.others),
        Err(error) => shared.failed(&item.path, error),
    }
    true
}

fn link_to(shared: &Shared<'_>, first: &First, item: &Item<'_>) -> Result<bool> {
    let wait = || shared.links.wait(item.node, &|| shared.is_stopping());
    if first.is_hidden {
        wait()?;
    }
    let to = &item.folder.fd;
    // What was made first may have been replaced since: by another source, by somebody.
    let is_it = |name: &[u8]| Identity::at(to, name) == Some(first.identity);
    match make_link(shared, first, item) {
        Ok(None) if is_it(&item.name) => {
            let remembered = remember(shared, item);
            if remembered.is_err() {
                target::make_room(to, &item.name)?;
            }
            return remembered.map(|()| true);
        }
        Ok(None) => target::make_room(to, &item.name)?,
        Ok(Some(temporary)) => {
            // What is there goes only when the new file is whole.
            let replaced = wait().and_then(|()| match is_it(&temporary) {
                true => target::take_place(to, &temporary, &item.name).map(|()| true),
                false => Ok(false),
            });
            // It stays without an error if what is there is the same file.
            target::make_room(to, &temporary)?;
            match replaced {
                Ok(false) => {}
                // btrfs has room for so many bytes of names, and the temporary one is short.
                Err(error) if error.is_errno(Errno::MLINK) => {}
                result => return result,
            }
        }
        // It failed and was removed just now, or somebody removed it; or the target takes
        // no more links to one file.
        Err(error) if error.is_errno(Errno::NOENT) || error.is_errno(Errno::MLINK) => {}
        Err(error) => return Err(error),
    }
    wait()?;
    Ok(false)
}

/// Makes a link to whatever has the first name now; returns its temporary name if there
/// is something to be replaced.
fn make_link(shared: &Shared<'_>, first: &First, item: &Item<'_>) -> Result<Option<Vec<u8>>> {
    let (folder, name) = target::split_path(&first.path);
    let from = target::open_below(&shared.root, folder)?;
    let to = &item.folder.fd;
    let ((), temporary) = target::make_or_beside(
        to,
        &item.name,
        shared.names_beside(),
        "making the hard link",
        |new| rustix::fs::linkat(&from, name, to, new, AtFlags::empty()),
    )?;
    Ok(temporary)
}

/// Remembers a link, which goes with its file if that fails.
fn remember(shared: &Shared<'_>, item: &Item<'_>) -> Result<()> {
    let path = shared.path_from_root(&item.path);
    let links = shared.links;
    links.made(item.node, &path, &|| shared.is_stopping())
}
