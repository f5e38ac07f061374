//! Holes of files: where they are, where they must be, and comparing large sparse files
//! without reading the holes.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

#[expect(unsafe_code, reason = "std has no SEEK_DATA")]
fn seek(file: &File, offset: u64, whence: i32) -> Option<u64> {
    // SAFETY: lseek has no memory effects; the descriptor is open.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) };
    if found >= 0 {
        return Some(found as u64);
    }
    let error = std::io::Error::last_os_error();
    assert_eq!(
        error.raw_os_error(),
        Some(libc::ENXIO),
        "lseek {whence} at {offset}: {error}"
    );
    None
}

/// Returns the ranges with data, as SEEK_DATA and SEEK_HOLE tell them.
pub fn data_ranges(file: &File) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(start) = seek(file, at, libc::SEEK_DATA) {
        let end = seek(file, start, libc::SEEK_HOLE).expect("a hole follows data");
        assert!(end > start, "SEEK_HOLE at {start} does not go forward");
        ranges.push(start..end);
        at = end;
    }
    ranges
}

/// Returns the data ranges that a file of these bytes must have: all but the aligned
/// blocks of 4 KiB that are zero; a partial last block counts as one.
pub fn expected_ranges(bytes: &[u8]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (index, block) in bytes.chunks(4096).enumerate() {
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = index as u64 * 4096;
        let end = start + block.len() as u64;
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

/// Returns what a file occupies on disk.
pub fn allocated_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("stat").blocks() * 512
}

/// Compares two files, reading only where one of them has data.
pub fn compare_sparse(a: &Path, b: &Path) {
    let (file_a, file_b) = (File::open(a).expect("open"), File::open(b).expect("open"));
    let len = file_a.metadata().expect("stat").len();
    assert_eq!(
        len,
        file_b.metadata().expect("stat").len(),
        "lengths of {a:?} and {b:?}"
    );
    let mut buffers = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for range in data_ranges(&file_a).into_iter().chain(data_ranges(&file_b)) {
        let mut at = range.start;
        while at < range.end {
            let take = (range.end - at).min(1 << 20) as usize;
            file_a
                .read_exact_at(&mut buffers.0[..take], at)
                .expect("read");
            file_b
                .read_exact_at(&mut buffers.1[..take], at)
                .expect("read");
            assert!(
                buffers.0[..take] == buffers.1[..take],
                "{a:?} and {b:?} differ after {at}"
            );
            at += take as u64;
        }
    }
}
