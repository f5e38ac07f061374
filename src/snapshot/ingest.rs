//! An image becomes a snapshot: segments through a writer, extents into a map, and at
//! the end one entry of the log.

use super::catalog::Catalog;
use super::discard::Discard;
use super::lease::{Lease, LeaseRole};
use super::manifest::{Labels, Manifest, Snapshot, SnapshotKind, SnapshotType, check_resource};
use super::plausible;
use crate::base::limits::IMAGE_LEN_MAX;
use crate::base::{
    BLOCK_LEN_BYTES, Extent, Progress, SnapshotId, Timestamp, block_count_for, round_up_to_block,
};
use crate::image::{Image, MapEditor};
use crate::source::ImageSource;
use crate::store::{ChunkWriter, Error, Result, SEGMENT_BLOCKS_MAX, Segment, WriterStats};
use crossbeam_channel::{Receiver, Sender};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

/// Bytes at the beginning of an image that tell how long the disk is.
const HEAD_LEN: usize = 16 << 10;

/// Bytes of a segment.
const SEGMENT_LEN: u64 = SEGMENT_BLOCKS_MAX * BLOCK_LEN_BYTES;

/// What a new snapshot is to be.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// The machine or volume.
    pub resource: String,
    /// Name, tags and description.
    pub labels: Labels,
    /// What the image is of.
    pub kind: SnapshotKind,
    /// How the snapshot comes to be.
    pub snapshot_type: SnapshotType,
    /// The moment that the image shows.
    pub created_at: Timestamp,
    /// Reasons to doubt the content that are known before.
    pub warnings: Vec<String>,
    /// What was left out of the source before; see [`Manifest::discarded_len_bytes`].
    pub discarded_len_bytes: Option<u64>,
}

/// Fills the buffer of a segment with its bytes.
type FillBuffer = Box<dyn FnOnce(&mut Vec<u8>) -> io::Result<()> + Send>;

type Placed = (Range<u64>, Result<Vec<Extent>>);

/// A snapshot in the making.
struct Ingest<'a> {
    catalog: &'a Arc<Catalog>,
    progress: &'a Arc<Progress>,
    parent: Option<Image>,
    writer: Arc<ChunkWriter>,
    editor: MapEditor,
    placed: (Sender<Placed>, Receiver<Placed>),
    /// What of the writer's statistics the progress knows already.
    counted: WriterStats,
    head: Vec<u8>,
    _lease: Lease,
}

/// Makes a snapshot of `source`. When it returns, the snapshot is durable and listed;
/// when it fails or is cancelled, there is no trace of it in the catalog.
pub fn ingest(
    catalog: &Arc<Catalog>,
    source: &Arc<dyn ImageSource>,
    options: IngestOptions,
    progress: &Arc<Progress>,
) -> Result<Arc<Snapshot>> {
    let (ingest, len, options) = read_all(catalog, source, options, progress)?;
    ingest.publish(len, options)
}

/// Makes a snapshot of a source without its free blocks, as [`ingest`] does. Fails if what
/// is free changed while it was read.
pub fn ingest_without_free(
    catalog: &Arc<Catalog>,
    discard: &Discard,
    options: IngestOptions,
    progress: &Arc<Progress>,
) -> Result<Arc<Snapshot>> {
    let (ingest, len, options) = read_all(catalog, &discard.rest(), options, progress)?;
    discard.confirm()?;
    let options = IngestOptions {
        discarded_len_bytes: Some(discard.discarded_len_bytes()),
        ..options
    };
    ingest.publish(len, options)
}

/// Reads all of a source, and returns its length and the options with its warnings.
fn read_all<'a>(
    catalog: &'a Arc<Catalog>,
    source: &Arc<dyn ImageSource>,
    options: IngestOptions,
    progress: &'a Arc<Progress>,
) -> Result<(Ingest<'a>, u64, IngestOptions)> {
    check_resource(&options.resource)?;
    let len = source.len();
    if len > IMAGE_LEN_MAX {
        return Err(Error::Invalid(format!(
            "an image of {len} bytes is longer than 1 EiB"
        )));
    }
    progress.set_total(len);
    let mut ingest = Ingest::begin(catalog, &options.resource, progress)?;
    let result = ingest.read_source(source, len);
    // Segments in flight still hold the source.
    let drained = ingest.writer.drain();
    result.and(drained)?;
    let mut warnings = options.warnings.clone();
    warnings.extend(source.warnings());
    let options = IngestOptions {
        warnings,
        ..options
    };
    Ok((ingest, len, options))
}

/// Makes a snapshot of what `reader` gives until its end.
pub fn ingest_stream(
    catalog: &Arc<Catalog>,
    reader: &mut dyn Read,
    options: IngestOptions,
    progress: &Arc<Progress>,
) -> Result<Arc<Snapshot>> {
    check_resource(&options.resource)?;
    let mut ingest = Ingest::begin(catalog, &options.resource, progress)?;
    let result = ingest.read_stream(reader);
    let drained = ingest.writer.drain();
    let len = result.and_then(|len| drained.map(|()| len))?;
    progress.set_total(len);
    ingest.publish(len, options)
}

impl<'a> Ingest<'a> {
    fn begin(
        catalog: &'a Arc<Catalog>,
        resource: &str,
        progress: &'a Arc<Progress>,
    ) -> Result<Self> {
        catalog.refresh()?;
        let state = catalog.state();
        let store = catalog.store();
        let lease = Lease::take(store, LeaseRole::Writer, state.sequence(), None)?;
        let parent = state
            .latest(resource)
            .map(|snapshot| catalog.image(snapshot));
        let writer = store.writer()?;
        let editor = MapEditor::new(Arc::clone(store), Arc::clone(&writer), None);
        let placed = crossbeam_channel::unbounded();
        Ok(Self {
            catalog,
            progress,
            parent,
            writer,
            editor,
            placed,
            counted: WriterStats::default(),
            head: vec![],
            _lease: lease,
        })
    }

    fn read_source(&mut self, source: &Arc<dyn ImageSource>, len: u64) -> Result<()> {
        let mut head = vec![0; HEAD_LEN];
        let count = source.read_at(0, &mut head).map_err(Error::Source)?;
        head.truncate(count);
        self.head = head;
        let mut offset = 0;
        let mut data = source.next_data(0).map_err(Error::Source)?;
        while let Some(range) = data.clone() {
            let start = range.start - range.start % SEGMENT_LEN;
            self.progress.add_hole(start.saturating_sub(offset));
            let segment = start..start.saturating_add(SEGMENT_LEN).min(len);
            let mut parts = vec![];
            while let Some(range) = data.clone().filter(|range| range.start < segment.end) {
                parts.push(range.start..range.end.min(segment.end));
                data = if range.end > segment.end {
                    Some(segment.end..range.end)
                } else {
                    source.next_data(range.end).map_err(Error::Source)?
                };
            }
            offset = segment.end;
            let source = Arc::clone(source);
            let whole = segment.clone();
            self.submit(
                segment,
                Box::new(move |buffer| fill_from(&*source, &whole, &parts, buffer)),
            )?;
        }
        self.progress.add_hole(len.saturating_sub(offset));
        Ok(())
    }

    fn read_stream(&mut self, reader: &mut dyn Read) -> Result<u64> {
        let mut offset = 0_u64;
        loop {
            let mut bytes = vec![];
            Read::take(&mut *reader, SEGMENT_LEN)
                .read_to_end(&mut bytes)
                .map_err(|error| self.source_error(error))?;
            let end = offset.saturating_add(bytes.len() as u64);
            if bytes.is_empty() {
                return Ok(offset);
            }
            if end > IMAGE_LEN_MAX {
                return Err(Error::Invalid("the stream is longer than 1 EiB".to_owned()));
            }
            if offset == 0 {
                self.head = bytes.iter().take(HEAD_LEN).copied().collect();
            }
            let is_last = (bytes.len() as u64) < SEGMENT_LEN;
            bytes.resize(round_up_to_block(bytes.len() as u64) as usize, 0);
            self.submit(
                offset..end,
                Box::new(move |buffer| {
                    *buffer = bytes;
                    Ok(())
                }),
            )?;
            offset = end;
            if is_last {
                return Ok(offset);
            }
        }
    }

    fn source_error(&self, error: io::Error) -> Error {
        if self.progress.is_cancelled() {
            Error::Interrupted
        } else {
            Error::Source(error)
        }
    }

    /// Sends a segment on its way and takes in those that have arrived.
    fn submit(&mut self, range: Range<u64>, fill: FillBuffer) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let blocks = range.start / BLOCK_LEN_BYTES..block_count_for(range.end);
        let (parent, wanted) = (self.parent.clone(), blocks.clone());
        let (sender, progress) = (self.placed.0.clone(), Arc::clone(self.progress));
        self.writer.submit(Segment {
            image_block: blocks.start,
            fill: Box::new(move |buffer| {
                fill(buffer)?;
                // A parent that cannot be read gives no hint; nothing else is lost.
                let hint = parent.map(|parent| parent.extents(wanted));
                Ok(hint.and_then(Result::ok).unwrap_or_default())
            }),
            done: Box::new(move |extents| {
                progress.add_done(range.end - range.start);
                drop(sender.send((blocks, extents)));
            }),
        });
        self.take_placed()
    }

    fn take_placed(&mut self) -> Result<()> {
        while let Ok((blocks, extents)) = self.placed.1.try_recv() {
            self.editor.replace(blocks, &extents?)?;
        }
        let stats = self.writer.stats();
        let new = stats.new_block_count - self.counted.new_block_count;
        self.progress.add_new(new * BLOCK_LEN_BYTES);
        self.progress
            .add_stored(stats.stored_len_bytes - self.counted.stored_len_bytes);
        self.counted = stats;
        Ok(())
    }

    /// Writes the map, makes all durable, and enters the snapshot.
    fn publish(mut self, len: u64, options: IngestOptions) -> Result<Arc<Snapshot>> {
        self.take_placed()?;
        let summary = self.editor.finish(len)?;
        let mut warnings = options.warnings;
        for warning in plausible::look_at_head(&self.head, len).warnings {
            // A copy of a snapshot has its warnings already.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        let manifest = Manifest {
            id: SnapshotId::random(),
            resource: options.resource,
            kind: options.kind,
            snapshot_type: options.snapshot_type,
            created_at: options.created_at,
            image_len_bytes: len,
            allocated_len_bytes: summary.allocated_block_count * BLOCK_LEN_BYTES,
            added_len_bytes: self.writer.stats().stored_len_bytes,
            map_root: summary.root,
            warnings,
            discarded_len_bytes: options.discarded_len_bytes,
            replaces: None,
        };
        write_manifest(&self.writer, &manifest, &options.labels)?;
        self.writer.flush()?;
        self.take_placed()?;
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.catalog.create(manifest, options.labels)
    }
}

/// Stores a copy of manifest and labels in the pack of the map, from which the catalog
/// can be rebuilt.
pub fn write_manifest(writer: &ChunkWriter, manifest: &Manifest, labels: &Labels) -> Result<()> {
    let copy = serde_json::json!({ "manifest": manifest, "labels": labels });
    writer.put_manifest(copy.to_string().as_bytes())?;
    Ok(())
}

/// Fills `buffer` with `segment`: `parts` from the source, zeros elsewhere. What the
/// source has no more is zero; that it changed is said in its warnings.
fn fill_from(
    source: &dyn ImageSource,
    segment: &Range<u64>,
    parts: &[Range<u64>],
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    let len = round_up_to_block(segment.end - segment.start) as usize;
    buffer.resize(len, 0);
    let mut filled = 0;
    for part in parts {
        let start = (part.start - segment.start) as usize;
        let end = (part.end - segment.start) as usize;
        let (Some(hole), true) = (buffer.get_mut(filled..start), end <= len) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        hole.fill(0);
        let target = &mut buffer[start..end];
        let count = source.read_at(part.start, target)?;
        target[count..].fill(0);
        filled = end;
    }
    buffer[filled..].fill(0);
    Ok(())
}
