//! A file system of a few blocks in memory, for unit tests of the searches.

use super::key::{Key, kind, object};
use super::node::{Owner, Pointer};
use super::space::Space;
use super::superblock::{PLACES, SUPERBLOCK_LEN, Superblock};
use super::volume::Volume;
use crate::filesystem::{BlockCache, BlockReader};
use std::sync::Arc;

pub(super) const NODE_LEN: usize = 4096;
const FSID: [u8; 16] = [7; 16];

/// Addresses and places are the same, from the first MiB on.
pub(super) struct Image(Vec<u8>);

impl Image {
    pub(super) fn new() -> Self {
        let mut bytes = vec![0; 2 << 20];
        let mut superblock = vec![0; SUPERBLOCK_LEN];
        let mut put = |at: usize, value: &[u8]| {
            superblock[at..at + value.len()].copy_from_slice(value);
        };
        put(32, &FSID);
        put(48, &PLACES[0].to_le_bytes());
        put(64, b"_BHRfS_M");
        put(72, &1_u64.to_le_bytes());
        put(144, &4096_u32.to_le_bytes());
        put(148, &(NODE_LEN as u32).to_le_bytes());
        put(201, &1_u64.to_le_bytes());
        // One system chunk over the second MiB.
        let chunk = 811 + 17;
        put(160, &(17 + 48 + 32_u32).to_le_bytes());
        put(811, &object::CHUNKS.to_le_bytes());
        put(811 + 8, &[kind::CHUNK_ITEM]);
        put(811 + 9, &(1_u64 << 20).to_le_bytes());
        put(chunk, &(1_u64 << 20).to_le_bytes());
        put(chunk + 16, &(64_u64 << 10).to_le_bytes());
        put(chunk + 44, &1_u16.to_le_bytes());
        put(chunk + 48, &1_u64.to_le_bytes());
        put(chunk + 56, &(1_u64 << 20).to_le_bytes());
        let crc = crc32c::crc32c(&superblock[32..]);
        superblock[..4].copy_from_slice(&crc.to_le_bytes());
        bytes[PLACES[0] as usize..][..SUPERBLOCK_LEN].copy_from_slice(&superblock);
        Self(bytes)
    }

    fn node(&mut self, bytenr: u64, level: u8, count: usize, fill: impl FnOnce(&mut [u8])) {
        let node = &mut self.0[bytenr as usize..][..NODE_LEN];
        node.fill(0);
        node[32..48].copy_from_slice(&FSID);
        node[48..56].copy_from_slice(&bytenr.to_le_bytes());
        node[80] = 1;
        node[88] = object::FS_TREE as u8;
        node[96..100].copy_from_slice(&(count as u32).to_le_bytes());
        node[100] = level;
        fill(&mut node[101..]);
        let crc = crc32c::crc32c(&node[32..]);
        node[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Writes a leaf with these items.
    pub(super) fn leaf(&mut self, bytenr: u64, items: &[(Key, &[u8])]) {
        self.node(bytenr, 0, items.len(), |body| {
            let mut end = body.len();
            for (index, (key, data)) in items.iter().enumerate() {
                end -= data.len();
                body[end..end + data.len()].copy_from_slice(data);
                let entry = &mut body[index * 25..][..25];
                put_key(entry, key);
                entry[17..21].copy_from_slice(&(end as u32).to_le_bytes());
                entry[21..25].copy_from_slice(&(data.len() as u32).to_le_bytes());
            }
        });
    }

    /// Writes a block with pointers to these.
    pub(super) fn branch(&mut self, bytenr: u64, level: u8, children: &[(Key, u64)]) {
        self.node(bytenr, level, children.len(), |body| {
            for (index, (key, child)) in children.iter().enumerate() {
                let entry = &mut body[index * 33..][..33];
                put_key(entry, key);
                entry[17..25].copy_from_slice(&child.to_le_bytes());
                entry[25] = 1;
            }
        });
    }

    /// Changes a byte of a block, so that its checksum is wrong.
    pub(super) fn damage(&mut self, bytenr: u64) {
        self.0[bytenr as usize + NODE_LEN - 1] ^= 1;
    }

    pub(super) fn volume(self) -> Volume {
        let superblock = Superblock::read(&self.0).unwrap();
        let blocks = BlockReader::new(Arc::new(self.0), BlockCache::new(1 << 20));
        Volume::new(Space::new(superblock, blocks).unwrap())
    }
}

fn put_key(entry: &mut [u8], key: &Key) {
    entry[..8].copy_from_slice(&key.object.to_le_bytes());
    entry[8] = key.kind;
    entry[9..17].copy_from_slice(&key.offset.to_le_bytes());
}

/// Returns the root of a subvolume at an address.
pub(super) fn root(bytenr: u64, level: u8) -> Pointer {
    Pointer {
        bytenr,
        generation: 1,
        level,
        owner: Owner::Subvolume,
        first_key: None,
    }
}
