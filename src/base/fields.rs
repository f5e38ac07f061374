//! Fixed-width numbers inside a structure of somebody else's format, by offset.
//! Every look is checked; what lies beyond the structure is an error with its place.

use super::ByteOffset;

/// A field lies beyond the end of the structure that should hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the structure at byte {offset:#x} has {len} bytes, a field reaches to {end}")]
pub struct FieldError {
    /// Where the structure begins.
    pub offset: ByteOffset,
    /// Its length in bytes.
    pub len: u64,
    /// Where the field would end, relative to the structure.
    pub end: u64,
}

/// A structure and the place where it was read.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    offset: ByteOffset,
}

macro_rules! getters {
    ($($le:ident $be:ident $type:ty;)*) => {
        $(
            /// Returns the little-endian number at `position` of the structure.
            ///
            /// # Errors
            ///
            /// If it reaches beyond the structure.
            pub fn $le(&self, position: usize) -> Result<$type, FieldError> {
                Ok(<$type>::from_le_bytes(self.array(position)?))
            }

            /// Returns the big-endian number at `position` of the structure.
            ///
            /// # Errors
            ///
            /// If it reaches beyond the structure.
            pub fn $be(&self, position: usize) -> Result<$type, FieldError> {
                Ok(<$type>::from_be_bytes(self.array(position)?))
            }
        )*
    };
}

impl<'a> Fields<'a> {
    /// Looks at `bytes`, which were read at `offset`.
    pub const fn new(bytes: &'a [u8], offset: ByteOffset) -> Self {
        Self { bytes, offset }
    }

    /// Returns all bytes of the structure.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns where the structure begins.
    pub const fn offset(&self) -> ByteOffset {
        self.offset
    }

    /// Returns where the byte at `position` of the structure lies.
    pub fn place(&self, position: usize) -> ByteOffset {
        self.offset
            .saturating_add(u64::try_from(position).unwrap_or(u64::MAX))
    }

    /// Returns `len` bytes at `position`.
    ///
    /// # Errors
    ///
    /// If they reach beyond the structure.
    pub fn slice(&self, position: usize, len: usize) -> Result<&'a [u8], FieldError> {
        let end = position.saturating_add(len);
        self.bytes.get(position..end).ok_or(FieldError {
            offset: self.offset,
            len: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
            end: u64::try_from(end).unwrap_or(u64::MAX),
        })
    }

    /// Returns the structure of `len` bytes that lies at `position` inside this one.
    ///
    /// # Errors
    ///
    /// If it reaches beyond this structure.
    pub fn part(&self, position: usize, len: usize) -> Result<Fields<'a>, FieldError> {
        Ok(Fields {
            bytes: self.slice(position, len)?,
            offset: self.place(position),
        })
    }

    /// Returns what lies from `position` to the end; empty if that is beyond it.
    pub fn rest(&self, position: usize) -> &'a [u8] {
        self.bytes.get(position..).unwrap_or_default()
    }

    /// Returns `N` bytes at `position`.
    ///
    /// # Errors
    ///
    /// If they reach beyond the structure.
    pub fn array<const N: usize>(&self, position: usize) -> Result<[u8; N], FieldError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(position, N)?);
        Ok(array)
    }

    /// Returns the byte at `position`.
    ///
    /// # Errors
    ///
    /// If it lies beyond the structure.
    pub fn u8(&self, position: usize) -> Result<u8, FieldError> {
        Ok(u8::from_le_bytes(self.array(position)?))
    }

    getters! {
        le_u16 be_u16 u16;
        le_u32 be_u32 u32;
        le_u64 be_u64 u64;
        le_i32 be_i32 i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_never_reach_beyond_the_structure() {
        let fields = Fields::new(&[1, 2, 3, 4, 5], 100);
        assert_eq!(fields.le_u16(0), Ok(0x0201));
        assert_eq!(fields.be_u32(1), Ok(0x0203_0405));
        assert_eq!(
            fields.le_u32(2),
            Err(FieldError {
                offset: 100,
                len: 5,
                end: 6
            })
        );
        assert!(fields.u8(usize::MAX).is_err());
        assert_eq!(fields.rest(9), &[] as &[u8]);
        assert_eq!(fields.part(1, 2).unwrap().offset(), 101);
    }
}
