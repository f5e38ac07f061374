//! Extended attributes in all forms: inside the inode, in one leaf, in a tree of
//! leaves, and with values in blocks of their own.

use super::acl::{ACL_NAMES, shown};
use super::checksum::CheckLayout;
use super::dir_lookup::{NODE_DEPTH_MAX, NODE_MAGICS};
use super::extent::Fork;
use super::inode::{Format, Inode};
use super::volume::{Volume, expect, to_usize};
use crate::base::{ByteOffset, Fields};
use crate::filesystem::{Error, Result, XATTR_VALUE_LEN_MAX};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Flags of an attribute.
///
/// Source: `xfs_da_format.h`, `XFS_ATTR_*`.
const FLAG_LOCAL: u8 = 0x01;
const FLAG_ROOT: u8 = 0x02;
const FLAG_SECURE: u8 = 0x04;
const FLAGS_SHOWN: u8 = FLAG_LOCAL | FLAG_ROOT | FLAG_SECURE;

/// Magic numbers of leaves, of version 4 and 5, and of remote values.
const LEAF_MAGICS: [u16; 2] = [0xFBEE, 0x3BEE];
const REMOTE_MAGIC: u64 = 0x5841_524D;

/// Bytes of `xfs_attr3_rmt_hdr`.
const REMOTE_HEADER_LEN: usize = 56;

/// Bytes of an entry of a leaf.
const ENTRY_LEN: usize = 8;

/// Bytes of all names of one inode. The kernel lists no more than 64 KiB.
const NAMES_LEN_MAX: usize = 1 << 20;

/// An attribute as it is stored.
struct Stored<'a> {
    flags: u8,
    name: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Here(&'a [u8]),
    /// In blocks of the fork from this one on, with this length.
    Remote {
        block: u32,
        len: u32,
    },
}

type Visitor<'a> = dyn FnMut(&Stored<'_>) -> Result<ControlFlow<()>> + 'a;

impl Stored<'_> {
    /// Returns the prefix of the name, or `None` if nobody is shown this attribute
    /// (unfinished ones, parent pointers, those of fs-verity).
    const fn prefix(&self) -> Option<&'static [u8]> {
        if self.flags & !FLAGS_SHOWN != 0 {
            return None;
        }
        match self.flags & (FLAG_ROOT | FLAG_SECURE) {
            0 => Some(b"user."),
            FLAG_ROOT => Some(b"trusted."),
            FLAG_SECURE => Some(b"security."),
            _ => None,
        }
    }

    fn full_name(&self) -> Option<Vec<u8>> {
        self.prefix().map(|prefix| [prefix, self.name].concat())
    }

    /// Returns the name by which the kernel shows this as an ACL.
    fn acl_name(&self) -> Option<&'static [u8]> {
        let is_root = self.prefix() == Some(b"trusted.");
        let acl = ACL_NAMES
            .iter()
            .find(|(stored, _)| is_root && *stored == self.name);
        acl.map(|(_, name)| *name)
    }
}

impl Volume {
    /// See [`crate::filesystem::FileSystem::xattr_names`].
    pub(super) fn xattr_names(&self, node: u64) -> Result<Vec<Vec<u8>>> {
        let inode = self.inode(node)?;
        let mut names = Vec::new();
        let mut len: usize = 0;
        self.each_attribute(&inode, &mut |stored| {
            len = len.saturating_add(stored.name.len()).saturating_add(1);
            if len > NAMES_LEN_MAX {
                return Err(Error::unsupported("more than 1 MiB of names of attributes"));
            }
            names.extend(stored.acl_name().map(<[u8]>::to_vec));
            names.extend(stored.full_name());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(names)
    }

    /// See [`crate::filesystem::FileSystem::xattr`].
    pub(super) fn xattr(&self, node: u64, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let inode = self.inode(node)?;
        let Some(fork) = inode.attributes.as_ref() else {
            return Ok(None);
        };
        let mut found = None;
        self.each_attribute(&inode, &mut |stored| {
            let is_acl = stored.acl_name() == Some(name);
            if !is_acl && stored.full_name().as_deref() != Some(name) {
                return Ok(ControlFlow::Continue(()));
            }
            let value = match stored.value {
                Value::Here(bytes) => bytes.to_vec(),
                Value::Remote { block, len } => self.remote_value(&inode, fork, block, len)?,
            };
            found = Some(if is_acl { shown(&value)? } else { value });
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    fn each_attribute(&self, inode: &Inode, visit: &mut Visitor<'_>) -> Result<()> {
        let Some(fork) = inode.attributes.as_ref() else {
            return Ok(());
        };
        match fork.format {
            Format::Local => each_short(&fork.area.fields(), visit),
            // An attribute fork that was made and not used yet.
            Format::Extents if fork.extent_count == 0 => Ok(()),
            Format::Extents | Format::Tree => self.each_in_leaves(inode, fork, visit),
            Format::Device => Ok(()),
        }
    }

    /// Goes down to the first leaf, then from leaf to leaf.
    fn each_in_leaves(&self, inode: &Inode, fork: &Fork, visit: &mut Visitor<'_>) -> Result<()> {
        let version = usize::from(self.superblock.features.is_v5());
        let mut number = 0;
        for _ in 0..=NODE_DEPTH_MAX {
            let (block, offset) = self.attribute_block(inode, fork, number)?;
            let fields = Fields::new(&block, offset);
            if NODE_MAGICS.get(version) != Some(&fields.be_u16(8)?) {
                break;
            }
            let place = fields.place(8);
            let Some(child) = self.node_child(&fields, 0)? else {
                return Err(Error::corrupt(
                    "node of attributes",
                    place,
                    "a child",
                    0_u64,
                ));
            };
            number = child;
        }
        let mut passed = BTreeSet::new();
        while passed.insert(number) {
            let (block, offset) = self.attribute_block(inode, fork, number)?;
            let fields = Fields::new(&block, offset);
            let magic = fields.be_u16(8)?;
            if LEAF_MAGICS.get(version) != Some(&magic) {
                let place = fields.place(8);
                return Err(Error::corrupt("attribute magic", place, "a leaf", magic));
            }
            if self.each_in_leaf(&fields, visit)?.is_break() {
                return Ok(());
            }
            number = fields.be_u32(0)?;
            if number == 0 {
                return Ok(());
            }
        }
        let place = fork.area.fields().offset();
        let expected = "leaves that come once";
        Err(Error::corrupt("attribute leaf", place, expected, number))
    }

    fn each_in_leaf(
        &self,
        fields: &Fields<'_>,
        visit: &mut Visitor<'_>,
    ) -> Result<ControlFlow<()>> {
        let (position, start) = if self.superblock.features.is_v5() {
            (56, 80)
        } else {
            (12, 32)
        };
        let count = usize::from(fields.be_u16(position)?);
        for index in 0..count {
            let entry = usize::saturating_add(start, index.saturating_mul(ENTRY_LEN));
            let name_position = usize::from(fields.be_u16(entry.saturating_add(4))?);
            let flags = fields.u8(entry.saturating_add(6))?;
            let stored = if flags & FLAG_LOCAL != 0 {
                local(fields, name_position, flags)?
            } else {
                remote(fields, name_position, flags)?
            };
            if visit(&stored)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn attribute_block(
        &self,
        inode: &Inode,
        fork: &Fork,
        number: u32,
    ) -> Result<(Arc<[u8]>, ByteOffset)> {
        let offset = self.attribute_place(inode, fork, u64::from(number))?;
        let layout = &CheckLayout::DA;
        let block = self.block(offset, self.block_len(), layout, inode.number)?;
        Ok((block, offset))
    }

    fn attribute_place(&self, inode: &Inode, fork: &Fork, block: u64) -> Result<ByteOffset> {
        let Some(extent) = self.extent_at(fork, inode.number, block)? else {
            let place = fork.area.fields().offset();
            return Err(Error::corrupt(
                "block of attributes",
                place,
                "no hole",
                block,
            ));
        };
        let skipped = block.saturating_sub(extent.file_block);
        self.superblock
            .block_offset(extent.fs_block.saturating_add(skipped))
    }

    /// Reads a value that has blocks of its own; each has a header in version 5.
    fn remote_value(&self, inode: &Inode, fork: &Fork, first: u32, len: u32) -> Result<Vec<u8>> {
        let len = to_usize(u64::from(len));
        if len > XATTR_VALUE_LEN_MAX {
            return Err(Error::unsupported("an attribute longer than 64 KiB"));
        }
        let mut value = Vec::with_capacity(len);
        let mut block = u64::from(first);
        while value.len() < len {
            let offset = self.attribute_place(inode, fork, block)?;
            let bytes = if self.superblock.features.is_v5() {
                let layout = &CheckLayout::REMOTE_VALUE;
                self.block(offset, self.block_len(), layout, inode.number)?
            } else {
                self.blocks.block(offset, self.block_len())?
            };
            let fields = Fields::new(&bytes, offset);
            let left = len.saturating_sub(value.len());
            let part = match self.superblock.features.is_v5() {
                true => {
                    expect(&fields, 0, "rm_magic", REMOTE_MAGIC, fields.be_u32(0)?)?;
                    let have = u64::try_from(value.len()).unwrap_or(u64::MAX);
                    expect(&fields, 4, "rm_offset", have, fields.be_u32(4)?)?;
                    let room = bytes.len().saturating_sub(REMOTE_HEADER_LEN).min(left);
                    let there = u64::try_from(room).unwrap_or(u64::MAX);
                    expect(&fields, 8, "rm_bytes", there, fields.be_u32(8)?)?;
                    fields.slice(REMOTE_HEADER_LEN, room)?
                }
                false => fields.slice(0, left.min(bytes.len()))?,
            };
            value.extend_from_slice(part);
            block = block.saturating_add(1);
        }
        Ok(value)
    }
}

/// Reads the attributes inside an inode (`xfs_attr_sf_hdr`).
fn each_short(fields: &Fields<'_>, visit: &mut Visitor<'_>) -> Result<()> {
    let count = fields.u8(2)?;
    let mut position: usize = 4;
    for _ in 0..count {
        let name_len = usize::from(fields.u8(position)?);
        let value_len = usize::from(fields.u8(position.saturating_add(1))?);
        let flags = fields.u8(position.saturating_add(2))?;
        let name_position = position.saturating_add(3);
        let value_position = name_position.saturating_add(name_len);
        let stored = Stored {
            flags,
            name: fields.slice(name_position, name_len)?,
            value: Value::Here(fields.slice(value_position, value_len)?),
        };
        if visit(&stored)?.is_break() {
            break;
        }
        position = value_position.saturating_add(value_len);
    }
    Ok(())
}

/// Reads `xfs_attr_leaf_name_local`.
fn local<'a>(fields: &Fields<'a>, position: usize, flags: u8) -> Result<Stored<'a>> {
    let value_len = usize::from(fields.be_u16(position)?);
    let name_len = usize::from(fields.u8(position.saturating_add(2))?);
    let name_position = position.saturating_add(3);
    Ok(Stored {
        flags,
        name: fields.slice(name_position, name_len)?,
        value: Value::Here(fields.slice(name_position.saturating_add(name_len), value_len)?),
    })
}

/// Reads `xfs_attr_leaf_name_remote`.
fn remote<'a>(fields: &Fields<'a>, position: usize, flags: u8) -> Result<Stored<'a>> {
    let name_len = usize::from(fields.u8(position.saturating_add(8))?);
    Ok(Stored {
        flags,
        name: fields.slice(position.saturating_add(9), name_len)?,
        value: Value::Remote {
            block: fields.be_u32(position)?,
            len: fields.be_u32(position.saturating_add(4))?,
        },
    })
}
