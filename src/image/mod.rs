//! An image in the store: its map, the map's builder, the reader, and what differs
//! between two images.

mod diff;
mod map_editor;
mod reader;
#[cfg(test)]
mod tests;
mod walk;

pub use diff::changed_ranges;
pub use map_editor::{MapEditor, MapSummary};
pub use reader::Image;
pub use walk::for_each_node;
