//! Maps against plain vectors.

use super::*;
use crate::backend::MemoryBackend;
use crate::base::{BLOCK_LEN, ChunkId, Extent, ReadAt};
use crate::store::{ChunkWriter, InitOptions, OpenOptions, Segment, Store};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;

fn new_store() -> Arc<Store> {
    let backend = Arc::new(MemoryBackend::new());
    Store::init(&*backend, &InitOptions::default()).unwrap();
    Store::open(
        backend,
        &OpenOptions {
            cache_len_bytes: 64 << 20,
            thread_count: 1,
        },
    )
    .unwrap()
}

fn extents_of(writer: &Arc<ChunkWriter>, image_block: u64, data: Vec<u8>) -> Vec<Extent> {
    let extents = Arc::new(Mutex::new(vec![]));
    let collected = Arc::clone(&extents);
    writer.submit(Segment {
        image_block,
        fill: Box::new(move |buffer| {
            *buffer = data;
            Ok(vec![])
        }),
        done: Box::new(move |result| *collected.lock() = result.unwrap()),
    });
    writer.drain().unwrap();
    let mut extents = extents.lock();
    std::mem::take(&mut extents)
}

fn block(seed: u8) -> Vec<u8> {
    if seed == 0 {
        vec![0; BLOCK_LEN]
    } else {
        vec![seed; BLOCK_LEN]
    }
}

/// An image as a vector with one byte for each block: 0 is a hole.
fn write(store: &Arc<Store>, base: Option<Image>, old: &[u8], new: &[u8]) -> Image {
    let writer = store.writer().unwrap();
    let mut editor = MapEditor::new(Arc::clone(store), Arc::clone(&writer), base);
    editor.truncate(new.len() as u64).unwrap();
    for (number, seed) in new.iter().enumerate() {
        let before = old.get(number).copied().unwrap_or(0);
        if before != *seed {
            let extents = extents_of(&writer, number as u64, block(*seed));
            editor
                .replace(number as u64..number as u64 + 1, &extents)
                .unwrap();
        }
    }
    let len = (new.len() * BLOCK_LEN) as u64;
    let summary = editor.finish(len).unwrap();
    assert_eq!(
        editor.finish(len).unwrap(),
        summary,
        "finishing twice changes nothing"
    );
    let allocated = new.iter().filter(|seed| **seed != 0).count() as u64;
    assert_eq!(summary.allocated_block_count, allocated);
    writer.flush().unwrap();
    Image::new(Arc::clone(store), summary.root, len)
}

fn demand_equal(image: &Image, model: &[u8]) {
    let mut bytes = vec![9; model.len() * BLOCK_LEN];
    image.read(0, &mut bytes).unwrap();
    for (number, seed) in model.iter().enumerate() {
        let found = &bytes[number * BLOCK_LEN..(number + 1) * BLOCK_LEN];
        assert!(found.iter().all(|byte| byte == seed), "block {number}");
    }
    demand_holes(image, model);
}

fn demand_holes(image: &Image, model: &[u8]) {
    let len = image.len();
    for number in 0..model.len() {
        let offset = (number * BLOCK_LEN + 17) as u64;
        let next =
            |wanted: bool| (number..model.len()).find(|place| (model[*place] != 0) == wanted);
        let at = |place: usize| ((place * BLOCK_LEN) as u64).max(offset);
        assert_eq!(image.next_data(offset).unwrap(), next(true).map(at));
        assert_eq!(
            image.next_hole(offset).unwrap(),
            next(false).map_or(len, at)
        );
    }
    assert_eq!(image.next_data(len).unwrap(), None);
}

fn demand_diff(a: &Image, b: &Image, in_a: &[u8], in_b: &[u8]) {
    let mut changed = vec![];
    changed_ranges(a, b, &mut |range| changed.push(range)).unwrap();
    let mut expected: Vec<std::ops::Range<u64>> = vec![];
    for number in 0..in_a.len().max(in_b.len()) {
        if in_a.get(number) != in_b.get(number) {
            let start = (number * BLOCK_LEN) as u64;
            match expected.last_mut() {
                Some(last) if last.end == start => last.end += BLOCK_LEN as u64,
                _ => expected.push(start..start + BLOCK_LEN as u64),
            }
        }
    }
    assert_eq!(changed, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn edited_maps_equal_plain_vectors(
        edits in prop::collection::vec(
            (0_usize..5000, 0_usize..40, any::<bool>(), 0_u8..4, prop::option::weighted(0.3, 0_usize..5000)),
            1..6,
        ),
    ) {
        let store = new_store();
        let mut model: Vec<u8> = vec![];
        let mut image: Option<Image> = None;
        for (place, count, grow, seed, truncated) in edits {
            let old = model.clone();
            if let Some(len) = truncated {
                model.resize(len, 0);
            }
            if grow && model.len() < place + count {
                model.resize(place + count, 0);
            }
            let end = (place + count).min(model.len());
            if place < end {
                model[place..end].fill(seed);
            }
            let kept = old.len().min(model.len());
            let mut seen = old[..kept].to_vec();
            seen.resize(model.len(), 0);
            let next = write(&store, image.clone(), &seen, &model);
            demand_equal(&next, &model);
            if let Some(image) = &image {
                demand_diff(image, &next, &old, &model);
            }
            image = Some(next);
        }
    }
}

#[test]
fn a_map_of_several_levels_shares_what_did_not_change() {
    let store = new_store();
    let writer = store.writer().unwrap();
    let one = extents_of(&writer, 0, block(1));
    let far = 200_000_000_u64;
    let mut editor = MapEditor::new(Arc::clone(&store), Arc::clone(&writer), None);
    for place in [0, 70_000, 5_000_000, far] {
        let extent = Extent {
            image_block: place,
            ..one[0]
        };
        editor.replace(place..place + 1, &[extent]).unwrap();
    }
    let len = 1_u64 << 40;
    let summary = editor.finish(len).unwrap();
    writer.flush().unwrap();
    assert_eq!(summary.allocated_block_count, 4);
    let image = Image::new(Arc::clone(&store), summary.root, len);
    let places = [0, 70_000, 5_000_000, far];
    for (number, place) in places.iter().enumerate() {
        let offset = place * 4096;
        assert_eq!(image.next_data(offset).unwrap(), Some(offset));
        assert_eq!(image.next_hole(offset).unwrap(), offset + 4096);
        let next = places.get(number + 1).map(|place| place * 4096);
        assert_eq!(image.next_data(offset + 4096).unwrap(), next);
    }
    let mut editor = MapEditor::new(Arc::clone(&store), Arc::clone(&writer), Some(image.clone()));
    assert_eq!(editor.next_allocated(1).unwrap(), Some(70_000));
    assert_eq!(editor.next_allocated(far + 1).unwrap(), None);
    let before = writer.stats().stored_len_bytes;
    editor.replace(far..far + 1, &[]).unwrap();
    let changed = editor.finish(len).unwrap();
    assert_eq!(changed.allocated_block_count, 3);
    assert!(writer.stats().stored_len_bytes - before < 1000);
    // A shorter image with a lower tree on the same base.
    editor.truncate(70_001).unwrap();
    let short = editor.finish(70_001 * 4096).unwrap();
    writer.flush().unwrap();
    let short = Image::new(store, short.root, 70_001 * 4096);
    assert_eq!(short.next_data(4096).unwrap(), Some(70_000 * 4096));
    assert_eq!(short.extents(0..70_001).unwrap().len(), 2);
}

#[test]
fn a_missing_node_is_an_error_and_no_hole() {
    let store = new_store();
    let image = Image::new(store, Some(ChunkId([1; 32])), 1 << 30);
    let mut bytes = [0; 10];
    assert!(image.read(0, &mut bytes).is_err());
    assert!(image.next_data(0).is_err());
    assert!(
        image.read((1 << 30) - 5, &mut bytes).is_err(),
        "beyond the end"
    );
}
