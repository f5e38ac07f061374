//! The store as a whole: what goes in comes out, once.

use super::*;
use crate::backend::MemoryBackend;
use crate::base::Extent;
use parking_lot::Mutex;

fn store(backend: &Arc<MemoryBackend>) -> Arc<Store> {
    let options = OpenOptions {
        cache_len_bytes: 64 << 20,
        thread_count: 2,
    };
    Store::open(backend.clone(), &options).unwrap()
}

fn new_store() -> (Arc<MemoryBackend>, Arc<Store>) {
    let backend = Arc::new(MemoryBackend::new());
    Store::init(&*backend, &InitOptions::default()).unwrap();
    let store = store(&backend);
    (backend, store)
}

/// Writes an image and returns its extents.
fn write(writer: &Arc<ChunkWriter>, image: &[u8], parent: &[Extent]) -> Vec<Extent> {
    let extents = Arc::new(Mutex::new(vec![]));
    for (number, part) in image
        .chunks(SEGMENT_BLOCKS_MAX as usize * BLOCK_LEN)
        .enumerate()
    {
        let image_block = number as u64 * SEGMENT_BLOCKS_MAX;
        let range = image_block..image_block + SEGMENT_BLOCKS_MAX;
        let expected: Vec<Extent> = parent.iter().filter_map(|e| e.clip(&range)).collect();
        let (part, extents) = (part.to_vec(), Arc::clone(&extents));
        writer.submit(Segment {
            image_block,
            fill: Box::new(move |buffer| {
                *buffer = part;
                Ok(expected)
            }),
            done: Box::new(move |result| extents.lock().extend(result.unwrap())),
        });
    }
    writer.flush().unwrap();
    let mut extents = extents.lock();
    std::mem::take(&mut extents)
}

fn read(store: &Store, extents: &[Extent], len: usize) -> Vec<u8> {
    let mut image = vec![0; len];
    for extent in extents {
        let start = extent.image_block as usize * BLOCK_LEN;
        let target = &mut image[start..start + extent.block_count as usize * BLOCK_LEN];
        let offset = extent.chunk_block as usize * BLOCK_LEN;
        store
            .reader()
            .read_into(&extent.chunk, offset, target)
            .unwrap();
    }
    image
}

/// Bytes that compress a little, with holes, different for each seed.
fn image(seed: u64, block_count: usize) -> Vec<u8> {
    let mut image = vec![0; block_count * BLOCK_LEN];
    for (number, block) in image.chunks_exact_mut(BLOCK_LEN).enumerate() {
        if number % 7 == 3 {
            continue;
        }
        let hash = blake3::hash(&(seed * 1_000_000 + number as u64).to_le_bytes());
        for part in block.chunks_exact_mut(64) {
            part[..32].copy_from_slice(hash.as_bytes());
            part[32] = number as u8;
        }
    }
    image
}

#[test]
fn an_image_comes_back_and_zero_blocks_are_not_stored() {
    let (backend, store) = new_store();
    let image = image(1, 3000);
    let writer = store.writer().unwrap();
    let extents = write(&writer, &image, &[]);
    assert_eq!(read(&store, &extents, image.len()), image);
    let blocks: u64 = extents
        .iter()
        .map(|extent| u64::from(extent.block_count))
        .sum();
    assert_eq!(
        blocks,
        3000 - (0..3000).filter(|number| number % 7 == 3).count() as u64
    );
    assert_eq!(writer.stats().new_block_count, blocks);
    let other = super::tests::store(&backend);
    assert_eq!(read(&other, &extents, image.len()), image);
}

#[test]
fn the_same_image_again_stores_nothing() {
    let (_backend, store) = new_store();
    let image = image(2, 3000);
    let first = write(&store.writer().unwrap(), &image, &[]);
    for parent in [vec![], first.clone()] {
        let writer = store.writer().unwrap();
        let again = write(&writer, &image, &parent);
        // Without a parent, blocks before the first hook may be stored again.
        let few = if parent.is_empty() { 16 } else { 0 };
        assert!(
            writer.stats().new_block_count <= few,
            "{:?}",
            writer.stats()
        );
        assert_eq!(read(&store, &again, image.len()), image);
    }
}

#[test]
fn changed_blocks_cost_themselves_alone() {
    let (_backend, store) = new_store();
    let mut image = image(3, 4096);
    let parent = write(&store.writer().unwrap(), &image, &[]);
    for number in (0..4096).step_by(100) {
        image[number * BLOCK_LEN..(number + 1) * BLOCK_LEN].fill(number as u8 | 1);
    }
    let writer = store.writer().unwrap();
    let extents = write(&writer, &image, &parent);
    assert_eq!(read(&store, &extents, image.len()), image);
    assert!(writer.stats().new_block_count <= 41, "{:?}", writer.stats());
}

#[test]
fn blocks_that_moved_are_found() {
    let (_backend, store) = new_store();
    let image = image(4, 4096);
    write(&store.writer().unwrap(), &image, &[]);
    let mut moved = super::tests::image(99, 5);
    moved.extend_from_slice(&image);
    let writer = store.writer().unwrap();
    let extents = write(&writer, &moved, &[]);
    assert_eq!(read(&store, &extents, moved.len()), moved);
    assert!(writer.stats().new_block_count < 40, "{:?}", writer.stats());
}

#[test]
fn a_writer_sees_its_own_chunks_before_they_are_indexed() {
    let (backend, store) = new_store();
    let part = image(5, 200);
    let mut twice = part.clone();
    twice.extend_from_slice(&part);
    let writer = store.writer().unwrap();
    let extents = Arc::new(Mutex::new(vec![]));
    let (data, collected) = (twice.clone(), Arc::clone(&extents));
    writer.submit(Segment {
        image_block: 0,
        fill: Box::new(move |buffer| {
            *buffer = data;
            Ok(vec![])
        }),
        done: Box::new(move |result| collected.lock().extend(result.unwrap())),
    });
    writer.drain().unwrap();
    assert_eq!(read(&store, &extents.lock(), twice.len()), twice);
    assert_eq!(writer.stats().new_block_count, 171);
    let other = super::tests::store(&backend);
    assert!(
        other.read_chunk(&extents.lock()[0].chunk).is_err(),
        "it is not durable yet"
    );
    writer.flush().unwrap();
    assert!(other.read_chunk(&extents.lock()[0].chunk).is_ok());
}

#[test]
fn a_failing_source_fails_the_writer_and_every_segment_is_told() {
    let (_backend, store) = new_store();
    let writer = store.writer().unwrap();
    let errors = Arc::new(Mutex::new(0));
    for number in 0..20 {
        let errors = Arc::clone(&errors);
        writer.submit(Segment {
            image_block: number * SEGMENT_BLOCKS_MAX,
            fill: Box::new(|_| Err(std::io::ErrorKind::BrokenPipe.into())),
            done: Box::new(move |result| *errors.lock() += u32::from(result.is_err())),
        });
    }
    assert!(writer.flush().is_err());
    assert_eq!(*errors.lock(), 20);
    assert!(writer.put_node(b"node").is_err());
}

#[test]
fn damage_is_an_error_for_its_chunk_alone() {
    let (backend, store) = new_store();
    let image = image(6, 2000);
    let extents = write(&store.writer().unwrap(), &image, &[]);
    let pack = backend
        .names()
        .into_iter()
        .find(|name| name.starts_with("packs/"))
        .unwrap();
    backend.damage(&pack, |bytes| bytes[5000] ^= 4);
    let other = super::tests::store(&backend);
    let failed = extents
        .iter()
        .filter(|extent| other.read_chunk(&extent.chunk).is_err())
        .map(|extent| extent.chunk)
        .collect::<std::collections::HashSet<_>>();
    assert_eq!(failed.len(), 1);
}

#[test]
fn fingerprints_are_read_from_trailers() {
    let (_backend, store) = new_store();
    let image = image(7, 100);
    let extents = write(&store.writer().unwrap(), &image, &[]);
    for extent in extents {
        let fingerprints = store.fingerprints(&extent.chunk).unwrap();
        for number in 0..extent.block_count as usize {
            let start = (extent.image_block as usize + number) * BLOCK_LEN;
            let expected = store.fingerprint(&image[start..start + BLOCK_LEN]);
            assert_eq!(fingerprints[extent.chunk_block as usize + number], expected);
        }
    }
}

#[test]
fn a_second_init_is_refused() {
    let (backend, _store) = new_store();
    let error = Store::init(&*backend, &InitOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
}
