//! Compressed extents as programs may write them (`btrfs receive` does it with
//! `BTRFS_IOC_ENCODED_WRITE`): the stream gives more or less than the extent has, and
//! pieces of LZO that are not whole sectors.

use crate::content::text;
use crate::support::{Scratch, is_able, say, umount};
use crate::{compare_with_kernel, make, mount};
use std::path::Path;

const ZLIB: u64 = 1;
const ZSTD: u64 = 2;
const LZO_OF_4_KIB: u64 = 3;

/// Writes `stream` as the whole of a new file; it is the part of `len` bytes from `skip`
/// on of what comes out, of which `unencoded_len` bytes count.
fn write(path: &Path, stream: &[u8], part: (u64, u64), unencoded_len: u64, compression: u64) {
    use std::os::fd::AsRawFd;
    // BTRFS_IOC_ENCODED_WRITE with struct btrfs_ioctl_encoded_io_args.
    const ENCODED_WRITE: libc::c_ulong = 0x4080_9440;
    let vector = libc::iovec {
        iov_base: stream.as_ptr().cast_mut().cast(),
        iov_len: stream.len(),
    };
    let (skip, len) = part;
    let mut arguments = [0_u64; 16];
    let vectors = (&raw const vector).expose_provenance() as u64;
    let head = [vectors, 1, 0, 0, len, unencoded_len, skip, compression];
    arguments[..8].copy_from_slice(&head);
    let file = std::fs::File::create_new(path).expect("a file");
    // SAFETY: the structure has the length that the number of the call tells, and the
    // vector in it names bytes that live until the call returns.
    let code = unsafe { libc::ioctl(file.as_raw_fd(), ENCODED_WRITE, arguments.as_ptr()) };
    let error = std::io::Error::last_os_error();
    assert_eq!(code, stream.len() as i32, "{}: {error}", path.display());
}

/// Returns a segment of LZO that gives `len` times `byte`.
fn literals(byte: u8, len: usize) -> Vec<u8> {
    let rest = len - 18;
    let mut stream = vec![0; 1 + rest / 255];
    stream.push((rest % 255) as u8);
    stream.extend(vec![byte; len]);
    stream.extend([0x11, 0, 0]);
    stream
}

/// Returns an extent of these segments, with sectors of 4 KiB.
fn lzo(segments: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = vec![0; 4];
    for segment in segments {
        let room = 4096 - stream.len() % 4096;
        if room < 4 {
            stream.resize(stream.len() + room, 0);
        }
        stream.extend((segment.len() as u32).to_le_bytes());
        stream.extend(segment);
    }
    let len = (stream.len() as u32).to_le_bytes();
    stream[..4].copy_from_slice(&len);
    stream
}

#[test]
fn streams_longer_and_shorter_than_their_extents() {
    let test = "streams_longer_and_shorter_than_their_extents";
    if !is_able(test, &["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let scratch = Scratch::new();
    let (image, point) = (scratch.join("image"), scratch.join("mount"));
    make(&image, "200M", "");
    mount(&image, &point, "loop,noatime").expect("mounted");
    let text = text(7, 20_000);
    let frame = zstd::bulk::compress(&text, 3).expect("compressed");
    let write = |name: &str, stream: &[u8], part, len, compression| {
        write(&point.join(name), stream, part, len, compression);
    };
    write("zstd, longer", &frame, (0, 16_384), 16_384, ZSTD);
    write("zstd, a part of more", &frame, (8192, 4096), 16_384, ZSTD);
    write("zstd, shorter", &frame, (0, 65_536), 65_536, ZSTD);
    let mut encoder = zstd::stream::Encoder::new(vec![], 3).expect("an encoder");
    encoder.window_log(21).expect("a window");
    std::io::Write::write_all(&mut encoder, &text).expect("compressed");
    let frame = encoder.finish().expect("compressed");
    write("zstd, a large window", &frame, (0, 20_480), 20_480, ZSTD);
    let stream = miniz_oxide::deflate::compress_to_vec_zlib(&text, 6);
    write("zlib, shorter", &stream, (4096, 32_768), 36_864, ZLIB);
    let pieces = [
        literals(b'a', 1000),
        literals(b'b', 3000),
        literals(b'c', 19),
    ];
    write(
        "lzo, short pieces",
        &lzo(&pieces),
        (0, 8192),
        8192,
        LZO_OF_4_KIB,
    );
    let pieces = [literals(b'a', 4200), literals(b'b', 3000)];
    write(
        "lzo, a long piece",
        &lzo(&pieces),
        (0, 12_288),
        12_288,
        LZO_OF_4_KIB,
    );
    let pieces = [literals(b'a', 4096), literals(b'b', 4096)];
    write(
        "lzo, longer",
        &lzo(&pieces),
        (0, 8192),
        12_288,
        LZO_OF_4_KIB,
    );
    umount(&point);
    let count = compare_with_kernel(test, &image, &point, "loop,noatime,ro");
    say(&format!(
        "MEASURED: filesystem_btrfs::{test}: {count} entries equal to the kernel's"
    ));
}
