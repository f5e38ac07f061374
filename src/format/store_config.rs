//! `config.json`: what is fixed for the life of a store. See docs/format/objects.md,
//! "Configuration".

use super::{Error, Result};
use crate::base::{StoreId, Timestamp};
use serde::{Deserialize, Serialize};

const CHECKSUM_KEY: &str = "\"checksum\": \"";
const CHECKSUM_DIGITS: usize = 16;

/// Features of a store by what a program must do that does not know one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// It may go on.
    pub compatible: Vec<String>,
    /// It may read, not write.
    pub read_only_compatible: Vec<String>,
    /// It must refuse the store.
    pub incompatible: Vec<String>,
}

/// What is fixed for the life of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreConfig {
    /// Version of the format; see [`super::FORMAT_VERSION`].
    pub format_version: u16,
    /// The name of the store.
    pub store_id: StoreId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Features in use.
    pub features: Features,
    /// Length of a block in bytes.
    pub block_len_bytes: u32,
    /// Blocks of a chunk that writers aim at.
    pub chunk_block_count: u32,
    /// Level of zstd that writers use.
    pub zstd_level: i32,
    /// Checksum of the file with these digits as zeros.
    pub checksum: String,
}

impl StoreConfig {
    /// Returns the bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let blank = Self {
            checksum: "0".repeat(CHECKSUM_DIGITS),
            ..self.clone()
        };
        let mut text = serde_json::to_string_pretty(&blank).unwrap_or_default();
        text.push('\n');
        let checksum = format!("{:016x}", super::checksum(text.as_bytes()));
        if let Some(range) = checksum_range(&text) {
            text.replace_range(range, &checksum);
        }
        text.into_bytes()
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If it is damaged, or the store needs what this version lacks.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let json = |message: String| Error::Json {
            structure: "config.json",
            message,
        };
        let mut text =
            String::from_utf8(bytes.to_vec()).map_err(|error| json(error.to_string()))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| json(error.to_string()))?;
        let range = checksum_range(&text).ok_or_else(|| json("it has no checksum".to_owned()))?;
        text.replace_range(range, &"0".repeat(CHECKSUM_DIGITS));
        let computed = super::checksum(text.as_bytes());
        let expected = u64::from_str_radix(&config.checksum, 16).unwrap_or(!computed);
        if computed != expected {
            return Err(Error::Checksum {
                structure: "config.json",
                expected,
                computed,
            });
        }
        config.demand_supported()?;
        Ok(config)
    }

    fn demand_supported(&self) -> Result<()> {
        if self.format_version != super::FORMAT_VERSION {
            return Err(Error::Unsupported(format!(
                "the store has format version {}, this program reads {}",
                self.format_version,
                super::FORMAT_VERSION
            )));
        }
        if let Some(feature) = self.features.incompatible.first() {
            return Err(Error::Unsupported(format!(
                "the store uses the feature {feature:?}"
            )));
        }
        if self.block_len_bytes != crate::base::BLOCK_LEN as u32 {
            return Err(Error::Unsupported(format!(
                "the store has blocks of {} bytes",
                self.block_len_bytes
            )));
        }
        super::cursor::demand(
            (1..=256).contains(&self.chunk_block_count),
            "chunk_block_count",
            "1 to 256",
            self.chunk_block_count,
        )
    }

    /// Returns the feature that forbids this version to write, if there is one.
    pub fn read_only_because(&self) -> Option<&str> {
        self.features
            .read_only_compatible
            .first()
            .map(String::as_str)
    }
}

fn checksum_range(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find(CHECKSUM_KEY)? + CHECKSUM_KEY.len();
    let end = start + CHECKSUM_DIGITS;
    text.get(start..end).map(|_| start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> StoreConfig {
        StoreConfig {
            format_version: 1,
            store_id: StoreId([1; 16]),
            created_at: Timestamp::from_nanoseconds(0),
            features: Features::default(),
            block_len_bytes: 4096,
            chunk_block_count: 16,
            zstd_level: 3,
            checksum: String::new(),
        }
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let bytes = config().encode();
        assert_eq!(
            StoreConfig::decode(&bytes).unwrap().store_id,
            StoreId([1; 16])
        );
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(StoreConfig::decode(&damaged).is_err(), "byte {place}");
        }
    }

    #[test]
    fn an_unknown_incompatible_feature_is_named() {
        let mut config = config();
        config.features.incompatible.push("time-travel".to_owned());
        let error = StoreConfig::decode(&config.encode()).unwrap_err();
        assert!(error.to_string().contains("time-travel"));
    }
}
