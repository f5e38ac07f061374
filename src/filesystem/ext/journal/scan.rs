//! The passes over a journal: where it ends, what is revoked, what is new.

use super::record::{self, TYPE_COMMIT, TYPE_DESCRIPTOR, TYPE_REVOKE};
use super::{Journal, NEW_BLOCK_COUNT_MAX};
use crate::filesystem::ext::checksum::Crc32Be;
use crate::filesystem::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// The part of a journal that counts.
pub(super) struct Log {
    /// The transaction that is not whole any more.
    pub(super) end_sequence: u32,
    /// For each revoked block the last transaction that did so.
    revoked: HashMap<u64, u32>,
}

/// Tells whether transaction `a` is later than `b`; numbers wrap.
const fn is_later(a: u32, b: u32) -> bool {
    matches!(a.wrapping_sub(b), 1..=0x7FFF_FFFF)
}

/// Finds the end of the log and everything that is revoked before it.
pub(super) fn scan(journal: &Journal<'_>) -> Result<Log> {
    let mut log = Log {
        end_sequence: journal.sequence,
        revoked: HashMap::new(),
    };
    // Revokes of the transaction at hand; they count when it is committed.
    let mut pending = vec![];
    let mut data = Crc32Be::new();
    let mut block = journal.start;
    let mut left = journal.last.saturating_sub(journal.first);
    while left > 0 {
        let bytes = journal.block(block)?;
        let Some((kind, sequence)) = record::header(&bytes)? else {
            break;
        };
        if sequence != log.end_sequence {
            break;
        }
        left = left.saturating_sub(1);
        let is_whole = record::has_valid_tail(&bytes, journal.checksum_seed, journal.features)?;
        match kind {
            TYPE_DESCRIPTOR if is_whole => {
                data.update(&bytes);
                for _ in record::tags(&bytes, journal.features)? {
                    block = journal.next(block);
                    left = left.saturating_sub(1);
                    if journal.features.has_v1_checksums {
                        data.update(&journal.block(block)?);
                    }
                }
            }
            TYPE_REVOKE if is_whole => {
                record::revoked(&bytes, journal.features, &mut |block| {
                    pending.push(block);
                    if pending.len().saturating_add(log.revoked.len()) > NEW_BLOCK_COUNT_MAX {
                        return Err(Error::unsupported("more than a million revoked blocks"));
                    }
                    Ok(())
                })?;
            }
            TYPE_COMMIT => {
                let seed = journal.checksum_seed;
                if !record::is_valid_commit(&bytes, seed, data.take(), journal.features)? {
                    break;
                }
                log.revoked
                    .extend(pending.drain(..).map(|block| (block, sequence)));
                log.end_sequence = sequence.wrapping_add(1);
            }
            _ => break,
        }
        block = journal.next(block);
    }
    Ok(log)
}

/// Collects the new blocks of all whole transactions.
///
/// # Errors
///
/// Corrupt if a block of a whole transaction is not what was announced: a mount would
/// fail too.
pub(super) fn collect(
    journal: &Journal<'_>,
    log: &Log,
    new_blocks: &mut BTreeMap<u64, u64>,
) -> Result<()> {
    let mut block = journal.start;
    let mut sequence = journal.sequence;
    let mut left = journal.last.saturating_sub(journal.first);
    while sequence != log.end_sequence && left > 0 {
        let bytes = journal.block(block)?;
        left = left.saturating_sub(1);
        match record::header(&bytes)?.map(|(kind, _)| kind) {
            Some(TYPE_DESCRIPTOR) => {
                for tag in record::tags(&bytes, journal.features)? {
                    block = journal.next(block);
                    left = left.saturating_sub(1);
                    collect_block(journal, log, tag, block, sequence, new_blocks)?;
                }
            }
            Some(TYPE_COMMIT) => sequence = sequence.wrapping_add(1),
            _ => {}
        }
        block = journal.next(block);
    }
    Ok(())
}

fn collect_block(
    journal: &Journal<'_>,
    log: &Log,
    tag: record::Tag,
    block: u32,
    sequence: u32,
    new_blocks: &mut BTreeMap<u64, u64>,
) -> Result<()> {
    let is_revoked = log
        .revoked
        .get(&tag.block)
        .is_some_and(|last| !is_later(sequence, *last));
    if is_revoked {
        return Ok(());
    }
    let place = journal.offset(block)?;
    if journal.features.has_block_checksums() {
        let data = journal.block(block)?;
        if !tag.matches(&data, journal.checksum_seed, sequence, journal.features) {
            return Err(Error::corrupt(
                "journal data block",
                place,
                "its checksum",
                tag.block,
            ));
        }
    }
    if tag.block >= journal.ext.superblock.block_count {
        let expected = "a block of the file system";
        return Err(Error::corrupt("journal tag", place, expected, tag.block));
    }
    let source = journal.image_block(block)?.saturating_mul(2);
    new_blocks.insert(tag.block, source | u64::from(tag.is_escaped));
    if new_blocks.len() > NEW_BLOCK_COUNT_MAX {
        return Err(Error::unsupported(
            "a journal that changes more than a million blocks",
        ));
    }
    Ok(())
}
