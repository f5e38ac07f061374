//! Modes, times and names of files as text.

use super::output::printable;
use crate::filesystem::{FileTime, FileType, Metadata};
use std::fmt::Write as _;

/// Returns bytes as text for people: what is not UTF-8 becomes `\xff`, and control
/// characters are escaped, so that no name writes to the terminal.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ok = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Returns bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ok = write!(text, "{byte:02x}");
    }
    text
}

/// Returns the word for a type.
pub const fn type_word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Regular => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharacterDevice => "character_device",
        FileType::BlockDevice => "block_device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// Returns type and permissions as `ls -l` has them.
pub fn mode_text(metadata: &Metadata) -> String {
    let mode = metadata.permissions;
    let letter = match metadata.file_type {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    };
    let mut text = String::from(letter);
    for (shift, special, on, off) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => on,
            (true, false) => off,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Returns a time to the second, in UTC: `2026-11-23 07:44:12`.
pub fn time_text(time: FileTime) -> String {
    let (date, clock) = parts(time);
    format!("{date} {clock}")
}

/// Returns a time to the nanosecond in the form of RFC 3339. Years beyond 9999, which
/// NTFS has, get as many digits as they need.
pub fn time_rfc3339(time: FileTime) -> String {
    let (date, clock) = parts(time);
    match time.nanoseconds {
        0 => format!("{date}T{clock}Z"),
        nanoseconds => format!("{date}T{clock}.{nanoseconds:09}Z"),
    }
}

/// Returns date and time of day.
fn parts(time: FileTime) -> (String, String) {
    const DAY_SECONDS: i64 = 86_400;
    let (year, month, day) = date_of(time.seconds.div_euclid(DAY_SECONDS));
    let rest = time.seconds.rem_euclid(DAY_SECONDS);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60),
    )
}

/// Returns the date of a day counted from 1970-01-01, in the Gregorian calendar. Years
/// begin in March here, so that the leap day comes last.
fn date_of(day: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    // Days from 0000-03-01 to 1970-01-01.
    let shifted = i128::from(day) + 719_468;
    let era = shifted.div_euclid(ERA_DAYS.into());
    let day_of_era = shifted.rem_euclid(ERA_DAYS.into());
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    // All three are in range: 2^63 seconds are fewer than 2^39 years.
    let number = |value: i128| i64::try_from(value).unwrap_or(i64::MAX);
    (number(year), number(month), number(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_epoch_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (-2_147_483_648, "1901-12-13 20:45:52"),
            (15_032_385_535, "2446-05-10 22:38:55"),
            (-11_644_473_600, "1601-01-01 00:00:00"),
            (1_833_029_933_770, "60056-05-28 05:36:10"),
        ] {
            let time = FileTime {
                seconds,
                nanoseconds: 0,
            };
            assert_eq!(time_text(time), text);
        }
        let time = FileTime {
            seconds: -1,
            nanoseconds: 5,
        };
        assert_eq!(time_rfc3339(time), "1969-12-31T23:59:59.000000005Z");
        let last = FileTime {
            seconds: i64::MIN,
            nanoseconds: 0,
        };
        assert!(time_text(last).starts_with("-292277022657-"));
    }

    #[test]
    fn bytes_stay_apart_and_do_nothing() {
        assert_eq!(escape_bytes(b"a\xff\nb"), "a\\xff\\nb");
        assert_eq!(hex(b"a\xff"), "61ff");
    }
}
