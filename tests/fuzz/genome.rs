//! What a fuzzer changes: a short list of edits over one of the images of a format.
//! Edits are made where the reader was seen to read metadata.

use crate::engine::Seen;
use crate::image::{Image, Place};
use std::io;

/// Edits of one genome.
const EDIT_COUNT_MAX: usize = 48;

/// Numbers that readers have limits at.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
];

/// Numbers at random; the same for the same seed.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }
}

/// New bytes at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// How long the image claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As it is.
    Own,
    /// Cut after this many 64ths.
    Cut(u8),
    /// Zeros behind it, up to 2 to this power.
    Huge(u8),
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genome {
    pub image: String,
    pub length: Length,
    /// Whether checksums are made right.
    pub is_repaired: bool,
    pub edits: Vec<Edit>,
}

impl Genome {
    pub fn new(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            length: Length::Own,
            is_repaired: true,
            edits: vec![],
        }
    }

    /// Returns the length of the image for one of `len` bytes.
    pub fn len_of(&self, len: u64) -> u64 {
        match self.length {
            Length::Own => len,
            Length::Cut(part) => len / 64 * u64::from(part),
            Length::Huge(power) => len.max(1 << power.min(60)),
        }
    }

    /// Returns the form in files.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, number) = match self.length {
            Length::Own => (0, 0),
            Length::Cut(part) => (1, part),
            Length::Huge(power) => (2, power),
        };
        let mut bytes = vec![self.image.len() as u8];
        bytes.extend(self.image.as_bytes());
        bytes.extend([kind, number, self.is_repaired.into()]);
        for edit in &self.edits {
            bytes.extend(edit.offset.to_le_bytes());
            bytes.extend((edit.bytes.len() as u16).to_le_bytes());
            bytes.extend(&edit.bytes);
        }
        bytes
    }

    /// Reads what [`Genome::encode`] made.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let bad = || io::Error::other("no genome");
        let mut rest = bytes;
        let mut take = |len: usize| -> io::Result<&[u8]> {
            let (now, later) = rest.split_at_checked(len).ok_or_else(bad)?;
            rest = later;
            Ok(now)
        };
        let name_len = take(1)?[0];
        let image = String::from_utf8(take(name_len.into())?.to_vec()).map_err(|_| bad())?;
        let header = take(3)?;
        let length = match header[0] {
            0 => Length::Own,
            1 => Length::Cut(header[1]),
            _ => Length::Huge(header[1]),
        };
        let is_repaired = header[2] != 0;
        let mut edits = vec![];
        while let Ok(head) = take(10) {
            let offset = u64::from_le_bytes(head[..8].try_into().map_err(|_| bad())?);
            let len = u16::from_le_bytes([head[8], head[9]]);
            edits.push(Edit {
                offset,
                bytes: take(len.into())?.to_vec(),
            });
        }
        Ok(Self {
            image,
            length,
            is_repaired,
            edits,
        })
    }

    /// Returns a changed one; `seen` is what a run of this one read and compared.
    pub fn mutate(&self, seen: &Seen, image: &Image, random: &mut Random) -> Self {
        let mut genome = self.clone();
        if random.one_in(24) {
            genome.length = match random.below(3) {
                0 => Length::Own,
                1 => Length::Cut(random.below(65) as u8),
                _ => Length::Huge([32, 40, 48, 60][random.below(4)]),
            };
        }
        if random.one_in(64) {
            genome.is_repaired = !genome.is_repaired;
        }
        let count = 1 << random.below(4);
        for _ in 0..count {
            if genome.edits.len() >= EDIT_COUNT_MAX || (genome.edits.len() > 2 && random.one_in(6))
            {
                let index = random.below(genome.edits.len());
                genome.edits.remove(index);
            } else if let Some(edit) = make_edit(seen, image, random) {
                genome.edits.push(edit);
            }
        }
        genome
    }

    /// Adds edits of another one with the same image.
    pub fn cross(&self, other: &Self, random: &mut Random) -> Self {
        let mut genome = self.clone();
        for edit in &other.edits {
            if genome.edits.len() < EDIT_COUNT_MAX && random.one_in(2) {
                genome.edits.push(edit.clone());
            }
        }
        genome
    }
}

fn make_edit(seen: &Seen, image: &Image, random: &mut Random) -> Option<Edit> {
    if random.one_in(4)
        && let Some(edit) = compared(seen, image, random)
    {
        return Some(edit);
    }
    let offset = offset_in(seen, image, random)?;
    let old = image.bytes(offset, 8);
    let bytes = match random.below(8) {
        0 => vec![old[0] ^ 1 << random.below(8)],
        1 => vec![random.next() as u8],
        2 => vec![[0, 0xFF, 1, 0x7F, 0x80][random.below(5)]; 1 << random.below(6)],
        3 | 4 => number(*random.pick(&NUMBERS)?, random),
        5 => {
            let (step, is_little) = (random.below(9) as u64, random.one_in(2));
            near(&old, step.wrapping_sub(4), is_little, 1 << random.below(4))
        }
        6 => {
            // What lies elsewhere: a pointer to another structure, another type.
            let from = offset_in(seen, image, random)?;
            image.bytes(from, [2, 4, 8, 16, 64, 512][random.below(6)])
        }
        _ => {
            let place = random.pick(&seen.places)?.0;
            let unit = [1, 512, 1024, 4096][random.below(4)];
            number(place / unit, random)
        }
    };
    Some(Edit { offset, bytes })
}

/// Returns a place where something was read, preferably where there is something.
fn offset_in(seen: &Seen, image: &Image, random: &mut Random) -> Option<u64> {
    let mut offset = 0;
    for _ in 0..6 {
        let (start, len): Place = *random.pick(&seen.places)?;
        // Numbers lie in front.
        let limit = if random.one_in(2) { len.min(256) } else { len };
        let inside = random.below(limit);
        let unit = [1, 2, 4, 8][random.below(4)];
        offset = start + (inside / unit * unit) as u64;
        if image.bytes(offset & !15, 16).iter().any(|byte| *byte != 0) {
            break;
        }
    }
    Some(offset)
}

fn number(value: u64, random: &mut Random) -> Vec<u8> {
    let len = [1, 2, 4, 8][random.below(4)];
    if random.one_in(2) {
        value.to_le_bytes()[..len].to_vec()
    } else {
        value.to_be_bytes()[8 - len..].to_vec()
    }
}

fn near(old: &[u8], step: u64, is_little: bool, len: usize) -> Vec<u8> {
    let mut wide = [0; 8];
    if is_little {
        wide[..len].copy_from_slice(&old[..len]);
        let value = u64::from_le_bytes(wide).wrapping_add(step);
        value.to_le_bytes()[..len].to_vec()
    } else {
        wide[8 - len..].copy_from_slice(&old[..len]);
        let value = u64::from_be_bytes(wide).wrapping_add(step);
        value.to_be_bytes()[8 - len..].to_vec()
    }
}

/// Finds a value that was compared, and puts there what it was compared with.
fn compared(seen: &Seen, image: &Image, random: &mut Random) -> Option<Edit> {
    let (one, other, width) = *random.pick(&seen.compares)?;
    let (old, new) = if random.one_in(2) {
        (one, other)
    } else {
        (other, one)
    };
    let new = new.wrapping_add([0, 0, 0, 1, u64::MAX][random.below(5)]);
    let is_little = random.one_in(2);
    let encode = |value: u64| {
        if is_little {
            value.to_le_bytes()[..width].to_vec()
        } else {
            value.to_be_bytes()[8 - width..].to_vec()
        }
    };
    let (old, new) = (encode(old), encode(new));
    for _ in 0..8 {
        let (start, len) = *random.pick(&seen.places)?;
        let bytes = image.bytes(start, len.min(8192));
        let found: Vec<usize> = (0..bytes.len().saturating_sub(width - 1))
            .step_by(2)
            .filter(|position| bytes[*position..*position + width] == old[..])
            .take(16)
            .collect();
        if let Some(position) = random.pick(&found) {
            return Some(Edit {
                offset: start + *position as u64,
                bytes: new,
            });
        }
    }
    None
}
