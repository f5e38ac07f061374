//! What a listing passes over: names behind a damaged place are shown all the same, and
//! the damage is told at the end.

use super::error::{Error, Result};

/// Damaged places that are passed over; a crafted directory may have no other.
const COUNT_MAX: u32 = 4096;

/// The first damage of a listing.
#[derive(Debug, Default)]
pub(super) struct Damage {
    first: Option<Error>,
    count: u32,
}

impl Damage {
    /// Keeps the error if it is the first one.
    ///
    /// # Errors
    ///
    /// The first one, if there were too many.
    pub(super) fn note(&mut self, error: Error) -> Result<()> {
        self.count = self.count.saturating_add(1);
        let first = self.first.take().unwrap_or(error);
        if self.count > COUNT_MAX {
            return Err(first);
        }
        self.first = Some(first);
        Ok(())
    }

    /// Returns what there is, or `None` and keeps the error.
    ///
    /// # Errors
    ///
    /// Io, behind which nothing can be said; the first one, if there were too many.
    pub(super) fn pass<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Err(error) => self.note(error).map(|()| None),
        }
    }

    /// Ends the listing.
    ///
    /// # Errors
    ///
    /// What was passed over.
    pub(super) fn end(self) -> Result<()> {
        self.first.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::ErrorKind;

    fn damaged(offset: u64) -> Result<u8> {
        Err(Error::corrupt("a name", offset, "another", 0_u8))
    }

    #[test]
    fn the_first_damage_is_told_at_the_end() {
        let mut damage = Damage::default();
        assert_eq!(damage.pass(Ok(7)).unwrap(), Some(7));
        assert_eq!(damage.pass(damaged(1)).unwrap(), None);
        assert_eq!(damage.pass(damaged(2)).unwrap(), None);
        assert!(damage.end().unwrap_err().to_string().contains("byte 0x1:"));
        assert!(Damage::default().end().is_ok());
    }

    #[test]
    fn too_much_of_it_ends_the_listing() {
        let mut damage = Damage::default();
        let passed = (1..=u64::from(COUNT_MAX) + 9).map(|place| damage.pass(damaged(place)));
        let results: Vec<_> = passed.take_while(|passed| passed.is_ok()).collect();
        assert_eq!(results.len(), COUNT_MAX as usize);
        let mut damage = Damage::default();
        let error: Result<u8> = Err(Error::Io(std::io::ErrorKind::Other.into()));
        assert_eq!(damage.pass(error).unwrap_err().kind(), ErrorKind::Io);
    }
}
