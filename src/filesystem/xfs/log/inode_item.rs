//! Items that hold an inode: its core in the order of the machine, and its forks.

use super::super::extent::{RECORD_LEN, ROOT_HEADER_LEN};
use super::super::inode::{FLAG2_BIGTIME, FLAG2_LARGE_COUNTS, field, is_metadata_inode};
use super::replay::Replay;
use super::transaction::Item;
use crate::base::Fields;
use crate::filesystem::{Error, Result};

/// Lengths of `xfs_inode_log_format` with and without padding (32-bit machines).
const FORMAT_LEN: usize = 56;
const FORMAT_LEN_32: usize = 52;

/// What of the inode is in the item (`XFS_ILOG_*`).
const DATA_BYTES: u32 = 0x002 | 0x004;
const DATA_ROOT: u32 = 0x008;
const DEVICE: u32 = 0x010;
const ATTR_BYTES: u32 = 0x040 | 0x080;
const ATTR_ROOT: u32 = 0x100;
const OWNER_CHANGES: u32 = 0x200 | 0x400;

/// `IN`, and the highest flush count (`DI_MAX_FLUSH`).
const MAGIC: u16 = 0x494E;
const FLUSH_ITERATION_MAX: u16 = 0xFFFF;

/// Fields of the core that are numbers: position and length. Times and extent counts
/// depend on flags.
const NUMBERS: [(usize, usize); 17] = [
    (0, 2),
    (field::MODE, 2),
    (field::VERSION, 1),
    (field::FORMAT, 1),
    (field::USER, 4),
    (field::GROUP, 4),
    (field::LINK_COUNT, 4),
    (20, 2),
    (22, 2),
    (field::SIZE, 8),
    (field::BLOCK_COUNT, 8),
    (72, 4),
    (field::FORK_OFFSET, 1),
    (field::ATTR_FORMAT, 1),
    (84, 4),
    (88, 2),
    (field::FLAGS, 2),
];

/// The same behind the core of version 2.
const NUMBERS_V3: [(usize, usize); 4] = [(104, 8), (field::FLAGS2, 8), (128, 4), (field::INODE, 8)];

/// What the description of the item says.
struct Description {
    fields: u32,
    inode: u64,
    device: u32,
    /// The buffer that holds the inode, in 512 bytes.
    block: u64,
    len: u32,
    /// Where the inode lies in it, in bytes.
    inside: u32,
}

impl Description {
    /// Source: `xfs_log_format.h`, `xfs_inode_log_format`.
    fn read(item: &Item) -> Result<Self> {
        let format = item.format();
        let behind_padding = match format.bytes().len() {
            FORMAT_LEN => 16,
            FORMAT_LEN_32 => 12,
            other => {
                let found = u64::try_from(other).unwrap_or(u64::MAX);
                return Err(Error::corrupt(
                    "inode log format",
                    0,
                    "52 or 56 bytes",
                    found,
                ));
            }
        };
        let rest = format.part(behind_padding, 40)?;
        Ok(Self {
            fields: format.le_u32(4)?,
            inode: rest.le_u64(0)?,
            device: rest.le_u32(8)?,
            block: rest.le_u64(24)?,
            len: rest.le_u32(32)?,
            inside: rest.le_u32(36)?,
        })
    }
}

impl Replay<'_> {
    /// Replays an inode item.
    pub(super) fn inode(&mut self, item: &Item, lsn: u64) -> Result<()> {
        let description = Description::read(item)?;
        if self.is_cancelled(description.block, description.len) {
            return Ok(());
        }
        let start = description
            .block
            .checked_mul(512)
            .and_then(|start| start.checked_add(u64::from(description.inside)))
            .unwrap_or(u64::MAX);
        let mut inode = vec![0; self.superblock.inode_len()];
        self.get(start, &mut inode)?;
        let on_disk = Fields::new(&inode, start);
        if on_disk.be_u16(0)? != MAGIC {
            let found = on_disk.be_u16(0)?;
            return Err(Error::corrupt(
                "di_magic",
                start,
                "an inode to replay",
                found,
            ));
        }
        let core = Fields::new(item.regions.get(1).map_or(&[], Vec::as_slice), start);
        if core.le_u16(0)? != MAGIC {
            let found = core.le_u16(0)?;
            return Err(Error::corrupt("logged di_magic", start, "an inode", found));
        }
        if description.fields & OWNER_CHANGES != 0 {
            self.reowned.insert(description.inode);
        }
        if self.inode_is_newer(&on_disk, &core, lsn)? {
            return Ok(());
        }
        put_core(&mut inode, &core, lsn)?;
        put_forks(&mut inode, item, &description)?;
        self.put(start, &inode)
    }

    /// Tells whether the inode on disk is newer. Equal is not newer: several
    /// transactions may have one sequence number.
    fn inode_is_newer(&self, on_disk: &Fields<'_>, core: &Fields<'_>, lsn: u64) -> Result<bool> {
        if self.superblock.features.is_v5() {
            let stored = on_disk.be_u64(field::LSN)?;
            let is_v3 = on_disk.u8(field::VERSION)? >= 3;
            return Ok(is_v3 && stored != 0 && stored != u64::MAX && stored > lsn);
        }
        let stored = on_disk.be_u16(field::FLUSH_ITERATION)?;
        let logged = core.le_u16(field::FLUSH_ITERATION)?;
        let has_wrapped = stored == FLUSH_ITERATION_MAX && logged < FLUSH_ITERATION_MAX >> 1;
        Ok(logged < stored && !has_wrapped)
    }
}

/// Copies a number of `len` bytes, from little-endian to big-endian.
fn put_number(inode: &mut [u8], core: &Fields<'_>, position: usize, len: usize) -> Result<()> {
    let source = core.slice(position, len)?;
    let target = inode.get_mut(position..position.saturating_add(len));
    let pairs = target
        .unwrap_or_default()
        .iter_mut()
        .zip(source.iter().rev());
    pairs.for_each(|(target, source)| *target = *source);
    Ok(())
}

fn clear(inode: &mut [u8], position: usize, len: usize) {
    let end = position.saturating_add(len);
    inode.get_mut(position..end).unwrap_or_default().fill(0);
}

fn put_core(inode: &mut [u8], core: &Fields<'_>, lsn: u64) -> Result<()> {
    let is_v3 = core.u8(field::VERSION)? == 3;
    let flags2 = if is_v3 {
        core.le_u64(field::FLAGS2)?
    } else {
        0
    };
    for (position, len) in NUMBERS {
        put_number(inode, core, position, len)?;
    }
    clear(inode, field::OLD_LINK_COUNT, 2);
    if is_metadata_inode(flags2) {
        put_number(inode, core, field::OLD_LINK_COUNT, 2)?;
    }
    let mut times = vec![field::ACCESSED, field::MODIFIED, field::CHANGED];
    if is_v3 {
        times.push(field::CREATED);
        for (position, len) in NUMBERS_V3 {
            put_number(inode, core, position, len)?;
        }
        clear(inode, 132, 12);
        let uuid: [u8; 16] = core.array(field::UUID)?;
        let end = field::UUID.saturating_add(uuid.len());
        inode
            .get_mut(field::UUID..end)
            .unwrap_or_default()
            .copy_from_slice(&uuid);
        let end = field::LSN.saturating_add(8);
        let target = inode.get_mut(field::LSN..end);
        target
            .unwrap_or_default()
            .copy_from_slice(&lsn.to_be_bytes());
    }
    for position in times {
        if flags2 & FLAG2_BIGTIME != 0 {
            put_number(inode, core, position, 8)?;
        } else {
            put_number(inode, core, position, 4)?;
            put_number(inode, core, position.saturating_add(4), 4)?;
        }
    }
    clear(inode, field::BIG_EXTENT_COUNT, 8);
    put_number(inode, core, field::EXTENT_COUNT, 4)?;
    put_number(inode, core, field::ATTR_EXTENT_COUNT, 2)?;
    if flags2 & FLAG2_LARGE_COUNTS != 0 {
        put_number(inode, core, field::BIG_EXTENT_COUNT, 8)?;
    }
    Ok(())
}

fn put_forks(inode: &mut [u8], item: &Item, description: &Description) -> Result<()> {
    let fields = Fields::new(inode, 0);
    let core_len = match fields.u8(field::VERSION)? {
        3 => field::CORE_LEN_V3,
        _ => field::CORE_LEN_V2,
    };
    let fork_offset = usize::from(fields.u8(field::FORK_OFFSET)?).saturating_mul(8);
    let attr_start = core_len.saturating_add(fork_offset);
    let end = inode.len();
    let data_end = if fork_offset == 0 { end } else { attr_start };
    if attr_start > end {
        let found = u64::try_from(fork_offset).unwrap_or(u64::MAX);
        return Err(Error::corrupt(
            "logged di_forkoff",
            0,
            "inside the inode",
            found,
        ));
    }
    if description.fields & DEVICE != 0 {
        put(inode, core_len, data_end, &description.device.to_be_bytes())?;
    }
    let mut regions = item.regions.iter().skip(2);
    if description.fields & (DATA_BYTES | DATA_ROOT) != 0 {
        let region = next_region(&mut regions)?;
        put_fork(
            inode,
            core_len,
            data_end,
            region,
            description.fields & DATA_ROOT != 0,
        )?;
    }
    if description.fields & (ATTR_BYTES | ATTR_ROOT) != 0 && fork_offset != 0 {
        let region = next_region(&mut regions)?;
        put_fork(
            inode,
            attr_start,
            end,
            region,
            description.fields & ATTR_ROOT != 0,
        )?;
    }
    Ok(())
}

fn next_region<'a>(regions: &mut impl Iterator<Item = &'a Vec<u8>>) -> Result<&'a [u8]> {
    match regions.next() {
        Some(region) => Ok(region),
        None => Err(Error::corrupt(
            "inode log item",
            0,
            "a region for each fork",
            0_u64,
        )),
    }
}

fn put(inode: &mut [u8], start: usize, end: usize, source: &[u8]) -> Result<()> {
    let area = inode.get_mut(start..end).unwrap_or_default();
    match area.get_mut(..source.len()) {
        Some(target) => {
            target.copy_from_slice(source);
            Ok(())
        }
        None => {
            let found = crate::filesystem::len_of(source);
            Err(Error::corrupt("logged fork", 0, "inside the inode", found))
        }
    }
}

fn put_fork(
    inode: &mut [u8],
    start: usize,
    end: usize,
    region: &[u8],
    is_root: bool,
) -> Result<()> {
    if !is_root {
        return put(inode, start, end, region);
    }
    let root = packed_root(inode, &Fields::new(region, 0), end.saturating_sub(start))?;
    put(inode, start, end, &root)
}

/// Makes the root of an extent tree as inodes have it from the block that the kernel
/// has in memory: another header, and pointers behind another number of keys.
fn packed_root(inode: &[u8], block: &Fields<'_>, area_len: usize) -> Result<Vec<u8>> {
    let header_len = match Fields::new(inode, 0).u8(field::VERSION)? {
        3 => 72,
        _ => 24,
    };
    let room_in_block = block.bytes().len().saturating_sub(header_len) / RECORD_LEN;
    let room = area_len.saturating_sub(ROOT_HEADER_LEN) / RECORD_LEN;
    let stored = block.be_u16(6)?;
    let count = usize::from(stored);
    if count > room || count > room_in_block {
        return Err(Error::corrupt(
            "logged bb_numrecs",
            0,
            "keys that fit in",
            stored,
        ));
    }
    let mut root = vec![
        0;
        room.saturating_mul(RECORD_LEN)
            .saturating_add(ROOT_HEADER_LEN)
    ];
    let len = count.saturating_mul(8);
    let keys = block.slice(header_len, len)?;
    let pointers = block.slice(
        header_len.saturating_add(room_in_block.saturating_mul(8)),
        len,
    )?;
    let root_len = root.len();
    put(&mut root, 0, root_len, block.slice(4, 4)?)?;
    put(&mut root, ROOT_HEADER_LEN, root_len, keys)?;
    let start = ROOT_HEADER_LEN.saturating_add(room.saturating_mul(8));
    put(&mut root, start, root_len, pointers)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_packed_for_its_inode() {
        let mut inode = vec![0; 512];
        inode[field::VERSION] = 3;
        let mut block = vec![0; 72 + 2 * RECORD_LEN];
        block[4..8].copy_from_slice(&[0, 1, 0, 1]);
        block[72..80].copy_from_slice(&5_u64.to_be_bytes());
        block[72 + 16..72 + 24].copy_from_slice(&77_u64.to_be_bytes());
        let root = packed_root(&inode, &Fields::new(&block, 0), 4 + 3 * RECORD_LEN + 7).unwrap();
        assert_eq!(root.len(), 4 + 3 * RECORD_LEN);
        assert_eq!(root[..4], [0, 1, 0, 1]);
        assert_eq!(root[4..12], 5_u64.to_be_bytes());
        assert_eq!(root[4 + 24..4 + 32], 77_u64.to_be_bytes());
        block[7] = 9;
        assert!(packed_root(&inode, &Fields::new(&block, 0), 100).is_err());
    }
}
