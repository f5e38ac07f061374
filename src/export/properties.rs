//! Owner, extended attributes, ACLs, mode and times of what was made, in the order in
//! which none undoes another: a change of the owner clears capabilities and setuid, an
//! attribute cannot be set on what is read-only, and everything changes times.

use super::acl::{AclTag, parse_acl};
use super::copy::Shared;
use super::error::Error;
use super::report::Property;
use crate::contents::ViewNode;
use crate::filesystem::{FileTime, FileType, Metadata};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub(super) const ACCESS_ACL: &str = "system.posix_acl_access";

/// Bits that give the power of the owner to whoever runs the file.
const SET_ID_BITS: u16 = 0o6000;
const CAPABILITIES: &[u8] = b"security.capability";
const GROUP_BITS: u16 = 0o070;

/// What properties are set on.
#[derive(Clone, Copy)]
pub(super) enum Handle<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A node that cannot be opened: a link, a device.
    Named { folder: &'a OwnedFd, name: &'a [u8] },
}

impl Handle<'_> {
    fn set_owner(self, user: Uid, group: Gid) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, Some(user), Some(group)),
            Self::Named { folder, name } => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(folder, name, Some(user), Some(group), flags)
            }
        }
    }

    fn set_mode(self, mode: Mode) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Named { folder, name } => {
                // By way of a descriptor that cannot be a link: chmod follows those.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let node = rustix::fs::openat(folder, name, flags, Mode::empty())?;
                let stat = rustix::fs::fstat(&node)?;
                if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
                    return Err(Errno::LOOP);
                }
                rustix::fs::chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), mode)
            }
        }
    }

    fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Named { folder, name } => {
                rustix::fs::utimensat(folder, name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn set_attribute(self, attribute: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, attribute, value, XattrFlags::empty()),
            Self::Named { folder, name } => {
                let path = path_of(folder, name);
                rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty())
            }
        }
    }

    fn remove_attribute(self, attribute: &str) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, attribute),
            Self::Named { folder, name } => {
                rustix::fs::lremovexattr(path_of(folder, name), attribute)
            }
        }
    }
}

/// Returns a path for calls that take no open directory.
fn path_of(folder: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Sets everything that is asked for. What the system refuses is told, and the rest is
/// set all the same. `gets_acl` tells that the parent directory gave an ACL.
pub(super) fn set(
    shared: &Shared<'_>,
    handle: Handle<'_>,
    node: ViewNode,
    metadata: &Metadata,
    path: &[u8],
    gets_acl: bool,
) {
    let lacks = |property, errno: Errno| shared.report.lacks(path, property, &errno.into());
    let has_owner = shared.options.owner && set_owner(shared, handle, metadata, path);
    let mut has_acl = false;
    if shared.options.attributes {
        if gets_acl {
            // One that is not there is as good as removed.
            let _gone = handle.remove_attribute(ACCESS_ACL);
        }
        match set_attributes(shared, handle, node, path, has_owner) {
            Ok(is_set) => has_acl = is_set,
            Err(error) => shared.report.failed(path, &error),
        }
    }
    if metadata.file_type != FileType::Symlink {
        let mut permissions = metadata.permissions & 0o7777;
        if !has_owner {
            permissions &= !SET_ID_BITS;
        }
        if !has_acl {
            permissions = without_acl(shared, node, permissions, path);
        }
        if let Err(errno) = handle.set_mode(Mode::from_raw_mode(permissions.into())) {
            lacks(Property::Mode, errno);
        }
    }
    let times = Timestamps {
        last_access: timespec(metadata.accessed),
        last_modification: timespec(metadata.modified),
    };
    if let Err(errno) = handle.set_times(&times) {
        lacks(Property::Times, errno);
    }
}

fn set_owner(shared: &Shared<'_>, handle: Handle<'_>, metadata: &Metadata, path: &[u8]) -> bool {
    // The largest number means "leave it" to chown(2).
    let result = if metadata.user == u32::MAX || metadata.group == u32::MAX {
        Err(Errno::INVAL)
    } else {
        handle.set_owner(Uid::from_raw(metadata.user), Gid::from_raw(metadata.group))
    };
    if let Err(errno) = result {
        shared.report.lacks(path, Property::Owner, &errno.into());
    }
    result.is_ok()
}

/// Returns the mode of what does not have the ACL that the image may have. The bits of
/// the group are the mask of an ACL, which is more than the group may do.
fn without_acl(shared: &Shared<'_>, node: ViewNode, permissions: u16, path: &[u8]) -> u16 {
    let acl = shared
        .view
        .file_system(node)
        .and_then(|file_system| file_system.xattr(node.node, ACCESS_ACL.as_bytes()));
    match acl {
        Ok(None) => permissions,
        Ok(Some(acl)) => permissions & (!GROUP_BITS | (group_of(&acl) << 3)),
        Err(error) => {
            let error = io::Error::other(error);
            shared.report.lacks(path, Property::Mode, &error);
            permissions & !GROUP_BITS
        }
    }
}

/// Returns what an ACL lets the group of the file do before the mask.
fn group_of(acl: &[u8]) -> u16 {
    let entries = parse_acl(acl).unwrap_or_default();
    let entry = entries
        .iter()
        .find(|entry| entry.tag == AclTag::OwningGroup);
    entry.map_or(0, |entry| entry.permissions & 0o7)
}

/// Returns whether no ACL of the image is missing.
fn set_attributes(
    shared: &Shared<'_>,
    handle: Handle<'_>,
    node: ViewNode,
    path: &[u8],
    has_owner: bool,
) -> Result<bool, Error> {
    let mut has_acl = true;
    let file_system = shared.view.file_system(node)?;
    for name in file_system.xattr_names(node.node)? {
        // Power over the machine for whoever runs the file goes with its owner, as setuid.
        if name == CAPABILITIES && !has_owner {
            continue;
        }
        let Some(value) = file_system.xattr(node.node, &name)? else {
            continue;
        };
        if let Err(errno) = handle.set_attribute(&name, &value) {
            let property = if name.starts_with(b"system.posix_acl_") {
                Property::Acl
            } else {
                Property::Attributes
            };
            has_acl &= name != ACCESS_ACL.as_bytes();
            shared.report.lacks(path, property, &errno.into());
        }
    }
    Ok(has_acl)
}

fn timespec(time: FileTime) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}
