//! Answering: on this thread or on one that may wait, and always, even after a fault
//! of ours. A panic must not end a thread of the session: when all are gone, every
//! access to the mount hangs.

use crate::fuse::errno::errno;
use crate::tree::{Asked, Result, Tree};
use fuser::{
    Errno, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// A reply that can tell of a failure.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// Does the work and answers: with what came of it, or with the errno.
pub(super) fn answer<R: Refuse, T>(
    reply: R,
    work: impl FnOnce() -> Result<T>,
    accept: impl FnOnce(R, T),
) {
    match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => accept(reply, value),
        Ok(Err(error)) => reply.refuse(errno(&error)),
        Err(_) => {
            log::error!("a request ended in a fault of the program (see above)");
            reply.refuse(Errno::EIO);
        }
    }
}

/// The same on a thread that may wait.
pub(super) fn answer_later<R: Refuse, T>(
    tree: &Arc<Tree>,
    reply: R,
    work: impl FnOnce(&Arc<Tree>) -> Result<T> + Send + 'static,
    accept: impl FnOnce(R, T) + Send + 'static,
) {
    let own = Arc::clone(tree);
    tree.pool()
        .run(move || answer(reply, || work(&own), accept));
}

/// Answers here, or later: after waiting for publications that are queued, or where an
/// image has to be opened first.
pub(super) fn answer_when_ready<R: Refuse, T>(
    tree: &Arc<Tree>,
    (inode, asked): (u64, Asked<'_>),
    reply: R,
    work: impl FnOnce(&Arc<Tree>) -> Result<T> + Send + 'static,
    accept: impl FnOnce(R, T) + Send + 'static,
) {
    if tree.must_wait(inode) {
        answer_later(
            tree,
            reply,
            move |tree| {
                tree.wait_for_publications();
                work(tree)
            },
            accept,
        );
    } else if tree.may_take_long(inode, asked) {
        let own = Arc::clone(tree);
        tree.opening_pool()
            .run(move || answer(reply, || work(&own), accept));
    } else {
        answer(reply, || work(tree), accept);
    }
}
