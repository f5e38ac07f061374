//! Snapshots: what each one is, the log that lists them, and how images become
//! snapshots and come back.

mod catalog;
mod copy;
mod discard;
mod entry;
mod ingest;
mod lease;
mod manifest;
pub mod plausible;
mod resolve;
mod restore;
mod state;
mod stats;
#[cfg(test)]
mod tests;

pub use catalog::Catalog;
pub use copy::copy;
pub use discard::Discard;
pub use entry::{Action, Checkpoint, Entry};
pub use ingest::{IngestOptions, ingest, ingest_stream, ingest_without_free, write_manifest};
pub use lease::{Lease, LeaseInfo, LeaseRole, leases};
pub use manifest::{Labels, Manifest, Snapshot, SnapshotKind, SnapshotType};
pub use restore::{restore, restore_stream};
pub use state::State;
pub use stats::{SnapshotStats, Stats, stats};
