//! A damaged chunk: an error for its range, never a short answer to a buffered read.

use crate::support::{Fixture, bytes, can_mount};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

#[test]
fn a_read_that_touches_damage_fails_and_is_never_cut() {
    if !can_mount() {
        return;
    }
    let fixture = Fixture::new();
    let data = bytes(4 << 20, 7);
    {
        let mounted = fixture.mount();
        fs::write(mounted.path("create/web"), &data).unwrap();
    }
    let mut packs = vec![];
    for folder in fs::read_dir(fixture.store().join("packs")).unwrap() {
        for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
            packs.push(pack.unwrap());
        }
    }
    // The chunks are in the largest pack; one byte in its middle is changed.
    let largest = packs
        .iter()
        .max_by_key(|pack| pack.metadata().unwrap().len())
        .unwrap();
    let mut content = fs::read(largest.path()).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 0xff;
    fs::remove_file(largest.path()).unwrap();
    fs::write(largest.path(), content).unwrap();

    let mounted = fixture.mount();
    let file = File::open(mounted.path("snapshots/web/latest/disk.img")).unwrap();
    let mut failed = 0;
    for offset in (0..data.len()).step_by(128 << 10) {
        let mut found = vec![0; 128 << 10];
        match file.read_at(&mut found, offset as u64) {
            Ok(count) if count == found.len() => {
                assert!(
                    found == data[offset..offset + count],
                    "wrong bytes at {offset}"
                );
            }
            // The kernel gives what lies in whole pages before the damage, as of any
            // disk; the rest of the same range is then an error, not the end.
            Ok(count) => {
                assert!(count > 0, "the end of the file at {offset}");
                assert!(found[..count] == data[offset..offset + count]);
                let again = file.read_at(&mut found, (offset + count) as u64);
                assert_eq!(again.unwrap_err().raw_os_error(), Some(libc::EIO));
                failed += 1;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                failed += 1;
            }
        }
    }
    assert!((1..=2).contains(&failed), "{failed} of 32 ranges");
    let copied = std::io::copy(
        &mut File::open(mounted.path("snapshots/web/latest/disk.img")).unwrap(),
        &mut std::io::sink(),
    );
    assert_eq!(copied.unwrap_err().raw_os_error(), Some(libc::EIO));
}
