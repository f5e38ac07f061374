//! Points in time with nanoseconds, and their text form.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z. Printed as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp {
    nanoseconds: i64,
}

impl Timestamp {
    /// Returns the time now by the system's clock, which may step back.
    pub fn now() -> Self {
        Self::from_system_time(SystemTime::now())
    }

    /// Returns the point this many nanoseconds after the epoch.
    pub const fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// Returns the nanoseconds since the epoch.
    pub const fn nanoseconds(self) -> i64 {
        self.nanoseconds
    }

    /// Returns the nearest representable point.
    pub fn from_system_time(time: SystemTime) -> Self {
        let nanoseconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg)
            }
        };
        Self { nanoseconds }
    }

    /// Returns the same point as the standard library names it.
    pub fn to_system_time(self) -> SystemTime {
        let magnitude = std::time::Duration::from_nanos(self.nanoseconds.unsigned_abs());
        if self.nanoseconds >= 0 {
            UNIX_EPOCH + magnitude
        } else {
            UNIX_EPOCH - magnitude
        }
    }

    /// Returns the form used in path names: `2026-11-23T07-44-12Z`.
    pub fn to_path_name(self) -> String {
        self.to_jiff().strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
    }

    /// Returns the form for people, to the second: `2026-11-23T07:44:12Z`.
    pub fn to_seconds(self) -> String {
        self.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.nanoseconds))
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_jiff())
    }
}

/// The text is not a point in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text:?} is not a time; write it like 2026-11-23T07:44:12Z")]
pub struct ParseTimestampError {
    text: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
            .map(Self::from_nanoseconds)
            .ok_or_else(|| ParseTimestampError {
                text: text.to_owned(),
            })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_keeps_nanoseconds_and_years_before_1970() {
        for nanoseconds in [0, 1, -1, 1_795_000_000_123_456_789, -1_000_000_001] {
            let time = Timestamp::from_nanoseconds(nanoseconds);
            assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
            assert_eq!(Timestamp::from_system_time(time.to_system_time()), time);
        }
        let time: Timestamp = "2026-11-23T07:44:12.5Z".parse().unwrap();
        assert_eq!(time.to_path_name(), "2026-11-23T07-44-12Z");
        assert_eq!(time.to_seconds(), "2026-11-23T07:44:12Z");
    }
}
