//! Blocks become chunks, chunks are kept in packs, and indexes tell where: the
//! deduplicating, compressing store, and the cache in front of it. It knows nothing of
//! images as a whole, of names or of the log.

mod cache;
mod chunk_reader;
mod codec;
mod dedup;
mod error;
mod flight;
mod index_reader;
mod index_set;
mod index_writer;
mod nodes;
mod output;
mod pack_writer;
mod packs;
mod pending;
mod segment;
mod windows;
mod writer;
mod writer_state;

#[cfg(test)]
mod tests;

pub use cache::ByteCache;
pub use chunk_reader::ChunkReader;
pub use error::{Error, Kind, Result, chain};
pub use flight::Content;
pub use index_set::Location;
pub use segment::{FillSegment, SEGMENT_BLOCKS_MAX, Segment, WriterStats};
pub use writer::ChunkWriter;
pub use writer_state::{Excluded, SegmentDone};

use crate::backend::{Backend, Put};
use crate::base::{BLOCK_LEN, ByteLen, ChunkId, Fingerprint, Pool, StoreId, Timestamp, limits};
use crate::format::map::Node;
use crate::format::{
    Features, ObjectHeader, ObjectKind, StoreConfig, open_envelope, seal_envelope,
};
use index_set::IndexSet;
use packs::Packs;
use parking_lot::RwLock;
use std::sync::Arc;

/// Name of the configuration object.
pub const CONFIG_NAME: &str = "config.json";

/// Name of the secret of the fingerprints.
pub const KEY_NAME: &str = "keys/1";

/// Level of zstd where none is asked for; docs/decisions/0003-compression-level.md.
pub const DEFAULT_LEVEL: i32 = 1;

/// Threads that hash and compress at most, so that segments in flight stay bounded.
const POOL_THREADS_MAX: usize = 16;

/// What a new store is to be like.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Level of zstd, 1 to 19.
    pub level: i32,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            level: DEFAULT_LEVEL,
        }
    }
}

/// How a store is used by this process.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Budget of all caches together in bytes.
    pub cache_len_bytes: ByteLen,
    /// Threads that hash and compress; 0 for one per processor.
    pub thread_count: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_len_bytes: 256 << 20,
            thread_count: 0,
        }
    }
}

/// The chunk store.
#[derive(Debug)]
pub struct Store {
    backend: Arc<dyn Backend>,
    config: StoreConfig,
    fingerprint_key: [u8; 32],
    indexes: Arc<IndexSet>,
    reader: Arc<ChunkReader>,
    nodes: ByteCache<ChunkId, Arc<Node>>,
    pool: PoolHandle,
    excluded: RwLock<Arc<Excluded>>,
}

/// The pool is started by the first writer: a mount that only reads needs none.
struct PoolHandle {
    thread_count: usize,
    pool: std::sync::OnceLock<Pool>,
}

impl std::fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolHandle")
            .field("thread_count", &self.thread_count)
            .finish()
    }
}

impl Store {
    /// Makes a store where there is none.
    ///
    /// # Errors
    ///
    /// If there is one already, or the level is not one of zstd.
    pub fn init(backend: &dyn Backend, options: &InitOptions) -> Result<StoreId> {
        if !(1..=19).contains(&options.level) {
            return Err(Error::Invalid(format!(
                "compression level {} is not between 1 and 19",
                options.level
            )));
        }
        let config = StoreConfig {
            format_version: crate::format::FORMAT_VERSION,
            store_id: StoreId::random(),
            created_at: Timestamp::now(),
            features: Features::default(),
            block_len_bytes: BLOCK_LEN as u32,
            chunk_block_count: limits::CHUNK_BLOCKS_WRITE as u32,
            zstd_level: options.level,
            checksum: String::new(),
        };
        match backend.put_new(CONFIG_NAME, &config.encode())? {
            Put::Exists => return Err(Error::Exists("there is a store already".to_owned())),
            Put::Created => {}
        }
        put_key(backend, config.store_id)?;
        Ok(config.store_id)
    }

    /// Opens a store.
    ///
    /// # Errors
    ///
    /// If there is none, it is damaged, or it needs what this version lacks.
    pub fn open(backend: Arc<dyn Backend>, options: &OpenOptions) -> Result<Arc<Self>> {
        let bytes = backend.read(CONFIG_NAME, 1 << 20)?;
        let config = StoreConfig::decode(&bytes).map_err(|error| match error {
            crate::format::Error::Unsupported(what) => Error::Unsupported(what),
            other => Error::Corrupt {
                object: CONFIG_NAME.to_owned(),
                problem: other.to_string(),
            },
        })?;
        let fingerprint_key = read_key(&*backend, config.store_id)?;
        let cache_len = options.cache_len_bytes;
        let indexes = Arc::new(IndexSet::open(
            Arc::clone(&backend),
            config.store_id,
            cache_len / 8,
        )?);
        let packs = Packs::new(Arc::clone(&backend));
        let reader = ChunkReader::new(Arc::clone(&indexes), packs, cache_len / 8 * 6);
        Ok(Arc::new(Self {
            backend,
            config,
            fingerprint_key,
            indexes,
            reader: Arc::new(reader),
            nodes: ByteCache::new(cache_len / 8),
            pool: PoolHandle {
                thread_count: pool_thread_count(options.thread_count),
                pool: std::sync::OnceLock::new(),
            },
            excluded: RwLock::default(),
        }))
    }

    /// Returns the name of the store.
    pub fn id(&self) -> StoreId {
        self.config.store_id
    }

    /// Returns what is fixed for the life of the store.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Returns where its objects are.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Returns the reader of chunks.
    pub fn reader(&self) -> &Arc<ChunkReader> {
        &self.reader
    }

    fn indexes(&self) -> &IndexSet {
        &self.indexes
    }

    fn pool(&self) -> &Pool {
        self.pool
            .pool
            .get_or_init(|| Pool::new(self.pool.thread_count))
    }

    fn fingerprint_key(&self) -> &[u8; 32] {
        &self.fingerprint_key
    }

    /// Returns the fingerprint of a block of content under the key of this store.
    pub fn fingerprint(&self, block: &[u8]) -> Fingerprint {
        dedup::fingerprint(&self.fingerprint_key, block)
    }

    /// Starts a writer.
    pub fn writer(self: &Arc<Self>) -> Result<Arc<ChunkWriter>> {
        if let Some(feature) = self.config.read_only_because() {
            return Err(Error::Unsupported(format!(
                "the store uses the feature {feature:?}, which this version can only read"
            )));
        }
        // Others may have written since this store was opened.
        self.indexes.refresh()?;
        Ok(ChunkWriter::new(Arc::clone(self)))
    }

    /// Returns what deduplication must pass over.
    pub fn excluded(&self) -> Arc<Excluded> {
        Arc::clone(&self.excluded.read())
    }

    /// Sets what deduplication must pass over.
    pub fn set_excluded(&self, excluded: Excluded) {
        *self.excluded.write() = Arc::new(excluded);
    }

    /// Returns every place of a chunk that an index knows.
    pub fn locations(&self, chunk: &ChunkId) -> Result<Vec<Location>> {
        self.indexes.locations(chunk)
    }

    /// Returns how many indexes and how many chunks there are.
    pub fn index_counts(&self) -> (usize, u64) {
        self.indexes.counts()
    }
}

fn pool_thread_count(wanted: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = if wanted == 0 { processors } else { wanted };
    count.clamp(1, POOL_THREADS_MAX)
}

fn put_key(backend: &dyn Backend, store: StoreId) -> Result<()> {
    let mut payload = [0; 32];
    crate::base::ids::fill_random(&mut payload);
    let header = ObjectHeader::new(ObjectKind::Key, store);
    backend.put_new(KEY_NAME, &seal_envelope(&header, &payload))?;
    Ok(())
}

fn read_key(backend: &dyn Backend, store: StoreId) -> Result<[u8; 32]> {
    let bytes = backend.read(KEY_NAME, 1 << 16)?;
    let corrupt = |problem| Error::Corrupt {
        object: KEY_NAME.to_owned(),
        problem,
    };
    let payload = open_envelope(&bytes, ObjectKind::Key, store)
        .map_err(|error| corrupt(error.to_string()))?;
    payload
        .try_into()
        .map_err(|_| corrupt(format!("it holds {} bytes, not 32", payload.len())))
}
