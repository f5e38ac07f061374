//! Checksums of GPT headers and tables, and of LVM labels, metadata headers and texts.

use super::{Repair, le32, number};
use crate::image::{Base, Image, Place};
use std::sync::Arc;

const SECTOR: u64 = 512;
const TABLE_LEN_MAX: u64 = 1 << 20;
const TEXT_LEN_MAX: u64 = 1 << 20;
const AREA_LEN_MAX: u64 = 1 << 30;
const LVM_MAGIC: &[u8] = b"\x20LVM2\x20x[5A%r0N*>";
const LVM_START: u32 = 0xF597_A6CF;

fn lvm_crc(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!LVM_START);
    hasher.update(bytes);
    !hasher.finalize()
}

/// Where the structures of an image lie.
pub struct Tables {
    headers: Vec<u64>,
    labels: Vec<u64>,
    areas: Vec<u64>,
}

impl Tables {
    pub fn new(base: &Arc<Base>) -> Self {
        let image = Image::new(Arc::clone(base), base.len);
        let mut tables = Self {
            headers: vec![],
            labels: vec![],
            areas: vec![],
        };
        for page in base.page_numbers() {
            for sector in 0..8 {
                let place = page * 4096 + sector * SECTOR;
                let bytes = image.bytes(place, SECTOR as usize);
                if bytes.starts_with(b"EFI PART") {
                    tables.headers.push(place);
                } else if bytes.starts_with(b"LABELONE") {
                    tables.labels.push(place);
                } else if bytes[4..20] == *LVM_MAGIC {
                    tables.areas.push(place);
                }
            }
        }
        tables
    }

    fn header(&self, image: &mut Image, place: u64) {
        let header = image.bytes(place, 4096);
        // The header says in which sector it lies.
        let unit = place
            .checked_div(number(&header, 24, 8, true))
            .filter(|unit| matches!(unit, 512 | 4096))
            .unwrap_or(SECTOR);
        let table = number(&header, 72, 8, true).saturating_mul(unit);
        let table_len = le32(&header, 80) * le32(&header, 84);
        if table_len <= TABLE_LEN_MAX {
            let sum = crc32fast::hash(&image.bytes(table, table_len as usize));
            image.write(place + 88, &sum.to_le_bytes());
        }
        let len = le32(&header, 12) as usize;
        if (92..=4096).contains(&len) {
            let mut header = image.bytes(place, len);
            header[16..20].fill(0);
            image.write(place + 16, &crc32fast::hash(&header).to_le_bytes());
        }
    }

    fn area(&self, image: &mut Image, place: u64) {
        let header = image.bytes(place, SECTOR as usize);
        let (offset, len) = (number(&header, 40, 8, true), number(&header, 48, 8, true));
        let size = number(&header, 32, 8, true);
        if len <= TEXT_LEN_MAX && offset >= SECTOR && offset < size.min(AREA_LEN_MAX) {
            let before_end = len.min(size - offset);
            let mut text = image.bytes(place + offset, before_end as usize);
            text.extend(image.bytes(place + SECTOR, (len - before_end) as usize));
            image.write(place + 56, &lvm_crc(&text).to_le_bytes());
        }
        let header = image.bytes(place, SECTOR as usize);
        image.write(place, &lvm_crc(&header[4..]).to_le_bytes());
    }
}

impl Repair for Tables {
    fn repair(&self, image: &mut Image, _: &[Place]) {
        for place in &self.headers {
            self.header(image, *place);
        }
        for place in &self.areas {
            self.area(image, *place);
        }
        for place in &self.labels {
            let label = image.bytes(*place, SECTOR as usize);
            image.write(place + 16, &lvm_crc(&label[20..]).to_le_bytes());
        }
    }
}
