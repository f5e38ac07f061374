//! The checksums of ext4 and jbd2.
//!
//! Source: Linux documentation, filesystems/ext4 "Checksums" and "Journal (jbd2)".
//! CRC-32C without the final inversion, so that parts can be chained.

/// Returns the CRC-32C of `bytes` that goes on from `seed`.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// Returns the CRC-32C of `bytes` with the `len` bytes from `hole` on taken as zeros.
pub(super) fn crc32c_with_hole(seed: u32, bytes: &[u8], hole: usize, len: usize) -> u32 {
    const ZEROS: [u8; 8] = [0; 8];
    let before = crc32c(seed, bytes.get(..hole).unwrap_or(bytes));
    let zeros = crc32c(before, ZEROS.get(..len).unwrap_or(&ZEROS));
    crc32c(
        zeros,
        bytes.get(hole.saturating_add(len)..).unwrap_or_default(),
    )
}

/// Returns the CRC-16 (polynomial 0x8005, reflected) of `bytes` that goes on from
/// `seed`: group descriptors without `metadata_csum`.
pub(super) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    let mut crc = seed;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xA001
            } else {
                crc >> 1
            };
        }
    }
    crc
}

/// The CRC-32 with the highest bit first (polynomial 0x04C11DB7): journals with the
/// first kind of checksums.
pub(super) struct Crc32Be {
    table: [u32; 256],
    crc: u32,
}

impl Crc32Be {
    pub(super) fn new() -> Self {
        let mut table = [0; 256];
        for (byte, entry) in (0_u32..).zip(table.iter_mut()) {
            let mut crc = byte << 24;
            for _ in 0..8 {
                crc = if crc >> 31 == 1 {
                    (crc << 1) ^ 0x04C1_1DB7
                } else {
                    crc << 1
                };
            }
            *entry = crc;
        }
        Self {
            table,
            crc: u32::MAX,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let [high, ..] = self.crc.to_be_bytes();
            let entry = self
                .table
                .get(usize::from(high ^ byte))
                .copied()
                .unwrap_or_default();
            self.crc = (self.crc << 8) ^ entry;
        }
    }

    /// Returns the checksum of all since the last call, and starts anew.
    pub(super) fn take(&mut self) -> u32 {
        std::mem::replace(&mut self.crc, u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_have_their_known_values() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
        let mut crc = Crc32Be::new();
        crc.update(b"123456789");
        assert_eq!(!crc.take(), 0xFC89_1918);
        let whole = crc32c(7, &[1, 2, 0, 0, 5]);
        assert_eq!(crc32c_with_hole(7, &[1, 2, 3, 4, 5], 2, 2), whole);
    }
}
