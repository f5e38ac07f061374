//! Checksums of XFS version 5: every structure with a magic number, and records of
//! the log.
//!
//! Source: XFS Algorithms & Data Structures; `xfs_format.h`, `xfs_da_format.h`.

use super::{Repair, be32, number};
use crate::image::{Base, Image, Place};
use std::sync::Arc;

const LOG_HEADER_MAGIC: u64 = 0xFEED_BABE;
const BASIC_BLOCK: u64 = 512;
const CYCLE_LEN: u64 = 32 << 10;
const RECORD_LEN_MAX: u64 = 256 << 10;

pub struct Xfs {
    block_len: u64,
    sector_len: u64,
    inode_len: u64,
    dir_len: u64,
    log_start: u64,
    log_len: u64,
}

impl Xfs {
    pub fn new(base: &Arc<Base>) -> Option<Self> {
        let image = Image::new(Arc::clone(base), base.len);
        let superblock = image.bytes(0, 512);
        if superblock[..4] != *b"XFSB" || superblock[101] & 15 != 5 {
            return None;
        }
        let block_len = be32(&superblock, 4);
        let (start, ag_blocks) = (number(&superblock, 48, 8, false), be32(&superblock, 84));
        let ag_log = superblock[124];
        let log_block = (start >> ag_log) * ag_blocks + (start & ((1 << ag_log) - 1));
        Some(Self {
            block_len,
            sector_len: number(&superblock, 102, 2, false),
            inode_len: number(&superblock, 104, 2, false),
            dir_len: block_len << superblock[192],
            log_start: log_block * block_len,
            log_len: be32(&superblock, 96) * block_len,
        })
    }

    /// Repairs what begins at `start`, by its magic; tells whether it was something.
    fn structure(&self, image: &mut Image, start: u64) -> bool {
        let head = image.bytes(start, 16);
        let Some((position, len)) = self.layout(&head, start) else {
            return false;
        };
        let mut bytes = image.bytes(start, len as usize);
        bytes[position..position + 4].fill(0);
        let sum = crc32c::crc32c(&bytes);
        image.write(start + position as u64, &sum.to_le_bytes());
        true
    }

    /// Returns where the checksum is and how long the structure is.
    fn layout(&self, head: &[u8], start: u64) -> Option<(usize, u64)> {
        let on = |unit: u64, layout| start.is_multiple_of(unit).then_some(layout);
        let magic: [u8; 4] = head[..4].try_into().ok()?;
        match &magic {
            b"XFSB" => on(self.sector_len, (224, self.sector_len)),
            b"XAGF" => on(self.sector_len, (216, self.sector_len)),
            b"XAGI" => on(self.sector_len, (312, self.sector_len)),
            b"XAFL" => on(self.sector_len, (32, self.sector_len)),
            b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC" => {
                on(self.block_len, (52, self.block_len))
            }
            b"BMA3" => on(self.block_len, (64, self.block_len)),
            b"XDB3" | b"XDD3" | b"XDF3" => on(self.block_len, (4, self.dir_len)),
            b"XSLM" | b"XARM" => on(self.block_len, (12, self.block_len)),
            [b'I', b'N', ..] => on(self.inode_len, (100, self.inode_len)),
            _ => match head[8..10] {
                // Leaves and nodes of directories; those of attributes have one block.
                [0x3D, 0xF1 | 0xFF] => on(self.block_len, (12, self.dir_len)),
                [0x3E, 0xBE] => on(self.block_len, (12, self.block_len)),
                [0x3B, 0xEE] => on(self.block_len, (12, self.block_len)),
                _ => None,
            },
        }
    }

    fn repair_at(&self, image: &mut Image, offset: u64) {
        let log_end = self.log_start + self.log_len;
        if (self.log_start..log_end).contains(&offset) {
            self.record(image, offset);
            return;
        }
        let block = offset / self.block_len * self.block_len;
        for unit in [self.inode_len, self.sector_len, self.block_len] {
            if self.structure(image, offset / unit * unit) {
                return;
            }
        }
        for back in 1..self.dir_len / self.block_len {
            let Some(start) = block.checked_sub(back * self.block_len) else {
                return;
            };
            if self.structure(image, start) {
                return;
            }
        }
    }

    fn log_bytes(&self, image: &Image, block: u64, count: u64) -> Vec<u8> {
        let log_blocks = self.log_len / BASIC_BLOCK;
        let mut bytes = vec![];
        for index in block..block + count {
            let place = self.log_start + index % log_blocks * BASIC_BLOCK;
            bytes.extend(image.bytes(place, BASIC_BLOCK as usize));
        }
        bytes
    }

    /// Repairs the record that a byte of the log belongs to.
    fn record(&self, image: &mut Image, offset: u64) {
        let log_blocks = self.log_len / BASIC_BLOCK;
        let block = (offset - self.log_start) / BASIC_BLOCK;
        for back in 0..=RECORD_LEN_MAX / BASIC_BLOCK + 8 {
            let start = (block + log_blocks - back % log_blocks) % log_blocks;
            let place = self.log_start + start * BASIC_BLOCK;
            let header = image.bytes(place, BASIC_BLOCK as usize);
            if be32(&header, 0) != LOG_HEADER_MAGIC {
                continue;
            }
            let (len, size) = (be32(&header, 12), be32(&header, 320));
            if len > RECORD_LEN_MAX || size > RECORD_LEN_MAX {
                return;
            }
            let headers = size.div_ceil(CYCLE_LEN).max(1);
            let all = self.log_bytes(image, start, headers + len / BASIC_BLOCK);
            let (headers, data) = all.split_at((headers * BASIC_BLOCK) as usize);
            let mut sum = crc32c::crc32c(&headers[..32]);
            sum = crc32c::crc32c_append(sum, &[0; 4]);
            sum = crc32c::crc32c_append(sum, &headers[36..328]);
            for further in headers.chunks_exact(BASIC_BLOCK as usize).skip(1) {
                sum = crc32c::crc32c_append(sum, &further[..260]);
            }
            sum = crc32c::crc32c_append(sum, data);
            image.write(place + 32, &sum.to_le_bytes());
            return;
        }
    }
}

impl Repair for Xfs {
    fn repair(&self, image: &mut Image, edited: &[Place]) {
        for (offset, len) in edited {
            self.repair_at(image, *offset);
            let last = offset.saturating_add(*len as u64).saturating_sub(1);
            if last / BASIC_BLOCK != offset / BASIC_BLOCK {
                self.repair_at(image, last);
            }
        }
    }
}
