//! The content of a disk: all tables in one ordered map, cheap to copy.

use bytes::Bytes;
use quorate_seams::{Batch, Table, Write};
use rpds::RedBlackTreeMapSync as Map;

/// The tables. A table's position is the first part of the key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows(Map<(usize, Bytes), Bytes>);

fn place(table: Table) -> usize {
    Table::ALL.iter().position(|known| *known == table).unwrap_or(Table::ALL.len())
}

impl Rows {
    /// True when no table has a row.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Empties the tables in `replaced`, then carries out the batch.
    pub(crate) fn apply(&mut self, batch: &Batch, replaced: &[Table]) {
        for table in replaced {
            self.remove((place(*table), Bytes::new()), (place(*table) + 1, Bytes::new()));
        }
        for write in &batch.writes {
            match write {
                Write::Put { table, key, value } => self.0.insert_mut((place(*table), key.clone()), value.clone()),
                Write::Delete { table, key } => {
                    self.0.remove_mut(&(place(*table), key.clone()));
                }
                Write::DeleteRange { table, from, to } => {
                    self.remove((place(*table), from.clone()), (place(*table), to.clone()));
                }
            }
        }
    }

    fn remove(&mut self, from: (usize, Bytes), to: (usize, Bytes)) {
        if from < to {
            let keys: Vec<_> = self.0.range(from..to).map(|(key, _)| key.clone()).collect();
            keys.iter().for_each(|key| {
                self.0.remove_mut(key);
            });
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<&Bytes> {
        self.0.get(&(place(table), Bytes::copy_from_slice(key)))
    }

    /// The rows of `from..to` of a table, in key order; none for `to` means to the end.
    pub(crate) fn range(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        let from = (place(table), Bytes::copy_from_slice(from));
        let to = to.map_or((place(table) + 1, Bytes::new()), |to| (place(table), Bytes::copy_from_slice(to)));
        let range = if from < to { from..to } else { from.clone()..from };
        self.0.range(range).map(|((_, key), value)| (key, value))
    }

    /// All rows of a table, in key order.
    pub(crate) fn table(&self, table: Table) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        self.range(table, b"", None)
    }
}
