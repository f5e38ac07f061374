//! A pack in the making: frames first, then the trailer that lists them.

use super::error::Result;
use super::packs::pack_name;
use crate::backend::{Backend, PendingObject};
use crate::base::limits::PACK_LEN_WRITE;
use crate::base::{ChunkId, Fingerprint, PackId, StoreId};
use crate::format::pack::{
    PackFooter, PackedChunk, WINDOW_CHUNKS, WindowPlace, encode_directory, encode_window,
};
use crate::format::{FrameHeader, HEADER_LEN, ObjectHeader, ObjectKind, checksum};
use std::sync::Arc;

/// Place of a chunk in a pack, as an index will name it.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where its frame begins.
    pub pack_offset: u32,
    /// Length of the frame in bytes.
    pub frame_len: u32,
}

/// A pack that is being written.
#[derive(Debug)]
pub struct PackWriter {
    id: PackId,
    object: Arc<dyn PendingObject>,
    len: u64,
    window: Vec<PackedChunk>,
    windows: Vec<(u32, Vec<u8>)>,
    placed: Vec<Placed>,
    hooks: Vec<(Fingerprint, u32)>,
}

/// A pack with its trailer that is not yet durable and has no name yet.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// Its name.
    pub id: PackId,
    /// The object to commit.
    pub object: Arc<dyn PendingObject>,
    /// Its chunks.
    pub placed: Vec<Placed>,
    /// Its hooks and the numbers of their chunks.
    pub hooks: Vec<(Fingerprint, u32)>,
    /// Places of its windows.
    pub windows: Vec<WindowPlace>,
}

impl FinishedPack {
    /// Makes the pack durable under its name.
    pub fn commit(&self) -> Result<()> {
        self.object.commit(&pack_name(&self.id))?;
        Ok(())
    }
}

impl PackWriter {
    /// Begins a pack.
    pub fn begin(backend: &dyn Backend, store: StoreId) -> Result<Self> {
        let object = backend.begin()?;
        object.append(&ObjectHeader::new(ObjectKind::Pack, store).encode())?;
        Ok(Self {
            id: PackId::random(),
            object,
            len: HEADER_LEN as u64,
            window: vec![],
            windows: vec![],
            placed: vec![],
            hooks: vec![],
        })
    }

    /// Returns the object, for reading back what was appended.
    pub fn object(&self) -> &Arc<dyn PendingObject> {
        &self.object
    }

    /// Tells whether the pack is large enough.
    pub fn is_full(&self) -> bool {
        self.len >= PACK_LEN_WRITE
    }

    /// Appends the frame of a chunk.
    pub fn append(
        &mut self,
        header: &FrameHeader,
        frame: &[u8],
        fingerprints: Vec<Fingerprint>,
    ) -> Result<Placed> {
        self.object.append(frame)?;
        let pack_offset = self.len as u32;
        let frame_len = header.frame_len();
        self.len += u64::from(frame_len);
        let chunk_number = self.placed.len() as u32;
        let hooks = fingerprints
            .iter()
            .filter(|fingerprint| fingerprint.is_hook());
        self.hooks
            .extend(hooks.map(|fingerprint| (*fingerprint, chunk_number)));
        let placed = Placed {
            chunk: header.chunk,
            pack_offset,
            frame_len,
        };
        self.placed.push(placed);
        self.window.push(PackedChunk {
            chunk: header.chunk,
            pack_offset,
            frame_len,
            content_len: header.content_len,
            codec: header.codec,
            kind: header.kind,
            fingerprints,
        });
        if self.window.len() == WINDOW_CHUNKS {
            self.close_window();
        }
        Ok(placed)
    }

    fn close_window(&mut self) {
        if let Some(first) = self.window.first() {
            self.windows
                .push((first.pack_offset, encode_window(&self.window)));
            self.window.clear();
        }
    }

    /// Appends the trailer.
    pub fn finish(mut self) -> Result<FinishedPack> {
        self.close_window();
        let mut windows = vec![];
        for (first_frame_offset, bytes) in std::mem::take(&mut self.windows) {
            self.object.append(&bytes)?;
            let len = bytes.len() as u32;
            windows.push(WindowPlace {
                pack_offset: self.len as u32,
                len,
                first_frame_offset,
            });
            self.len += u64::from(len);
        }
        let directory = encode_directory(&windows);
        let footer = PackFooter {
            chunk_count: self.placed.len() as u32,
            window_count: windows.len() as u32,
            directory_offset: self.len as u32,
            directory_checksum: checksum(&directory),
        };
        self.object.append(&directory)?;
        self.object.append(&footer.encode())?;
        Ok(FinishedPack {
            id: self.id,
            object: self.object,
            placed: self.placed,
            hooks: self.hooks,
            windows,
        })
    }
}
