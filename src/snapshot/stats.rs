//! What a store holds and what each snapshot costs.

use super::catalog::Catalog;
use super::manifest::Snapshot;
use crate::base::{BLOCK_LEN_BYTES, ByteLen, ChunkId, Progress, SnapshotId, block_count_for};
use crate::format::map::{Node, root_level};
use crate::image::for_each_node;
use crate::store::{Error, Result};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Number of snapshots.
    pub snapshot_count: u64,
    /// Lengths of all images together.
    pub image_len_bytes: ByteLen,
    /// Blocks of all images that are not zero, together.
    pub allocated_len_bytes: ByteLen,
    /// Blocks of all images, each counted once; `None` if it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_len_bytes: Option<ByteLen>,
    /// Space that packs take.
    pub pack_len_bytes: ByteLen,
    /// Space that indexes take.
    pub index_len_bytes: ByteLen,
    /// Space that the catalog takes.
    pub catalog_len_bytes: ByteLen,
    /// Space of the whole store, without drafts.
    pub stored_len_bytes: ByteLen,
    /// Number of packs.
    pub pack_count: u64,
    /// Number of indexes.
    pub index_count: u64,
    /// Number of chunks in all indexes.
    pub chunk_count: u64,
    /// What each snapshot has to itself, in catalog order, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotStats>,
}

/// What a snapshot has to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotStats {
    /// The snapshot.
    pub id: SnapshotId,
    /// `resource@name`.
    pub reference: String,
    /// Length of the image.
    pub image_len_bytes: ByteLen,
    /// Blocks that are not zero.
    pub allocated_len_bytes: ByteLen,
    /// Content of chunks that no other snapshot names.
    pub exclusive_len_bytes: ByteLen,
    /// Space that those chunks take.
    pub exclusive_stored_len_bytes: ByteLen,
}

/// Who names a chunk.
#[derive(Clone, Copy)]
enum Owner {
    One(u32),
    Several,
}

/// A chunk on the way through the maps.
struct Used {
    owner: Owner,
    /// Blocks named by anybody, one bit each; chunks of other writers may have more than
    /// 64 blocks, which count as the last.
    blocks: u64,
}

/// Returns what the store holds. With `per_snapshot`, all maps are walked, each shared
/// node once, which takes 80 bytes of memory for each chunk.
pub fn stats(catalog: &Arc<Catalog>, per_snapshot: bool, progress: &Progress) -> Result<Stats> {
    let state = catalog.state();
    let mut stats = Stats::default();
    for snapshot in state.snapshots() {
        stats.snapshot_count += 1;
        stats.image_len_bytes += snapshot.manifest.image_len_bytes;
        stats.allocated_len_bytes += snapshot.manifest.allocated_len_bytes;
    }
    add_space(catalog, &mut stats)?;
    if per_snapshot {
        let snapshots: Vec<_> = state.snapshots().cloned().collect();
        add_owners(catalog, &snapshots, &mut stats, progress)?;
    }
    Ok(stats)
}

fn add_space(catalog: &Catalog, stats: &mut Stats) -> Result<()> {
    let backend = catalog.store().backend();
    let folder = |name: &str| -> Result<(u64, u64)> {
        let (mut count, mut len) = (0, 0);
        for file in backend.list(name)? {
            // It may be merged away between listing and opening.
            if let Ok(object) = backend.open(&format!("{name}/{file}")) {
                count += 1;
                len += object.len();
            }
        }
        Ok((count, len))
    };
    for shard in backend.list("packs")? {
        let (count, len) = folder(&format!("packs/{shard}"))?;
        stats.pack_count += count;
        stats.pack_len_bytes += len;
    }
    (stats.index_count, stats.index_len_bytes) = folder("indexes")?;
    (_, stats.catalog_len_bytes) = folder("catalog")?;
    stats.chunk_count = catalog.store().index_counts().1;
    stats.stored_len_bytes = stats.pack_len_bytes + stats.index_len_bytes + stats.catalog_len_bytes;
    Ok(())
}

fn add_owners(
    catalog: &Catalog,
    snapshots: &[Arc<Snapshot>],
    stats: &mut Stats,
    progress: &Progress,
) -> Result<()> {
    let mut nodes: HashMap<ChunkId, Owner> = HashMap::new();
    let mut chunks: HashMap<ChunkId, Used> = HashMap::new();
    // Twice: the first walk finds nodes that several snapshots share, and goes below a
    // node once for the first owner and once when it becomes shared.
    for (number, snapshot) in snapshots.iter().enumerate() {
        walk(
            catalog,
            number as u32,
            snapshot,
            &mut nodes,
            &mut chunks,
            progress,
        )?;
    }
    let mut exclusive = vec![(0, 0); snapshots.len()];
    let mut unique = 0;
    for (chunk, used) in &chunks {
        let len = u64::from(used.blocks.count_ones()) * BLOCK_LEN_BYTES;
        unique += len;
        if let Owner::One(owner) = used.owner
            && let Some((content, stored)) = exclusive.get_mut(owner as usize)
        {
            *content += len;
            let location = catalog.store().locations(chunk)?;
            *stored += location
                .first()
                .map_or(0, |place| u64::from(place.frame_len));
        }
    }
    stats.unique_len_bytes = Some(unique);
    stats.snapshots = snapshots
        .iter()
        .zip(exclusive)
        .map(
            |(snapshot, (exclusive_len_bytes, exclusive_stored_len_bytes))| SnapshotStats {
                id: snapshot.manifest.id,
                reference: snapshot.reference(),
                image_len_bytes: snapshot.manifest.image_len_bytes,
                allocated_len_bytes: snapshot.manifest.allocated_len_bytes,
                exclusive_len_bytes,
                exclusive_stored_len_bytes,
            },
        )
        .collect();
    Ok(())
}

fn walk(
    catalog: &Catalog,
    number: u32,
    snapshot: &Snapshot,
    nodes: &mut HashMap<ChunkId, Owner>,
    chunks: &mut HashMap<ChunkId, Used>,
    progress: &Progress,
) -> Result<()> {
    let Some(root) = snapshot.map_root else {
        return Ok(());
    };
    let level = root_level(block_count_for(snapshot.manifest.image_len_bytes));
    for_each_node(catalog.store(), root, level, &mut |id, node| {
        if progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let goes_on = claim(nodes.entry(*id), number);
        if let (Node::Leaf(extents), true) = (&**node, goes_on) {
            for extent in extents {
                let used = chunks.entry(extent.chunk);
                let used = used.or_insert(Used {
                    owner: Owner::One(number),
                    blocks: 0,
                });
                if !matches!(used.owner, Owner::One(owner) if owner == number) {
                    used.owner = Owner::Several;
                }
                let blocks = extent.chunk_block..extent.chunk_block + extent.block_count;
                blocks.for_each(|block| used.blocks |= 1 << block.min(63));
            }
        }
        Ok(goes_on)
    })
}

/// Notes that `number` names a node. Tells whether its part of the map must be visited:
/// the first time, and when a second snapshot comes.
fn claim(entry: Entry<'_, ChunkId, Owner>, number: u32) -> bool {
    match entry {
        Entry::Vacant(entry) => {
            entry.insert(Owner::One(number));
            true
        }
        Entry::Occupied(mut entry) => match *entry.get() {
            Owner::One(owner) if owner == number => false,
            Owner::One(_) => {
                entry.insert(Owner::Several);
                true
            }
            Owner::Several => false,
        },
    }
}
