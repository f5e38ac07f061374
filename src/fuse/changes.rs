//! Requests that change a draft.

use crate::fuse::answer::{answer, answer_later};
use crate::fuse::convert::attributes;
use crate::fuse::filesystem::{Adapter, refused};
use crate::tree::{AttributeChange, Kind, Tree};
use fuser::{FileHandle, INodeNo, RenameFlags, ReplyAttr, ReplyEmpty, ReplyWrite};
use std::sync::Arc;

impl Adapter {
    pub(super) fn write_draft(&self, inode: INodeNo, offset: u64, data: &[u8], reply: ReplyWrite) {
        let draft = match self.tree.draft(inode.0) {
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
            answer_later(&self.tree, reply, work, written);
        } else {
            answer(
                reply,
                || draft.write(offset, data).map(|()| data.len()),
                written,
            );
        }
    }

    pub(super) fn flush_draft(&self, pid: u32, fh: FileHandle, reply: ReplyEmpty) {
        let is_writer = self
            .tree
            .opened(fh.0)
            .is_ok_and(|open| open.as_draft().is_some_and(|(_, is_writer)| is_writer));
        if !is_writer {
            return reply.ok();
        }
        let work = move |tree: &Arc<Tree>| {
            let open = tree.opened(fh.0)?;
            match open.as_draft() {
                Some((draft, true)) => draft.flush(crate::tree::is_killed(pid)),
                _ => Ok(()),
            }
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn allocate(
        &self,
        inode: INodeNo,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let work = move |tree: &Arc<Tree>| {
            let draft = tree.draft(inode.0)?;
            let end = offset.checked_add(length).ok_or(Kind::TooLarge)?;
            let keeps_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
            let len_min = if keeps_size { 0 } else { end };
            match mode & !libc::FALLOC_FL_KEEP_SIZE {
                0 if keeps_size => Ok(()),
                0 => draft.extend(end),
                libc::FALLOC_FL_PUNCH_HOLE if keeps_size => draft.zero(offset..end, 0),
                libc::FALLOC_FL_ZERO_RANGE => draft.zero(offset..end, len_min),
                _ => refused(Kind::Unsupported),
            }
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn change_draft(
        &self,
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
            answer_later(&self.tree, reply, work, accept);
        } else {
            answer(reply, || work(&self.tree), accept);
        }
    }

    pub(super) fn rename_draft(
        &self,
        (parent, name): (u64, Vec<u8>),
        (new_parent, new_name): (u64, Vec<u8>),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let work = move |tree: &Arc<Tree>| {
            if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
                return refused(Kind::Invalid);
            }
            let keeps_target = flags.contains(RenameFlags::RENAME_NOREPLACE);
            tree.rename((parent, &name), (new_parent, &new_name), keeps_target)
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn release_handle(&self, fh: FileHandle, writes: bool, reply: ReplyEmpty) {
        if !writes {
            return answer(reply, || Ok(self.tree.close(fh.0)), |reply, ()| reply.ok());
        }
        let delay = self.release_delay;
        let work = move |tree: &Arc<Tree>| {
            std::thread::sleep(delay);
            tree.close(fh.0);
            Ok(())
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }

    pub(super) fn sync_draft(&self, fh: FileHandle, reply: ReplyEmpty) {
        let work = move |tree: &Arc<Tree>| match tree.opened(fh.0)?.as_draft() {
            Some((draft, _)) => draft.sync(),
            None => Ok(()),
        };
        answer_later(&self.tree, reply, work, |reply, ()| reply.ok());
    }
}
