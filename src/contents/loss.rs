//! What is missing in the files of an image: whether a line of fstab that is not shown, or a
//! volume that is not read, costs files of the image.

use super::device::Device;
use super::fstab::Line;
use super::volume::Volume;
use super::{Error, ErrorKind, Result};
use crate::partition::PartitionType;
use std::sync::Arc;

/// What is missing where nothing is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Nothing of a disk that would be there at the first look: it is mounted by hand, comes
    /// from another machine, or is shown at another place too.
    #[default]
    None,
    /// Files of a disk that the image is not.
    OtherDisk,
    /// Files that are in the image, or may be in a part of it that is not read.
    Hidden,
    /// Files of a file system that is damaged.
    Damaged,
}

/// Returns what is missing because a line of fstab failed with `error`.
pub(super) fn of_line(line: &Line, volumes: &[Arc<Volume>], error: &Error) -> Result<Loss> {
    if line.is_remote() || line.is_manual() || line.is_bind() || !line.is_of_device() {
        return Ok(Loss::None);
    }
    if error.kind() == ErrorKind::Corrupt {
        return Ok(Loss::Damaged);
    }
    let device = Device::parse(&line.source);
    if device.find(volumes)?.is_some() {
        return Ok(Loss::Hidden);
    }
    // The name of a file system does not show what disk it is on.
    Ok(match device {
        Device::OtherDisk => Loss::OtherDisk,
        _ => worst(&unread(volumes)?).map_or(Loss::OtherDisk, |(loss, ..)| loss),
    })
}

/// Returns whether the root is missing, and the note with what speaks for it: what is shown
/// as the root is no system, and something is in the image that is not read.
pub(super) fn of_root(
    volumes: &[Arc<Volume>],
    is_system: bool,
    note: Option<String>,
) -> Result<(Loss, Option<String>)> {
    let unread = if is_system { vec![] } else { unread(volumes)? };
    let Some((loss, volume, error)) = worst(&unread) else {
        return Ok((Loss::None, note));
    };
    let note = note.unwrap_or_else(|| "no file system has /etc/fstab".to_owned());
    let name = volume.path_name();
    let note = format!("{note}; the root may be in partition {name}, which is not read: {error}");
    Ok((loss, Some(note)))
}

/// Returns the damaged one of volumes that cannot be read, or else the first.
fn worst<'a>(unread: &'a [(&'a Arc<Volume>, Error)]) -> Option<(Loss, &'a Volume, &'a Error)> {
    let is_damaged = |(_, error): &&(&Arc<Volume>, Error)| error.kind() == ErrorKind::Corrupt;
    match unread.iter().find(is_damaged) {
        Some((volume, error)) => Some((Loss::Damaged, volume, error)),
        None => unread
            .first()
            .map(|(volume, error)| (Loss::Hidden, &***volume, error)),
    }
}

/// Returns the volumes that may hold files and cannot be read, and why.
fn unread(volumes: &[Arc<Volume>]) -> Result<Vec<(&Arc<Volume>, Error)>> {
    let is_logical = |volume: &Arc<Volume>| {
        let partition = volume.partition();
        partition.is_some_and(|found| found.partition_type == PartitionType::LogicalVolume)
    };
    let has_logical = volumes.iter().any(is_logical);
    let mut found = vec![];
    for volume in volumes {
        let error = match volume.file_system() {
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => error,
        };
        let holds_none = match volume.recognized() {
            Ok(None) => true,
            // What is in a physical volume is looked for in the logical ones.
            Ok(Some(known)) => known.format == "swap" || known.format == "lvm" && has_logical,
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(_) => false,
        };
        if !holds_none {
            found.push((volume, error));
        }
    }
    Ok(found)
}
