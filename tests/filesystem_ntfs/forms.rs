//! Forms of content that Windows alone writes, or that are not read.

use crate::driver::{fill, make};
use crate::mft::{Volume, number};
use crate::support::reader::{FileImage, content, extents, kind, names, node, open};
use crate::support::{Scratch, measured, needs, shell};
use std::sync::Arc;
use tintype::filesystem::{ErrorKind, FileType};

/// Compressed by the overlay filter, with the compressors of wimlib: all four kinds, at two
/// levels, with calls of programs in them, and chunks that are as they are.
#[test]
fn files_that_the_overlay_filter_compressed_are_read() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let has_wim = shell(
        "python3 -c 'import ctypes; ctypes.CDLL(\"libwim.so.15\")'",
        &[],
    )
    .ok();
    if !has_wim {
        crate::support::skip!("no libwim.so.15 (wimtools)");
    }
    let scratch = Scratch::new();
    let image = make(&scratch, "60M", "");
    let expected = scratch.dir("expected");
    let script = format!("wof.py $ROOT {}", expected.display());
    fill(&scratch, &image, "streams_interface=windows", &script);
    let fs = open(FileImage::open(&image)).expect("opened");
    let (mut count, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(&expected).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let right = std::fs::read(&path).expect("content");
        let file = node(&*fs, &name);
        let found = content(&*fs, file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found == right, "{name} is not what it was");
        for offset in [1, right.len() / 2, right.len().saturating_sub(3)] {
            let mut piece = [0; 5000];
            let len = fs
                .read_at(file, offset as u64, &mut piece)
                .expect("content");
            let rest = right.get(offset..).unwrap_or_default();
            assert_eq!(
                piece[..len],
                rest[..rest.len().min(5000)],
                "{name} at {offset}"
            );
        }
        assert_eq!(
            fs.xattr_names(file).unwrap(),
            Vec::<Vec<u8>>::new(),
            "{name}"
        );
        assert_eq!(extents(&*fs, file).0, right.len() as u64);
        assert!(fs.metadata(file).unwrap().block_count_512 > 0, "{name}");
        (count, bytes) = (count + 1, bytes + right.len());
    }
    assert_eq!(count, 44);
    measured!("filesystem_ntfs::forms: {count} files of {bytes} bytes as before compression");
    for name in ["deduplicated", "image file", "other"] {
        let file = node(&*fs, name);
        assert_eq!(
            fs.metadata(file).unwrap().file_type,
            FileType::Regular,
            "{name}"
        );
        assert_eq!(fs.metadata(file).unwrap().size, 21, "{name}");
        assert_eq!(kind(content(&*fs, file)), ErrorKind::Unsupported, "{name}");
    }
    // Its content is here: the file is not marked as being elsewhere.
    let found = content(&*fs, node(&*fs, "cloud")).unwrap();
    assert_eq!(found, b"what the file has now");
}

#[test]
fn a_stream_that_is_too_long_for_an_attribute_is_told() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let image = make(&scratch, "20M", "");
    fill(
        &scratch,
        &image,
        "streams_interface=windows",
        "fill.py $ROOT streams",
    );
    let fs = open(FileImage::open(&image)).expect("opened");
    let file = node(&*fs, "long stream");
    assert_eq!(content(&*fs, file).unwrap(), b"main");
    assert_eq!(fs.xattr_names(file).unwrap(), [b"user.ads.long"]);
    assert_eq!(
        kind(fs.xattr(file, b"user.ads.long")),
        ErrorKind::Unsupported
    );
    assert_eq!(fs.xattr(file, b"user.ads.other").unwrap(), None);
    assert_eq!(fs.xattr(file, b"user.long").unwrap(), None);
}

/// The MFT grows beside a file that takes the clusters behind it, until its own runs do
/// not fit its first record.
#[test]
fn an_mft_in_many_pieces_is_read() {
    needs!("mkntfs", "ntfs-3g", "python3", "fuse", "root");
    let scratch = Scratch::new();
    let image = make(&scratch, "24M", "-c 512 -z 1");
    fill(&scratch, &image, "big_writes", "pieces.py $ROOT");
    let fs = open(FileImage::open(&image)).expect("opened");
    assert_eq!(fs.summary().warnings, Vec::<String>::new());
    let (listed, result) = names(&*fs, node(&*fs, "d"));
    result.expect("listed");
    assert!(listed.len() > 3000, "{}", listed.len());
    for name in &listed {
        let found = content(&*fs, node(&*fs, &format!("d/{name}"))).expect("content");
        assert_eq!(found, name.as_bytes());
    }
    // Its runs do not fit its first record.
    let mut volume = Volume::new(std::fs::read(&image).expect("an image"));
    let mut others = (1..24).filter(|place| {
        let base = volume.record(*place).start + 0x20;
        number(&volume.bytes[base..], 8) == 1 << 48
    });
    let other = others.next().expect("a record with more runs");
    // Runs in a record of another file are none of the MFT.
    let base = volume.record(other).start + 0x20;
    volume.bytes[base] = 5;
    let changed = open(Arc::new(volume.bytes.clone())).expect("opened");
    let warnings = &changed.summary().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("pieces of the MFT")),
        "{warnings:?}"
    );
    let list = volume.attribute(0, 0x20, "");
    let list_len = list.len();
    measured!(
        "filesystem_ntfs::forms: {} files of an MFT with an attribute list of {list_len} bytes",
        listed.len()
    );
}
