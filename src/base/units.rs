//! The unit of deduplication and the arithmetic on it.

/// A number of bytes.
pub type ByteLen = u64;

/// A position in bytes; the name of the variable says relative to what.
pub type ByteOffset = u64;

/// Length of a block in bytes: the unit of deduplication (DESIGN section 2).
pub const BLOCK_LEN: usize = 4096;

/// [`BLOCK_LEN`] for arithmetic on offsets.
pub const BLOCK_LEN_BYTES: ByteLen = 4096;

/// Returns how many blocks cover `len` bytes, the last one perhaps in part.
pub const fn block_count_for(len: ByteLen) -> u64 {
    len.div_ceil(BLOCK_LEN_BYTES)
}

/// Returns the index of the block that holds the byte at `offset`.
pub const fn block_of(offset: ByteOffset) -> u64 {
    offset / BLOCK_LEN_BYTES
}

/// Returns `len` rounded up to whole blocks, saturating at the largest multiple.
pub const fn round_up_to_block(len: ByteLen) -> ByteLen {
    match len.checked_next_multiple_of(BLOCK_LEN_BYTES) {
        Some(rounded) => rounded,
        None => u64::MAX - (BLOCK_LEN_BYTES - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_at_the_borders() {
        assert_eq!(block_count_for(0), 0);
        assert_eq!(block_count_for(1), 1);
        assert_eq!(block_count_for(4096), 1);
        assert_eq!(block_count_for(4097), 2);
        assert_eq!(round_up_to_block(0), 0);
        assert_eq!(round_up_to_block(4095), 4096);
        assert_eq!(round_up_to_block(u64::MAX) % 4096, 0);
    }
}
