//! Records of an image, found and changed without the reader, from the format's
//! documentation.

use std::ops::Range;

/// An image in memory.
pub struct Volume {
    pub bytes: Vec<u8>,
    pub cluster_len: usize,
    pub record_len: usize,
    pub mft: usize,
    pub mirror: usize,
}

pub fn number(bytes: &[u8], len: usize) -> u64 {
    bytes[..len]
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

impl Volume {
    pub fn new(bytes: Vec<u8>) -> Self {
        let sector_len = number(&bytes[11..], 2) as usize;
        let sectors = match bytes[13] {
            exponent @ 0xF0.. => 1 << (0_u8.wrapping_sub(exponent)),
            sectors => usize::from(sectors),
        };
        let cluster_len = sector_len * sectors;
        let record_len = match bytes[0x40] {
            exponent @ 0x80.. => 1 << (0_u8.wrapping_sub(exponent)),
            clusters => usize::from(clusters) * cluster_len,
        };
        Self {
            mft: number(&bytes[0x30..], 8) as usize * cluster_len,
            mirror: number(&bytes[0x38..], 8) as usize * cluster_len,
            bytes,
            cluster_len,
            record_len,
        }
    }

    /// Where a record lies, if the MFT is in one piece up to it.
    pub fn record(&self, record: u64) -> Range<usize> {
        let start = self.mft + record as usize * self.record_len;
        assert_eq!(&self.bytes[start..start + 4], b"FILE", "record {record}");
        start..start + self.record_len
    }

    /// Where an attribute lies. Numbers at the ends of 512 bytes are not put back.
    pub fn attribute(&self, record: u64, kind: u32, name: &str) -> Range<usize> {
        let record = self.record(record);
        let mut at = record.start + number(&self.bytes[record.start + 0x14..], 2) as usize;
        loop {
            let found = number(&self.bytes[at..], 4) as u32;
            assert_ne!(found, u32::MAX, "no attribute {kind:#x} {name}");
            let len = number(&self.bytes[at + 4..], 4) as usize;
            let name_start = at + number(&self.bytes[at + 10..], 2) as usize;
            let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let is_name = usize::from(self.bytes[at + 9]) * 2 == units.len()
                && self.bytes[name_start..name_start + units.len()] == units;
            if found == kind && is_name {
                return at..at + len;
            }
            at += len;
        }
    }

    /// Where the value of an attribute in its record lies.
    pub fn value(&self, record: u64, kind: u32, name: &str) -> Range<usize> {
        let attribute = self.attribute(record, kind, name);
        let len = number(&self.bytes[attribute.start + 0x10..], 4) as usize;
        let start = attribute.start + number(&self.bytes[attribute.start + 0x14..], 2) as usize;
        start..start + len
    }

    /// Where the first run of an attribute lies.
    pub fn first_run(&self, record: u64, kind: u32, name: &str) -> usize {
        let attribute = self.attribute(record, kind, name);
        let list = attribute.start + number(&self.bytes[attribute.start + 0x20..], 2) as usize;
        let (len_len, place_len) = (self.bytes[list] & 15, self.bytes[list] >> 4);
        let place = &self.bytes[list + 1 + usize::from(len_len)..];
        number(place, place_len.into()) as usize * self.cluster_len
    }
}

/// Makes the ends of 512 bytes of a structure what its update sequence says.
pub fn reseal(structure: &mut [u8]) {
    let start = number(&structure[4..], 2) as usize;
    if !matches!(&structure[..4], b"FILE" | b"INDX" | b"RSTR") || start + 2 > structure.len() {
        return;
    }
    let sequence = [structure[start], structure[start + 1]];
    for stride in structure.chunks_exact_mut(512) {
        stride[510..].copy_from_slice(&sequence);
    }
}
