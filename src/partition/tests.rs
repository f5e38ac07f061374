//! Tables made by the usual tools, whole and damaged.

use super::*;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a program to its end. These call the system-wide `sync`, which never ends on a
/// machine with a file system that is stuck: then they are left alone and count as absent.
fn run(program: &str, arguments: &[&str]) -> bool {
    let Ok(mut child) = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    for _ in 0..200 {
        if let Ok(Some(status)) = child.try_wait() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(child.kill());
    println!("SKIPPED: {program} does not end; is a file system of this machine stuck?");
    false
}

fn image_of(bytes: Vec<u8>) -> Arc<dyn ReadAt> {
    Arc::new(bytes)
}

/// Makes a disk of 16 MiB with `sgdisk`; `None` if that is not installed.
fn gpt_disk() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, vec![0; 16 << 20]).unwrap();
    let text = path.to_str().unwrap();
    let arguments = [
        "-n1:2048:4095",
        "-c1:n\u{e4}me-\u{65e5}\u{672c}",
        "-t1:ef00",
        "-n5:8192:+1M",
        "-c5:root",
    ];
    if !run("sgdisk", &[&arguments[..], &[text]].concat()) {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED TEST: partition: sgdisk is not there or does not end\n",
        );
        return None;
    }
    Some(std::fs::read(&path).unwrap())
}

fn assert_gpt(bytes: Vec<u8>, warning_count: usize) {
    let table = scan(&image_of(bytes)).unwrap();
    assert_eq!(table.warnings.len(), warning_count, "{:?}", table.warnings);
    assert_eq!(table.kind, TableKind::Gpt);
    let found: Vec<_> = table
        .partitions
        .iter()
        .map(|one| (one.index, &*one.label))
        .collect();
    assert_eq!(found, [(1, "n\u{e4}me-\u{65e5}\u{672c}"), (5, "root")]);
    let Place::Range { image_offset, len } = table.partitions[0].place else {
        panic!()
    };
    assert_eq!((image_offset, len), (1 << 20, 1 << 20));
    let esp = PartitionType::Guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b".to_owned());
    assert_eq!(table.partitions[0].partition_type, esp);
}

#[test]
fn any_whole_header_goes_with_any_whole_table() {
    let Some(whole) = gpt_disk() else { return };
    let last = whole.len() - 512;
    assert_gpt(whole.clone(), 0);
    // (damaged bytes, warnings)
    let cases: &[(&[usize], usize)] = &[
        (&[512 + 60], 1),
        (&[1024 + 3], 1),
        (&[last + 60], 1),
        (&[512 + 60, last - 16_384], 2),
        (&[1024 + 3, last + 60], 2),
    ];
    for (places, warning_count) in cases {
        let mut bytes = whole.clone();
        places.iter().for_each(|place| bytes[*place] ^= 0x55);
        if *warning_count == 2 && places[0] == 512 + 60 {
            // Header from the backup, table from the primary.
            assert_gpt(bytes, 1);
        } else {
            assert_gpt(bytes, *warning_count);
        }
    }
    let mut gone = whole.clone();
    gone[512] = 0;
    gone[last] = 0;
    assert_ne!(scan(&image_of(gone)).unwrap().kind, TableKind::Gpt);
    let mut cut = whole;
    cut.truncate(9 << 20);
    assert_gpt(cut, 1);
}

#[test]
fn a_gpt_of_4096_byte_sectors_is_found() {
    let Some(small) = gpt_disk() else { return };
    // The same table with every sector number meaning 4,096 bytes.
    let mut bytes = vec![0; 128 << 20];
    bytes[..512].copy_from_slice(&small[..512]);
    bytes[4096..4608].copy_from_slice(&small[512..1024]);
    bytes[8192..8192 + 16_384].copy_from_slice(&small[1024..1024 + 16_384]);
    let table = scan(&image_of(bytes)).unwrap();
    assert_eq!((table.kind, table.sector_len), (TableKind::Gpt, 4096));
    let Place::Range { image_offset, .. } = table.partitions[0].place else {
        panic!()
    };
    assert_eq!(image_offset, 2048 * 4096);
}

fn refresh_crc(bytes: &mut [u8]) {
    let table = crc32fast::hash(&bytes[1024..1024 + 16_384]);
    bytes[512 + 88..512 + 92].copy_from_slice(&table.to_le_bytes());
    bytes[512 + 16..512 + 20].fill(0);
    let len = u32::from_le_bytes(bytes[524..528].try_into().unwrap()).min(512);
    let header = crc32fast::hash(&bytes[512..512 + len as usize]);
    bytes[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
}

#[test]
fn hostile_numbers_with_right_checksums_are_refused() {
    let Some(whole) = gpt_disk() else { return };
    let values = [
        0_u64,
        1,
        91,
        127,
        129,
        4097,
        1 << 20,
        u64::from(u32::MAX),
        u64::MAX,
    ];
    for place in [12_usize, 24, 32, 72, 80, 84] {
        for value in values {
            let mut bytes = whole.clone();
            bytes[512 + place..512 + place + 4].copy_from_slice(&value.to_le_bytes()[..4]);
            refresh_crc(&mut bytes);
            scan(&image_of(bytes)).unwrap();
        }
    }
    for place in [32_usize, 40] {
        for value in values {
            let mut bytes = whole.clone();
            bytes[1024 + place..1024 + place + 8].copy_from_slice(&value.to_le_bytes());
            refresh_crc(&mut bytes);
            let image = image_of(bytes);
            for partition in scan(&image).unwrap().partitions {
                let _ = partition.open(&image).map(|range| range.len());
            }
        }
    }
}

fn mbr_entry(bytes: &mut [u8], sector: usize, slot: usize, kind: u8, start: u32, count: u32) {
    let place = sector * 512 + 446 + slot * 16;
    bytes[place + 4] = kind;
    bytes[place + 8..place + 12].copy_from_slice(&start.to_le_bytes());
    bytes[place + 12..place + 16].copy_from_slice(&count.to_le_bytes());
    bytes[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
}

#[test]
fn logical_partitions_come_in_any_order_and_loops_end() {
    let mut bytes = vec![0; 4 << 20];
    mbr_entry(&mut bytes, 0, 0, 0x83, 64, 100);
    mbr_entry(&mut bytes, 0, 2, 0x0F, 1000, 7000);
    mbr_entry(&mut bytes, 1000, 0, 0x83, 10, 50);
    mbr_entry(&mut bytes, 1000, 1, 0x05, 3000, 1000);
    mbr_entry(&mut bytes, 4000, 0, 0x82, 10, 60);
    mbr_entry(&mut bytes, 4000, 1, 0x05, 500, 1000);
    mbr_entry(&mut bytes, 1500, 0, 0x8E, 10, 70);
    let starts = |bytes: &[u8]| {
        let table = scan(&image_of(bytes.to_vec())).unwrap();
        let places = table.partitions.iter().map(|one| match one.place {
            Place::Range { image_offset, .. } => (one.index, image_offset / 512),
            _ => (one.index, 0),
        });
        (places.collect::<Vec<_>>(), table.warnings.len())
    };
    let all = vec![(1, 64), (5, 1010), (6, 4010), (7, 1510)];
    assert_eq!(starts(&bytes), (all.clone(), 0));
    mbr_entry(&mut bytes, 1500, 1, 0x05, 3000, 1000);
    assert_eq!(starts(&bytes), (all.clone(), 1));
    mbr_entry(&mut bytes, 1500, 1, 0x05, 5000, 1000);
    assert_eq!(starts(&bytes), (all, 1));
    mbr_entry(&mut bytes, 1500, 1, 0x05, u32::MAX, u32::MAX);
    assert_eq!(starts(&bytes).1, 1);
}

#[test]
fn sfdisk_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::write(&path, vec![0; 64 << 20]).unwrap();
    let script = "label: dos\nlabel-id: 0x1234abcd\n,8M,83\n,8M,82\n,,05\n,8M,83\n,4M,8e\n,,83\n";
    let command = format!("printf '{script}' | sfdisk -q '{}'", path.display());
    if !run("sh", &["-c", &command]) {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED TEST: partition: sfdisk is not there or does not end\n",
        );
        return;
    }
    let dump = Command::new("sfdisk")
        .arg("-d")
        .arg(&path)
        .output()
        .unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();
    let expected: Vec<(u64, u64)> = dump
        .lines()
        .filter(|line| line.contains("start=") && !line.contains("type=5"))
        .map(|line| {
            let number = |key: &str| {
                let rest = line.split_once(key).unwrap().1;
                rest.split_once(',')
                    .unwrap()
                    .0
                    .trim()
                    .parse::<u64>()
                    .unwrap()
            };
            (number("start=") * 512, number("size=") * 512)
        })
        .collect();
    let table = scan(&image_of(std::fs::read(&path).unwrap())).unwrap();
    let found: Vec<(u64, u64)> = table
        .partitions
        .iter()
        .map(|one| match one.place {
            Place::Range { image_offset, len } => (image_offset, len),
            _ => (0, 0),
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(
        table.partitions.last().unwrap().uuid.as_deref(),
        Some("1234abcd-07")
    );
}

#[test]
fn boot_sectors_of_file_systems_and_empty_disks_have_no_table() {
    assert_eq!(scan(&image_of(vec![])).unwrap().kind, TableKind::None);
    assert_eq!(
        scan(&image_of(vec![0; 1 << 20])).unwrap().kind,
        TableKind::None
    );
    let mut fat = vec![0; 1 << 20];
    mbr_entry(&mut fat, 0, 0, 0x83, 64, 100);
    fat[..11].copy_from_slice(b"\xEB\x3C\x90mkfs.fat");
    fat[11..14].copy_from_slice(&[0, 2, 4]);
    fat[16] = 2;
    fat[21] = 0xF8;
    assert_eq!(scan(&image_of(fat)).unwrap().kind, TableKind::None);
}

#[test]
fn a_hybrid_disk_is_a_gpt() {
    let Some(mut bytes) = gpt_disk() else { return };
    mbr_entry(&mut bytes, 0, 1, 0x83, 8192, 2048);
    assert_eq!(
        scan(&image_of(bytes.clone())).unwrap().kind,
        TableKind::HybridGpt
    );
    // Without the protective entry the GPT is a leftover.
    mbr_entry(&mut bytes, 0, 0, 0x83, 2048, 2048);
    let table = scan(&image_of(bytes)).unwrap();
    assert_eq!((table.kind, table.partitions.len()), (TableKind::Mbr, 2));
}

#[test]
fn random_damage_is_never_a_panic() {
    let Some(whole) = gpt_disk() else { return };
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        (state >> 33) as usize
    };
    let mut bytes = whole[..64 << 10].to_vec();
    for _ in 0..2000 {
        let place = 440 + random() % 1200;
        bytes[place] = random() as u8;
        refresh_crc(&mut bytes);
        scan(&image_of(bytes.clone())).unwrap();
        if random() % 8 == 0 {
            bytes.copy_from_slice(&whole[..64 << 10]);
        }
    }
}

/// A disk with two physical volumes made by lvm2 2.03: the first MiB is theirs, then
/// every 64 KiB of an extent hold (volume, extent, number in it).
fn lvm_disk() -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/lvm");
    let mut bytes = vec![0; 1 << 20];
    mbr_entry(&mut bytes, 0, 0, 0x8E, 2048, 64 * 2048);
    mbr_entry(&mut bytes, 0, 1, 0x8E, 65 * 2048, 64 * 2048);
    for volume in 0_u8..2 {
        let packed = std::fs::read(format!("{folder}/pv{}.zst", volume + 1)).unwrap();
        bytes.extend(zstd::decode_all(&*packed).unwrap());
        for extent in 0_u8..63 {
            for part in 0_u8..16 {
                bytes.extend([volume, extent, part, 7].repeat(16 << 10));
            }
        }
    }
    bytes
}

#[test]
fn linear_and_striped_logical_volumes_are_read() {
    let image = image_of(lvm_disk());
    let table = scan(&image).unwrap();
    assert_eq!(table.warnings, [] as [String; 0]);
    let labels: Vec<_> = table
        .partitions
        .iter()
        .map(|one| (one.index, &*one.label))
        .collect();
    assert_eq!(labels, [(1, ""), (2, ""), (3, "tvg/lin"), (4, "tvg/stri")]);
    let linear = table.partitions[2].open(&image).unwrap();
    assert_eq!(linear.len(), 50 << 20);
    let mut four = [0; 4];
    for (offset, expected) in [
        (0, [0, 0, 0, 7]),
        (39 << 20, [0, 39, 0, 7]),
        (41 << 20, [1, 11, 0, 7]),
    ] {
        linear.read_exact_at(offset, &mut four).unwrap();
        assert_eq!(four, expected);
    }
    let striped = table.partitions[3].open(&image).unwrap();
    assert_eq!(striped.len(), 20 << 20);
    for step in 0..320_u64 {
        let (row, volume) = ((step / 2) as u8, (step % 2) as u8);
        let extent = if volume == 0 { 40 } else { 0 } + row / 16;
        striped.read_exact_at(step << 16, &mut four).unwrap();
        assert_eq!(four, [volume, extent, row % 16, 7], "{step}");
    }
    let mut across = vec![0; 70 << 10];
    striped.read_exact_at(60 << 10, &mut across).unwrap();
    assert_eq!((across[0], across[4 << 10], across[69 << 10]), (0, 1, 0));
    assert!(striped.read_exact_at((20 << 20) - 1, &mut four).is_err());
}

#[test]
fn damaged_lvm_metadata_is_told_and_a_missing_volume_too() {
    let whole = lvm_disk();
    let mut one = whole.clone();
    one[446 + 16 + 4] = 0; // the second partition is gone
    let image = image_of(one);
    let table = scan(&image).unwrap();
    let broken = table
        .partitions
        .iter()
        .find(|one| one.label == "tvg/lin")
        .unwrap();
    assert!(
        broken
            .open(&image)
            .err()
            .unwrap()
            .to_string()
            .contains("not in this image")
    );
    for offset in (0..2048).step_by(3).chain((4096..24_576).step_by(161)) {
        let mut bytes = whole[..(1 << 20) + (32 << 10)].to_vec();
        bytes[(1 << 20) + offset] ^= 0x41;
        scan(&image_of(bytes)).unwrap();
    }
}
