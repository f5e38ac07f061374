//! Checksums of ext4: superblock, group descriptors, bitmaps, inodes, directory
//! blocks, extent nodes, attribute blocks, and through `journal` the log.
//!
//! Source: Linux documentation, filesystems/ext4 "Checksums".

use super::journal::Journal;
use super::{Repair, le16, le32};
use crate::image::{Base, Image, Place};
use std::collections::BTreeMap;
use std::sync::Arc;

const SUPERBLOCK: u64 = 1024;
const ROOT_MAP: usize = 0x28;
const FLAG_EXTENTS: u64 = 0x8_0000;
const FLAG_INLINE: u64 = 0x1000_0000;
const INCOMPAT_64BIT: u64 = 0x80;
const INCOMPAT_CSUM_SEED: u64 = 0x2000;
const RO_METADATA_CSUM: u64 = 0x400;
const TREE_BLOCK_COUNT_MAX: usize = 4096;

/// CRC-32C that goes on from `seed`, without the final inversion.
pub fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// What a block of an inode is.
#[derive(Clone, Copy)]
enum Block {
    Entries(u64),
    Node(u64),
    Attributes,
    Bitmap(u64),
}

/// The layout of one image as it was made.
pub struct Ext {
    block_len: usize,
    seed: u32,
    descriptor_len: usize,
    inode_len: usize,
    inodes_per_group: u64,
    blocks_per_group: u64,
    first_descriptor: u64,
    /// First byte of the inode table of each group.
    tables: Vec<u64>,
    /// By number of the block.
    blocks: BTreeMap<u64, Block>,
    journal: Option<Journal>,
    has_checksums: bool,
}

impl Ext {
    pub fn new(base: &Arc<Base>) -> Option<Self> {
        let image = Image::new(Arc::clone(base), base.len);
        let superblock = image.bytes(SUPERBLOCK, 1024);
        if le16(&superblock, 0x38) != 0xEF53 {
            return None;
        }
        let block_len = 1024_usize << le32(&superblock, 0x18);
        let incompat = le32(&superblock, 0x60);
        let descriptor_len = match incompat & INCOMPAT_64BIT {
            0 => 32,
            _ => le16(&superblock, 0xFE) as usize,
        };
        let seed = match incompat & INCOMPAT_CSUM_SEED {
            0 => crc(!0, &superblock[0x68..0x78]),
            _ => le32(&superblock, 0x270) as u32,
        };
        let mut ext = Self {
            block_len,
            seed,
            descriptor_len,
            inode_len: le16(&superblock, 0x58).max(128) as usize,
            inodes_per_group: le32(&superblock, 0x28),
            blocks_per_group: le32(&superblock, 0x20),
            first_descriptor: if block_len == 1024 {
                2048
            } else {
                block_len as u64
            },
            tables: vec![],
            blocks: BTreeMap::new(),
            journal: None,
            has_checksums: le32(&superblock, 0x64) & RO_METADATA_CSUM != 0,
        };
        let first = le32(&superblock, 0x14);
        let count = le32(&superblock, 4).saturating_sub(first);
        ext.find_groups(&image, count.div_ceil(ext.blocks_per_group.max(1)));
        ext.find_blocks(&image, le32(&superblock, 0));
        let journal_inode = le32(&superblock, 0xE0);
        if journal_inode != 0 {
            let blocks = ext.content(&image, journal_inode);
            ext.journal = Journal::new(&image, blocks, block_len);
        }
        Some(ext)
    }

    fn find_groups(&mut self, image: &Image, count: u64) {
        for group in 0..count.min(4096) {
            let descriptor = image.bytes(self.descriptor_place(group), self.descriptor_len);
            let table = le32(&descriptor, 8) * self.block_len as u64;
            self.tables.push(table);
            self.blocks
                .insert(le32(&descriptor, 0), Block::Bitmap(group));
        }
    }

    fn descriptor_place(&self, group: u64) -> u64 {
        self.first_descriptor + group * self.descriptor_len as u64
    }

    fn inode_place(&self, number: u64) -> Option<u64> {
        let index = number.checked_sub(1)?;
        let table = self
            .tables
            .get((index / self.inodes_per_group.max(1)) as usize)?;
        Some(table + index % self.inodes_per_group.max(1) * self.inode_len as u64)
    }

    fn find_blocks(&mut self, image: &Image, inode_count: u64) {
        for number in 1..=inode_count.min(1 << 16) {
            let Some(place) = self.inode_place(number) else {
                return;
            };
            let inode = image.bytes(place, self.inode_len);
            let mode = le16(&inode, 0);
            if mode == 0 {
                continue;
            }
            let attributes = le32(&inode, 0x68);
            if attributes != 0 {
                self.blocks.insert(attributes, Block::Attributes);
            }
            let (nodes, content) = self.tree(image, &inode);
            for block in nodes {
                self.blocks.insert(block, Block::Node(number));
            }
            if mode & 0xF000 == 0x4000 {
                for block in content {
                    self.blocks.insert(block, Block::Entries(number));
                }
            }
        }
    }

    fn content(&self, image: &Image, number: u64) -> Vec<u64> {
        let place = self.inode_place(number).unwrap_or(0);
        self.tree(image, &image.bytes(place, self.inode_len)).1
    }

    /// Returns the nodes of the tree of an inode, and the blocks of its content.
    fn tree(&self, image: &Image, inode: &[u8]) -> (Vec<u64>, Vec<u64>) {
        let flags = le32(inode, 0x20);
        let root = inode[ROOT_MAP..ROOT_MAP + 60].to_vec();
        let (mut nodes, mut content) = (vec![], vec![]);
        if flags & FLAG_INLINE != 0 {
            return (nodes, content);
        }
        if flags & FLAG_EXTENTS == 0 {
            // Direct and single indirect blocks suffice for small images.
            content.extend((0..12).map(|slot| le32(&root, slot * 4)));
            let indirect = le32(&root, 48);
            if indirect != 0 {
                let pointers = image.bytes(indirect * self.block_len as u64, self.block_len);
                content.extend((0..self.block_len / 4).map(|slot| le32(&pointers, slot * 4)));
            }
            content.retain(|block| *block != 0);
            return (nodes, content);
        }
        let mut pending = vec![root];
        while let Some(node) = pending.pop() {
            let (count, depth) = (le16(&node, 2) as usize, le16(&node, 6));
            for entry in node.chunks_exact(12).skip(1).take(count) {
                if nodes.len() + content.len() > TREE_BLOCK_COUNT_MAX {
                    return (nodes, content);
                }
                if depth == 0 {
                    let start = le32(entry, 8);
                    content.extend(start..start + (le16(entry, 4) & 0x7FFF));
                } else {
                    let child = le32(entry, 4);
                    nodes.push(child);
                    pending.push(image.bytes(child * self.block_len as u64, self.block_len));
                }
            }
        }
        (nodes, content)
    }

    fn inode_seed(&self, image: &Image, number: u64) -> u32 {
        let place = self.inode_place(number).unwrap_or(0);
        let generation = image.bytes(place + 0x64, 4);
        crc(crc(self.seed, &(number as u32).to_le_bytes()), &generation)
    }

    /// Repairs what lies at `home` in the layout; its bytes are `shift` further on (a
    /// copy in the journal).
    fn repair_at(&self, image: &mut Image, home: u64, shift: u64) {
        if (SUPERBLOCK..SUPERBLOCK + 1024).contains(&home) {
            let place = SUPERBLOCK.wrapping_add(shift);
            let sum = crc(!0, &image.bytes(place, 0x3FC));
            image.write(place + 0x3FC, &sum.to_le_bytes());
            return;
        }
        let block = home / self.block_len as u64;
        match self.blocks.get(&block) {
            Some(Block::Bitmap(group)) => self.bitmap(image, block, *group, shift),
            Some(Block::Entries(owner)) => self.entries(image, block, *owner, shift),
            Some(Block::Node(owner)) => self.node(image, block, *owner, shift),
            Some(Block::Attributes) => {
                let place = (block * self.block_len as u64).wrapping_add(shift);
                let mut bytes = image.bytes(place, self.block_len);
                bytes[0x10..0x14].fill(0);
                let sum = crc(crc(self.seed, &block.to_le_bytes()), &bytes);
                image.write(place + 0x10, &sum.to_le_bytes());
            }
            None => self.numbered(image, home, shift),
        }
    }

    /// Repairs an inode or a group descriptor.
    fn numbered(&self, image: &mut Image, home: u64, shift: u64) {
        let table_len = self.inodes_per_group * self.inode_len as u64;
        for (group, table) in (0_u64..).zip(&self.tables) {
            if (*table..table + table_len).contains(&home) {
                let index = (home - table) / self.inode_len as u64;
                let number = group * self.inodes_per_group + index + 1;
                let place = (table + index * self.inode_len as u64).wrapping_add(shift);
                self.inode(image, number, place);
                return;
            }
        }
        if home >= self.first_descriptor {
            let group = (home - self.first_descriptor) / self.descriptor_len as u64;
            if group < self.tables.len() as u64 {
                self.descriptor(image, group, shift);
            }
        }
    }

    fn inode(&self, image: &mut Image, number: u64, place: u64) {
        let mut inode = image.bytes(place, self.inode_len);
        let has_high = self.inode_len > 128 && le16(&inode, 0x80) >= 4;
        inode[0x7C..0x7E].fill(0);
        if has_high {
            inode[0x82..0x84].fill(0);
        }
        let seed = crc(self.seed, &(number as u32).to_le_bytes());
        let sum = crc(crc(seed, &inode[0x64..0x68]), &inode).to_le_bytes();
        image.write(place + 0x7C, &sum[..2]);
        if has_high {
            image.write(place + 0x82, &sum[2..]);
        }
    }

    fn descriptor(&self, image: &mut Image, group: u64, shift: u64) {
        let place = self.descriptor_place(group).wrapping_add(shift);
        let mut descriptor = image.bytes(place, self.descriptor_len);
        descriptor[0x1E..0x20].fill(0);
        let sum = crc(crc(self.seed, &(group as u32).to_le_bytes()), &descriptor);
        image.write(place + 0x1E, &sum.to_le_bytes()[..2]);
    }

    fn bitmap(&self, image: &mut Image, block: u64, group: u64, shift: u64) {
        let place = (block * self.block_len as u64).wrapping_add(shift);
        let superblock = image.bytes(SUPERBLOCK, 0x28);
        let len = (le32(&superblock, 0x24) / 8) as usize;
        let sum = crc(self.seed, &image.bytes(place, len.min(self.block_len)));
        let descriptor = self.descriptor_place(group);
        image.write(descriptor + 0x18, &sum.to_le_bytes()[..2]);
        if self.descriptor_len >= 64 {
            image.write(descriptor + 0x38, &sum.to_le_bytes()[2..]);
        }
        self.descriptor(image, group, 0);
    }

    fn node(&self, image: &mut Image, block: u64, owner: u64, shift: u64) {
        let place = (block * self.block_len as u64).wrapping_add(shift);
        let node = image.bytes(place, self.block_len);
        let tail = 12 + 12 * le16(&node, 4) as usize;
        if tail + 4 <= node.len() {
            let sum = crc(self.inode_seed(image, owner), &node[..tail]);
            image.write(place + tail as u64, &sum.to_le_bytes());
        }
    }

    fn entries(&self, image: &mut Image, block: u64, owner: u64, shift: u64) {
        let place = (block * self.block_len as u64).wrapping_add(shift);
        let bytes = image.bytes(place, self.block_len);
        let seed = self.inode_seed(image, owner);
        let len = self.block_len as u64;
        let is_node = le32(&bytes, 0) == 0 && le16(&bytes, 4) == len;
        let is_root = le16(&bytes, 4) == 12 && le16(&bytes, 16) == len - 12;
        if !is_node && !is_root {
            let tail = self.block_len - 12;
            let sum = crc(seed, &bytes[..tail]);
            image.write(place + tail as u64 + 8, &sum.to_le_bytes());
            return;
        }
        let head = if is_root { 0x20 } else { 8 };
        let (limit, count) = (le16(&bytes, head) as usize, le16(&bytes, head + 2) as usize);
        let (end, tail) = (head + 8 * count, head + 8 * limit);
        if end <= bytes.len() && tail + 8 <= bytes.len() {
            let sum = crc(crc(seed, &bytes[..end]), &bytes[tail..tail + 4]);
            let sum = crc(sum, &[0; 4]);
            image.write(place + tail as u64 + 4, &sum.to_le_bytes());
        }
    }
}

impl Repair for Ext {
    fn repair(&self, image: &mut Image, edited: &[Place]) {
        let mut is_logged = false;
        for (offset, len) in edited {
            for place in [
                *offset,
                offset.saturating_add(*len as u64).saturating_sub(1),
            ] {
                let block = place / self.block_len as u64;
                let home = self.journal.as_ref().and_then(|journal| {
                    let home = journal.home_of(block)?;
                    is_logged = true;
                    home
                });
                if !self.has_checksums {
                    continue;
                }
                match home {
                    Some(home) => {
                        let shift = block.wrapping_sub(home).wrapping_mul(self.block_len as u64);
                        self.repair_at(image, place.wrapping_sub(shift), shift);
                    }
                    None => self.repair_at(image, place, 0),
                }
            }
        }
        if let (true, Some(journal)) = (is_logged, &self.journal) {
            journal.repair(image);
        }
    }
}
