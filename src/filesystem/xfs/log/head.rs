//! Where the log ends and from where on it has to be replayed. Blocks of the ring carry
//! the number of the turn in which they were written, so the head is where that number
//! drops; writes that were under way at the end are told by checksums.

use super::area::{BASIC_BLOCK_LEN, HEADER_MAGIC, LogArea, cycle_of, word};
use super::record::RecordHeader;
use crate::base::Fields;
use crate::filesystem::{Error, Result};

/// Blocks of one record at most (256 KiB), and of all that are written at once.
const RECORD_BLOCKS_MAX: u64 = 512;
const IN_FLIGHT_BLOCKS: u64 = 8 * RECORD_BLOCKS_MAX;

/// Records that may have been under way at once (`XLOG_MAX_ICLOGS`).
const IN_FLIGHT_RECORDS: usize = 8;

/// Flag of the operation that an unmount leaves (`XLOG_UNMOUNT_TRANS`).
const FLAG_UNMOUNT: u8 = 0x20;

/// The part of the log that has to be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The first record.
    pub(super) tail: u64,
    /// The block behind the last record.
    pub(super) head: u64,
}

/// Finds what has to be replayed; `None` if the file system was unmounted.
///
/// # Errors
///
/// Io; Corrupt if there is no way to tell.
pub(super) fn find_ends(area: &LogArea) -> Result<Option<Ends>> {
    let Some(mut head) = find_head(area)? else {
        // All zeros: nothing was ever logged.
        return Ok(None);
    };
    let last = last_header(area, head)?;
    if is_unmounted(area, &last, head)? {
        return Ok(None);
    }
    // Records that were being written at the end may be torn: the log ends before
    // the first of them.
    let mut last = last;
    if let Some(torn) = first_torn(area, head)? {
        head = torn;
        last = last_header(area, head)?;
        if is_unmounted(area, &last, head)? {
            return Ok(None);
        }
    }
    let tail = last.tail_lsn & 0xFFFF_FFFF;
    if tail >= area.block_count {
        let place = area.place(last.block);
        return Err(Error::corrupt("h_tail_lsn", place, "inside the log", tail));
    }
    Ok(Some(Ends { tail, head }))
}

/// Finds the block behind the last whole record by the cycles alone.
fn find_head(area: &LogArea) -> Result<Option<u64>> {
    let count = area.block_count;
    let first = area.cycle(0)?;
    let last = area.cycle(count.saturating_sub(1))?;
    if first == 0 {
        return Ok(None);
    }
    let head = if last == 0 {
        let guess = first_with_cycle(area, 0)?;
        let start = guess.saturating_sub(IN_FLIGHT_BLOCKS);
        earliest_with_cycle(area, start, guess, 0)?.unwrap_or(guess)
    } else {
        head_of_full_ring(area, first, last)?
    };
    let head = whole_records(area, head)?;
    Ok(Some(if head >= count { 0 } else { head }))
}

/// The ring was written around at least once: cycles `x + 1 ... | x ...`.
fn head_of_full_ring(area: &LogArea, first: u32, last: u32) -> Result<u64> {
    let count = area.block_count;
    let (guess, stop) = if first == last {
        (count, last.wrapping_sub(1))
    } else {
        (first_with_cycle(area, last)?, last)
    };
    if guess >= IN_FLIGHT_BLOCKS {
        let start = guess.saturating_sub(IN_FLIGHT_BLOCKS);
        return Ok(earliest_with_cycle(area, start, guess, stop)?.unwrap_or(guess));
    }
    // The blocks that may have been under way reach back around the end of the ring.
    let missing = IN_FLIGHT_BLOCKS.saturating_sub(guess).min(count);
    let start = count.saturating_sub(missing).max(guess);
    if let Some(hole) = earliest_with_cycle(area, start, count, stop.wrapping_sub(1))? {
        return Ok(hole);
    }
    Ok(earliest_with_cycle(area, 0, guess, stop)?.unwrap_or(guess))
}

/// Searches for the first block of the cycle, with the ring in order.
fn first_with_cycle(area: &LogArea, cycle: u32) -> Result<u64> {
    let (mut low, mut high) = (0_u64, area.block_count.saturating_sub(1));
    while low.saturating_add(1) < high {
        let middle = u64::midpoint(low, high);
        if area.cycle(middle)? == cycle {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// Returns the first block of `start..end` that was written in `cycle`.
fn earliest_with_cycle(area: &LogArea, start: u64, end: u64, cycle: u32) -> Result<Option<u64>> {
    let blocks = read_blocks(area, start, end.saturating_sub(start))?;
    let found = blocks
        .chunks_exact(BASIC_BLOCK_LEN)
        .position(|block| cycle_of(block) == cycle);
    Ok(found.map(|index| start.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))))
}

fn read_blocks(area: &LogArea, start: u64, count: u64) -> Result<Vec<u8>> {
    let len = usize::try_from(count).unwrap_or(usize::MAX);
    let mut blocks = vec![0; len.saturating_mul(BASIC_BLOCK_LEN)];
    if count > 0 {
        area.read(start, &mut blocks)?;
    }
    Ok(blocks)
}

/// Goes back to the beginning of a record if `head` lies inside of it.
fn whole_records(area: &LogArea, head: u64) -> Result<u64> {
    let header = last_header(area, head)?;
    let end = header.block.saturating_add(header.block_count());
    let around = end.checked_rem(area.block_count).unwrap_or(0);
    // Whole, or padded with blocks that belong to no record.
    let head_around = head.checked_rem(area.block_count).unwrap_or(0);
    Ok(if around == head_around {
        head
    } else {
        header.block
    })
}

/// Returns the last record whose header lies before `head`, around the end.
fn last_header(area: &LogArea, head: u64) -> Result<RecordHeader> {
    match headers_before(area, head, 1)?.first() {
        Some(block) => RecordHeader::read(area, *block),
        None => {
            let place = area.place(head);
            Err(Error::corrupt(
                "head of the log",
                place,
                "a record before it",
                head,
            ))
        }
    }
}

/// Returns the blocks of at most `wanted` headers before `head`, the latest first.
fn headers_before(area: &LogArea, head: u64, wanted: usize) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut left = area.block_count;
    let mut end = if head == 0 { area.block_count } else { head };
    while left > 0 && found.len() < wanted {
        let count = RECORD_BLOCKS_MAX.min(end).min(left);
        let start = end.saturating_sub(count);
        let blocks = read_blocks(area, start, count)?;
        for (index, block) in blocks.chunks_exact(BASIC_BLOCK_LEN).enumerate().rev() {
            if word(block, 0) == HEADER_MAGIC && found.len() < wanted {
                let index = u64::try_from(index).unwrap_or(u64::MAX);
                found.push(start.saturating_add(index));
            }
        }
        left = left.saturating_sub(count);
        end = if start == 0 { area.block_count } else { start };
    }
    Ok(found)
}

fn is_unmounted(area: &LogArea, last: &RecordHeader, head: u64) -> Result<bool> {
    let end = area.advance(last.block, last.block_count());
    let head = head.checked_rem(area.block_count).unwrap_or(0);
    if end != head || last.operation_count != 1 {
        return Ok(false);
    }
    let data = area.advance(last.block, last.header_blocks);
    let mut bytes = [0; BASIC_BLOCK_LEN];
    area.read(data, &mut bytes)?;
    Ok(Fields::new(&bytes, area.place(data)).u8(9)? & FLAG_UNMOUNT != 0)
}

/// Returns the first of the last records before `head` that is not whole.
fn first_torn(area: &LogArea, head: u64) -> Result<Option<u64>> {
    let headers = headers_before(area, head, IN_FLIGHT_RECORDS)?;
    for block in headers.into_iter().rev() {
        let outcome = RecordHeader::read(area, block).and_then(|header| header.data_if_right(area));
        match outcome {
            Ok(_) | Err(Error::Unsupported { .. }) => {}
            Err(Error::Io(error)) => return Err(Error::Io(error)),
            Err(_) => return Ok(Some(block)),
        }
    }
    Ok(None)
}
