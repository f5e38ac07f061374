//! Deduplication by runs: which blocks of a segment the store has already, and which
//! go into new chunks. Runs in the order of the image, one segment at a time.
//!
//! Only one fingerprint in eight is in an index. One that is found there brings the
//! window of its pack; from then on blocks are compared with the fingerprint that
//! comes next, for as long as the run lasts.

use super::chunk_reader::ChunkReader;
use super::error::{Error, Result};
use super::packs::window_of_chunk;
use super::windows::{FingerprintMap, WindowId, WindowPosition, Windows};
use super::writer_state::{Excluded, NewChunk, PendingRun, Target};
use crate::backend::PendingObject;
use crate::base::{BLOCK_LEN, ChunkId, Extent, Fingerprint, PackId, is_zero};
use crate::format::pack::{PackedChunk, WindowPlace, decode_window};
use std::collections::HashMap;
use std::sync::Arc;

/// Blocks of one generation of recent fingerprints; two are kept (about 6 MB).
const RECENT_GENERATION_BLOCKS: usize = 65_536;

/// A segment whose blocks are hashed as far as that was needed.
#[derive(Debug)]
pub struct Hashed {
    /// First block of the image.
    pub image_block: u64,
    /// The blocks, one after the other.
    pub data: Vec<u8>,
    /// What equals the parent, in whole chunks, ordered.
    pub known: Vec<Extent>,
    /// Blocks that are not zero and not known: index in the segment and fingerprint.
    pub unknown: Vec<(u32, Fingerprint)>,
    /// Chunks that the parent has at the place of unknown blocks.
    pub hints: Vec<ChunkId>,
}

/// Hashes a segment. Whole chunks of the parent are recognised by their ids, which
/// costs half as much as fingerprints of single blocks.
pub fn hash_segment(
    key: &[u8; 32],
    image_block: u64,
    data: Vec<u8>,
    expected: &[Extent],
) -> Hashed {
    let block_count = data.len() / BLOCK_LEN;
    let mut covered = vec![false; block_count];
    let mut hashed = Hashed {
        image_block,
        data,
        known: vec![],
        unknown: vec![],
        hints: vec![],
    };
    for extent in expected {
        let start = extent.image_block.saturating_sub(image_block) as usize;
        let end = start.saturating_add(extent.block_count as usize);
        let bytes = hashed
            .data
            .get(start * BLOCK_LEN..end.saturating_mul(BLOCK_LEN));
        let Some(bytes) = bytes.filter(|_| extent.image_block >= image_block) else {
            continue;
        };
        if extent.chunk_block == 0 && ChunkId::of(bytes) == extent.chunk {
            covered[start..end].fill(true);
            hashed.known.push(*extent);
        } else {
            hashed.hints.push(extent.chunk);
        }
    }
    for (number, block) in hashed.data.chunks_exact(BLOCK_LEN).enumerate() {
        if !covered[number] && !is_zero(block) {
            hashed
                .unknown
                .push((number as u32, fingerprint(key, block)));
        }
    }
    hashed
}

/// Returns the fingerprint of a block under the key of the store.
pub fn fingerprint(key: &[u8; 32], block: &[u8]) -> Fingerprint {
    let hash = blake3::keyed_hash(key, block);
    let mut bytes = [0; Fingerprint::LEN];
    bytes.copy_from_slice(&hash.as_bytes()[..Fingerprint::LEN]);
    Fingerprint(bytes)
}

/// A pack of this writer that is in no index yet.
#[derive(Debug)]
struct OwnPack {
    object: Arc<dyn PendingObject>,
    windows: Vec<WindowPlace>,
}

/// What was found for one block.
enum Found {
    Window(WindowPosition),
    Recent(u64, u32),
}

/// What the deduplication of one writer remembers; bounded.
#[derive(Debug)]
pub struct Dedup {
    reader: Arc<ChunkReader>,
    chunk_block_count: usize,
    windows: Windows,
    /// New blocks of this writer by fingerprint: number of the new chunk and block.
    recent: [FingerprintMap<(u64, u32)>; 2],
    /// The chunk that was open when each generation began.
    generation_start: [u64; 2],
    own_hooks: FingerprintMap<(PackId, u32)>,
    own_packs: HashMap<PackId, OwnPack>,
    open: NewChunk,
    next_chunk: u64,
}

impl Dedup {
    /// Returns the state of a new writer.
    pub fn new(reader: Arc<ChunkReader>, chunk_block_count: usize) -> Self {
        Self {
            reader,
            chunk_block_count,
            windows: Windows::default(),
            recent: Default::default(),
            generation_start: [0; 2],
            own_hooks: FingerprintMap::default(),
            own_packs: HashMap::new(),
            open: NewChunk::default(),
            next_chunk: 0,
        }
    }

    /// Returns the oldest new chunk that a later segment may name.
    pub fn oldest_recent(&self) -> u64 {
        self.generation_start[1]
    }

    /// Remembers a finished pack until it is in an index.
    pub fn add_pack(
        &mut self,
        id: PackId,
        object: Arc<dyn PendingObject>,
        windows: Vec<WindowPlace>,
        hooks: &[(Fingerprint, u32)],
    ) {
        self.own_packs.insert(id, OwnPack { object, windows });
        self.own_hooks
            .extend(hooks.iter().map(|(hook, chunk)| (*hook, (id, *chunk))));
    }

    /// Forgets the finished packs; an index has them now.
    pub fn forget_packs(&mut self) {
        self.own_hooks = FingerprintMap::default();
        self.own_packs = HashMap::new();
    }

    /// Finds a place for every block of the segment. Chunks that are full come out
    /// through `full`.
    pub fn place(
        &mut self,
        hashed: &Hashed,
        excluded: &Excluded,
        full: &mut dyn FnMut(NewChunk),
    ) -> Result<Vec<PendingRun>> {
        self.load_windows(hashed, excluded)?;
        let mut runs: Vec<PendingRun> = Vec::with_capacity(hashed.known.len() + 8);
        let mut last: Option<WindowPosition> = None;
        let mut known = hashed.known.iter().peekable();
        for (number, fingerprint) in &hashed.unknown {
            let image_block = hashed.image_block + u64::from(*number);
            while let Some(extent) = known.next_if(|extent| extent.image_block < image_block) {
                push_run(&mut runs, PendingRun::known(extent));
            }
            let (target, chunk_block) = match self.find(fingerprint, last, excluded)? {
                Some(Found::Window(position)) => {
                    last = Some(position);
                    let (chunk, block) = self.windows.block(position).unwrap_or_default();
                    (Target::Known(chunk), block)
                }
                Some(Found::Recent(chunk, block)) => (Target::New(chunk), block),
                None => {
                    let start = *number as usize * BLOCK_LEN;
                    let data = hashed
                        .data
                        .get(start..start + BLOCK_LEN)
                        .unwrap_or_default();
                    self.add_block(data, *fingerprint, full)
                }
            };
            push_run(
                &mut runs,
                PendingRun {
                    image_block,
                    block_count: 1,
                    target,
                    chunk_block,
                },
            );
        }
        known.for_each(|extent| push_run(&mut runs, PendingRun::known(extent)));
        Ok(runs)
    }

    /// Returns the chunk that is not full, if it holds anything.
    pub fn take_open(&mut self) -> Option<NewChunk> {
        if self.open.fingerprints.is_empty() {
            return None;
        }
        let mut chunk = std::mem::take(&mut self.open);
        chunk.number = self.next_chunk;
        self.next_chunk += 1;
        Some(chunk)
    }

    fn add_block(
        &mut self,
        data: &[u8],
        fingerprint: Fingerprint,
        full: &mut dyn FnMut(NewChunk),
    ) -> (Target, u32) {
        let chunk = self.next_chunk;
        let block = self.open.fingerprints.len() as u32;
        if self.open.content.capacity() == 0 {
            self.open
                .content
                .reserve_exact(self.chunk_block_count * BLOCK_LEN);
        }
        self.open.content.extend_from_slice(data);
        self.open.fingerprints.push(fingerprint);
        if self.recent[0].len() >= RECENT_GENERATION_BLOCKS {
            self.recent.swap(0, 1);
            self.recent[0].clear();
            self.generation_start = [chunk, self.generation_start[0]];
        }
        self.recent[0].insert(fingerprint, (chunk, block));
        if self.open.fingerprints.len() >= self.chunk_block_count
            && let Some(chunk) = self.take_open()
        {
            full(chunk);
        }
        (Target::New(chunk), block)
    }

    fn find(
        &mut self,
        fingerprint: &Fingerprint,
        last: Option<WindowPosition>,
        excluded: &Excluded,
    ) -> Result<Option<Found>> {
        if let Some(last) = last {
            if let Some(next) = self.windows.follow(last, fingerprint) {
                return Ok(self.usable(next, excluded));
            }
            if let Some(window) = self.windows.window_behind(last) {
                self.load_window(window, excluded)?;
            }
        }
        if let Some(found) = self.windows.find(fingerprint)
            && let Some(found) = self.usable(found, excluded)
        {
            return Ok(Some(found));
        }
        let recent = self.recent.iter().find_map(|map| map.get(fingerprint));
        Ok(recent.map(|(chunk, block)| Found::Recent(*chunk, *block)))
    }

    fn usable(&self, position: WindowPosition, excluded: &Excluded) -> Option<Found> {
        let (chunk, _) = self.windows.block(position)?;
        (!excluded.chunks.contains(&chunk)).then_some(Found::Window(position))
    }

    /// Loads the windows that hints and hooks of the segment point to, so that blocks
    /// before the first hook of a run are found, too.
    fn load_windows(&mut self, hashed: &Hashed, excluded: &Excluded) -> Result<()> {
        for chunk in &hashed.hints {
            for location in self.reader.indexes.locations(chunk)?.into_iter().take(1) {
                // A hint may be stale; reading it may fail; both cost only the hint.
                let window = self
                    .reader
                    .packs
                    .open(&location.pack)
                    .and_then(|pack| pack.window_of_offset(location.pack_offset));
                match window {
                    Ok(number) => self.load_window((location.pack, number), excluded)?,
                    Err(error) => log::debug!("no window for chunk {chunk}: {error}"),
                }
            }
        }
        for (_, fingerprint) in &hashed.unknown {
            if !fingerprint.is_hook() || self.windows.find(fingerprint).is_some() {
                continue;
            }
            if self.recent.iter().any(|map| map.contains_key(fingerprint)) {
                continue;
            }
            if let Some((pack, chunk)) = self.own_hooks.get(fingerprint).copied() {
                self.load_window((pack, window_of_chunk(chunk)), excluded)?;
            } else if let Some(hook) = self.reader.indexes.hook(fingerprint)? {
                self.load_window((hook.pack, window_of_chunk(hook.chunk_number)), excluded)?;
            }
        }
        Ok(())
    }

    /// Loads a window. One that cannot be read counts as absent: its blocks are stored
    /// anew, which heals what is damaged.
    fn load_window(&mut self, id: WindowId, excluded: &Excluded) -> Result<()> {
        let (pack, number) = id;
        if excluded.packs.contains(&pack) {
            return Ok(());
        }
        let own = self.own_packs.get(&pack);
        let reader = &self.reader;
        let loaded = self.windows.load(id, || match own {
            Some(own) => read_own_window(own, number),
            None => {
                let pack = reader.packs.open(&pack)?;
                if number as usize >= pack.windows()?.len() {
                    return Ok(vec![]);
                }
                pack.read_window(number)
            }
        });
        if let Err(error) = loaded {
            log::warn!("fingerprints of pack {pack} cannot be used: {error}");
            self.windows.load(id, || Ok(vec![]))?;
        }
        Ok(())
    }
}

fn read_own_window(pack: &OwnPack, number: u32) -> Result<Vec<PackedChunk>> {
    let Some(place) = pack.windows.get(number as usize) else {
        return Ok(vec![]);
    };
    let mut bytes = vec![0; place.len as usize];
    pack.object
        .read_exact_at(u64::from(place.pack_offset), &mut bytes)?;
    decode_window(&bytes).map_err(|error| Error::Corrupt {
        object: "a pack in the making".to_owned(),
        problem: error.to_string(),
    })
}

/// Appends a run, joining it with the last one where it goes on.
fn push_run(runs: &mut Vec<PendingRun>, run: PendingRun) {
    if let Some(last) = runs.last_mut()
        && last.target == run.target
        && last.image_block + u64::from(last.block_count) == run.image_block
        && last.chunk_block + last.block_count == run.chunk_block
    {
        last.block_count += run.block_count;
        return;
    }
    runs.push(run);
}
