//! Owner, permissions, times and extended attributes of a draft: accepted at any time,
//! kept in memory.

use crate::base::Timestamp;
use crate::tree::attributes::{AttributeChange, Attributes, FileKind, PREFERRED_IO_LEN, file_time};
use crate::tree::draft::{Body, Draft, PRIVILEGE_BITS};
use crate::tree::{Kind, Result};

/// The extended attribute that tells the id of a draft. Answered and not listed, so that
/// copies do not carry it along.
pub const XATTR_DRAFT: &str = "user.tintype.draft";

/// Bytes of the extended attributes that are remembered for a draft.
const XATTR_LEN_MAX: usize = 64 << 10;

impl Draft {
    /// Returns what `stat` shows.
    pub fn attributes(&self) -> Attributes {
        let len_bytes = self.len();
        let state = self.state.lock();
        let allocated_len_bytes = match &state.body {
            // Exact numbers would need a walk through the map.
            Body::Working(_) => len_bytes,
            Body::Published(_, snapshot) => snapshot.manifest.allocated_len_bytes,
        };
        Attributes {
            inode: self.inode,
            kind: FileKind::File,
            mode: u16::try_from(state.mode & 0o7777).unwrap_or(0o600),
            link_count: u32::from(!state.history.is_removed),
            uid: state.uid,
            gid: state.gid,
            len_bytes,
            allocated_len_bytes,
            accessed_at: file_time(state.accessed_at),
            modified_at: file_time(state.modified_at),
            changed_at: file_time(state.changed_at),
            device: None,
            preferred_io_len: PREFERRED_IO_LEN,
        }
    }

    /// Changes owner, permissions and times; accepted for what is published too.
    pub fn change(&self, change: &AttributeChange) {
        let mut state = self.state.lock();
        if change.uid.is_some() || change.gid.is_some() {
            state.mode &= !PRIVILEGE_BITS;
        }
        state.mode = change.mode.map_or(state.mode, |mode| mode & 0o7777);
        state.uid = change.uid.unwrap_or(state.uid);
        state.gid = change.gid.unwrap_or(state.gid);
        state.accessed_at = change.accessed_at.unwrap_or(state.accessed_at);
        state.modified_at = change.modified_at.unwrap_or(state.modified_at);
        state.changed_at = Timestamp::now();
    }

    /// Remembers an extended attribute, or forgets it.
    pub fn set_xattr(&self, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        if name == XATTR_DRAFT.as_bytes() {
            return Err(Kind::NotPermitted.into());
        }
        let mut state = self.state.lock();
        let Some(value) = value else {
            return state
                .xattrs
                .remove(name)
                .map(drop)
                .ok_or(Kind::NoData.into());
        };
        let held: usize = state
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if held + name.len() + value.len() > XATTR_LEN_MAX {
            return Err(Kind::TooMuch.into());
        }
        state.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// Returns the extended attributes.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.state
            .lock()
            .xattrs
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Returns one extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name == XATTR_DRAFT.as_bytes() {
            return Ok(self.id.to_string().into_bytes());
        }
        self.state
            .lock()
            .xattrs
            .get(name)
            .cloned()
            .ok_or(Kind::NoData.into())
    }
}
