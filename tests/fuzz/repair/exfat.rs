//! Checksums of exFAT: the boot region and its copy, and sets of entries.
//!
//! Source: exFAT file system specification, sections 3.4 and 6.3.

use super::Repair;
use crate::image::{Base, Image, Place};
use std::sync::Arc;

const ENTRY_LEN: u64 = 32;
const FILE: u8 = 0x85;
/// Entries before a changed one that its set may begin with.
const BACK_MAX: u64 = 20;

pub struct Exfat {
    sector_len: u64,
}

impl Exfat {
    pub fn new(base: &Arc<Base>) -> Self {
        let image = Image::new(Arc::clone(base), base.len);
        let log = image.bytes(108, 1)[0];
        Self {
            sector_len: 1 << log.clamp(9, 12),
        }
    }

    fn boot_region(&self, image: &mut Image, start: u64) {
        let covered = image.bytes(start, (self.sector_len * 11) as usize);
        let mut sum: u32 = 0;
        for (place, byte) in covered.iter().enumerate() {
            if ![106, 107, 112].contains(&place) {
                sum = sum.rotate_right(1).wrapping_add(u32::from(*byte));
            }
        }
        let words = sum.to_le_bytes().repeat(self.sector_len as usize / 4);
        image.write(start + self.sector_len * 11, &words);
    }

    fn set(image: &mut Image, offset: u64) {
        let entry = offset / ENTRY_LEN;
        for start in (entry.saturating_sub(BACK_MAX)..=entry).rev() {
            let place = start * ENTRY_LEN;
            let head = image.bytes(place, 2);
            if head[0] != FILE {
                continue;
            }
            // Sets that go on in another cluster are left as they are.
            let len = (u64::from(head[1]) + 1) * ENTRY_LEN;
            let mut sum: u16 = 0;
            for (index, byte) in image.bytes(place, len as usize).iter().enumerate() {
                if index != 2 && index != 3 {
                    sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
                }
            }
            image.write(place + 2, &sum.to_le_bytes());
            return;
        }
    }
}

impl Repair for Exfat {
    fn repair(&self, image: &mut Image, edited: &[Place]) {
        let region = self.sector_len * 12;
        for (offset, _) in edited {
            match offset / region {
                0 => self.boot_region(image, 0),
                1 => self.boot_region(image, region),
                _ => Self::set(image, *offset),
            }
        }
    }
}
