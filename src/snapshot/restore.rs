//! A snapshot becomes an image again.

use crate::base::{AlignedBuffer, BLOCK_LEN_BYTES, Progress, ReadAt, block_count_for};
use crate::image::Image;
use crate::source::RestoreTarget;
use crate::store::{Error, Result};
use parking_lot::Mutex;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that one thread brings back at a time: threads wait for each other while one
/// writes to the file.
const PART_LEN: u64 = 1 << 20;

/// Bytes of the image for whose data space is reserved at a time: the target waits for
/// all writes under way when it reserves.
const RESERVE_LEN: u64 = 64 << 20;

/// Threads at most; each holds one part in memory.
const THREADS_MAX: usize = 8;

/// Writes an image to a target, holes as holes, from several threads.
pub fn restore(image: &Image, target: &dyn RestoreTarget, progress: &Arc<Progress>) -> Result<()> {
    progress.set_total(image.len());
    // While some wait for the medium, others decompress.
    let threads = 2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cursor = Mutex::new(Cursor::default());
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(THREADS_MAX) {
            scope.spawn(|| {
                let mut buffer = AlignedBuffer::default();
                while failed.lock().is_none() {
                    let part = match take_part(image, target, &mut cursor.lock(), progress) {
                        Ok(Some(part)) => part,
                        Ok(None) => break,
                        Err(error) => {
                            failed.lock().get_or_insert(error);
                            break;
                        }
                    };
                    if let Err(error) = restore_part(image, target, part, &mut buffer, progress) {
                        failed.lock().get_or_insert(error);
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    target.sync(image.len()).map_err(Error::Target)?;
    // The medium may have taken long. A device is whole now, whatever was wished.
    if progress.is_cancelled() && !target.is_in_place() {
        return Err(Error::Interrupted);
    }
    target.publish().map_err(Error::Target)
}

/// A part of the image: a hole before it, and data or nothing.
struct Part {
    hole: Range<u64>,
    data: Range<u64>,
}

/// How far the image was given out.
#[derive(Default)]
struct Cursor {
    next: u64,
    reserved: u64,
}

/// Returns the next part; whoever takes it has it to himself.
fn take_part(
    image: &Image,
    target: &dyn RestoreTarget,
    cursor: &mut Cursor,
    progress: &Progress,
) -> Result<Option<Part>> {
    if progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let start = cursor.next;
    if start >= image.len() {
        return Ok(None);
    }
    let data = image.next_data(start)?.unwrap_or(image.len());
    let border = data
        .saturating_sub(data % PART_LEN)
        .saturating_add(PART_LEN);
    cursor.next = border.min(image.len());
    if data >= cursor.reserved && data < image.len() {
        cursor.reserved = image.len().min(border.saturating_add(RESERVE_LEN));
        for run in data_runs(image, data..cursor.reserved)? {
            if run.end - run.start >= PART_LEN {
                target.reserve(run);
            }
        }
    }
    Ok(Some(Part {
        hole: start..data,
        data: data..cursor.next,
    }))
}

/// Returns where a range of the image has data. It begins at a block.
fn data_runs(image: &Image, range: Range<u64>) -> Result<Vec<Range<u64>>> {
    let blocks = range.start / BLOCK_LEN_BYTES..block_count_for(range.end);
    let extents = image.extents(blocks)?;
    Ok(join_runs(extents.iter().map(|extent| {
        let start = (extent.image_block * BLOCK_LEN_BYTES).max(range.start);
        start..(extent.end() * BLOCK_LEN_BYTES).min(range.end)
    })))
}

fn restore_part(
    image: &Image,
    target: &dyn RestoreTarget,
    part: Part,
    buffer: &mut AlignedBuffer,
    progress: &Progress,
) -> Result<()> {
    if !part.hole.is_empty() {
        target.zero(part.hole.clone()).map_err(Error::Target)?;
        progress.add_hole(part.hole.end - part.hole.start);
    }
    if part.data.is_empty() {
        return Ok(());
    }
    let start = part.data.start;
    let buffer = buffer.first((part.data.end - start) as usize);
    image.read(start, buffer)?;
    let mut written = start;
    for run in data_runs(image, part.data.clone())? {
        if written < run.start {
            target.zero(written..run.start).map_err(Error::Target)?;
        }
        let bytes = &buffer[(run.start - start) as usize..(run.end - start) as usize];
        target.write_at(run.start, bytes).map_err(Error::Target)?;
        written = run.end;
    }
    if written < part.data.end {
        target.zero(written..part.data.end).map_err(Error::Target)?;
    }
    progress.add_done(part.data.end - start);
    Ok(())
}

/// Joins sorted ranges that touch.
fn join_runs(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = vec![];
    for range in ranges {
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}

/// Writes an image to a stream, holes as zeros.
pub fn restore_stream(
    image: &Image,
    target: &mut dyn Write,
    progress: &Arc<Progress>,
) -> Result<()> {
    progress.set_total(image.len());
    let mut buffer = vec![];
    let mut offset = 0;
    while offset < image.len() {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let len = PART_LEN.min(image.len() - offset);
        buffer.resize(len as usize, 0);
        image.read(offset, &mut buffer)?;
        target.write_all(&buffer).map_err(Error::Target)?;
        offset += len;
        progress.add_done(len);
    }
    target.flush().map_err(Error::Target)
}
