//! A disk in memory: what was submitted is there, also after the replica above it was killed.

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_seams::{Batch, Completion, Disk, DiskError, DiskView, Durability, NewRows, Row, Space, Table, Write};
use rpds::RedBlackTreeMapSync;

type Rows = RedBlackTreeMapSync<(Table, Bytes), Bytes>;

/// The disk; a view of it is a clone of its persistent map.
#[derive(Default)]
pub(crate) struct MemoryDisk {
    rows: Mutex<Rows>,
    room: Room,
}

/// The room that a disk says it has left.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Option<u64>>>);

impl Room {
    /// From now on so many bytes.
    pub(crate) fn set(&self, free_bytes: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(free_bytes);
    }
}

impl MemoryDisk {
    pub(crate) fn room(&self) -> Room {
        self.room.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Rows)) -> Completion {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut rows);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Disk for MemoryDisk {
    fn space(&self) -> Option<Space> {
        let free_bytes = (*self.room.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(Space { free_bytes, total_bytes: 10 << 30 })
    }

    fn submit(&self, batch: Batch, _: Durability) -> Completion {
        self.change(|rows| write(rows, batch))
    }

    fn view(&self) -> Arc<dyn DiskView> {
        Arc::new(View(self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }

    fn replace(&self, tables: &[Table], new: NewRows, and: Batch) -> Completion {
        let new: Vec<(Table, Row)> = match new.collect() {
            Ok(new) => new,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        self.change(|rows| {
            let gone: Vec<_> = rows.keys().filter(|(table, _)| tables.contains(table)).cloned().collect();
            gone.iter().for_each(|key| {
                rows.remove_mut(key);
            });
            for (table, (key, value)) in new {
                rows.insert_mut((table, key), value);
            }
            write(rows, and);
        })
    }
}

fn write(rows: &mut Rows, batch: Batch) {
    for write in batch.writes {
        match write {
            Write::Put { table, key, value } => {
                rows.insert_mut((table, key), value);
            }
            Write::Delete { table, key } => {
                rows.remove_mut(&(table, key));
            }
            Write::DeleteRange { table, from, to } => {
                let gone: Vec<_> = rows.range((table, from)..(table, to)).map(|(key, _)| key.clone()).collect();
                gone.iter().for_each(|key| {
                    rows.remove_mut(key);
                });
            }
        }
    }
}

struct View(Rows);

impl DiskView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.get(&(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        let from = Bound::Included((table, Bytes::copy_from_slice(from)));
        let rows = self.0.range((from, Bound::Unbounded));
        let rows = rows.take_while(|((at, key), _)| *at == table && to.is_none_or(|to| key[..] < *to));
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        let from = Bound::Included((table, Bytes::new()));
        let mut last = None;
        for ((at, key), value) in self.0.range((from, Bound::Unbounded)) {
            if *at != table || before.is_some_and(|before| key[..] >= *before) {
                break;
            }
            last = Some((key.clone(), value.clone()));
        }
        Ok(last)
    }
}
