//! Checksums of btrfs: superblocks, and blocks of all trees.
//!
//! Source: btrfs documentation, "On-disk format". Only crc32c is repaired: the images
//! with other sums show that they are looked at.

use super::{Repair, le16, le32};
use crate::image::{Base, Image, PAGE_LEN, Place};
use std::collections::BTreeSet;
use std::sync::Arc;

const SUPERBLOCKS: [u64; 2] = [64 << 10, 64 << 20];
const SUPERBLOCK_LEN: usize = 4096;
const CSUM_TYPE: usize = 196;
const NODE_SIZE: usize = 148;
const INCOMPAT: usize = 188;
const METADATA_UUID: usize = 571;
const CSUM_LEN: usize = 32;

pub struct Btrfs {
    node_len: u64,
    /// Where blocks of trees begin, old ones too.
    nodes: BTreeSet<u64>,
}

impl Btrfs {
    pub fn new(base: &Arc<Base>) -> Option<Self> {
        let image = Image::new(Arc::clone(base), base.len);
        let superblock = image.bytes(SUPERBLOCKS[0], SUPERBLOCK_LEN);
        if superblock[64..72] != *b"_BHRfS_M" || le16(&superblock, CSUM_TYPE) != 0 {
            return None;
        }
        let has_own = le32(&superblock, INCOMPAT) & 0x400 != 0;
        let uuid_at = if has_own { METADATA_UUID } else { 32 };
        let uuid = &superblock[uuid_at..uuid_at + 16];
        let starts = base
            .page_numbers()
            .into_iter()
            .map(|page| page * PAGE_LEN as u64);
        let is_node = |start: &u64| {
            let head = image.bytes(*start, 72);
            &head[32..48] == uuid && head[64..72] != *b"_BHRfS_M"
        };
        Some(Self {
            node_len: le32(&superblock, NODE_SIZE),
            nodes: starts.filter(is_node).collect(),
        })
    }

    fn repair_at(&self, image: &mut Image, offset: u64) {
        for start in SUPERBLOCKS {
            if (start..start + SUPERBLOCK_LEN as u64).contains(&offset) {
                repair_sum(image, start, SUPERBLOCK_LEN);
            }
        }
        let node = self.nodes.range(..=offset).next_back();
        if let Some(start) = node.filter(|start| offset - **start < self.node_len) {
            repair_sum(image, *start, self.node_len as usize);
        }
    }
}

fn repair_sum(image: &mut Image, start: u64, len: usize) {
    let bytes = image.bytes(start, len);
    let sum = crc32c::crc32c(&bytes[CSUM_LEN..]);
    image.write(start, &sum.to_le_bytes());
}

impl Repair for Btrfs {
    fn repair(&self, image: &mut Image, edited: &[Place]) {
        for (offset, len) in edited {
            self.repair_at(image, *offset);
            let last = offset.saturating_add(*len as u64).saturating_sub(1);
            self.repair_at(image, last);
        }
    }
}
