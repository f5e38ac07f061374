//! Answering READ from a buffer that each thread keeps: fresh memory for every request of
//! 1 MiB would cost a tenth of the decompression.

use crate::fuse::errno::errno;
use crate::tree::Tree;
use fuser::{Errno, FileHandle, ReplyData};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Bytes that one read may ask for.
const READ_LEN_MAX: usize = 16 << 20;

/// Bytes of the buffer that a thread keeps; the kernel asks for 1 MiB at most today.
const BUFFER_LEN_KEPT: usize = 4 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers READ: the whole range up to the end of the file, or an error.
pub(super) fn read(tree: &Arc<Tree>, fh: FileHandle, offset: u64, size: u32, reply: ReplyData) {
    let len = usize::try_from(size).unwrap_or(0).min(READ_LEN_MAX);
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let target = buffer.get_mut(..len).unwrap_or_default();
        match catch_unwind(AssertUnwindSafe(|| tree.read(fh.0, offset, &mut *target))) {
            Ok(Ok(count)) => reply.data(target.get(..count).unwrap_or_default()),
            Ok(Err(error)) => reply.error(errno(&error)),
            Err(_) => reply.error(Errno::EIO),
        }
        buffer.truncate(BUFFER_LEN_KEPT);
        buffer.shrink_to(BUFFER_LEN_KEPT);
    });
}
