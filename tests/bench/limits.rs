//! What this machine can do at best, for `scripts/bench`: the codecs in memory on all
//! cores over the chunks of an image, and reading a file in order or at random. Shares
//! no code with the product, so that a fault of ours is not also in the measure.
//!
//! ```text
//! limits codec IMAGE LEVEL                    hash, compress, decompress in memory
//! limits sequential FILE SOURCE               reads the data ranges of SOURCE, 1 MiB each
//! limits random FILE SOURCE COUNT DEPTH SEED  reads 4 KiB at random inside them
//! ```
//! Each prints one line of JSON.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const BLOCK: usize = 4096;
const CHUNK: usize = 65_536;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match args[..] {
        ["codec", image, level] => codec(image, level.parse().expect("a level")),
        ["sequential", file, source] => sequential(file, source),
        ["random", file, source, count, depth, seed] => {
            random(file, source, number(count), number(depth), number(seed));
        }
        _ => {
            eprintln!("usage: limits codec|sequential|random ..., see the source");
            std::process::exit(2);
        }
    }
}

#[expect(unsafe_code, reason = "std has no SEEK_DATA")]
fn seek(file: &File, offset: u64, whence: i32) -> Option<u64> {
    // SAFETY: lseek has no memory effects; the descriptor is open.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) };
    u64::try_from(found).ok()
}

/// Returns where a file has data.
fn data_ranges(path: &str) -> Vec<Range<u64>> {
    let file = File::open(path).expect("the source opens");
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Some(start) = seek(&file, at, libc::SEEK_DATA) {
        at = seek(&file, start, libc::SEEK_HOLE).expect("a hole follows");
        ranges.push(start..at);
    }
    ranges
}

/// The blocks of an image that are not zero, and those of them that are new.
fn load(path: &str) -> (Vec<u8>, Vec<u8>) {
    let file = File::open(path).expect("the image opens");
    let (mut all, mut distinct) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut buffer = vec![0; 1 << 20];
    for range in data_ranges(path) {
        let mut at = range.start;
        while at < range.end {
            let len = file.read_at(&mut buffer, at).expect("the image reads");
            let len = len.min((range.end - at) as usize);
            if len == 0 {
                break;
            }
            for block in buffer[..len].chunks_exact(BLOCK) {
                if block.iter().all(|byte| *byte == 0) {
                    continue;
                }
                all.extend_from_slice(block);
                if seen.insert(*blake3::hash(block).as_bytes()) {
                    distinct.extend_from_slice(block);
                }
            }
            at += len as u64;
        }
    }
    (all, distinct)
}

/// Runs `work` for every index on all cores and returns the seconds it took.
fn on_all_cores<State>(
    count: usize,
    state: impl Fn() -> State + Sync,
    work: impl Fn(&mut State, usize) + Sync,
) -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = state();
                loop {
                    // In steps, so that the counter itself costs nothing.
                    let first = next.fetch_add(16, Ordering::Relaxed);
                    if first >= count {
                        break;
                    }
                    (first..count.min(first + 16)).for_each(|index| work(&mut own, index));
                }
            });
        }
    });
    started.elapsed().as_secs_f64()
}

fn codec(path: &str, level: i32) {
    let (all, distinct) = load(path);
    let pieces: Vec<&[u8]> = all.chunks(CHUNK).collect();
    let chunks: Vec<&[u8]> = distinct.chunks(CHUNK).collect();
    let hash_s = on_all_cores(
        pieces.len(),
        || 0_u8,
        |sum, index| *sum ^= blake3::hash(pieces[index]).as_bytes()[0],
    );
    let compressor = || {
        (
            zstd::bulk::Compressor::new(level).expect("a level"),
            vec![0; CHUNK * 2],
        )
    };
    let compress_s = on_all_cores(chunks.len(), compressor, |(codec, out), index| {
        codec
            .compress_to_buffer(chunks[index], out.as_mut_slice())
            .expect("it fits");
    });
    let frames: Vec<Vec<u8>> = chunks
        .iter()
        .map(|chunk| zstd::bulk::compress(chunk, level).expect("it compresses"))
        .collect();
    let decompressor = || {
        (
            zstd::bulk::Decompressor::new().expect("a context"),
            vec![0; CHUNK],
        )
    };
    let decompress_s = on_all_cores(frames.len(), decompressor, |(codec, out), index| {
        codec
            .decompress_to_buffer(&frames[index], out.as_mut_slice())
            .expect("a frame");
    });
    let (p50, p99) = one_chunk(&frames);
    let stored: usize = frames
        .iter()
        .zip(&chunks)
        .map(|(frame, chunk)| frame.len().min(chunk.len()))
        .sum();
    println!(
        "{{\"data_bytes\": {}, \"distinct_bytes\": {}, \"stored_bytes\": {stored}, \
         \"ingest_mb_s\": {:.1}, \"decompress_mb_s\": {:.1}, \"chunk_p50_us\": {p50:.1}, \"chunk_p99_us\": {p99:.1}}}",
        all.len(),
        distinct.len(),
        // Every block is hashed, only what is new is compressed.
        all.len() as f64 / 1e6 / (hash_s + compress_s),
        distinct.len() as f64 / 1e6 / decompress_s,
    );
}

/// Returns median and 99th percentile of decompressing one chunk, in microseconds, in
/// an order in which its input is not in the processor's cache.
fn one_chunk(frames: &[Vec<u8>]) -> (f64, f64) {
    let mut codec = zstd::bulk::Decompressor::new().expect("a context");
    let mut out = vec![0; CHUNK];
    let mut random = Random(7);
    let mut times: Vec<f64> = (0..5000)
        .map(|_| {
            let frame = &frames[random.below(frames.len() as u64) as usize];
            let started = Instant::now();
            codec
                .decompress_to_buffer(frame, out.as_mut_slice())
                .expect("a frame");
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    percentiles(&mut times)
}

fn percentiles(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0.0);
    (at(50), at(99))
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end.max(1)
    }
}

fn sequential(path: &str, source: &str) {
    let ranges = data_ranges(source);
    let file = File::open(path).expect("the file opens");
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    let started = Instant::now();
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let take = (range.end - at).min(1 << 20) as usize;
            file.read_exact_at(&mut buffer[..take], at)
                .expect("it reads");
            at += take as u64;
            total += take;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"bytes\": {total}, \"mb_s\": {:.1}}}",
        total as f64 / 1e6 / seconds
    );
}

fn random(path: &str, source: &str, count: u64, depth: u64, seed: u64) {
    let ranges = data_ranges(source);
    let block_count: u64 = ranges
        .iter()
        .map(|range| (range.end - range.start) / BLOCK as u64)
        .sum();
    let mut generator = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let offsets: Vec<u64> = (0..count)
        .map(|_| nth_block(&ranges, generator.below(block_count)))
        .collect();
    let started = Instant::now();
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let workers: Vec<_> = offsets
            .chunks(offsets.len().div_ceil(depth as usize).max(1))
            .map(|part| scope.spawn(move || timed_reads(path, part)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("it reads"))
            .collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let (p50, p99) = percentiles(&mut times);
    println!(
        "{{\"reads\": {count}, \"depth\": {depth}, \"per_s\": {:.0}, \"p50_us\": {p50:.1}, \"p99_us\": {p99:.1}}}",
        count as f64 / seconds
    );
}

#[expect(unsafe_code, reason = "std has no fadvise")]
fn timed_reads(path: &str, offsets: &[u64]) -> Vec<f64> {
    let file = File::open(path).expect("the file opens");
    // SAFETY: an advice on an open descriptor; as fio does for random reads.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM);
    }
    let mut block = [0; BLOCK];
    let read = |offset: &u64| {
        let started = Instant::now();
        file.read_exact_at(&mut block, *offset).expect("it reads");
        started.elapsed().as_secs_f64() * 1e6
    };
    offsets.iter().map(read).collect()
}

/// Returns the offset of the n-th block with data.
fn nth_block(ranges: &[Range<u64>], mut index: u64) -> u64 {
    for range in ranges {
        let count = (range.end - range.start) / BLOCK as u64;
        if index < count {
            return range.start + index * BLOCK as u64;
        }
        index -= count;
    }
    0
}
