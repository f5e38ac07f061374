//! Test images: made from a seed, half of it compressible, with holes and zeros.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// A small generator (xorshift64*): the same seed gives the same image everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Fills a buffer; every other block is text-like, so that it compresses.
    pub fn fill(&mut self, target: &mut [u8]) {
        for (index, block) in target.chunks_mut(4096).enumerate() {
            for word in block.chunks_mut(8) {
                let mut bits = self.next();
                if index % 2 == 1 {
                    bits &= 0x0303_0303_0303_0303;
                    bits |= 0x6060_6060_6060_6060;
                }
                word.copy_from_slice(&bits.to_le_bytes()[..word.len()]);
            }
        }
    }
}

/// 24 MiB: data, a hole of 8 MiB, data.
pub fn sparse_image(path: &Path) {
    let mut rng = Rng::new(1);
    let mut part = vec![0; 8 << 20];
    let mut file = File::create(path).expect("an image can be made");
    for offset in [0, 16 << 20] {
        rng.fill(&mut part);
        file.seek(SeekFrom::Start(offset)).expect("seek");
        file.write_all(&part).expect("write");
    }
}

/// 16 MiB and 400 bytes without holes, but with 4 MiB of zeros in the middle.
pub fn dense_image(path: &Path) {
    let mut rng = Rng::new(2);
    let mut bytes = vec![0; (16 << 20) + 400];
    rng.fill(&mut bytes);
    bytes[8 << 20..12 << 20].fill(0);
    std::fs::write(path, bytes).expect("an image can be made");
}

/// A file of `len` bytes without zeros or repetition.
pub fn random_file(path: &Path, len: u64, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut file = File::create(path).expect("a file can be made");
    let mut part = vec![0; 1 << 20];
    let mut left = len;
    while left > 0 {
        rng.fill(&mut part);
        let take = left.min(part.len() as u64);
        file.write_all(&part[..take as usize]).expect("write");
        left -= take;
    }
}
