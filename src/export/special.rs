//! Nodes without content: symbolic links, devices, pipes, sockets.

use super::copy::Shared;
use super::error::{Error, Result};
use super::file::Item;
use super::properties::{self, Handle};
use super::report::{Property, count};
use super::target::{self, Identity};
use crate::filesystem::FileType;
use rustix::fs::{FileType as NodeType, Mode};
use rustix::io::Errno;

/// Makes a node and sets its properties. What is in the way is replaced, when that is
/// asked for, only by a node that has them. Returns which node it is; none if it takes a
/// privilege to make it, which is told.
pub(super) fn make(shared: &Shared<'_>, item: &Item<'_>) -> Result<Option<Identity>> {
    let Some(temporary) = make_node(shared, item)? else {
        return Ok(None);
    };
    let folder = &item.folder.fd;
    let name = temporary.as_ref().unwrap_or(&item.name);
    let handle = Handle::Named { folder, name };
    let gets_acl = item.folder.gives_acl;
    properties::set(
        shared,
        handle,
        item.node,
        &item.metadata,
        &item.path,
        gets_acl,
    );
    let identity = Identity::at(folder, name);
    if let Some(temporary) = &temporary {
        let replaced = target::take_place(folder, temporary, &item.name);
        if replaced.is_err() {
            target::make_room(folder, temporary)?;
        }
        replaced?;
    }
    count(&shared.counters.others);
    Ok(identity)
}

/// Makes a node; returns its temporary name if it has one.
fn make_node(shared: &Shared<'_>, item: &Item<'_>) -> Result<Option<Option<Vec<u8>>>> {
    let (folder, name) = (&item.folder.fd, item.name.as_slice());
    let names = shared.names_beside();
    let node_type = match item.metadata.file_type {
        FileType::Symlink => {
            let to = shared.view.read_link(item.node)?;
            let action = "making the symbolic link";
            let make = |name: &[u8]| rustix::fs::symlinkat(&to, folder, name);
            let ((), temporary) = target::make_or_beside(folder, name, names, action, make)?;
            return Ok(Some(temporary));
        }
        FileType::CharacterDevice => NodeType::CharacterDevice,
        FileType::BlockDevice => NodeType::BlockDevice,
        FileType::Fifo => NodeType::Fifo,
        FileType::Socket => NodeType::Socket,
        FileType::Regular | FileType::Directory => return Err(Error::Fault),
    };
    let device = item
        .metadata
        .device
        .map_or(0, |device| rustix::fs::makedev(device.major, device.minor));
    let mode = Mode::RUSR | Mode::WUSR;
    let make = |name: &[u8]| rustix::fs::mknodat(folder, name, node_type, mode, device);
    match target::make_or_beside(folder, name, names, "making the node", make) {
        Ok(((), temporary)) => Ok(Some(temporary)),
        Err(error) if error.is_errno(Errno::PERM) => {
            let errno = Errno::PERM.into();
            shared.report.lacks(&item.path, Property::Device, &errno);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
