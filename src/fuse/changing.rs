//! Requests that change a draft.

use crate::fuse::answer::{answer, answer_later};
use crate::fuse::convert::attributes;
use crate::tree::{AttributeChange, Kind, Tree};
use fuser::{INodeNo, ReplyAttr, ReplyEmpty, ReplyWrite};
use std::ops::Range;
use std::sync::Arc;

/// Answers SETATTR. A new length may have to wait, other attributes do not.
pub(super) fn set_attributes(
    tree: &Arc<Tree>,
    inode: INodeNo,
    size: Option<u64>,
    change: AttributeChange,
    reply: ReplyAttr,
) {
    let work = move |tree: &Arc<Tree>| {
        let draft = tree.draft(inode.0)?;
        if let Some(len) = size {
            draft.set_len(len)?;
        }
        draft.change(&change);
        tree.attributes(inode.0)
    };
    let accept = |reply: ReplyAttr, (found, lifetime)| {
        reply.attr(&lifetime, &attributes(&found));
    };
    if size.is_some() {
        answer_later(tree, reply, work, accept);
    } else {
        answer(reply, || work(tree), accept);
    }
}

/// Answers WRITE: here, unless the writer is to be slowed down.
pub(super) fn write(tree: &Arc<Tree>, inode: INodeNo, offset: u64, data: &[u8], reply: ReplyWrite) {
    let draft = match tree.draft(inode.0) {
        Ok(draft) => draft,
        Err(error) => return reply.error(crate::fuse::errno::errno(&error)),
    };
    let written = |reply: ReplyWrite, count: usize| {
        reply.written(u32::try_from(count).unwrap_or(u32::MAX));
    };
    if draft.is_settled() || draft.is_behind() {
        let data = data.to_vec();
        let work = move |_: &Arc<Tree>| {
            draft.throttle();
            draft.write(offset, &data).map(|()| data.len())
        };
        answer_later(tree, reply, work, written);
    } else {
        answer(
            reply,
            || draft.write(offset, data).map(|()| data.len()),
            written,
        );
    }
}

/// Answers FALLOCATE of `range`.
pub(super) fn allocate(
    tree: &Arc<Tree>,
    inode: INodeNo,
    range: Range<u64>,
    mode: i32,
    reply: ReplyEmpty,
) {
    let work = move |tree: &Arc<Tree>| {
        let draft = tree.draft(inode.0)?;
        let (offset, end) = (range.start, range.end);
        let keeps_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let len_min = if keeps_size { 0 } else { end };
        match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 if keeps_size => Ok(()),
            0 => draft.extend(end),
            libc::FALLOC_FL_PUNCH_HOLE if keeps_size => draft.zero(offset..end, 0),
            libc::FALLOC_FL_ZERO_RANGE => draft.zero(offset..end, len_min),
            _ => Err(Kind::Unsupported.into()),
        }
    };
    answer_later(tree, reply, work, |reply, ()| reply.ok());
}
