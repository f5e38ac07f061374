//! One partition or logical volume of an image, or the whole of it: its bytes, what
//! fills it, and its file system, opened when it is first asked for.

use super::view::View;
use super::{Error, ErrorKind, Result};
use crate::base::{ByteLen, ReadAt, encode_path_name};
use crate::filesystem::{self, FileSystem, OpenOptions, Recognized, Substitutes};
use crate::partition::{self, Partition, PartitionType, Place};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::Arc;

/// A partition, a logical volume, or a whole image.
pub struct Volume {
    image: Arc<dyn ReadAt>,
    partition: Option<Partition>,
    path_name: String,
    options: OpenOptions,
    opened: Mutex<Option<Opened>>,
}

/// What opening came to: it is not tried again, except after the medium failed.
#[derive(Clone)]
enum Opened {
    Yes(Arc<dyn FileSystem>),
    Unsupported(String),
    Corrupt {
        field: &'static str,
        offset: u64,
        expected: &'static str,
        actual: u64,
    },
}

impl Opened {
    fn to_result(&self) -> Result<Arc<dyn FileSystem>> {
        match self {
            Self::Yes(file_system) => Ok(Arc::clone(file_system)),
            Self::Unsupported(feature) => Err(Error::Unsupported {
                feature: Cow::Owned(feature.clone()),
            }),
            Self::Corrupt {
                field,
                offset,
                expected,
                actual,
            } => Err(Error::corrupt(field, *offset, expected, *actual)),
        }
    }
}

/// Returns an error of the table as one of a file system.
pub(super) fn from_partition(error: partition::Error) -> Error {
    match error {
        partition::Error::Io(error) => Error::Io(error),
        partition::Error::Unsupported { feature } => Error::unsupported(feature),
        partition::Error::Corrupt {
            field,
            expected,
            actual,
        } => Error::corrupt(field, 0, expected, actual),
    }
}

impl Volume {
    /// Returns the whole of an image without partitions.
    pub(super) fn whole(image: Arc<dyn ReadAt>, options: OpenOptions) -> Self {
        Self {
            image,
            partition: None,
            path_name: String::new(),
            options,
            opened: Mutex::new(None),
        }
    }

    /// Returns one partition of an image.
    pub(super) fn new(image: &Arc<dyn ReadAt>, partition: Partition, options: OpenOptions) -> Self {
        Self {
            image: Arc::clone(image),
            path_name: path_name_of(&partition),
            partition: Some(partition),
            options,
            opened: Mutex::new(None),
        }
    }

    /// Returns a whole image that is open already.
    #[cfg(test)]
    pub(super) fn with_file_system(
        image: Arc<dyn ReadAt>,
        options: OpenOptions,
        file_system: Arc<dyn FileSystem>,
    ) -> Self {
        Self {
            opened: Mutex::new(Some(Opened::Yes(file_system))),
            ..Self::whole(image, options)
        }
    }

    /// Returns the name in `partitions/`: `1-ESP`, `3-vg-root`, `2`; empty for a whole
    /// image.
    pub fn path_name(&self) -> &str {
        &self.path_name
    }

    /// Returns what the table says of it; `None` for a whole image.
    pub fn partition(&self) -> Option<&Partition> {
        self.partition.as_ref()
    }

    /// Returns where the first byte lies in the image, if the volume is one range of it.
    pub fn image_offset(&self) -> Option<u64> {
        match self.partition.as_ref().map(|partition| &partition.place) {
            None => Some(0),
            Some(Place::Range { image_offset, .. }) => Some(*image_offset),
            Some(Place::Mapped(segments)) => match segments.as_ref() {
                [only] => match only.stripes.as_slice() {
                    [stripe] => Some(stripe.image_offset),
                    _ => None,
                },
                _ => None,
            },
            Some(Place::Unreadable(_)) => None,
        }
    }

    /// Returns its bytes.
    ///
    /// # Errors
    ///
    /// Unsupported if they cannot be read, and why.
    pub fn bytes(&self) -> Result<Arc<dyn ReadAt>> {
        match &self.partition {
            None => Ok(Arc::clone(&self.image)),
            Some(partition) => partition.open(&self.image).map_err(from_partition),
        }
    }

    /// Returns its length in bytes; 0 if its bytes cannot be read.
    pub fn len(&self) -> ByteLen {
        self.bytes().map_or(0, |bytes| bytes.len())
    }

    /// Tells whether it has no byte that can be read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns what its first bytes look like.
    ///
    /// # Errors
    ///
    /// See [`Volume::bytes`]; Io if reading fails.
    pub fn recognized(&self) -> Result<Option<Recognized>> {
        filesystem::probe(&self.bytes()?)
    }

    /// Returns its file system, opened by the first call.
    ///
    /// # Errors
    ///
    /// Unsupported if there is none that is read here, and why; Corrupt if it cannot be
    /// opened; Io if reading fails, and the next call tries again.
    pub fn file_system(&self) -> Result<Arc<dyn FileSystem>> {
        let mut opened = self.opened.lock();
        if let Some(opened) = opened.as_ref() {
            return opened.to_result();
        }
        let outcome = match self
            .bytes()
            .and_then(|bytes| filesystem::open(bytes, &self.options))
        {
            Ok(file_system) => Opened::Yes(file_system),
            Err(Error::Corrupt {
                field,
                offset,
                expected,
                actual,
            }) => Opened::Corrupt {
                field,
                offset,
                expected,
                actual,
            },
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(Error::Unsupported { feature }) => Opened::Unsupported(feature.into_owned()),
            Err(error) => Opened::Unsupported(error.to_string()),
        };
        let result = outcome.to_result();
        *opened = Some(outcome);
        result
    }

    /// Opens its file system once more, with other substitutes.
    ///
    /// # Errors
    ///
    /// As [`Volume::file_system`].
    pub(super) fn file_system_with(&self, substitutes: Substitutes) -> Result<Arc<dyn FileSystem>> {
        let options = OpenOptions {
            substitutes,
            ..self.options.clone()
        };
        filesystem::open(self.bytes()?, &options)
    }

    /// Returns what is shown of files where the format does not say it.
    pub(super) fn substitutes(&self) -> &Substitutes {
        &self.options.substitutes
    }

    /// Returns its file system if it was opened already; never waits.
    pub fn opened(&self) -> Option<Arc<dyn FileSystem>> {
        match self.opened.try_lock()?.as_ref()? {
            Opened::Yes(file_system) => Some(Arc::clone(file_system)),
            Opened::Unsupported(_) | Opened::Corrupt { .. } => None,
        }
    }

    /// Returns its files alone, from the top of its file system.
    ///
    /// # Errors
    ///
    /// See [`Volume::file_system`].
    pub fn view(&self) -> Result<View> {
        let file_system = self.file_system()?;
        let root = file_system.root_of(&filesystem::RootSelector::TopLevel)?;
        Ok(View::plain(file_system, root))
    }
}

/// Returns the number of the partition, and its label if it has one that names it.
fn path_name_of(partition: &Partition) -> String {
    let label = match partition.partition_type {
        // As the device mapper names it: a slash would read as a folder.
        PartitionType::LogicalVolume => partition.label.replace('/', "-"),
        PartitionType::Guid(_) | PartitionType::MbrByte(_) => partition.label.clone(),
    };
    let number = partition.index;
    if label.trim().is_empty() {
        number.to_string()
    } else {
        encode_path_name(&format!("{number}-{}", label.trim()))
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("path_name", &self.path_name)
            .finish_non_exhaustive()
    }
}
