//! What is inside an image: its partitions and logical volumes, the file systems on
//! them, and the root as the machine runs it, put together from `/etc/fstab`.
//!
//! Sees one [`ReadAt`] and nothing else, so an image in a store and a file that is in
//! none are looked into in the same way. A file system is opened when it is first
//! needed and stays open; opening reads no more than its headers and, if it was not
//! unmounted, its log. Follows symbolic links inside the image only, never to the host.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod assembly;
mod device;
mod free_ranges;
mod free_space;
mod fstab;
mod inspection;
mod loss;
mod operating_system;
mod owners;
mod path;
mod spill;
#[cfg(test)]
mod tests;
mod view;
mod volume;

pub use assembly::{Assembly, Unplaced};
pub use free_space::{FreeSpace, VolumeSpace};
pub use inspection::{FileSystemReport, Inspection, MountReport, VolumeReport};
pub use loss::Loss;
pub use operating_system::OperatingSystem;
pub use path::{Follow, SYMLINK_COUNT_MAX};
pub use spill::FolderSpill;
pub use view::{View, ViewEntry, ViewNode};
pub use volume::Volume;

pub use crate::filesystem::{Error, ErrorKind, Result};

use crate::base::ReadAt;
use crate::filesystem::OpenOptions;
use crate::partition::{self, Table, TableKind};
use parking_lot::Mutex;
use std::sync::Arc;

/// Partitions and logical volumes of one image that are looked at; a GPT has 128.
pub const VOLUME_COUNT_MAX: usize = 1024;

/// An image whose partitions are known.
pub struct Contents {
    image: Arc<dyn ReadAt>,
    table: Table,
    volumes: Vec<Arc<Volume>>,
    assembly: Mutex<Option<Arc<Assembly>>>,
}

impl Contents {
    /// Reads the partition tables of `image`; opens no file system.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails. A damaged table is told in
    /// [`Inspection::warnings`].
    pub fn open(image: Arc<dyn ReadAt>, options: &OpenOptions) -> Result<Self> {
        let table = partition::scan(&image).map_err(volume::from_partition)?;
        let volumes = if table.partitions.is_empty() {
            vec![Arc::new(Volume::whole(Arc::clone(&image), options.clone()))]
        } else {
            table
                .partitions
                .iter()
                .take(VOLUME_COUNT_MAX)
                .map(|found| Arc::new(Volume::new(&image, found.clone(), options.clone())))
                .collect()
        };
        Ok(Self {
            image,
            table,
            volumes,
            assembly: Mutex::new(None),
        })
    }

    /// Returns the partitions and logical volumes; one that is the whole image if
    /// there are none.
    pub fn volumes(&self) -> &[Arc<Volume>] {
        &self.volumes
    }

    /// Tells whether the image has partitions or logical volumes.
    pub fn has_partitions(&self) -> bool {
        !self.table.partitions.is_empty()
    }

    /// Returns the volume with this path name (`1-ESP`).
    pub fn volume(&self, path_name: &str) -> Option<&Arc<Volume>> {
        self.volumes
            .iter()
            .find(|volume| volume.path_name() == path_name)
    }

    /// Returns the files as the machine shows them while it runs: its root file
    /// system, with the others of the image at their mount points. The same for the
    /// life of the value, except while reading the image fails.
    ///
    /// # Errors
    ///
    /// Io if reading the image fails. That there is nothing to show is no error: see
    /// [`Assembly::view`].
    pub fn assembly(&self) -> Result<Arc<Assembly>> {
        let mut known = self.assembly.lock();
        if let Some(assembly) = known.as_ref() {
            return Ok(Arc::clone(assembly));
        }
        let assembly = Arc::new(Assembly::of(&self.volumes)?);
        *known = Some(Arc::clone(&assembly));
        Ok(assembly)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }
}

/// Returns the word for a kind of table, or `None` if there is none.
fn table_word(kind: TableKind) -> Option<&'static str> {
    match kind {
        TableKind::None => None,
        TableKind::Gpt => Some("gpt"),
        TableKind::HybridGpt => Some("hybrid-gpt"),
        TableKind::Mbr => Some("mbr"),
    }
}
