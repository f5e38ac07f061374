//! Transactions put together from the operations in records: they are split over
//! records, and several are under way at once.

use crate::base::Fields;
use crate::filesystem::{Error, Result};
use std::collections::BTreeMap;

/// Bytes of `xlog_op_header`.
const OPERATION_HEADER_LEN: usize = 12;

/// Bytes of `xfs_trans_header`, and its first word (in the order of the machine).
const TRANSACTION_HEADER_LEN: usize = 16;
const TRANSACTION_MAGIC: u32 = 0x5452_414E;

/// Who wrote an operation.
const CLIENTS: [u8; 2] = [0x69, 0xAA];

/// Flags of an operation.
const FLAG_START: u8 = 0x01;
const FLAG_COMMIT: u8 = 0x02;
const FLAG_CONTINUE: u8 = 0x04;
const FLAG_WAS_CONTINUED: u8 = 0x08;
const FLAG_END: u8 = 0x10;
const FLAG_UNMOUNT: u8 = 0x20;

/// Regions of one item (`XLOG_MAX_REGIONS_IN_ITEM`).
const REGIONS_MAX: u16 = 257;

/// Bytes of all transactions that are under way, with what holding them costs. The
/// kernel commits at 64 MiB.
const BYTES_MAX: usize = 128 << 20;

/// What a region and a transaction cost beside their bytes.
const REGION_COST: usize = 64;
const TRANSACTION_COST: usize = 256;

/// One thing that a transaction changed: a description and what it describes.
#[derive(Debug, Default)]
pub(super) struct Item {
    region_count: usize,
    pub(super) regions: Vec<Vec<u8>>,
}

impl Item {
    /// Returns the description: the first region.
    pub(super) fn format(&self) -> Fields<'_> {
        Fields::new(self.regions.first().map_or(&[], Vec::as_slice), 0)
    }

    /// Returns the kind of the item (`XFS_LI_*`).
    ///
    /// # Errors
    ///
    /// Corrupt if there is no description.
    pub(super) fn kind(&self) -> Result<u16> {
        Ok(self.format().le_u16(0)?)
    }
}

/// A transaction under way or, when it is given away, complete.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Of the record in which it began: what is compared with that of blocks.
    pub(super) lsn: u64,
    header: Vec<u8>,
    pub(super) items: Vec<Item>,
    cost: usize,
}

impl Transaction {
    fn add(&mut self, region: &[u8]) -> Result<()> {
        if region.is_empty() {
            return Ok(());
        }
        if self.header.len() < TRANSACTION_HEADER_LEN {
            return self.add_header(region);
        }
        let is_full = |item: &Item| item.region_count == item.regions.len();
        if self.items.last().is_none_or(is_full) {
            let count = Fields::new(region, 0).le_u16(2)?;
            if count == 0 || count > REGIONS_MAX {
                return Err(Error::corrupt(
                    "log item size",
                    0,
                    "1 to 257 regions",
                    count,
                ));
            }
            self.items.push(Item {
                region_count: usize::from(count),
                regions: Vec::new(),
            });
        }
        if let Some(item) = self.items.last_mut() {
            item.regions.push(region.to_vec());
        }
        Ok(())
    }

    fn add_header(&mut self, region: &[u8]) -> Result<()> {
        self.header.extend_from_slice(region);
        if self.header.len() > TRANSACTION_HEADER_LEN {
            let len = crate::filesystem::len_of(&self.header);
            return Err(Error::corrupt("transaction header", 0, "16 bytes", len));
        }
        let magic = Fields::new(&self.header, 0).le_u32(0)?;
        if magic != TRANSACTION_MAGIC {
            return Err(Error::corrupt("th_magic", 0, "TRAN", magic));
        }
        Ok(())
    }

    /// Appends to the last region, which was split.
    fn go_on(&mut self, region: &[u8]) -> Result<()> {
        if self.header.len() < TRANSACTION_HEADER_LEN {
            return self.add_header(region);
        }
        let last = self
            .items
            .last_mut()
            .and_then(|item| item.regions.last_mut());
        match last {
            Some(last) => {
                last.extend_from_slice(region);
                Ok(())
            }
            None => Err(Error::corrupt(
                "continued log region",
                0,
                "a beginning",
                0_u64,
            )),
        }
    }
}

/// The transactions that are under way.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    pending: BTreeMap<u32, Transaction>,
    cost: usize,
}

impl Assembler {
    /// Takes the operations of a record and gives each transaction that is complete
    /// with it to `commit`.
    ///
    /// # Errors
    ///
    /// Corrupt; Unsupported if there is too much; those of `commit`.
    pub(super) fn add_record(
        &mut self,
        lsn: u64,
        operation_count: u32,
        data: &[u8],
        commit: &mut dyn FnMut(Transaction) -> Result<()>,
    ) -> Result<()> {
        let fields = Fields::new(data, 0);
        let mut position: usize = 0;
        for _ in 0..operation_count {
            let header = fields.part(position, OPERATION_HEADER_LEN)?;
            let id = header.be_u32(0)?;
            let len = usize::try_from(header.be_u32(4)?).unwrap_or(usize::MAX);
            let (client, flags) = (header.u8(8)?, header.u8(9)?);
            if !CLIENTS.contains(&client) {
                return Err(Error::corrupt("oh_clientid", 0, "0x69 or 0xaa", client));
            }
            position = position.saturating_add(OPERATION_HEADER_LEN);
            let region = fields.slice(position, len)?;
            position = position.saturating_add(len);
            if let Some(complete) = self.add_operation(lsn, id, flags, region)? {
                commit(complete)?;
            }
        }
        Ok(())
    }

    fn add_operation(
        &mut self,
        lsn: u64,
        id: u32,
        flags: u8,
        region: &[u8],
    ) -> Result<Option<Transaction>> {
        let Some(transaction) = self.pending.get_mut(&id) else {
            // What began before the tail is on disk already.
            if flags & FLAG_START != 0 {
                let begun = Transaction {
                    lsn,
                    ..Transaction::default()
                };
                self.pending.insert(id, begun);
                self.charge(id, TRANSACTION_COST)?;
            }
            return Ok(None);
        };
        let mut kind = flags & !FLAG_END;
        if kind & FLAG_WAS_CONTINUED != 0 {
            kind &= !FLAG_CONTINUE;
        }
        match kind {
            0 | FLAG_CONTINUE => transaction.add(region)?,
            FLAG_WAS_CONTINUED => transaction.go_on(region)?,
            FLAG_COMMIT => return Ok(self.take(id)),
            FLAG_UNMOUNT => {
                self.take(id);
                return Ok(None);
            }
            other => return Err(Error::corrupt("oh_flags", 0, "known flags", other)),
        }
        self.charge(id, region.len().saturating_add(REGION_COST))?;
        Ok(None)
    }

    /// Counts what a transaction that is under way holds.
    fn charge(&mut self, id: u32, cost: usize) -> Result<()> {
        if let Some(transaction) = self.pending.get_mut(&id) {
            transaction.cost = transaction.cost.saturating_add(cost);
            self.cost = self.cost.saturating_add(cost);
        }
        if self.cost > BYTES_MAX {
            return Err(Error::unsupported("transactions of more than 128 MiB"));
        }
        Ok(())
    }

    fn take(&mut self, id: u32) -> Option<Transaction> {
        let taken = self.pending.remove(&id)?;
        self.cost = self.cost.saturating_sub(taken.cost);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(id: u32, flags: u8, region: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend((region.len() as u32).to_be_bytes());
        bytes.extend([0x69, flags, 0, 0]);
        bytes.extend(region);
        bytes
    }

    #[test]
    fn split_and_mixed_transactions_are_put_together() {
        let header = [&TRANSACTION_MAGIC.to_le_bytes()[..], &[0; 12]].concat();
        let item = [0x3C, 0x12, 2, 0, 9, 9, 9, 9];
        let records = [
            [
                operation(7, FLAG_START, &[]),
                operation(7, 0, &header),
                operation(8, FLAG_START, &[]),
                operation(9, 0, &[1, 2, 3]),
                operation(7, 0, &item),
                operation(7, FLAG_CONTINUE, &[1, 2]),
            ]
            .concat(),
            [
                operation(7, FLAG_WAS_CONTINUED | FLAG_END, &[3, 4]),
                operation(7, FLAG_COMMIT, &[]),
            ]
            .concat(),
        ];
        let mut assembler = Assembler::default();
        let mut done = Vec::new();
        for (lsn, (record, count)) in records.iter().zip([6, 2]).enumerate() {
            let commit = &mut |transaction| {
                done.push(transaction);
                Ok(())
            };
            assembler
                .add_record(lsn as u64, count, record, commit)
                .unwrap();
        }
        assert_eq!(done.len(), 1);
        assert_eq!(done[0].lsn, 0);
        assert_eq!(done[0].items[0].regions, [item.to_vec(), vec![1, 2, 3, 4]]);
        assert_eq!(done[0].items[0].kind().unwrap(), 0x123C);
        assert_eq!(assembler.pending.len(), 1);
    }
}
