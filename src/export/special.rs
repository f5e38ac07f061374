//! Nodes without content: symbolic links, devices, pipes, sockets.

use super::copy::Shared;
use super::error::{Error, Result};
use super::file::Item;
use super::properties::{self, Handle};
use super::report::{Property, count};
use super::target;
use crate::filesystem::FileType;
use rustix::fs::{FileType as NodeType, Mode};
use rustix::io::Errno;

/// Makes a node and sets its properties.
pub(super) fn make(shared: &Shared<'_>, item: &Item<'_>) -> Result<()> {
    let (folder, name) = (&item.folder.fd, item.name.as_slice());
    let replaces = shared.options.force;
    let node_type = match item.metadata.file_type {
        FileType::Symlink => {
            let to = shared.view.read_link(item.node)?;
            target::make_or_replace(folder, name, replaces, "making the symbolic link", || {
                rustix::fs::symlinkat(&to, folder, name)
            })?;
            return finish(shared, item);
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
    let made = target::make_or_replace(folder, name, replaces, "making the node", || {
        rustix::fs::mknodat(folder, name, node_type, mode, device)
    });
    match made {
        Err(Error::Target { source, .. })
            if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
        {
            shared.report.lacks(&item.path, Property::Device, &source);
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => finish(shared, item),
    }
}

fn finish(shared: &Shared<'_>, item: &Item<'_>) -> Result<()> {
    count(&shared.counters.others);
    let handle = Handle::Named {
        folder: &item.folder.fd,
        name: &item.name,
    };
    properties::set(shared, handle, item.node, &item.metadata, &item.path, false);
    Ok(())
}
