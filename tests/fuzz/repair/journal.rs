//! Checksums of a jbd2 journal, versions 2 and 3: superblock, descriptors and their
//! tags, revokes, commits.
//!
//! Source: Linux documentation, filesystems/ext4 "Journal (jbd2)".

use super::ext::crc;
use super::{be32, number};
use crate::image::Image;
use std::collections::HashMap;

const MAGIC: u64 = 0xC03B_3998;
const INCOMPAT_64BIT: u64 = 2;
const INCOMPAT_V2: u64 = 8;
const INCOMPAT_V3: u64 = 0x10;
const INCOMPAT_FAST_COMMIT: u64 = 0x20;

/// The journal of an image as it was made.
pub struct Journal {
    /// Blocks of the image, in the order of the journal.
    blocks: Vec<u64>,
    block_len: usize,
    /// For each block of the image that is the journal's: the block that it is a copy
    /// of, if it is one.
    homes: HashMap<u64, Option<u64>>,
}

struct Features {
    is_64bit: bool,
    is_v2: bool,
    is_v3: bool,
    seed: u32,
    first: usize,
    last: usize,
}

/// Takes a block with a header: its bytes, its place, and the blocks it announces.
type Visitor<'a> = dyn FnMut(&[u8], u64, &[u64]) + 'a;

/// One announced block: where its tag lies, and its own block.
struct Tag {
    position: usize,
    home: u64,
}

impl Journal {
    pub fn new(image: &Image, blocks: Vec<u64>, block_len: usize) -> Option<Self> {
        let mut journal = Self {
            homes: blocks.iter().map(|block| (*block, None)).collect(),
            blocks,
            block_len,
        };
        let features = journal.features(image)?;
        let mut homes = vec![];
        journal.walk(image, &features, &mut |bytes, _, data| {
            let tags = tags(bytes, &features);
            homes.extend(data.iter().copied().zip(tags.iter().map(|tag| tag.home)));
        });
        for (block, home) in homes {
            journal.homes.insert(block, Some(home));
        }
        Some(journal)
    }

    /// Returns what a block is a copy of, if it is one; `None` if it is not the
    /// journal's.
    pub fn home_of(&self, block: u64) -> Option<Option<u64>> {
        self.homes.get(&block).copied()
    }

    fn place(&self, index: usize) -> Option<u64> {
        Some(self.blocks.get(index)? * self.block_len as u64)
    }

    fn features(&self, image: &Image) -> Option<Features> {
        let superblock = image.bytes(self.place(0)?, 1024);
        if be32(&superblock, 0) != MAGIC {
            return None;
        }
        let incompat = be32(&superblock, 0x28);
        let mut last = be32(&superblock, 0x10) as usize;
        if incompat & INCOMPAT_FAST_COMMIT != 0 {
            let count = match be32(&superblock, 0x54) {
                0 => 256,
                count => count,
            };
            last = last.saturating_sub(count as usize);
        }
        Some(Features {
            is_64bit: incompat & INCOMPAT_64BIT != 0,
            is_v2: incompat & INCOMPAT_V2 != 0,
            is_v3: incompat & INCOMPAT_V3 != 0,
            seed: crc(!0, &superblock[0x30..0x40]),
            first: be32(&superblock, 0x14) as usize,
            last: last.min(self.blocks.len()),
        })
    }

    /// Gives every block with a header from the start on: its bytes, its place, and
    /// the blocks that it announces.
    fn walk(&self, image: &Image, features: &Features, visit: &mut Visitor<'_>) {
        let superblock = image.bytes(self.place(0).unwrap_or(0), 1024);
        let mut index = be32(&superblock, 0x1C) as usize;
        let next = |index: usize| {
            if index + 1 >= features.last {
                features.first
            } else {
                index + 1
            }
        };
        for _ in 0..self.blocks.len() {
            let Some(place) = self.place(index).filter(|_| index != 0) else {
                return;
            };
            let bytes = image.bytes(place, self.block_len);
            if be32(&bytes, 0) != MAGIC {
                return;
            }
            let mut data = vec![];
            if be32(&bytes, 4) == 1 {
                for _ in tags(&bytes, features) {
                    index = next(index);
                    data.push(self.blocks.get(index).copied().unwrap_or(0));
                }
            }
            visit(&bytes, place, &data);
            index = next(index);
        }
    }

    /// Makes all checksums right.
    pub fn repair(&self, image: &mut Image) {
        let Some(features) = self.features(image) else {
            return;
        };
        if !features.is_v2 && !features.is_v3 {
            return;
        }
        let place = self.place(0).unwrap_or(0);
        let mut superblock = image.bytes(place, 1024);
        superblock[0xFC..0x100].fill(0);
        image.write(place + 0xFC, &crc(!0, &superblock).to_be_bytes());
        let mut writes: Vec<(u64, Vec<u8>)> = vec![];
        self.walk(image, &features, &mut |bytes, place, data| {
            let mut bytes = bytes.to_vec();
            let sequence: [u8; 4] = bytes[8..12].try_into().expect("4 bytes");
            for (tag, block) in tags(&bytes, &features).iter().zip(data) {
                let content = image.bytes(block * self.block_len as u64, self.block_len);
                let sum = crc(crc(features.seed, &sequence), &content);
                if features.is_v3 {
                    let position = tag.position + 12;
                    bytes[position..position + 4].copy_from_slice(&sum.to_be_bytes());
                } else {
                    let position = tag.position + 4;
                    bytes[position..position + 2].copy_from_slice(&sum.to_be_bytes()[2..]);
                }
            }
            let position = match be32(&bytes, 4) {
                2 => 0x10,
                _ => self.block_len - 4,
            };
            bytes[position..position + 4].fill(0);
            let sum = crc(features.seed, &bytes);
            bytes[position..position + 4].copy_from_slice(&sum.to_be_bytes());
            writes.push((place, bytes));
        });
        for (place, bytes) in writes {
            image.write(place, &bytes);
        }
    }
}

fn tags(bytes: &[u8], features: &Features) -> Vec<Tag> {
    let len = match (features.is_v3, features.is_v2, features.is_64bit) {
        (true, ..) => 16,
        (_, true, true) => 14,
        (_, true, false) => 10,
        (_, _, true) => 12,
        _ => 8,
    };
    let mut tags = vec![];
    let mut position = 12;
    while position + len <= bytes.len() - 4 {
        let flags = if features.is_v3 {
            be32(bytes, position + 4)
        } else {
            number(bytes, position + 6, 2, false)
        };
        tags.push(Tag {
            position,
            home: be32(bytes, position),
        });
        position += len + if flags & 2 == 0 { 16 } else { 0 };
        if flags & 8 != 0 {
            break;
        }
    }
    tags
}
