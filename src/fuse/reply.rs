//! Replies that more than one request gives.

use crate::filesystem::SpaceUsage;
use crate::fuse::convert::attributes;
use crate::tree::{Attributes, Entry};
use fuser::{Errno, Generation, ReplyEntry, ReplyStatfs, ReplyXattr};
use std::time::Duration;

/// Length of a block in the numbers about the store.
const STATFS_BLOCK: u32 = 4096;
/// The longest name outside of images.
const NAME_LEN_MAX: u32 = 255;

/// What came of a look-up.
pub(super) enum Found {
    Entry(Entry),
    /// There is nothing, and that may be remembered for so long.
    Nothing(Duration),
}

pub(super) fn reply_entry(reply: ReplyEntry, entry: Entry) {
    reply.entry_with_ttls(
        &entry.attributes_lifetime,
        &entry.name_lifetime,
        &attributes(&entry.attributes),
        Generation(0),
    );
}

/// Says that there is no such name, which the number 0 means, and for how long.
pub(super) fn reply_nothing(reply: ReplyEntry, lifetime: Duration) {
    let nothing = attributes(&Attributes::nothing());
    reply.entry_with_ttls(&Duration::ZERO, &lifetime, &nothing, Generation(0));
}

/// Tells how full the file system of an image is.
pub(super) fn reply_usage(reply: ReplyStatfs, usage: &SpaceUsage) {
    reply.statfs(
        usage.block_count,
        usage.free_block_count,
        usage.available_block_count,
        usage.node_count,
        usage.free_node_count,
        usage.fs_block_len,
        usage.name_len_max,
        usage.fs_block_len,
    );
}

/// Tells how much room the store has, in bytes.
pub(super) fn reply_space(reply: ReplyStatfs, available: u64, total: u64) {
    let block = u64::from(STATFS_BLOCK);
    let (free, all) = (available / block, total / block);
    let (length, names) = (STATFS_BLOCK, NAME_LEN_MAX);
    reply.statfs(all, free, free, 0, 0, length, names, length);
}

pub(super) fn reply_sized(reply: ReplyXattr, size: u32, value: &[u8]) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    if size == 0 {
        reply.size(len);
    } else if len > size {
        reply.error(Errno::ERANGE);
    } else {
        reply.data(value);
    }
}
