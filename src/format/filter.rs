//! Filters of an index: blocks of bits that say "surely new". See docs/format/index.md,
//! "Filters".

use super::index::PAGE_CONTENT_LEN;

/// Bits of one block of a filter; a key sets its bits in one block.
pub(super) const FILTER_BLOCK_BITS: u64 = 512;

/// Blocks of a filter in a page.
pub const FILTER_BLOCKS_PER_PAGE: u64 = PAGE_CONTENT_LEN as u64 * 8 / FILTER_BLOCK_BITS;

/// Bits that one key sets.
const FILTER_PROBES: u32 = 6;

/// Returns the bits of a block of the filter that `key` sets.
pub fn filter_bits(key: &[u8]) -> [u16; FILTER_PROBES as usize] {
    let mut hash = super::checksum(key);
    let mut bits = [0; FILTER_PROBES as usize];
    for bit in &mut bits {
        *bit = (hash % FILTER_BLOCK_BITS) as u16;
        hash /= FILTER_BLOCK_BITS;
    }
    bits
}

/// Tells whether all bits of `key` are set in block `block` (within its page).
pub fn filter_page_has(page: &[u8], block: u64, key: &[u8]) -> bool {
    let start = (block % FILTER_BLOCKS_PER_PAGE) as usize * (FILTER_BLOCK_BITS as usize / 8);
    filter_bits(key).iter().all(|bit| {
        let byte = page
            .get(start + usize::from(bit / 8))
            .copied()
            .unwrap_or(0xff);
        byte >> (bit % 8) & 1 == 1
    })
}

/// Sets the bits of `key` in block `block` (within its page).
pub fn filter_page_set(page: &mut [u8], block: u64, key: &[u8]) {
    let start = (block % FILTER_BLOCKS_PER_PAGE) as usize * (FILTER_BLOCK_BITS as usize / 8);
    for bit in filter_bits(key) {
        if let Some(byte) = page.get_mut(start + usize::from(bit / 8)) {
            *byte |= 1 << (bit % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Section;
    use super::*;

    #[test]
    fn filters_know_their_keys_and_few_others() {
        let section = Section {
            entry_count: 1000,
            first_page: 0,
            filter_page: 0,
        };
        let mut pages = vec![vec![0; PAGE_CONTENT_LEN]; section.filter_page_count() as usize];
        let key = |number: u64| *blake3::hash(&number.to_le_bytes()).as_bytes();
        for number in 0..1000 {
            let block = section.filter_block(&key(number));
            let page = &mut pages[(block / FILTER_BLOCKS_PER_PAGE) as usize];
            filter_page_set(page, block, &key(number));
        }
        let has = |number: u64| {
            let block = section.filter_block(&key(number));
            filter_page_has(
                &pages[(block / FILTER_BLOCKS_PER_PAGE) as usize],
                block,
                &key(number),
            )
        };
        assert!((0..1000).all(has));
        assert!((1000..11_000).filter(|number| has(*number)).count() < 300);
    }
}
