//! What was found in an image, in a form to print: `tintype inspect` and
//! `snapshot.json`.

use super::assembly::Unplaced;
use super::volume::Volume;
use super::{Contents, Error, ErrorKind, OperatingSystem, Result, table_word};
use crate::filesystem::{self, Consistency, FileSystem, SpaceUsage};
use crate::partition::{Partition, PartitionType};
use serde::Serialize;
use std::sync::Arc;

/// What fills a volume.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileSystemReport {
    /// `ext4`, `xfs`, `luks`, `swap` and so on; empty if nothing is known of it.
    #[serde(rename = "type")]
    pub format: String,
    /// Whether its files can be shown.
    pub browsable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its label; bytes that are no UTF-8 are replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Its UUID as fstab has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// `clean`, `replayed` (it was not unmounted, and its log was replayed in memory) or
    /// `dirty` (it was not, and the state on disk is shown).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<&'static str>,
    /// Why the log was not replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency_reason: Option<&'static str>,
    /// Length in bytes by its own account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len_bytes: Option<u64>,
    /// Bytes in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_len_bytes: Option<u64>,
    /// Bytes that are free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_len_bytes: Option<u64>,
    /// Its unit of allocation in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_block_len_bytes: Option<u32>,
    /// Features that are on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Things that a person should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A partition or a logical volume.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeReport {
    /// Its folder in `partitions/`.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Its label in the table; `group/volume` for a logical volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The type GUID, the type byte (`0x83`), or `lvm`.
    pub partition_type: String,
    /// PARTUUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_uuid: Option<String>,
    /// Where it begins in the image; not there for volumes in pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_offset: Option<u64>,
    /// Length in bytes.
    pub len_bytes: u64,
    /// What fills it.
    pub filesystem: FileSystemReport,
}

/// A file system that `files/` shows.
#[derive(Clone, Debug, Serialize)]
pub struct MountReport {
    /// Where.
    pub path: String,
    /// The folder in `partitions/`; empty for an image without partitions.
    pub partition: String,
}

/// What was found in an image.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// `gpt`, `hybrid-gpt`, `mbr`; not there without a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_table: Option<&'static str>,
    /// The disk's own UUID or signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_uuid: Option<String>,
    /// Partitions and logical volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<VolumeReport>,
    /// What fills an image without partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<FileSystemReport>,
    /// What `files/` consists of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountReport>,
    /// What fstab mounts and `files/` does not show, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unplaced: Vec<Unplaced>,
    /// The operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operating_system: Option<OperatingSystem>,
    /// What is wrong with the tables, and how the root was chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Contents {
    /// Looks at everything that can be said of the image; opens every file system.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails.
    pub fn inspect(&self) -> Result<Inspection> {
        let assembly = self.assembly()?;
        let table = self.table();
        let mut partitions = vec![];
        let mut filesystem = None;
        for volume in self.volumes() {
            let report = report(volume)?;
            match volume.partition() {
                Some(partition) => partitions.push(volume_report(volume, partition, report)),
                None => filesystem = Some(report),
            }
        }
        let mounts = assembly.placed.iter().map(|placed| MountReport {
            path: String::from_utf8_lossy(&placed.path).into_owned(),
            partition: placed.volume.path_name().to_owned(),
        });
        let operating_system = match assembly.view() {
            Some(view) => OperatingSystem::of(view)?,
            None => None,
        };
        let mut warnings = table.warnings.clone();
        warnings.extend(assembly.note.clone());
        Ok(Inspection {
            partition_table: table_word(table.kind),
            disk_uuid: table.disk_uuid.clone(),
            partitions,
            filesystem,
            mounts: mounts.collect(),
            unplaced: assembly.unplaced().to_vec(),
            operating_system,
            warnings,
        })
    }
}

fn volume_report(
    volume: &Volume,
    partition: &Partition,
    filesystem: FileSystemReport,
) -> VolumeReport {
    VolumeReport {
        name: volume.path_name().to_owned(),
        number: partition.index,
        label: partition.label.clone(),
        partition_type: match &partition.partition_type {
            PartitionType::Guid(guid) => guid.clone(),
            PartitionType::MbrByte(byte) => format!("{byte:#04x}"),
            PartitionType::LogicalVolume => "lvm".to_owned(),
        },
        partition_uuid: partition.uuid.clone(),
        image_offset: volume.image_offset(),
        len_bytes: volume.len(),
        filesystem,
    }
}

/// Returns what fills a volume, or why that cannot be said.
fn report(volume: &Volume) -> Result<FileSystemReport> {
    let recognized = match volume.recognized() {
        Ok(recognized) => recognized,
        Err(error) if error.kind() == ErrorKind::Io => return Err(error),
        Err(error) => return Ok(unreadable(String::new(), error.to_string())),
    };
    let format = recognized.map_or(String::new(), |found| found.format.to_owned());
    if let Some(reason) = recognized.and_then(|found| found.unreadable) {
        return Ok(unreadable(format, reason.to_owned()));
    }
    match volume.file_system() {
        Ok(file_system) => {
            let mut report = opened(&file_system);
            report.warnings.extend(leftovers(volume, &format)?);
            Ok(report)
        }
        Err(Error::Io(error)) => Err(Error::Io(error)),
        Err(error) => Ok(unreadable(format, error.to_string())),
    }
}

/// Says which other formats left marks in a volume that is shown as `format`.
fn leftovers(volume: &Volume, format: &str) -> Result<Option<String>> {
    let mut others = filesystem::probe_all(&volume.bytes()?)?;
    others.retain(|other| *other != format);
    Ok((!others.is_empty()).then(|| {
        let others = others.join(" and ");
        format!("it has marks of {others} too, which are taken for leftovers")
    }))
}

fn unreadable(format: String, reason: String) -> FileSystemReport {
    FileSystemReport {
        format,
        browsable: false,
        reason: Some(reason),
        ..FileSystemReport::default()
    }
}

fn opened(file_system: &Arc<dyn FileSystem>) -> FileSystemReport {
    let summary = file_system.summary();
    let (consistency, consistency_reason) = match summary.consistency {
        Consistency::Clean => ("clean", None),
        Consistency::Replayed => ("replayed", None),
        Consistency::Dirty { reason } => ("dirty", Some(reason)),
    };
    let usage = file_system.statfs().ok();
    let bytes = |count: fn(&SpaceUsage) -> u64| {
        usage.map(|usage| count(&usage).saturating_mul(u64::from(usage.fs_block_len)))
    };
    FileSystemReport {
        format: summary.format.to_owned(),
        browsable: true,
        reason: None,
        label: String::from_utf8_lossy(&summary.label).into_owned(),
        uuid: summary.uuid.clone(),
        consistency: Some(consistency),
        consistency_reason,
        len_bytes: Some(summary.len),
        used_len_bytes: bytes(|usage| usage.block_count.saturating_sub(usage.free_block_count)),
        free_len_bytes: bytes(|usage| usage.free_block_count),
        fs_block_len_bytes: Some(summary.fs_block_len),
        features: summary.features.clone(),
        warnings: summary.warnings.clone(),
    }
}
