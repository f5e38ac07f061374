//! What `/etc/fstab` and the like call a device, and which volume of the image it is.

use super::Result;
use super::volume::Volume;
use crate::filesystem::ErrorKind;
use crate::partition::PartitionType;
use std::sync::Arc;

/// A name of a device, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Uuid(String),
    Label(Vec<u8>),
    PartitionUuid(String),
    PartitionLabel(Vec<u8>),
    /// `group/volume`.
    LogicalVolume(String),
    /// A partition of the first disk; `None` for the disk itself.
    FirstDisk(Option<u32>),
    /// A disk that the image is not.
    OtherDisk,
    /// Nothing that names a block device.
    Unknown,
}

/// Disks of Linux whose partitions are counted in decimal, and of those the first.
const FIRST_DISKS: [&[u8]; 5] = [b"sda", b"vda", b"xvda", b"hda", b"ubda"];
const FIRST_DISKS_WITH_P: [&[u8]; 3] = [b"nvme0n1", b"mmcblk0", b"nbd0"];
const DISK_DRIVERS: [&[u8]; 8] = [
    b"sd", b"vd", b"xvd", b"hd", b"nvme", b"mmcblk", b"nbd", b"ubd",
];

impl Device {
    /// Takes the first field of a line of fstab apart.
    pub(super) fn parse(source: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some((key, value)) = split_once(source, b'=') {
            return match key {
                // What has no name is not meant by one that is empty.
                _ if value.is_empty() => Self::Unknown,
                b"UUID" => Self::Uuid(text(value)),
                b"LABEL" => Self::Label(value.to_vec()),
                b"PARTUUID" => Self::PartitionUuid(text(value)),
                b"PARTLABEL" => Self::PartitionLabel(value.to_vec()),
                _ => Self::Unknown,
            };
        }
        let Some(path) = source.strip_prefix(b"/dev/") else {
            return Self::Unknown;
        };
        if let Some(found) = Self::by_link(path) {
            return found;
        }
        if let Some(name) = path.strip_prefix(b"mapper/") {
            return mapped(name).map_or(Self::Unknown, Self::LogicalVolume);
        }
        match split_once(path, b'/') {
            Some(_) => Self::LogicalVolume(text(path)),
            None => Self::of_disk(path),
        }
    }

    fn by_link(path: &[u8]) -> Option<Self> {
        let (kind, value) = split_once(path.strip_prefix(b"disk/")?, b'/')?;
        let value = unescape(value);
        let text = || String::from_utf8_lossy(&value).into_owned();
        Some(match kind {
            _ if value.is_empty() => Self::Unknown,
            b"by-uuid" => Self::Uuid(text()),
            b"by-label" => Self::Label(value),
            b"by-partuuid" => Self::PartitionUuid(text()),
            b"by-partlabel" => Self::PartitionLabel(value),
            _ => Self::Unknown,
        })
    }

    fn of_disk(name: &[u8]) -> Self {
        let number = |rest: &[u8]| std::str::from_utf8(rest).ok()?.parse::<u32>().ok();
        for disk in FIRST_DISKS {
            match name.strip_prefix(disk) {
                Some([]) => return Self::FirstDisk(None),
                Some(rest) if rest.iter().all(u8::is_ascii_digit) => {
                    return number(rest)
                        .map_or(Self::Unknown, |found| Self::FirstDisk(Some(found)));
                }
                _ => {}
            }
        }
        for disk in FIRST_DISKS_WITH_P {
            match name.strip_prefix(disk) {
                Some([]) => return Self::FirstDisk(None),
                Some([b'p', rest @ ..]) => {
                    return number(rest)
                        .map_or(Self::Unknown, |found| Self::FirstDisk(Some(found)));
                }
                _ => {}
            }
        }
        if DISK_DRIVERS.iter().any(|driver| name.starts_with(driver)) {
            Self::OtherDisk
        } else {
            Self::Unknown
        }
    }

    /// Returns the volume that this device is, or `None`.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails.
    pub(super) fn find<'a>(&self, volumes: &'a [Arc<Volume>]) -> Result<Option<&'a Arc<Volume>>> {
        for volume in volumes {
            if self.is(volume)? {
                return Ok(Some(volume));
            }
        }
        Ok(None)
    }

    /// Tells whether `volume` is this device.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails.
    pub(super) fn is(&self, volume: &Volume) -> Result<bool> {
        let partition = volume.partition();
        let is_volume =
            partition.is_some_and(|found| found.partition_type == PartitionType::LogicalVolume);
        Ok(match self {
            Self::Uuid(wanted) => with_summary(volume, |uuid, _| {
                uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted))
            })?,
            Self::Label(wanted) => with_summary(volume, |_, label| label == wanted.as_slice())?,
            Self::PartitionUuid(wanted) => partition
                .and_then(|found| found.uuid.as_deref())
                .is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted)),
            Self::PartitionLabel(wanted) => partition
                .is_some_and(|found| !is_volume && found.label.as_bytes() == wanted.as_slice()),
            Self::LogicalVolume(wanted) => {
                partition.is_some_and(|found| is_volume && found.label == *wanted)
            }
            Self::FirstDisk(None) => partition.is_none(),
            Self::FirstDisk(Some(number)) => {
                partition.is_some_and(|found| !is_volume && found.index == *number)
            }
            Self::OtherDisk | Self::Unknown => false,
        })
    }
}

fn with_summary(volume: &Volume, fits: impl FnOnce(Option<&str>, &[u8]) -> bool) -> Result<bool> {
    match volume.file_system() {
        Ok(file_system) => {
            let summary = file_system.summary();
            Ok(fits(summary.uuid.as_deref(), &summary.label))
        }
        Err(error) if error.kind() == ErrorKind::Io => Err(error),
        Err(_) => Ok(false),
    }
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|byte| *byte == at)?;
    let (before, behind) = bytes.split_at_checked(place)?;
    Some((before, behind.get(1..)?))
}

/// Returns `group/volume` for a name of the device mapper, where `-` stands between
/// the two and `--` for a hyphen of theirs.
fn mapped(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let marked = name.replace("--", "\0");
    let (group, volume) = marked.split_once('-')?;
    Some(format!(
        "{}/{}",
        group.replace('\0', "-"),
        volume.replace('\0', "-")
    ))
}

/// Takes the `\x20` of udev out of a name.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = vec![];
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let code = rest
            .strip_prefix(b"\\x")
            .and_then(|code| code.split_at_checked(2))
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        let (byte, after) = code.unwrap_or((*first, behind));
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_device_is_understood() {
        let cases: &[(&str, Device)] = &[
            ("UUID=ab-1", Device::Uuid("ab-1".into())),
            ("LABEL=a b", Device::Label(b"a b".to_vec())),
            ("PARTUUID=12", Device::PartitionUuid("12".into())),
            ("PARTLABEL=x", Device::PartitionLabel(b"x".to_vec())),
            ("/dev/disk/by-uuid/ab", Device::Uuid("ab".into())),
            ("/dev/disk/by-label/a\\x20b", Device::Label(b"a b".to_vec())),
            ("/dev/disk/by-path/pci", Device::Unknown),
            (
                "/dev/mapper/v--g-l--v",
                Device::LogicalVolume("v-g/l-v".into()),
            ),
            ("/dev/mapper/luks", Device::Unknown),
            ("/dev/vg/lv", Device::LogicalVolume("vg/lv".into())),
            ("/dev/sda5", Device::FirstDisk(Some(5))),
            ("/dev/vda", Device::FirstDisk(None)),
            ("/dev/sdaa5", Device::OtherDisk),
            ("/dev/nvme0n1p2", Device::FirstDisk(Some(2))),
            ("/dev/nvme1n1p2", Device::OtherDisk),
            ("/dev/sdb1", Device::OtherDisk),
            ("/dev/sda99999999999", Device::Unknown),
            ("tmpfs", Device::Unknown),
            // Not every volume that has none.
            ("UUID=", Device::Unknown),
            ("LABEL=", Device::Unknown),
            ("PARTLABEL=", Device::Unknown),
            ("/dev/disk/by-partlabel/", Device::Unknown),
        ];
        for (source, device) in cases {
            assert_eq!(Device::parse(source.as_bytes()), *device, "{source}");
        }
    }
}
