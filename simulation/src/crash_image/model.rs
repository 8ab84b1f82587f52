//! What the store's tables must hold after each batch, and the batches that a seed draws.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_seams::{Batch, Disk, DiskError, Durability, Row, Table, Write};

use crate::seeded::Stream;

/// The rows of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model(BTreeMap<(Table, Bytes), Bytes>);

/// A name for the content of a model.
pub(super) type Digest = [u8; 32];

/// One call of the seam that writes.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit { batch: Batch, durability: Durability },
    Replace { tables: Vec<Table>, rows: Vec<(Table, Row)>, and: Batch },
}

/// Keys per table: few, so that rows are overwritten and deleted often.
const KEYS: u64 = 40;
/// Mostly small rows, and now and then one longer than several pages and blocks of the log.
const VALUE_BYTES_MAX: u64 = 600;
const LONG_VALUE_BYTES_MAX: u64 = 70_000;

impl Model {
    /// What `disk` holds.
    pub(super) fn of(disk: &impl Disk) -> Result<Self, DiskError> {
        let view = disk.view();
        let mut rows = BTreeMap::new();
        for table in Table::ALL {
            for (key, value) in view.scan(table, b"", None, usize::MAX)? {
                rows.insert((table, key), value);
            }
        }
        Ok(Self(rows))
    }

    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::Submit { batch, .. } => self.write(batch),
            Step::Replace { tables, rows, and } => {
                self.0.retain(|(table, _), _| !tables.contains(table));
                self.0.extend(rows.iter().map(|(table, (key, value))| ((*table, key.clone()), value.clone())));
                self.write(and);
            }
        }
    }

    fn write(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                Write::Put { table, key, value } => {
                    self.0.insert((*table, key.clone()), value.clone());
                }
                Write::Delete { table, key } => {
                    self.0.remove(&(*table, key.clone()));
                }
                Write::DeleteRange { table, from, to } => {
                    self.0.retain(|(of, key), _| of != table || key < from || key >= to);
                }
            }
        }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for ((table, key), value) in &self.0 {
            for part in [table.name().as_bytes(), key, value] {
                hasher.update(&(part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        *hasher.finalize().as_bytes()
    }
}

impl Step {
    /// The `number`th step of a run, in which one batch of `buffered` is synced.
    pub(super) fn draw(number: usize, buffered: u64, dice: &mut Stream) -> Self {
        if dice.within(0, 20 * buffered) == 0 {
            let tables: Vec<Table> = Table::ALL.into_iter().filter(|_| dice.within(0, 2) == 0).collect();
            let mut rows = Vec::new();
            for table in &tables {
                for at in 0..dice.within(0, KEYS) {
                    rows.push((*table, (key(at), value(number, dice))));
                }
            }
            return Self::Replace { tables, rows, and: batch(number, dice) };
        }
        let durability = if dice.within(0, buffered) == 0 { Durability::Synced } else { Durability::Buffered };
        Self::Submit { batch: batch(number, dice), durability }
    }
}

fn key(number: u64) -> Bytes {
    format!("key-{number:02}").into()
}

/// Different in every step, so that no two steps leave the same content behind.
fn value(number: usize, dice: &mut Stream) -> Bytes {
    let max = if dice.within(0, 40) == 0 { LONG_VALUE_BYTES_MAX } else { VALUE_BYTES_MAX };
    let length = usize::try_from(dice.within(0, max)).unwrap_or(0);
    let mut value = format!("{number}:").into_bytes();
    // Incompressible, so that files become as long as the rows are.
    while value.len() < length {
        value.extend(dice.next().to_be_bytes());
    }
    value.into()
}

fn batch(number: usize, dice: &mut Stream) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..dice.within(0, 6) {
        let table = table(dice);
        match dice.within(0, 10) {
            0 => {
                let from = dice.within(0, KEYS);
                batch.delete_range(table, key(from), key(from + dice.within(0, 6)));
            }
            1 => batch.delete(table, key(dice.within(0, KEYS))),
            _ => batch.put(table, key(dice.within(0, KEYS)), value(number, dice)),
        }
    }
    let table = table(dice);
    batch.put(table, key(dice.within(0, KEYS)), value(number, dice));
    batch
}

fn table(dice: &mut Stream) -> Table {
    let number = usize::try_from(dice.within(0, Table::ALL.len() as u64)).unwrap_or(0);
    Table::ALL[number]
}
