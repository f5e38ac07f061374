//! Names of things: fixed-width, printed as lower-case hexadecimal.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The text is not the hexadecimal form of an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found:?}")]
pub struct ParseIdError {
    expected: usize,
    found: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length of the id in bytes.
            pub const LEN: usize = $len;

            /// Returns the id in `bytes` if the length fits.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut id = Self::default();
                match decode_hex(text, &mut id.0) {
                    Some(()) => Ok(id),
                    None => Err(ParseIdError { expected: 2 * $len, found: text.to_owned() }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// BLAKE3-256 of the content of a chunk or of an encoded map node.
    ChunkId, 32
);
id!(
    /// Keyed BLAKE3 of one block, cut to 16 bytes; the key is a secret of the store.
    Fingerprint, 16
);
id!(
    /// Name of a pack; random.
    PackId, 16
);
id!(
    /// Name of an index; random.
    IndexId, 16
);
id!(
    /// Name of a snapshot for ever; random.
    SnapshotId, 16
);
id!(
    /// Name of a store; random.
    StoreId, 16
);
id!(
    /// Name of a lease; random.
    LeaseId, 16
);

macro_rules! random_id {
    ($($name:ident),*) => {
        $(impl $name {
            /// Returns a new random id.
            ///
            /// # Panics
            ///
            /// If the kernel has no random bytes; nothing can be named then.
            pub fn random() -> Self {
                let mut id = Self::default();
                fill_random(&mut id.0);
                id
            }
        })*
    };
}

random_id!(PackId, IndexId, SnapshotId, StoreId, LeaseId);

impl Fingerprint {
    /// Tells whether this fingerprint is a hook: one in [`super::limits::HOOK_RATE`]
    /// is, chosen by value, so that every store and every run chooses the same.
    pub fn is_hook(&self) -> bool {
        u64::from(self.0[15]).is_multiple_of(super::limits::HOOK_RATE)
    }

    /// Returns the first eight bytes as a number; uniform, so it serves as a hash.
    pub fn prefix(&self) -> u64 {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(prefix)
    }
}

impl ChunkId {
    /// Returns the first eight bytes as a number; uniform, so it serves as a hash.
    pub fn prefix(&self) -> u64 {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(prefix)
    }

    /// Returns the id of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

/// Fills `target` with random bytes of the kernel.
///
/// # Panics
///
/// If the kernel has none.
pub fn fill_random(target: &mut [u8]) {
    use std::io::Read;
    let mut source = std::fs::File::open("/dev/urandom").expect("the kernel has random bytes");
    source
        .read_exact(target)
        .expect("the kernel has random bytes");
}

/// Decodes exactly `target.len()` bytes of hexadecimal text.
fn decode_hex(text: &str, target: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != 2 * target.len() {
        return None;
    }
    for (byte, pair) in target.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(())
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_goes_there_and_back() {
        let id = PackId::random();
        assert_eq!(id.to_string().parse::<PackId>().unwrap(), id);
        assert_eq!(id.to_string().len(), 32);
        assert!("12".parse::<PackId>().is_err());
        assert!("zz".repeat(16).parse::<PackId>().is_err());
    }

    #[test]
    fn one_fingerprint_in_eight_is_a_hook() {
        let hooks = (0_u8..=255)
            .filter(|last| {
                let mut bytes = [0; 16];
                bytes[15] = *last;
                Fingerprint(bytes).is_hook()
            })
            .count();
        assert_eq!(hooks, 32);
    }
}
