//! Who is alive: writers, mounts and collectors. A matter of tidiness, never of safety:
//! a lease that expired wrongly costs work, not data. See docs/format/catalog.md,
//! "Leases".

use super::entry::{open_json, seal_json};
use crate::base::{LeaseId, Timestamp};
use crate::format::ObjectKind;
use crate::store::{Result, Store};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of a lease that are accepted.
const LEASE_LEN_ACCEPT_MAX: u64 = 1 << 16;

/// What the holder of a lease does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseRole {
    /// Makes snapshots.
    Writer,
    /// Shows snapshots.
    Mount,
    /// Removes what is dead.
    Collector,
}

/// What a lease says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// Its name.
    pub id: LeaseId,
    /// What the holder does.
    pub role: LeaseRole,
    /// Number of the last entry that the holder had read when it began.
    pub sequence: u64,
    /// Name of the holder's machine.
    pub host: String,
    /// Identity of the machine's run; another one means that the holder is gone.
    pub boot_id: String,
    /// Process of the holder.
    pub process_id: u32,
    /// When it began.
    pub since: Timestamp,
    /// Where it is mounted, for a mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_point: Option<String>,
}

impl LeaseInfo {
    /// Tells whether the holder is a process of this machine, in this run of it.
    pub fn is_of_this_machine(&self) -> bool {
        self.host == read_kernel("/proc/sys/kernel/hostname")
            && self.boot_id == read_kernel("/proc/sys/kernel/random/boot_id")
    }
}

/// A lease that is held; given back when it drops.
#[derive(Debug)]
pub struct Lease {
    store: Arc<Store>,
    info: LeaseInfo,
}

impl Lease {
    /// Takes a lease.
    pub fn take(
        store: &Arc<Store>,
        role: LeaseRole,
        sequence: u64,
        mount_point: Option<String>,
    ) -> Result<Self> {
        let info = LeaseInfo {
            id: LeaseId::random(),
            role,
            sequence,
            host: read_kernel("/proc/sys/kernel/hostname"),
            boot_id: read_kernel("/proc/sys/kernel/random/boot_id"),
            process_id: std::process::id(),
            since: Timestamp::now(),
            mount_point,
        };
        let bytes = seal_json(ObjectKind::Lease, store.id(), &info)?;
        store.backend().put_new(&lease_name(&info.id), &bytes)?;
        Ok(Self {
            store: Arc::clone(store),
            info,
        })
    }

    /// Returns what the lease says.
    pub fn info(&self) -> &LeaseInfo {
        &self.info
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = self.store.backend().delete(&lease_name(&self.info.id)) {
            log::warn!("a lease stays behind: {error}");
        }
    }
}

/// Returns the leases of holders that may be alive. Those of processes of this machine
/// that are gone are removed.
pub fn leases(store: &Store) -> Result<Vec<LeaseInfo>> {
    let mut alive = vec![];
    for name in store.backend().list("leases")? {
        let name = format!("leases/{name}");
        // It may be given back between listing and reading.
        let Ok(bytes) = store.backend().read(&name, LEASE_LEN_ACCEPT_MAX) else {
            continue;
        };
        let info: LeaseInfo = match open_json(&name, &bytes, ObjectKind::Lease, store.id()) {
            Ok(info) => info,
            Err(error) => {
                log::warn!("{error}");
                continue;
            }
        };
        if is_gone(&info) {
            store.backend().delete(&name)?;
        } else {
            alive.push(info);
        }
    }
    Ok(alive)
}

fn is_gone(info: &LeaseInfo) -> bool {
    if info.host != read_kernel("/proc/sys/kernel/hostname") {
        return false;
    }
    info.boot_id != read_kernel("/proc/sys/kernel/random/boot_id")
        || !std::path::Path::new(&format!("/proc/{}", info.process_id)).exists()
}

fn lease_name(id: &LeaseId) -> String {
    format!("leases/{id}")
}

fn read_kernel(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
