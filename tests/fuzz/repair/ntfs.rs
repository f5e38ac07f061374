//! Update sequences of NTFS: the ends of each 512 bytes of a record of the MFT or of a
//! block of a directory are made what the sequence of the structure says.
//!
//! Source: NTFS documentation of the Linux-NTFS project, "Fixup".

use super::{Repair, le16};
use crate::image::{Base, Image, Place};
use std::sync::Arc;

const STRIDE: u64 = 512;
/// Lengths of records and blocks; a structure begins at most so far before a changed byte.
const LEN_MAX: u64 = 4096;

pub struct Ntfs {
    record_len: u64,
}

impl Ntfs {
    pub fn new(base: &Arc<Base>) -> Self {
        let image = Image::new(Arc::clone(base), base.len);
        let boot = image.bytes(0, 512);
        // A number of clusters, or the negative logarithm of bytes.
        let record_len = match boot[0x40] {
            exponent @ 0x80.. => 1 << 0_u8.wrapping_sub(exponent).min(12),
            clusters => u64::from(clusters) * u64::from(boot[13]) * le16(&boot, 11),
        };
        Self {
            record_len: record_len.clamp(STRIDE, LEN_MAX),
        }
    }

    fn reseal(&self, image: &mut Image, offset: u64) {
        let stride = offset / STRIDE;
        let first = stride.saturating_sub(LEN_MAX / STRIDE - 1);
        for start in (first..=stride).rev().map(|stride| stride * STRIDE) {
            let head = image.bytes(start, 512);
            let len = match head.get(..4) {
                Some(b"FILE") => self.record_len,
                Some(b"INDX" | b"RSTR") => LEN_MAX,
                _ => continue,
            };
            let place = le16(&head, 4) as usize;
            if offset >= start + len || place + 2 > head.len() {
                return;
            }
            let sequence = [head[place], head[place + 1]];
            for end in (start + STRIDE..=start + len).step_by(STRIDE as usize) {
                image.write(end - 2, &sequence);
            }
            return;
        }
    }
}

impl Repair for Ntfs {
    fn repair(&self, image: &mut Image, edited: &[Place]) {
        for (offset, len) in edited {
            self.reseal(image, *offset);
            self.reseal(image, offset.saturating_add(*len as u64).saturating_sub(1));
        }
    }
}
