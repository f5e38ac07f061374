//! Packs that are open for reading: frames and windows of their trailers.

use super::error::{Error, Result};
use crate::backend::{Backend, Object};
use crate::base::PackId;
use crate::base::limits::CHUNK_LEN_ACCEPT_MAX;
use crate::format::pack::{
    FOOTER_LEN, PackFooter, PackedChunk, WINDOW_CHUNKS, WindowPlace, decode_window,
};
use crate::format::{self, FRAME_HEADER_LEN};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

/// Packs kept open: well below the usual limit of 1,024 descriptors.
const OPEN_PACKS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not zero");

/// Returns the name of a pack's object.
pub fn pack_name(pack: &PackId) -> String {
    format!("packs/{:02x}/{pack}", pack.0[0])
}

/// A pack that is open.
#[derive(Debug)]
pub struct OpenPack {
    id: PackId,
    object: Arc<dyn Object>,
    windows: OnceLock<Vec<WindowPlace>>,
}

impl OpenPack {
    /// Reads the frame at `pack_offset` into `buffer`, not yet checked.
    pub fn read_frame(&self, pack_offset: u32, frame_len: u32, buffer: &mut Vec<u8>) -> Result<()> {
        let len = frame_len as usize;
        if !(FRAME_HEADER_LEN..=FRAME_HEADER_LEN + 2 * CHUNK_LEN_ACCEPT_MAX).contains(&len) {
            let problem = format!("an index gives a frame of {len} bytes at {pack_offset}");
            return Err(self.corrupt(problem));
        }
        buffer.resize(len, 0);
        if u64::from(pack_offset) + u64::from(frame_len) > self.object.len() {
            let problem = format!(
                "an index gives a frame at {pack_offset}, the pack has {} bytes",
                self.object.len()
            );
            return Err(self.corrupt(problem));
        }
        Ok(self.object.read_exact_at(u64::from(pack_offset), buffer)?)
    }

    /// Returns the places of the windows, read once.
    pub fn windows(&self) -> Result<&[WindowPlace]> {
        if let Some(windows) = self.windows.get() {
            return Ok(windows);
        }
        let len = self.object.len();
        let footer_offset = len
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| self.corrupt("it is shorter than a footer".to_owned()))?;
        let mut footer = [0; FOOTER_LEN];
        self.object.read_exact_at(footer_offset, &mut footer)?;
        let footer = PackFooter::decode(&footer, len).map_err(|error| self.damaged(&error))?;
        let mut directory = vec![0; footer.directory_len()];
        self.object
            .read_exact_at(u64::from(footer.directory_offset), &mut directory)?;
        let windows = footer
            .decode_directory(&directory)
            .map_err(|error| self.damaged(&error))?;
        Ok(self.windows.get_or_init(|| windows))
    }

    /// Reads window `number`.
    pub fn read_window(&self, number: u32) -> Result<Vec<PackedChunk>> {
        let place = self
            .windows()?
            .get(number as usize)
            .copied()
            .ok_or_else(|| self.corrupt(format!("it has no window {number}")))?;
        let mut bytes = vec![0; place.len as usize];
        self.object
            .read_exact_at(u64::from(place.pack_offset), &mut bytes)?;
        decode_window(&bytes).map_err(|error| self.damaged(&error))
    }

    /// Returns the number of the window that lists the frame at `pack_offset`.
    pub fn window_of_offset(&self, pack_offset: u32) -> Result<u32> {
        let behind = self
            .windows()?
            .partition_point(|w| w.first_frame_offset <= pack_offset);
        Ok(behind.saturating_sub(1) as u32)
    }

    fn corrupt(&self, problem: String) -> Error {
        Error::Corrupt {
            object: format!("pack {}", self.id),
            problem,
        }
    }

    pub(super) fn damaged(&self, error: &format::Error) -> Error {
        self.corrupt(error.to_string())
    }
}

/// Returns the number of the window that lists chunk `chunk_number` of a pack.
pub fn window_of_chunk(chunk_number: u32) -> u32 {
    chunk_number / WINDOW_CHUNKS as u32
}

/// The packs that are open.
#[derive(Debug)]
pub struct Packs {
    backend: Arc<dyn Backend>,
    open: Mutex<LruCache<PackId, Arc<OpenPack>>>,
}

impl Packs {
    /// Returns an empty set.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            open: Mutex::new(LruCache::new(OPEN_PACKS_MAX)),
        }
    }

    /// Returns the pack, opened now or before.
    pub fn open(&self, id: &PackId) -> Result<Arc<OpenPack>> {
        if let Some(pack) = self.open.lock().get(id) {
            return Ok(Arc::clone(pack));
        }
        let object = self.backend.open(&pack_name(id))?;
        let pack = Arc::new(OpenPack {
            id: *id,
            object,
            windows: OnceLock::new(),
        });
        self.open.lock().put(*id, Arc::clone(&pack));
        Ok(pack)
    }
}
