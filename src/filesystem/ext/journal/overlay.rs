//! An image with the blocks of a replayed journal over it. The new content stays
//! where it is, in the journal: an overlay costs 16 bytes a block, so nothing has to
//! be copied or spilled.

use crate::base::{ByteLen, ByteOffset, ReadAt};
use crate::filesystem::index_of;
use std::io;
use std::sync::Arc;

/// Where the new content of a block lies in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filesystem::ext) struct NewBlock {
    /// The block of the file system.
    pub(super) block: u64,
    /// The block of the image that holds its content, times two; odd if its first
    /// four bytes were replaced, because they look like a journal header.
    pub(super) source: u64,
}

/// What the first bytes of an escaped block really are.
const ESCAPED: [u8; 4] = 0xC03B_3998_u32.to_be_bytes();

/// An image as it is after the replay.
pub(in crate::filesystem::ext) struct Replayed {
    pub(super) image: Arc<dyn ReadAt>,
    pub(super) block_len: u64,
    /// Sorted by block.
    pub(super) blocks: Vec<NewBlock>,
}

impl Replayed {
    /// Returns how many of `count` blocks from `block` on are as they were, and
    /// whether those or the next ones are meant: (run length, is new).
    pub(in crate::filesystem::ext) fn run(&self, block: u64, count: u64) -> (u64, bool) {
        let index = self.blocks.partition_point(|new| new.block < block);
        match self.blocks.get(index) {
            Some(new) if new.block == block => (1, true),
            Some(new) => (count.min(new.block.saturating_sub(block)), false),
            None => (count, false),
        }
    }

    fn read_new(&self, block: u64, inside: u64, target: &mut [u8]) -> io::Result<()> {
        let index = self.blocks.partition_point(|new| new.block < block);
        let new = self.blocks.get(index).ok_or(io::ErrorKind::UnexpectedEof)?;
        let place = (new.source >> 1)
            .saturating_mul(self.block_len)
            .saturating_add(inside);
        self.image.read_exact_at(place, target)?;
        if new.source & 1 == 1 {
            let skipped = index_of(inside);
            for (byte, escaped) in target.iter_mut().zip(ESCAPED.iter().skip(skipped)) {
                *byte = *escaped;
            }
        }
        Ok(())
    }
}

impl ReadAt for Replayed {
    fn len(&self) -> ByteLen {
        self.image.len()
    }

    fn read_exact_at(&self, offset: ByteOffset, target: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        let mut rest = target;
        while !rest.is_empty() {
            let block = offset.checked_div(self.block_len).unwrap_or(0);
            let inside = offset.checked_rem(self.block_len).unwrap_or(0);
            let wanted = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            let count = wanted
                .saturating_add(inside)
                .div_ceil(self.block_len.max(1));
            let (run, is_new) = self.run(block, count);
            let run_len = run.saturating_mul(self.block_len).saturating_sub(inside);
            let (now, later) = rest.split_at_mut(index_of(run_len).min(rest.len()));
            let step = u64::try_from(now.len()).unwrap_or(u64::MAX);
            if is_new {
                self.read_new(block, inside, now)?;
            } else {
                self.image.read_exact_at(offset, now)?;
            }
            offset = offset
                .checked_add(step)
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_blocks_hide_old_ones_and_escaped_bytes_come_back() {
        let image: Vec<u8> = (0..8_u8).flat_map(|block| [block; 1024]).collect();
        let replayed = Replayed {
            image: Arc::new(image),
            block_len: 1024,
            blocks: vec![
                NewBlock {
                    block: 2,
                    source: 6 << 1,
                },
                NewBlock {
                    block: 4,
                    source: (7 << 1) | 1,
                },
            ],
        };
        let mut all = vec![0; 6 * 1024];
        replayed.read_exact_at(0, &mut all).unwrap();
        assert_eq!(
            (all[1024], all[2048], all[3072], all[4096 + 4]),
            (1, 6, 3, 7)
        );
        assert_eq!(all[4096..4100], ESCAPED);
        let mut two = [0; 2];
        replayed.read_exact_at(4098, &mut two).unwrap();
        assert_eq!(two, ESCAPED[2..]);
        replayed.read_exact_at(4095, &mut two).unwrap();
        assert_eq!(two, [3, ESCAPED[0]]);
        assert!(replayed.read_exact_at(8191, &mut two).is_err());
    }
}
