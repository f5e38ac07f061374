//! Damaged and missing packs: an error for exactly what they held, never wrong bytes,
//! never a short answer to a buffered read.

use super::support::{Fixture, needs};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Returns the packs of a store, the largest first.
fn packs(fixture: &Fixture) -> Vec<PathBuf> {
    let listing =
        fixture.shell_ok("find $S/packs -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2");
    listing.lines().map(PathBuf::from).collect()
}

fn flip_byte(path: &PathBuf, offset: u64) {
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("a pack opens");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).expect("seek");
    file.read_exact(&mut byte).expect("read");
    byte[0] ^= 0x55;
    file.seek(SeekFrom::Start(offset)).expect("seek");
    file.write_all(&byte).expect("write");
}

/// Reads a file in requests of 128 KiB and counts right answers and errors; an answer
/// that is short or wrong fails the test.
fn read_all(actual: &std::path::Path, expected: &[u8]) -> (usize, usize) {
    let file = File::open(actual).expect("open");
    let (mut right, mut failed) = (0, 0);
    let mut target = vec![0; 131_072];
    for (index, part) in expected.chunks(131_072).enumerate() {
        match file.read_at(&mut target[..part.len()], index as u64 * 131_072) {
            Ok(len) => {
                assert_eq!(
                    len,
                    part.len(),
                    "a buffered read at part {index} was cut short"
                );
                assert!(target[..len] == *part, "part {index} has wrong bytes");
                right += 1;
            }
            Err(error) => {
                assert_eq!(
                    error.raw_os_error(),
                    Some(libc::EIO),
                    "part {index}: {error}"
                );
                failed += 1;
            }
        }
    }
    (right, failed)
}

fn stored_and_unmounted() -> (Fixture, Vec<u8>) {
    let mut fixture = Fixture::new();
    fixture.shell_ok("cp $IMG $C/a");
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
    fixture.mount = None;
    let bytes = std::fs::read(fixture.scratch.join("img.raw")).expect("read");
    (fixture, bytes)
}

#[test]
fn a_flipped_bit_is_an_error_for_its_chunk_alone() {
    needs!("fuse");
    let (mut fixture, bytes) = stored_and_unmounted();
    let pack = packs(&fixture).remove(0);
    let len = std::fs::metadata(&pack).expect("stat").len();
    flip_byte(&pack, len / 2);
    fixture.remount(&Default::default());
    let image = fixture.snapshots("a").remove(0).join("disk.img");
    let (right, failed) = read_all(&image, &bytes);
    // One chunk of 64 KiB lies in one or two parts of 128 KiB; the kernel's read-ahead
    // may fail a neighbour once, not more.
    assert!(
        (1..=3).contains(&failed),
        "{failed} of {} parts failed",
        right + failed
    );
    // Again, and through tools: the error stays one and the copy is never cut silently.
    let again = read_all(&image, &bytes);
    assert!(
        (1..=3).contains(&again.1),
        "{} parts failed the second time",
        again.1
    );
    let copied = fixture.shell("cp $M/snapshots/a/latest/disk.img $W/out");
    assert!(
        !copied.ok() && copied.stderr.contains("Input/output error"),
        "{}",
        copied.stderr
    );
    let restored = fixture.shell("$TINTYPE --store $S restore a@latest $W/restored");
    assert!(!restored.ok(), "restore must fail");
    assert!(
        fixture
            .mount
            .as_mut()
            .is_some_and(super::support::Mount::is_alive)
    );
    let log = fixture.mount.as_ref().expect("mounted").log();
    assert!(!log.trim().is_empty(), "the damage is logged");
    assert!(
        log.lines().count() < 40,
        "it is logged once, not for each retry:\n{log}"
    );
}

#[test]
fn a_missing_pack_is_an_error_and_the_mount_lives_on() {
    needs!("fuse");
    let (mut fixture, bytes) = stored_and_unmounted();
    let pack = packs(&fixture).remove(0);
    let aside = fixture.scratch.join("aside");
    std::fs::rename(&pack, &aside).expect("rename");
    fixture.remount(&Default::default());
    let image = fixture.snapshots("a").remove(0).join("disk.img");
    let (_, failed) = read_all(&image, &bytes);
    assert!(failed > 0, "reads of a missing pack must fail");
    // The names of snapshots need no pack, and what is known of one is told.
    fixture.shell_ok("ls -l $M/snapshots/a > /dev/null; ls $M/snapshots/a/*/ > /dev/null");
    fixture.shell_ok("cat $M/snapshots/a/*/snapshot.json > /dev/null");
    // New data that does not need the pack can be stored.
    fixture.shell_ok("cp $DENSE $C/b");
    fixture.expect_one("b", &fixture.scratch.join("dense.raw"));
    // The pack comes back: so does the image, after a new mount at the latest.
    std::fs::rename(&aside, &pack).expect("rename");
    fixture.remount(&Default::default());
    fixture.expect_one("a", &fixture.scratch.join("img.raw"));
}

#[test]
fn damaged_content_is_healed_by_storing_it_again() {
    needs!("fuse");
    let (mut fixture, _) = stored_and_unmounted();
    std::fs::remove_file(packs(&fixture).remove(0)).expect("remove");
    fixture.remount(&Default::default());
    // Good data comes again: it must not be matched with what is gone.
    fixture.shell_ok("cp $IMG $C/b");
    fixture.expect_one("b", &fixture.scratch.join("img.raw"));
}
