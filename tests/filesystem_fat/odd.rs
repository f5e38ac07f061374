//! Directories that no driver writes, and how Linux shows them.

use crate::build::{empty, long, root_of, short};
use crate::driver;
use crate::support::{Rng, Scratch, measured, needs, number_from_env};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use tintype::filesystem::{
    BlockCache, CodePage, DirCursor, FileSystem, FileTime, Name, OpenOptions,
};

/// All bytes of the upper half as short names, with and without the bits for lower
/// case, and long names that are whole, broken, cut off and without end.
fn odd_slots() -> Vec<[u8; 32]> {
    let mut slots = upper_half();
    for (number, set) in long_names().into_iter().enumerate() {
        slots.extend(set);
        slots.push(short(&odd_name(number), 0x20, 0, 0));
    }
    slots.extend(odd_dates());
    slots
}

fn odd_name(number: usize) -> [u8; 11] {
    format!("ODD{number:02}   TXT")
        .as_bytes()
        .try_into()
        .unwrap()
}

fn upper_half() -> Vec<[u8; 32]> {
    let mut slots = vec![];
    for byte in 0x80..=0xFF_u8 {
        for (letter, bits) in [(b'A', 0), (b'B', 0x18)] {
            let first = if byte == 0xE5 { 0x05 } else { byte };
            let code = format!("{byte:02X}");
            let mut slot = short(b"           ", 0x20, 0, 0);
            slot[..4].copy_from_slice(&[first, letter, code.as_bytes()[0], code.as_bytes()[1]]);
            slot[8] = byte;
            slot[12] = bits;
            slots.push(slot);
        }
    }
    slots
}

/// Sets of slots; an entry with [`odd_name`] follows each.
fn long_names() -> Vec<Vec<[u8; 32]>> {
    let name = odd_name;
    let text = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let wide = text("a name of two slots");
    let good = |number| long(&wide, &name(number));
    let mut sets: Vec<Vec<[u8; 32]>> = vec![
        good(0),
        long(&wide, &name(99)),
        good(2)[1..].to_vec(),
        good(3)[..1].to_vec(),
        good(4).into_iter().rev().collect(),
        [good(5), vec![short(b"\xE5ELETED TXT", 0x20, 0, 0)]].concat(),
        [good(6), vec![short(b"A LABEL    ", 0x08, 0, 0)]].concat(),
        [good(7)[..1].to_vec(), good(7)].concat(),
        [good(8), good(8)[1..].to_vec()].concat(),
        long(&[0x61, 0xD800, 0x62, 0xDC00, 0xD83D], &name(9)),
        long(&text("\u{1F600}\u{4E2D}"), &name(10)),
        long(&text("thirteen char"), &name(11)),
        long(&text("twenty-six characters, yes"), &name(12)),
        long(&vec![0xFC; 255], &name(13)),
        long(&vec![0x78; 260], &name(14)),
        long(&text("inner\u{FFFF}end"), &name(15)),
        long(&text("UPPER and lower"), &name(16)),
        long(&text("dots..."), &name(17)),
    ];
    sets.push(good(18));
    sets[18][0][0] = 0x40;
    sets.push(good(19));
    sets[19][0][0] = 0x40 | 21;
    sets.push(good(20));
    sets[20][1][13] ^= 1;
    sets.push(good(21));
    sets[21][1][11] = 0x2F;
    sets
}

fn odd_dates() -> Vec<[u8; 32]> {
    let mut slots = vec![];
    for (number, date) in [0, 1, 0x21, 0x1A1, 0x1E1, 0xFFFF, 0x5A5D]
        .into_iter()
        .enumerate()
    {
        let mut slot = short(&odd_name(number + 50), 0x21, 0, 0);
        let time: u16 = [0, 0xFFFF, 0xBF7D][number % 3];
        slot[13] = [0, 199, 255][number % 3];
        for (place, value) in [(14, time), (16, date), (18, date), (22, time), (24, date)] {
            slot[place..place + 2].copy_from_slice(&u16::to_le_bytes(value));
        }
        slots.push(slot);
    }
    slots
}

/// Sets of long names, most of them spoiled in some way, each before an entry of its own.
fn random_slots(rng: &mut Rng) -> Vec<[u8; 32]> {
    const LETTERS: &[u8] = b"abcXYZ ~019-";
    let mut slots = vec![];
    for number in 0..600 {
        let name: [u8; 11] = format!("RND{number:05}TXT").as_bytes().try_into().unwrap();
        let len = 1 + rng.below(52);
        let letter = |_| u16::from(LETTERS[rng.below(LETTERS.len() as u64) as usize]);
        let mut set = long(&(0..len).map(letter).collect::<Vec<u16>>(), &name);
        for slot in &mut set {
            if rng.below(5) == 0 {
                spoil(slot, rng);
            }
        }
        let place = rng.below(set.len() as u64) as usize;
        match rng.below(10) {
            0 => set.reverse(),
            1 => drop(set.remove(place)),
            2 => set.insert(place, set[place]),
            3 => set.insert(place, short(b"\xE5ELETED TXT", 0x20, 0, 0)),
            4 => set.insert(place, short(b"A LABEL    ", 0x08, 0, 0)),
            _ => {}
        }
        slots.extend(set);
        // Its length tells which one a name finds.
        slots.push(short(&name, 0x20, 0, number + 1));
    }
    slots
}

/// Changes a slot so that it is no file, ends no directory, and does not begin a name with
/// nothing: Linux ends a listing at a name without letters.
fn spoil(slot: &mut [u8; 32], rng: &mut Rng) {
    match rng.below(8) {
        0 => slot[0] ^= 0x40,
        1 => slot[0] = 1 + rng.below(30) as u8,
        2 => slot[13] ^= 1,
        3 => slot[11] = [0x1F, 0x2F, 0x3F, 0x4F, 0x08, 0x0E][rng.below(6) as usize],
        4 => slot[0] = 0xE5,
        5 => slot[12] = 1,
        6 => slot[26] = 1,
        _ => slot[3..5].fill([0, 0xFF][rng.below(2) as usize]),
    }
}

/// What the kernel tells about each entry, in its order.
const LIST_ODD: &str = r#"
import os, sys
root, out = os.fsencode(os.environ["ROOT"]), open(os.environ["OUT"] + ".odd", "wb")
for name in os.listdir(root):
    try:
        stat = os.lstat(root + b"/" + name)
        told = b"%d %d %o" % (stat.st_mtime_ns, stat.st_atime_ns, stat.st_mode & 0o777)
    except OSError:
        told = b"-"
    out.write(name + b"\0" + told + b"\0")
"#;

/// Which file the kernel finds by each name in other forms, told by its length.
const LOOK_UP: &str = r#"
import os
root, out = os.fsencode(os.environ["ROOT"]), open(os.environ["OUT"] + ".found", "wb")
names = os.listdir(root) + [b"RND%05d.TXT" % number for number in range(600)]
for name in names:
    for query in [name.upper(), name.lower(), name.swapcase(), name + b".", name + b" ", name + b"x"]:
        try:
            told = b"%d" % os.lstat(root + b"/" + query).st_size
        except OSError:
            told = b"-"
        out.write(query + b"\0" + told + b"\0")
"#;

/// Compares what names find; exact ones come first here.
fn compare_found(scratch: &Scratch, fs: &dyn FileSystem) -> usize {
    let mut exact = BTreeSet::new();
    fs.read_dir(fs.root(), DirCursor::START, &mut |entry| {
        exact.insert(entry.name.bytes().to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    let found = std::fs::read(scratch.join("out.found")).expect("answers");
    let fields: Vec<&[u8]> = found.split(|byte| *byte == 0).collect();
    let mut count = 0;
    for pair in fields.chunks_exact(2) {
        if exact.contains(pair[0]) {
            continue;
        }
        let name = Name::new(pair[0]).expect("a name");
        let told = match fs.lookup(fs.root(), name).unwrap() {
            Some(node) => fs.metadata(node).unwrap().size.to_string(),
            None => "-".to_owned(),
        };
        assert_eq!(told.as_bytes(), pair[1], "{}", pair[0].escape_ascii());
        count += 1;
    }
    count
}

/// Removes what Linux drops: halves of surrogate pairs.
fn without_surrogates(name: &[u8]) -> Vec<u8> {
    let mut kept = vec![];
    let mut rest = name;
    while let [first, behind @ ..] = rest {
        if *first == 0xED && behind.first().is_some_and(|byte| *byte >= 0xA0) {
            rest = &behind[2..];
            continue;
        }
        kept.push(*first);
        rest = behind;
    }
    kept
}

fn compare_odd(scratch: &Scratch, fs: &dyn FileSystem) -> usize {
    let listed = std::fs::read(scratch.join("out.odd")).expect("a listing");
    let fields: Vec<&[u8]> = listed.split(|byte| *byte == 0).collect();
    let theirs: Vec<(Vec<u8>, String)> = fields
        .chunks_exact(2)
        .map(|pair| (pair[0].to_vec(), String::from_utf8_lossy(pair[1]).into()))
        .collect();
    let mut ours = vec![];
    fs.read_dir(fs.root(), DirCursor::START, &mut |entry| {
        let stat = fs.metadata(entry.node).unwrap();
        let name = entry.name.bytes();
        let nanoseconds = |time: FileTime| {
            i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
        };
        let told = format!(
            "{} {} {:o}",
            nanoseconds(stat.modified),
            nanoseconds(stat.accessed),
            stat.permissions
        );
        ours.push((without_surrogates(name), told));
        assert!(fs.lookup(fs.root(), entry.name).unwrap().is_some());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (our, their) in ours.iter().zip(&theirs) {
        let shown = their.0.escape_ascii();
        assert_eq!(our.0.escape_ascii().to_string(), shown.to_string());
        // The kernel does not find names again that it dropped something of.
        if their.1 != "-" {
            assert_eq!(our.1, their.1, "{shown}");
        }
    }
    ours.len()
}

fn check_odd(what: &str, slots: &[[u8; 32]], page: CodePage, number: u16) {
    let mut image = empty("truncate -s 20M $IMAGE; mkfs.fat -F 16 -s 4 -r 8192 $IMAGE");
    let root = root_of(&image) as usize;
    assert!(slots.len() < 8192);
    for (index, slot) in slots.iter().enumerate() {
        let place = root + index * 32;
        image[place..place + 32].copy_from_slice(slot);
    }
    let scratch = Scratch::new();
    let path = scratch.join("image");
    std::fs::write(&path, &image).unwrap();
    let lister = scratch.join("list.py");
    std::fs::write(&lister, LIST_ODD).unwrap();
    let finder = scratch.join("find.py");
    std::fs::write(&finder, LOOK_UP).unwrap();
    let script = format!(
        "mount -t vfat -o $OPTIONS,ro /dev/ubda $ROOT
         python3 {}; python3 {}; umount $ROOT",
        lister.display(),
        finder.display()
    );
    let options = format!("utf8,tz=UTC,codepage={number}");
    driver::vfat(&scratch, &path, &options, &script);
    let mut options = OpenOptions::new(BlockCache::new(1 << 20));
    options.substitutes.code_page = page;
    let fs = tintype::filesystem::open(Arc::new(image), &options).unwrap();
    let count = compare_odd(&scratch, &*fs);
    let found = match what {
        // Linux does not find names again that it dropped something of.
        "random_sets" => compare_found(&scratch, &*fs),
        _ => 0,
    };
    measured!(
        "filesystem_fat::{what}: {count} entries and {found} look-ups as Linux has them, \
         page {number}"
    );
}

#[test]
fn odd_entries_are_shown_as_linux_shows_them() {
    needs!("linux.uml", "mkfs.fat", "python3");
    check_odd("odd_entries", &odd_slots(), CodePage::UnitedStates, 437);
    check_odd("odd_entries", &odd_slots(), CodePage::WesternEurope, 850);
}

#[test]
fn sets_made_at_random_are_shown_as_linux_shows_them() {
    needs!("linux.uml", "mkfs.fat", "python3");
    let seed = number_from_env("TINTYPE_FAT_SEED", 1, 1);
    let slots = random_slots(&mut Rng::new(seed));
    check_odd("random_sets", &slots, CodePage::UnitedStates, 437);
}
