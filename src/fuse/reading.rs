//! Answering READ from a buffer that each thread keeps: fresh memory for every request of
//! 1 MiB would cost a tenth of the decompression.

use crate::fuse::errno::errno;
use crate::fuse::turns::Turn;
use crate::tree::{Result, Tree};
use fuser::{Errno, FileHandle, LockOwner, OpenFlags, ReplyData};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Bytes that one read may ask for.
const READ_LEN_MAX: usize = 16 << 20;

/// Bytes that are read before another request may have its turn: some chunks.
const PIECE_LEN: usize = 256 << 10;

/// Bytes of the buffer that a thread keeps; the kernel asks for 1 MiB at most today.
const BUFFER_LEN_KEPT: usize = 4 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a READ asks for.
#[derive(Clone, Copy)]
pub(super) struct ReadRange {
    offset: u64,
    size: u32,
    /// A short answer is no end of the file.
    may_be_short: bool,
}

impl ReadRange {
    pub(super) fn new(offset: u64, size: u32, flags: OpenFlags, owner: Option<LockOwner>) -> Self {
        Self {
            offset,
            size,
            may_be_short: may_be_short(flags, owner),
        }
    }
}

/// Tells whether a READ is that of a direct reader, who may be answered short. The file
/// being opened with O_DIRECT is not enough: the kernel reads its pages through such a
/// file, too (what a direct read left over, a mapping), and takes a short answer to that
/// for the end of the file. Only the requests of direct reads themselves have an owner.
///
/// Source: `fuse_send_read`, `fuse_do_readfolio`, `generic_file_read_iter`.
fn may_be_short(flags: OpenFlags, owner: Option<LockOwner>) -> bool {
    flags.0 & libc::O_DIRECT != 0 && owner.is_some()
}

/// Answers READ: the whole range up to the end of the file, or an error.
pub(super) fn read(
    tree: &Arc<Tree>,
    turn: &Turn<'_>,
    fh: FileHandle,
    range: ReadRange,
    reply: ReplyData,
) {
    let len = usize::try_from(range.size).unwrap_or(0).min(READ_LEN_MAX);
    with_buffer(len, |target| {
        match catch_unwind(AssertUnwindSafe(|| {
            read_in_pieces(tree, turn, fh, range, target)
        })) {
            Ok(Ok(count)) => reply.data(target.get(..count).unwrap_or_default()),
            Ok(Err(error)) => reply.error(errno(&error)),
            Err(_) => reply.error(Errno::EIO),
        }
    });
}

/// Lends the buffer of this thread, with `len` bytes of whatever.
pub(super) fn with_buffer(len: usize, use_it: impl FnOnce(&mut [u8])) {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        use_it(buffer.get_mut(..len).unwrap_or_default());
        buffer.truncate(BUFFER_LEN_KEPT);
        buffer.shrink_to(BUFFER_LEN_KEPT);
    });
}

/// Reads the range; now and then another request may have its turn.
fn read_in_pieces(
    tree: &Tree,
    turn: &Turn<'_>,
    fh: FileHandle,
    range: ReadRange,
    target: &mut [u8],
) -> Result<usize> {
    let mut filled = 0;
    let mut place = range.offset;
    for piece in target.chunks_mut(PIECE_LEN) {
        if filled > 0 {
            turn.share();
        }
        let len = piece.len();
        let count = match tree.read(fh.0, place, piece, range.may_be_short) {
            Ok(count) => count,
            // Only a direct reader may get a part; he gets the error next time.
            Err(_) if filled > 0 && range.may_be_short => break,
            Err(error) => return Err(error),
        };
        filled += count;
        place += count as u64;
        if count < len {
            break;
        }
    }
    Ok(filled)
}
