//! Records of an extended header: `length keyword=value`, the length with itself counted.
//!
//! Source: POSIX.1-2017, pax(1), "pax Extended Header"; keywords of star and GNU tar for
//! what POSIX does not have.

use crate::filesystem::FileTime;

/// Records about one member.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// Returns all records, one after the other.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a record.
    pub(super) fn push(&mut self, keyword: &[u8], value: &[u8]) {
        // Blank, equals sign and end of line.
        let rest = keyword.len() + value.len() + 3;
        let mut len = rest + digits(rest);
        if rest + digits(len) > len {
            len += 1;
        }
        self.bytes.extend_from_slice(format!("{len} ").as_bytes());
        self.bytes.extend_from_slice(keyword);
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    /// Adds the records of another.
    pub(super) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Adds a number.
    pub(super) fn push_number(&mut self, keyword: &str, value: u64) {
        self.push(keyword.as_bytes(), value.to_string().as_bytes());
    }

    /// Adds a time, to the nanosecond.
    pub(super) fn push_time(&mut self, keyword: &str, time: FileTime) {
        self.push(keyword.as_bytes(), time_text(time).as_bytes());
    }

    /// Adds an extended attribute; `%` and `=` in its name are written as GNU tar does.
    pub(super) fn push_attribute(&mut self, name: &[u8], value: &[u8]) {
        let mut keyword = b"SCHILY.xattr.".to_vec();
        for byte in name {
            match byte {
                b'%' => keyword.extend_from_slice(b"%25"),
                b'=' => keyword.extend_from_slice(b"%3D"),
                byte => keyword.push(*byte),
            }
        }
        self.push(&keyword, value);
    }
}

const fn digits(number: usize) -> usize {
    match number.checked_ilog10() {
        Some(log) => log as usize + 1,
        None => 1,
    }
}

/// Returns a time as a decimal fraction: one before 1970 counts down from zero.
fn time_text(time: FileTime) -> String {
    let (seconds, nanoseconds) = (time.seconds, time.nanoseconds);
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    if seconds < 0 {
        let whole = (seconds + 1).unsigned_abs();
        let rest = 1_000_000_000_u32.saturating_sub(nanoseconds);
        return format!("-{whole}.{rest:09}");
    }
    format!("{seconds}.{nanoseconds:09}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_counts_itself() {
        for value_len in [1, 80, 87, 88, 89, 90, 980, 985, 990, 9990] {
            let mut records = Records::default();
            records.push(b"path", &vec![b'x'; value_len]);
            let text = String::from_utf8(records.bytes.clone()).unwrap();
            let stated: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(stated, text.len(), "{value_len}");
        }
    }

    #[test]
    fn times_are_fractions() {
        let text = |seconds, nanoseconds| {
            time_text(FileTime {
                seconds,
                nanoseconds,
            })
        };
        assert_eq!(text(5, 1), "5.000000001");
        assert_eq!(text(-1, 500_000_000), "-0.500000000");
        assert_eq!(text(-2, 750_000_000), "-1.250000000");
        assert_eq!(text(-2, 0), "-2");
    }

    #[test]
    fn names_of_attributes_are_escaped() {
        let mut records = Records::default();
        records.push_attribute(b"user.a=b%", b"v");
        assert_eq!(records.bytes(), b"32 SCHILY.xattr.user.a%3Db%25=v\n");
    }
}
