//! The run over partition tables, logical volumes and the recognition of what fills
//! an image or a partition.

use crate::image::Image;
use std::sync::Arc;
use tintype::base::ReadAt;
use tintype::contents::Contents;
use tintype::filesystem::{BlockCache, OpenOptions, probe};
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
    check_free_space(&readable);
    recognised + table.partitions.len()
}

/// What may be thrown away is whole blocks of the image, in rising order.
fn check_free_space(image: &Arc<dyn ReadAt>) {
    let options = OpenOptions::new(BlockCache::new(1 << 20));
    let found = Contents::open(Arc::clone(image), &options).and_then(|found| found.free_space());
    let Ok(free) = found else {
        return;
    };
    let mut last = 0;
    for range in &free.ranges {
        let is_whole = range.start % 4096 == 0 && range.end % 4096 == 0;
        let is_behind = range.start >= last && range.start < range.end;
        assert!(
            is_whole && is_behind && range.end <= image.len(),
            "{range:?}"
        );
        last = range.end;
    }
}
