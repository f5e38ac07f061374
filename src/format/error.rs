//! What is wrong with bytes that were read.

/// The bytes are not what the specification says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the structure does.
    #[error("{structure} ends at byte {len}, before its end")]
    Truncated {
        /// What was being read.
        structure: &'static str,
        /// How many bytes there were.
        len: usize,
    },
    /// A field contradicts the specification.
    #[error("{field}: expected {expected}, found {found:#x}")]
    Field {
        /// The field as the specification names it.
        field: &'static str,
        /// What it may hold.
        expected: &'static str,
        /// What it holds.
        found: u64,
    },
    /// The checksum does not fit the bytes.
    #[error("checksum of {structure}: expected {expected:#018x}, computed {computed:#018x}")]
    Checksum {
        /// What it covers.
        structure: &'static str,
        /// The one stored.
        expected: u64,
        /// The one computed.
        computed: u64,
    },
    /// A text part is not the JSON that it should be.
    #[error("{structure} is not valid JSON: {message}")]
    Json {
        /// What it should be.
        structure: &'static str,
        /// What the parser said.
        message: String,
    },
    /// The object needs something that this version lacks.
    #[error("{0}")]
    Unsupported(String),
}

/// Result of decoding.
pub type Result<T, E = Error> = std::result::Result<T, E>;
