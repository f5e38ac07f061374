//! Parts of volumes made by hand: slots of FAT, sets of exFAT.

use crate::image::Pages;
use crate::support::reader::open;
use crate::support::{Scratch, shell_ok};
use std::sync::Arc;
use tintype::filesystem::FileSystem;

/// Makes an empty volume with a tool.
pub fn empty(make: &str) -> Vec<u8> {
    let scratch = Scratch::new();
    let image = scratch.join("image");
    shell_ok(
        &format!("{make} >/dev/null"),
        &[("IMAGE", image.as_os_str())],
    );
    std::fs::read(&image).expect("an image")
}

/// Returns a slot with a short name.
pub fn short(name: &[u8; 11], attributes: u8, first: u32, size: u32) -> [u8; 32] {
    let mut slot = [0; 32];
    slot[..11].copy_from_slice(name);
    slot[11] = attributes;
    slot[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    slot[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    slot[28..].copy_from_slice(&size.to_le_bytes());
    slot
}

/// Returns the slots of a long name for this short one.
pub fn long(name: &[u16], short: &[u8; 11]) -> Vec<[u8; 32]> {
    let sum = short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units = name.to_vec();
    if !units.len().is_multiple_of(13) {
        units.push(0);
    }
    units.resize(units.len().next_multiple_of(13), 0xFFFF);
    let count = units.len() / 13;
    let mut slots = vec![];
    for (number, piece) in units.chunks(13).enumerate().rev() {
        let mut slot = [0; 32];
        let is_last = number + 1 == count;
        slot[0] = (number as u8 + 1) | if is_last { 0x40 } else { 0 };
        slot[11] = 0x0F;
        slot[13] = sum;
        let places = (1..11)
            .step_by(2)
            .chain((14..26).step_by(2))
            .chain([28, 30]);
        for (place, unit) in places.zip(piece) {
            slot[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        slots.push(slot);
    }
    slots
}

/// Returns the number of `len` bytes at a place.
pub fn number(bytes: &[u8], place: usize, len: usize) -> u64 {
    let mut number = [0; 8];
    number[..len].copy_from_slice(&bytes[place..place + len]);
    u64::from_le_bytes(number)
}

/// Returns where the root region of a FAT12 or FAT16 begins.
pub fn root_of(image: &[u8]) -> u64 {
    let sector = number(image, 11, 2);
    (number(image, 14, 2) + number(image, 16, 1) * number(image, 22, 2)) * sector
}

/// Writes an exFAT's parts by hand.
pub struct Exfat {
    pub image: Pages,
    pub heap: u64,
    pub fat: u64,
    pub cluster_len: u64,
    pub root: u64,
    next_slot: u64,
}

impl Exfat {
    /// Takes an empty volume of `mkfs.exfat`, in an image that may be longer.
    pub fn new(base: &Arc<Vec<u8>>) -> Self {
        let image = Pages::over(base);
        let log = base[108] + base[109];
        let sector = 1_u64 << base[108];
        let heap = number(base, 88, 4) * sector;
        let cluster_len = 1 << log;
        let root = heap + (number(base, 96, 4) - 2) * cluster_len;
        let mut next_slot = 0;
        while image.bytes(root + next_slot * 32, 1)[0] != 0 {
            next_slot += 1;
        }
        Self {
            image,
            heap,
            fat: number(base, 80, 4) * sector,
            cluster_len,
            root,
            next_slot,
        }
    }

    pub fn place_of(&self, cluster: u32) -> u64 {
        self.heap + (u64::from(cluster) - 2) * self.cluster_len
    }

    pub fn link(&mut self, cluster: u32, next: u32) {
        self.image
            .write(self.fat + u64::from(cluster) * 4, &next.to_le_bytes());
    }

    /// Adds a set to the root; returns where it lies.
    pub fn add(&mut self, set: &[u8]) -> u64 {
        let place = self.root + self.next_slot * 32;
        self.image.write(place, set);
        self.next_slot += set.len() as u64 / 32;
        assert!(
            self.next_slot * 32 <= self.cluster_len,
            "one cluster of root"
        );
        place
    }

    pub fn open(&self) -> Arc<dyn FileSystem> {
        open(Arc::new(self.image.clone())).expect("opened")
    }
}

/// What a stream says.
pub struct Stream {
    pub is_contiguous: bool,
    pub first: u32,
    pub len: u64,
    pub valid_len: u64,
}

/// Returns a set with its checksum.
pub fn exfat_set(name: &str, attributes: u16, stream: &Stream) -> Vec<u8> {
    let units: Vec<u16> = name.encode_utf16().collect();
    let names = units.len().div_ceil(15);
    let mut set = vec![0; (2 + names) * 32];
    set[0] = 0x85;
    set[1] = names as u8 + 1;
    set[4..6].copy_from_slice(&attributes.to_le_bytes());
    set[32] = 0xC0;
    set[33] = 1 | u8::from(stream.is_contiguous) << 1;
    set[35] = units.len() as u8;
    set[40..48].copy_from_slice(&stream.valid_len.to_le_bytes());
    set[52..56].copy_from_slice(&stream.first.to_le_bytes());
    set[56..64].copy_from_slice(&stream.len.to_le_bytes());
    for (piece, place) in units.chunks(15).zip((64..).step_by(32)) {
        set[place] = 0xC1;
        for (unit, at) in piece.iter().zip((place + 2..).step_by(2)) {
            set[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
    }
    seal(&mut set);
    set
}

/// Makes the checksum of a set right.
pub fn seal(set: &mut [u8]) {
    let mut sum: u16 = 0;
    for (place, byte) in set.iter().enumerate() {
        if place != 2 && place != 3 {
            sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
        }
    }
    set[2..4].copy_from_slice(&sum.to_le_bytes());
}

/// An empty exFAT of 64 MiB with clusters of 4 KiB.
pub fn empty_exfat() -> Arc<Vec<u8>> {
    Arc::new(empty("truncate -s 64M $IMAGE; mkfs.exfat -c 4K $IMAGE"))
}

/// Makes the checksum of the boot region right, for sectors of 512 bytes.
pub fn reseal_boot(image: &mut Pages) {
    let region = image.bytes(0, 11 * 512);
    let mut sum: u32 = 0;
    for (place, byte) in region.iter().enumerate() {
        if ![106, 107, 112].contains(&place) {
            sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
        }
    }
    image.write(11 * 512, &sum.to_le_bytes().repeat(128));
}
