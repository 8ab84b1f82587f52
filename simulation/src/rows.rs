//! The content of a disk: ordered maps, one for each table.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use quorate_seams::{Batch, Table, Write};
use rpds::RedBlackTreeMapSync;

/// Rows that are cheap to copy, and so cost more to change.
pub(crate) type Rows = Tables<RedBlackTreeMapSync<Bytes, Bytes>>;
/// Rows that are cheap to change.
pub(crate) type Kept = Tables<BTreeMap<Bytes, Bytes>>;

/// The tables, each at its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables<M>([M; Table::ALL.len()]);

/// Where a table is.
fn place(table: Table) -> usize {
    match table {
        Table::Log => 0,
        Table::Raft => 1,
        Table::State => 2,
        Table::Events => 3,
    }
}

/// A part of a table.
type Part<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// One table.
pub(crate) trait Rowed: Default {
    fn put(&mut self, key: Bytes, value: Bytes);
    fn take_out(&mut self, key: &[u8]);
    fn find(&self, key: &[u8]) -> Option<&Bytes>;
    fn part<'a>(&'a self, part: Part<'a>) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)>;
}

impl Rowed for RedBlackTreeMapSync<Bytes, Bytes> {
    fn put(&mut self, key: Bytes, value: Bytes) {
        self.insert_mut(key, value);
    }

    fn take_out(&mut self, key: &[u8]) {
        self.remove_mut(key);
    }

    fn find(&self, key: &[u8]) -> Option<&Bytes> {
        self.get(key)
    }

    fn part<'a>(&'a self, part: Part<'a>) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
        self.range::<[u8], _>(part)
    }
}

impl Rowed for BTreeMap<Bytes, Bytes> {
    fn put(&mut self, key: Bytes, value: Bytes) {
        self.insert(key, value);
    }

    fn take_out(&mut self, key: &[u8]) {
        self.remove(key);
    }

    fn find(&self, key: &[u8]) -> Option<&Bytes> {
        self.get(key)
    }

    fn part<'a>(&'a self, part: Part<'a>) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
        self.range::<[u8], _>(part)
    }
}

impl<M: Rowed> Tables<M> {
    /// True when no table has a row.
    pub(crate) fn is_empty(&self) -> bool {
        Table::ALL.iter().all(|table| self.table(*table).next().is_none())
    }

    /// Empties the tables in `replaced`, then carries out the batch.
    pub(crate) fn apply(&mut self, batch: &Batch, replaced: &[Table]) {
        for table in replaced {
            self.0[place(*table)] = M::default();
        }
        for write in &batch.writes {
            match write {
                Write::Put { table, key, value } => self.0[place(*table)].put(key.clone(), value.clone()),
                Write::Delete { table, key } => self.0[place(*table)].take_out(key),
                Write::DeleteRange { table, from, to } => {
                    let keys: Vec<_> = self.range(*table, from, Some(to)).map(|(key, _)| key.clone()).collect();
                    for key in &keys {
                        self.0[place(*table)].take_out(key);
                    }
                }
            }
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<&Bytes> {
        self.0[place(table)].find(key)
    }

    /// The rows of `from..to` of a table, in key order; none for `to` means to the end.
    pub(crate) fn range<'a>(
        &'a self,
        table: Table,
        from: &'a [u8],
        to: Option<&'a [u8]>,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
        let to = to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.max(from)));
        self.0[place(table)].part((Bound::Included(from), to))
    }

    /// All rows of a table, in key order.
    pub(crate) fn table(&self, table: Table) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        self.range(table, b"", None)
    }
}

impl Kept {
    /// The same, cheap to copy.
    pub(crate) fn to_rows(&self) -> Rows {
        let copied =
            |table: &BTreeMap<Bytes, Bytes>| table.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Tables(self.0.each_ref().map(copied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_do_not_see_each_other() {
        tell_apart(&mut Rows::default());
        tell_apart(&mut Kept::default());
    }

    #[test]
    fn what_becomes_cheap_to_copy_is_the_same() {
        let mut kept = Kept::default();
        let mut batch = Batch::default();
        batch.put(Table::State, "a", "1");
        batch.put(Table::Events, "b", "2");
        kept.apply(&batch, &[]);
        let rows = kept.to_rows();
        assert!(Table::ALL.iter().all(|table| rows.table(*table).eq(kept.table(*table))));
    }

    fn tell_apart<M: Rowed>(rows: &mut Tables<M>) {
        let keys = |rows: &Tables<M>, table, from: &str, to: Option<&str>| -> Vec<Bytes> {
            rows.range(table, from.as_bytes(), to.map(str::as_bytes)).map(|(key, _)| key.clone()).collect()
        };
        let mut batch = Batch::default();
        for key in ["a", "b", "c", "d"] {
            batch.put(Table::Log, key, "log");
            batch.put(Table::Raft, key, "raft");
        }
        batch.delete_range(Table::Log, "b", "d");
        // The wrong way round: nothing.
        batch.delete_range(Table::Raft, "d", "b");
        rows.apply(&batch, &[]);
        assert_eq!(keys(rows, Table::Log, "", None), ["a", "d"]);
        assert_eq!(keys(rows, Table::Raft, "b", Some("d")), ["b", "c"]);
        assert!(keys(rows, Table::Raft, "d", Some("b")).is_empty());
        assert_eq!(rows.get(Table::Raft, b"d"), Some(&Bytes::from("raft")));
        assert_eq!(rows.table(Table::State).count(), 0);
        rows.apply(&Batch::default(), &[Table::Raft]);
        assert_eq!(rows.table(Table::Raft).count(), 0);
        assert!(!rows.is_empty());
    }
}
