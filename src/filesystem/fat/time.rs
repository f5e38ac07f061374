//! Times of FAT and exFAT: a date and a time of day of 16 bits each, 2 seconds apart,
//! and hundredths of a second beside them.
//!
//! FAT has local time and does not say which; it is taken as UTC, as a mount with
//! `tz=UTC` does. Dates that no calendar has are taken as Linux takes them, which are
//! others in FAT than in exFAT.
//!
//! Source: Microsoft FAT specification 1.03, "Date and Time Formats".

use crate::filesystem::FileTime;

/// Days from 1970 to 1980.
const EPOCH_DAYS: i64 = 3652;
/// Days from the beginning of Gauss's formula to 1970.
const FORMULA_EPOCH_DAYS: i64 = 719_499;
/// 2100 is no leap year; no year that fits comes after another such.
const YEAR_2100: i64 = 120;
const MONTH_DAYS: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Returns the time of a date, a time of day and hundredths of a second up to 255 of FAT.
pub(super) fn decode(date: u16, time: u16, hundredths: u8) -> FileTime {
    time_at(days_of(date), time, hundredths)
}

/// Returns the time of a date, a time of day and hundredths of a second up to 255 of exFAT.
pub(in super::super) fn decode_calendar(date: u16, time: u16, hundredths: u8) -> FileTime {
    time_at(calendar_days_of(date), time, hundredths)
}

fn time_at(days: i64, time: u16, hundredths: u8) -> FileTime {
    let seconds = days
        .saturating_mul(86_400)
        .saturating_add(i64::from(time >> 11).saturating_mul(3600))
        .saturating_add(i64::from(time >> 5 & 0x3F).saturating_mul(60))
        .saturating_add(i64::from(time & 0x1F).saturating_mul(2))
        .saturating_add(i64::from(hundredths / 100));
    FileTime {
        seconds,
        nanoseconds: u32::from(hundredths % 100).saturating_mul(10_000_000),
    }
}

/// Returns the days since 1970: month and day 0 are the first, months above 12 begin
/// with the year.
fn days_of(date: u16) -> i64 {
    let year = i64::from(date >> 9);
    let month = usize::from(date >> 5 & 0x0F).max(1);
    let day = i64::from(date & 0x1F).max(1);
    let is_leap = year & 3 == 0 && year != YEAR_2100;
    let leap_days = (year.saturating_add(3) / 4)
        .saturating_sub(i64::from(year > YEAR_2100))
        .saturating_add(i64::from(is_leap && month > 2));
    let before = MONTH_DAYS.get(month.wrapping_sub(1)).unwrap_or(&0);
    EPOCH_DAYS
        .saturating_add(year.saturating_mul(365))
        .saturating_add(leap_days)
        .saturating_add(*before)
        .saturating_add(day)
        .saturating_sub(1)
}

/// Returns the days since 1970: what is too much goes on in the next month or year, and
/// month and day 0 are those before the first.
///
/// Gauss's formula: a year begins with March, so that a leap day is its last.
fn calendar_days_of(date: u16) -> i64 {
    let year = i64::from(date >> 9).saturating_add(1980);
    let month = i64::from(date >> 5 & 0x0F);
    let (month, year) = match month {
        0..=2 => (month.saturating_add(10), year.saturating_sub(1)),
        _ => (month.saturating_sub(2), year),
    };
    let leap_days = (year / 4)
        .saturating_sub(year / 100)
        .saturating_add(year / 400);
    year.saturating_mul(365)
        .saturating_add(leap_days)
        .saturating_add(month.saturating_mul(367) / 12)
        .saturating_add(i64::from(date & 0x1F))
        .saturating_sub(FORMULA_EPOCH_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(year: u16, month: u16, day: u16) -> u16 {
        (year - 1980) << 9 | month << 5 | day
    }

    #[test]
    fn dates_of_the_whole_range_are_right() {
        // From `date -u -d ... +%s`.
        for (year, month, day, expected) in [
            (1980, 1, 1, 315_532_800),
            (1980, 2, 29, 320_630_400),
            (1980, 3, 1, 320_716_800),
            (1999, 12, 31, 946_598_400),
            (2000, 2, 29, 951_782_400),
            (2001, 3, 1, 983_404_800),
            (2038, 1, 19, 2_147_472_000),
            (2100, 2, 28, 4_107_456_000),
            (2100, 3, 1, 4_107_542_400),
            (2101, 1, 1, 4_133_980_800),
            (2107, 12, 31, 4_354_732_800),
        ] {
            for decode in [decode, decode_calendar] {
                let found = decode(date(year, month, day), 0, 0);
                assert_eq!(found.seconds, expected, "{year}-{month}-{day}");
            }
        }
    }

    /// Both ways to count days agree on every date that there is.
    #[test]
    fn both_calendars_have_the_same_days() {
        for year in 1980..2108 {
            for month in 1..13 {
                for day in 1..29 {
                    let date = date(year, month, day);
                    assert_eq!(days_of(date), calendar_days_of(date));
                }
            }
        }
    }

    #[test]
    fn times_of_day_have_hundredths() {
        let time = 23 << 11 | 59 << 5 | 29;
        let found = decode(date(1980, 1, 1), time, 199);
        assert_eq!(found.seconds, 315_532_800 + 86_399);
        assert_eq!(found.nanoseconds, 990_000_000);
    }

    #[test]
    fn dates_that_are_none_are_taken_as_linux_takes_them() {
        assert_eq!(decode(0, 0, 0).seconds, 315_532_800);
        assert_eq!(decode(13 << 5 | 1, 0, 0).seconds, 315_532_800 + 86_400);
        assert_eq!(decode(u16::MAX, u16::MAX, 255).nanoseconds, 550_000_000);
    }
}
