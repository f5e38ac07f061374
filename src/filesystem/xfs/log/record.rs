//! One record of the log: its header, its checksum, and its data with the words put
//! back that the cycle numbers took.

use super::area::{BASIC_BLOCK_LEN, HEADER_MAGIC, LogArea, word};
use crate::base::Fields;
use crate::filesystem::{Error, Result};

/// Where the fields of `xlog_rec_header` are.
mod field {
    pub(super) const CYCLE: usize = 4;
    pub(super) const VERSION: usize = 8;
    pub(super) const LEN: usize = 12;
    pub(super) const LSN: usize = 16;
    pub(super) const TAIL_LSN: usize = 24;
    pub(super) const CRC: usize = 32;
    pub(super) const OPERATION_COUNT: usize = 40;
    pub(super) const CYCLE_DATA: usize = 44;
    pub(super) const FORMAT: usize = 300;
    pub(super) const UUID: usize = 304;
    pub(super) const SIZE: usize = 320;
    /// With and without the padding that 64-bit machines add.
    pub(super) const HEADER_LENS: [usize; 2] = [328, 324];
}

/// Words of cycle data in one header; each further header has as many.
const CYCLE_WORDS: usize = 64;

/// Bytes of data that one header has cycle words for.
const HEADER_CYCLE_LEN: u32 = 32 << 10;

/// Bytes of `xlog_rec_ext_header` that the checksum covers.
const EXTENDED_LEN: usize = 4 + 4 * CYCLE_WORDS;

/// The longest record (`XLOG_MAX_RECORD_BSIZE`).
const RECORD_LEN_MAX: u32 = 256 << 10;

/// Little-endian contents (`XLOG_FMT_LINUX_LE`); 0 in records that mkfs made.
const FORMAT_LITTLE_ENDIAN: u32 = 1;

/// The header of a record.
#[derive(Clone, Debug)]
pub(super) struct RecordHeader {
    /// The first block of the record.
    pub(super) block: u64,
    pub(super) cycle: u32,
    /// Bytes of data, in whole blocks.
    pub(super) len: u32,
    pub(super) lsn: u64,
    pub(super) tail_lsn: u64,
    pub(super) operation_count: u32,
    /// Blocks of headers before the data.
    pub(super) header_blocks: u64,
    crc: u32,
    format: u32,
}

impl RecordHeader {
    /// Reads the header in the block.
    ///
    /// # Errors
    ///
    /// Corrupt if there is none, or an impossible one.
    pub(super) fn read(area: &LogArea, block: u64) -> Result<Self> {
        let mut bytes = [0; BASIC_BLOCK_LEN];
        area.read(block, &mut bytes)?;
        let fields = Fields::new(&bytes, area.place(block));
        let magic = fields.be_u32(0)?;
        if magic != HEADER_MAGIC {
            let expected = "the header of a record";
            return Err(Error::corrupt(
                "h_magicno",
                fields.offset(),
                expected,
                magic,
            ));
        }
        let version = fields.be_u32(field::VERSION)?;
        let size = fields.be_u32(field::SIZE)?;
        let has_more = area.has_log_v2 && version & 2 != 0 && size > HEADER_CYCLE_LEN;
        let header = Self {
            block,
            cycle: fields.be_u32(field::CYCLE)?,
            len: fields.be_u32(field::LEN)?,
            lsn: fields.be_u64(field::LSN)?,
            tail_lsn: fields.be_u64(field::TAIL_LSN)?,
            operation_count: fields.be_u32(field::OPERATION_COUNT)?,
            header_blocks: match has_more {
                true => u64::from(size.div_ceil(HEADER_CYCLE_LEN)),
                false => 1,
            },
            crc: fields.le_u32(field::CRC)?,
            format: fields.be_u32(field::FORMAT)?,
        };
        if version == 0 || version & !3 != 0 {
            let place = fields.place(field::VERSION);
            return Err(Error::corrupt("h_version", place, "1 or 2", version));
        }
        if header.len > RECORD_LEN_MAX || size > RECORD_LEN_MAX || !header.len.is_multiple_of(512) {
            let place = fields.place(field::LEN);
            return Err(Error::corrupt(
                "h_len",
                place,
                "blocks of 256 KiB",
                header.len,
            ));
        }
        // Records that mkfs or xfs_repair made may have another one.
        let uuid: [u8; 16] = fields.array(field::UUID)?;
        if uuid != area.uuid && uuid != [0; 16] {
            let found = fields.be_u64(field::UUID)?;
            let place = fields.place(field::UUID);
            return Err(Error::corrupt(
                "h_fs_uuid",
                place,
                "that of the file system",
                found,
            ));
        }
        Ok(header)
    }

    /// Returns the number of blocks of headers and data.
    pub(super) fn block_count(&self) -> u64 {
        self.header_blocks.saturating_add(u64::from(self.len >> 9))
    }

    /// Reads the data, checks it and puts the words back.
    ///
    /// # Errors
    ///
    /// Corrupt if the checksum or a cycle is wrong; Unsupported if it was written by a
    /// machine of the other byte order.
    pub(super) fn data(&self, area: &LogArea) -> Result<Vec<u8>> {
        // mkfs leaves its records without a checksum, but nothing to replay in them.
        if self.crc == 0 && area.has_checksums {
            let place = area.place(self.block);
            return Err(Error::corrupt("h_crc", place, "a checksum", 0_u64));
        }
        self.data_if_right(area)
    }

    /// As [`RecordHeader::data`], for records that may have been made by mkfs.
    ///
    /// # Errors
    ///
    /// As [`RecordHeader::data`].
    pub(super) fn data_if_right(&self, area: &LogArea) -> Result<Vec<u8>> {
        let blocks = usize::try_from(self.block_count()).unwrap_or(usize::MAX);
        let mut all = vec![0; blocks.saturating_mul(BASIC_BLOCK_LEN)];
        area.read(self.block, &mut all)?;
        let headers_len = usize::try_from(self.header_blocks)
            .unwrap_or(usize::MAX)
            .saturating_mul(BASIC_BLOCK_LEN);
        let mut data = all.split_off(headers_len.min(all.len()));
        let headers = all;
        self.check(area, &headers, &data)?;
        if self.format != FORMAT_LITTLE_ENDIAN && self.format != 0 {
            return Err(Error::unsupported(
                "a log of a machine of the other byte order",
            ));
        }
        for (index, block) in data.chunks_exact_mut(BASIC_BLOCK_LEN).enumerate() {
            // The ring may turn inside a record; then the cycle is one more.
            let cycle = word(block, 0);
            if cycle != self.cycle && cycle != self.cycle.wrapping_add(1) {
                let place = area.place(self.block);
                let expected = "the cycle of the record";
                return Err(Error::corrupt(
                    "cycle of a log block",
                    place,
                    expected,
                    cycle,
                ));
            }
            let header = index / CYCLE_WORDS;
            let start = if header == 0 { field::CYCLE_DATA } else { 4 };
            let position = header
                .saturating_mul(BASIC_BLOCK_LEN)
                .saturating_add(start)
                .saturating_add((index % CYCLE_WORDS).saturating_mul(4));
            let saved = word(&headers, position).to_be_bytes();
            block
                .iter_mut()
                .zip(saved)
                .for_each(|(byte, saved)| *byte = saved);
        }
        Ok(data)
    }

    fn check(&self, area: &LogArea, headers: &[u8], data: &[u8]) -> Result<()> {
        let is_right = |len: &usize| self.checksum(headers, data, *len) == self.crc;
        if self.crc == 0 || field::HEADER_LENS.iter().any(is_right) || !area.has_checksums {
            return Ok(());
        }
        let place = area.place(self.block);
        Err(Error::corrupt(
            "h_crc",
            place,
            "the CRC32c of the record",
            self.crc,
        ))
    }

    fn checksum(&self, headers: &[u8], data: &[u8], header_len: usize) -> u32 {
        let part = |start: usize, len: usize| {
            headers
                .get(start..start.saturating_add(len))
                .unwrap_or_default()
        };
        let behind = usize::saturating_add(field::CRC, 4);
        let crc = crc32c::crc32c(part(0, field::CRC));
        let crc = crc32c::crc32c_append(crc, &[0; 4]);
        let crc = crc32c::crc32c_append(crc, part(behind, header_len.saturating_sub(behind)));
        let further = headers.chunks_exact(BASIC_BLOCK_LEN).skip(1);
        let crc = further.fold(crc, |crc, header| {
            crc32c::crc32c_append(crc, header.get(..EXTENDED_LEN).unwrap_or_default())
        });
        crc32c::crc32c_append(crc, data)
    }
}
