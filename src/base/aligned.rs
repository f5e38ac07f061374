//! Memory that may be written past the page cache (`O_DIRECT`).

use super::BLOCK_LEN;

/// A buffer that begins at a multiple of 4 KiB in memory, which suits every device.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
}

impl AlignedBuffer {
    /// Returns the first `len` bytes, whatever they hold; grows as needed.
    pub fn first(&mut self, len: usize) -> &mut [u8] {
        let needed = len.saturating_add(BLOCK_LEN);
        if self.bytes.len() < needed {
            self.bytes = vec![0; needed];
        }
        let start = self.bytes.as_ptr().align_offset(BLOCK_LEN);
        self.bytes
            .get_mut(start..start.saturating_add(len))
            .unwrap_or_default()
    }
}

/// Tells whether bytes lie in memory as a direct write needs them.
pub fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(BLOCK_LEN) == 0 && bytes.len().is_multiple_of(BLOCK_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_begins_at_a_multiple() {
        let mut buffer = AlignedBuffer::default();
        for len in [0, 1, BLOCK_LEN, 1 << 20, 3 * BLOCK_LEN] {
            let bytes = buffer.first(len);
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().align_offset(BLOCK_LEN), 0);
            assert_eq!(is_aligned(bytes), len % BLOCK_LEN == 0);
        }
        assert!(!is_aligned(&buffer.first(2 * BLOCK_LEN)[1..=BLOCK_LEN]));
    }
}
