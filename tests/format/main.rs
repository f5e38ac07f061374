//! The examples of the format specification, decoded and encoded again.

use tintype::base::{ChunkId, Extent, Fingerprint, PackId, SnapshotId, StoreId};
use tintype::format::index::{ChunkEntry, Entry as _, HookEntry};
use tintype::format::map::{Child, Node};
use tintype::format::pack::{PackFooter, decode_window, encode_directory, encode_window};
use tintype::format::{FrameHeader, ObjectKind, StoreConfig, encode_frame, open_envelope};
use tintype::snapshot::{Action, Entry};

const OBJECTS: &str = include_str!("../../docs/format/objects.md");
const PACK: &str = include_str!("../../docs/format/pack.md");
const MAP: &str = include_str!("../../docs/format/map.md");
const INDEX: &str = include_str!("../../docs/format/index.md");
const CATALOG: &str = include_str!("../../docs/format/catalog.md");

const STORE: StoreId = StoreId(*b"example-store-id");

/// Returns the text of the block that begins with "```" and `label`.
fn block<'a>(page: &'a str, label: &str) -> &'a str {
    let start = format!("```{label}\n");
    let from = page
        .find(&start)
        .unwrap_or_else(|| panic!("no block {label}"))
        + start.len();
    let len = page[from..].find("```").unwrap();
    &page[from..from + len]
}

fn hex(page: &str, label: &str) -> Vec<u8> {
    block(page, &format!("hex {label}"))
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn example_chunk() -> ChunkId {
    ChunkId::of(&b"tintype!".repeat(512))
}

#[test]
fn the_envelope_holds_the_key() {
    let bytes = hex(OBJECTS, "envelope");
    let payload = open_envelope(&bytes, ObjectKind::Key, STORE).unwrap();
    assert_eq!(payload, (0..32).collect::<Vec<u8>>());
}

#[test]
fn the_configuration_is_what_is_written() {
    let text = block(OBJECTS, "json config");
    let config = StoreConfig::decode(text.as_bytes()).unwrap();
    assert_eq!(config.store_id, STORE);
    assert_eq!(config.encode(), text.as_bytes());
}

#[test]
fn the_frame_holds_the_content() {
    let bytes = hex(PACK, "frame");
    let (header, stored) = FrameHeader::decode(&bytes).unwrap();
    assert_eq!(stored, b"tintype!tintype!");
    assert_eq!(header.chunk, ChunkId::of(stored));
    assert_eq!(encode_frame(&header, stored), bytes);
}

#[test]
fn the_trailer_fits_together() {
    let bytes = hex(PACK, "window");
    let chunks = decode_window(&bytes).unwrap();
    assert_eq!(chunks[0].fingerprints, [Fingerprint(*b"fingerprint-0001")]);
    assert_eq!((chunks[0].pack_offset, chunks[0].frame_len), (32, 80));
    assert_eq!(encode_window(&chunks), bytes);
    let footer_bytes = hex(PACK, "footer");
    let footer = PackFooter::decode(&footer_bytes, 244).unwrap();
    let directory_bytes = hex(PACK, "directory");
    let directory = footer.decode_directory(&directory_bytes).unwrap();
    assert_eq!((directory[0].pack_offset, directory[0].len), (112, 80));
    assert_eq!(encode_directory(&directory), directory_bytes);
    assert_eq!(footer.encode().as_slice(), footer_bytes);
}

#[test]
fn the_nodes_are_what_the_text_says() {
    let bytes = hex(MAP, "leaf");
    let extent = |image_block, block_count, chunk_block| Extent {
        image_block,
        block_count,
        chunk: example_chunk(),
        chunk_block,
    };
    let leaf = Node::Leaf(vec![extent(0, 16, 0), extent(100, 2, 3)]);
    assert_eq!(Node::decode(&bytes).unwrap(), leaf);
    assert_eq!(leaf.encode(), bytes);
    let child = Child {
        node: ChunkId::of(&bytes),
        allocated_block_count: 18,
    };
    let inner = Node::Inner {
        level: 1,
        children: vec![(0, child), (63, child)],
    };
    let inner_bytes = hex(MAP, "inner");
    assert_eq!(Node::decode(&inner_bytes).unwrap(), inner);
    assert_eq!(inner.encode(), inner_bytes);
}

#[test]
fn the_entries_of_an_index_are_what_the_text_says() {
    let chunk = ChunkEntry::decode(&hex(INDEX, "chunk-entry")).unwrap();
    assert_eq!(chunk.chunk, example_chunk());
    assert_eq!((chunk.place.pack_offset, chunk.place.frame_len), (32, 4160));
    let hook = HookEntry::decode(&hex(INDEX, "hook-entry")).unwrap();
    assert_eq!(hook.place.chunk_number, 7);
    assert_eq!(tintype::format::index::PACKS_PER_PAGE, 255);
    assert_eq!(
        tintype::format::index::PAGE_CONTENT_LEN / ChunkEntry::LEN,
        92
    );
    assert_eq!(
        tintype::format::index::PAGE_CONTENT_LEN / HookEntry::LEN,
        170
    );
    assert_eq!(PackId::LEN, 16);
}

#[test]
fn the_log_is_what_the_text_says() {
    let text = block(CATALOG, "json entry");
    let entry: Entry = serde_json::from_str(text).unwrap();
    assert_eq!(
        serde_json::to_string_pretty(&entry).unwrap(),
        text.trim_end()
    );
    let bytes = hex(CATALOG, "entry");
    let payload = open_envelope(&bytes, ObjectKind::CatalogEntry, STORE).unwrap();
    let entry: Entry = serde_json::from_slice(payload).unwrap();
    assert_eq!(entry.number, 2);
    assert_eq!(
        entry.action,
        Action::Delete {
            id: SnapshotId(*b"example-snapshot")
        }
    );
}
