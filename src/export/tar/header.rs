//! The header of one member, as POSIX.1-1988 (ustar) has it. What does not fit stands in
//! the extended header before it; the field then holds what fits, or zero.
//!
//! Source: POSIX.1-2017, pax(1), "ustar Interchange Format"; base-256 numbers as GNU tar
//! and star have them.

/// Bytes of a header, and the unit of the archive.
pub(super) const BLOCK_LEN: usize = 512;

/// The longest name and target that a header takes.
pub(super) const NAME_LEN_MAX: usize = 100;
/// The largest number in a field of 8 bytes.
pub(super) const SMALL_MAX: u64 = 0o7_777_777;
/// The largest number in a field of 12 bytes.
pub(super) const LARGE_MAX: u64 = 0o77_777_777_777;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
    /// Records about the next member.
    Extended,
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::Regular => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::CharacterDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
            Self::Extended => b'x',
        }
    }
}

/// One header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) mode: u16,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) device: (u32, u32),
}

const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const USER: std::ops::Range<usize> = 108..116;
const GROUP: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MODIFIED: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAGIC: std::ops::Range<usize> = 257..265;
const DEVICE_MAJOR: std::ops::Range<usize> = 329..337;
const DEVICE_MINOR: std::ops::Range<usize> = 337..345;

impl Header<'_> {
    /// Returns the block.
    pub(super) fn encode(&self) -> [u8; BLOCK_LEN] {
        let mut block = [0; BLOCK_LEN];
        put_text(&mut block[NAME], self.name);
        put_octal(&mut block[MODE], self.mode.into());
        put_octal(&mut block[USER], fitting(self.user.into(), SMALL_MAX));
        put_octal(&mut block[GROUP], fitting(self.group.into(), SMALL_MAX));
        put_octal(&mut block[SIZE], fitting(self.size, LARGE_MAX));
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        put_octal(&mut block[MODIFIED], fitting(seconds, LARGE_MAX));
        block[KIND] = self.kind.letter();
        put_text(&mut block[LINK], self.link);
        block[MAGIC].copy_from_slice(b"ustar\x0000");
        put_number(&mut block[DEVICE_MAJOR], self.device.0.into());
        put_number(&mut block[DEVICE_MINOR], self.device.1.into());
        // The sum counts its own field as blanks.
        block[CHECKSUM].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        // Six digits, zero, blank.
        put_octal(&mut block[CHECKSUM.start..CHECKSUM.end - 1], sum);
        block
    }
}

fn fitting(number: u64, max: u64) -> u64 {
    if number <= max { number } else { 0 }
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
}

fn put_octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[..digits]);
    field[digits] = 0;
}

/// Writes octal, or bytes after a marker where octal has no room.
fn put_number(field: &mut [u8], number: u64) {
    if number <= SMALL_MAX {
        return put_octal(field, number);
    }
    field.copy_from_slice(&number.to_be_bytes());
    field[0] = 0x80;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_its_fields_and_its_sum() {
        let header = Header {
            kind: Kind::Regular,
            name: b"etc/passwd",
            link: b"",
            mode: 0o644,
            user: 3_000_000,
            group: 42,
            size: 1000,
            seconds: 1_700_000_000,
            device: (1, 3_000_000),
        };
        let block = header.encode();
        assert_eq!(&block[..11], b"etc/passwd\0");
        assert_eq!(&block[MODE], b"0000644\0");
        assert_eq!(&block[USER], b"0000000\0");
        assert_eq!(&block[GROUP], b"0000052\0");
        assert_eq!(&block[SIZE], b"00000001750\0");
        assert_eq!(&block[DEVICE_MAJOR], b"0000001\0");
        assert_eq!(&block[DEVICE_MINOR], &[0x80, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0]);
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(place, byte)| {
                u64::from(if CHECKSUM.contains(&place) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum();
        assert_eq!(block[CHECKSUM], *format!("{sum:06o}\0 ").as_bytes());
    }
}
