//! The run over partition tables, logical volumes and the recognition of what fills
//! an image or a partition.

use crate::image::Image;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::filesystem::probe;
use tintype::partition::{Place, scan};

/// Partitions that are opened.
const OPEN_COUNT_MAX: usize = 64;

const READ_LEN: u64 = 4096;

/// Returns how many partitions there are, and one more if the image is recognised.
pub fn tables(image: &Arc<Image>) -> usize {
    let readable: Arc<dyn ReadAt> = Arc::<Image>::clone(image);
    let recognised = usize::from(matches!(probe(&readable), Ok(Some(_))));
    let Ok(table) = scan(&readable) else {
        return recognised;
    };
    let len = readable.len();
    for partition in &table.partitions {
        if let Place::Range {
            image_offset,
            len: part_len,
        } = &partition.place
        {
            let end = image_offset.checked_add(*part_len);
            assert!(end.is_some_and(|end| end <= len), "{partition:?} of {len}");
        }
    }
    for partition in table.partitions.iter().take(OPEN_COUNT_MAX) {
        let Ok(volume) = partition.open(&readable) else {
            continue;
        };
        let _ = probe(&volume);
        let part_len = volume.len();
        for offset in [0, part_len / 2, part_len.saturating_sub(READ_LEN)] {
            let mut buffer = vec![0; part_len.saturating_sub(offset).min(READ_LEN) as usize];
            let result = volume.read_exact_at(offset, &mut buffer);
            assert!(result.is_ok(), "{partition:?} at {offset}: {result:?}");
        }
        assert!(volume.read_exact_at(part_len, &mut [0]).is_err());
    }
    recognised + table.partitions.len()
}
