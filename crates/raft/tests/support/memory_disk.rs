//! A disk in memory that forgets, when the power goes, whatever was not synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_seams::{Batch, Completion, Disk, DiskError, DiskView, Durability, NewRows, Row, Table, Write};

type Rows = BTreeMap<(Table, Bytes), Bytes>;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    now: Arc<Rows>,
    durable: Arc<Rows>,
    /// Nothing works any more, for this reason.
    broken: Option<DiskError>,
    /// Writes work, but making them durable does not.
    syncs_broken: Option<DiskError>,
    /// Called when tables are about to be replaced.
    replacing: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct View(Arc<Rows>);

impl MemoryDisk {
    /// Ends this disk; what it held durably goes on in the one returned.
    pub(crate) fn power_off(&self) -> Self {
        let mut content = self.0.lock().unwrap();
        content.broken = Some(DiskError::Io("the power is off".into()));
        Self::of(content.durable.clone())
    }

    /// A copy of everything, as a tool that makes images of disks would take it.
    pub(crate) fn image(&self) -> Self {
        let now = self.0.lock().unwrap().now.clone();
        Self::of(now)
    }

    /// From now on every write fails.
    pub(crate) fn fail_writes(&self, error: DiskError) {
        self.0.lock().unwrap().broken = Some(error);
    }

    /// From now on every sync fails, of what was written before too.
    pub(crate) fn fail_syncs(&self, error: DiskError) {
        self.0.lock().unwrap().syncs_broken = Some(error);
    }

    /// From now on this is called before tables are replaced.
    pub(crate) fn before_replace(&self, call: impl Fn() + Send + Sync + 'static) {
        self.0.lock().unwrap().replacing = Some(Arc::new(call));
    }

    fn of(rows: Arc<Rows>) -> Self {
        Self(Arc::new(Mutex::new(Content { now: rows.clone(), durable: rows, ..Content::default() })))
    }
}

impl Disk for MemoryDisk {
    fn submit(&self, batch: Batch, durability: Durability) -> Completion {
        let mut content = self.0.lock().unwrap();
        if let Some(error) = &content.broken {
            return Box::pin(std::future::ready(Err(error.clone())));
        }
        let rows = Arc::make_mut(&mut content.now);
        for write in batch.writes {
            match write {
                Write::Put { table, key, value } => drop(rows.insert((table, key), value)),
                Write::Delete { table, key } => drop(rows.remove(&(table, key))),
                Write::DeleteRange { table, from, to } => {
                    rows.retain(|(of, key), _| *of != table || *key < from || *key >= to)
                }
            }
        }
        drop(content);
        let disk = self.clone();
        Box::pin(async move {
            if durability == Durability::Synced {
                // Later than `submit`: between the two, power loss loses it.
                tokio::task::yield_now().await;
                let mut content = disk.0.lock().unwrap();
                if let Some(error) = content.broken.as_ref().or(content.syncs_broken.as_ref()) {
                    return Err(error.clone());
                }
                content.durable = content.now.clone();
            }
            Ok(())
        })
    }

    fn view(&self) -> Arc<dyn DiskView> {
        Arc::new(View(self.0.lock().unwrap().now.clone()))
    }

    fn replace(&self, tables: &[Table], rows: NewRows, and: Batch) -> Completion {
        let replacing = self.0.lock().unwrap().replacing.clone();
        if let Some(call) = replacing {
            call();
        }
        let mut batch = Batch::default();
        for (table, key) in self.0.lock().unwrap().now.keys().filter(|(table, _)| tables.contains(table)) {
            batch.delete(*table, key.clone());
        }
        for row in rows {
            match row {
                Ok((table, (key, value))) => batch.put(table, key, value),
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            }
        }
        batch.writes.extend(and.writes);
        self.submit(batch, Durability::Synced)
    }
}

impl DiskView for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.get(&(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        let from = (table, Bytes::copy_from_slice(from));
        let rows = self.0.range(from..).take_while(|((of, key), _)| *of == table && to.is_none_or(|to| &key[..] < to));
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table, before: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        let mut rows =
            self.0.iter().rev().filter(|((of, key), _)| *of == table && before.is_none_or(|to| &key[..] < to));
        Ok(rows.next().map(|((_, key), value)| (key.clone(), value.clone())))
    }
}
