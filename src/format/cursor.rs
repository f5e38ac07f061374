//! Reading fixed-width little-endian fields one after the other, never out of bounds.

use super::{Error, Result};

/// A place in bytes that are being decoded.
#[derive(Debug)]
pub struct Cursor<'a> {
    structure: &'static str,
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at the start of `bytes`; `structure` names them in errors.
    pub fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            structure,
            bytes,
            len: bytes.len(),
        }
    }

    /// Returns the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Error::Truncated {
            structure: self.structure,
            len: self.len,
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Returns the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Returns the next byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Returns the next 16-bit number.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Returns the next 32-bit number.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Returns the next 64-bit number.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Returns how many bytes are left.
    pub fn remaining_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Fails unless a field is what the specification demands.
pub(super) fn demand(
    holds: bool,
    field: &'static str,
    expected: &'static str,
    found: impl Into<u64>,
) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::Field {
            field,
            expected,
            found: found.into(),
        })
    }
}

/// Fails unless the checksum that is stored is the one of `bytes`.
pub(super) fn demand_checksum(structure: &'static str, expected: u64, bytes: &[u8]) -> Result<()> {
    let computed = super::checksum(bytes);
    if computed == expected {
        return Ok(());
    }
    Err(Error::Checksum {
        structure,
        expected,
        computed,
    })
}
