//! What every implementation of the disk seam must do, whatever it is made of.
//!
//! `open` gives a store that continues the one before it (the same directory, or the same memory);
//! the store before it has been dropped by then.

use std::future::Future;

use bytes::Bytes;
use quorate_seams::{Batch, Disk, DiskError, Durability, NewRows, Row, Table};

/// Runs every check, each on a store that `fresh` makes.
pub(crate) async fn check_all<D: Disk, F: Fn() -> D>(fresh: impl Fn() -> F) {
    batches_are_visible_in_submit_order(fresh()()).await;
    scans_are_ordered_bounded_and_limited(fresh()()).await;
    the_last_row_is_found(fresh()()).await;
    a_range_is_deleted_without_its_end(fresh()()).await;
    a_view_does_not_see_later_writes(fresh()()).await;
    tables_are_apart(fresh()()).await;
    replace_leaves_only_the_new_content(fresh()()).await;
    many_synced_batches_all_end(fresh()()).await;
    what_was_synced_survives_reopening(fresh()).await;
}

async fn batches_are_visible_in_submit_order(disk: impl Disk) {
    let mut first = Batch::default();
    first.put(Table::State, "a", "1");
    first.put(Table::State, "b", "1");
    let mut second = Batch::default();
    second.put(Table::State, "a", "2");
    second.delete(Table::State, "b");
    // The futures are not awaited before reading: visible when submit returns.
    let first = disk.submit(first, Durability::Synced);
    let second = disk.submit(second, Durability::Buffered);
    assert_eq!(disk.get(Table::State, b"a").unwrap(), Some("2".into()));
    assert_eq!(disk.get(Table::State, b"b").unwrap(), None);
    first.await.unwrap();
    second.await.unwrap();
}

async fn scans_are_ordered_bounded_and_limited(disk: impl Disk) {
    fill(&disk, Table::Log, &["b", "d", "a", "c"]).await;
    assert_eq!(keys(&disk.scan(Table::Log, b"", None, usize::MAX).unwrap()), ["a", "b", "c", "d"]);
    assert_eq!(keys(&disk.scan(Table::Log, b"b", Some(b"d"), usize::MAX).unwrap()), ["b", "c"]);
    assert_eq!(keys(&disk.scan(Table::Log, b"aa", None, 2).unwrap()), ["b", "c"]);
    assert!(disk.scan(Table::Log, b"c", Some(b"a"), usize::MAX).unwrap().is_empty());
    assert!(disk.scan(Table::Log, b"", None, 0).unwrap().is_empty());
}

async fn the_last_row_is_found(disk: impl Disk) {
    assert_eq!(disk.view().last(Table::Log, None).unwrap(), None);
    fill(&disk, Table::Log, &["a", "b", "c"]).await;
    let view = disk.view();
    let key = |row: Option<Row>| row.map(|(key, _)| key);
    assert_eq!(key(view.last(Table::Log, None).unwrap()), Some("c".into()));
    assert_eq!(key(view.last(Table::Log, Some(b"c")).unwrap()), Some("b".into()));
    assert_eq!(key(view.last(Table::Log, Some(b"bb")).unwrap()), Some("b".into()));
    assert_eq!(key(view.last(Table::Log, Some(b"a")).unwrap()), None);
}

async fn a_range_is_deleted_without_its_end(disk: impl Disk) {
    fill(&disk, Table::Events, &["a", "b", "c", "d"]).await;
    let mut batch = Batch::default();
    batch.delete_range(Table::Events, "b", "d");
    batch.put(Table::Events, "c", "again");
    disk.submit(batch, Durability::Buffered).await.unwrap();
    assert_eq!(keys(&disk.scan(Table::Events, b"", None, usize::MAX).unwrap()), ["a", "c", "d"]);
}

async fn a_view_does_not_see_later_writes(disk: impl Disk) {
    fill(&disk, Table::State, &["a", "b"]).await;
    let view = disk.view();
    let mut batch = Batch::default();
    batch.put(Table::State, "a", "later");
    batch.delete(Table::State, "b");
    batch.put(Table::State, "c", "later");
    disk.submit(batch, Durability::Synced).await.unwrap();
    assert_eq!(view.get(Table::State, b"a").unwrap(), Some("a".into()));
    assert_eq!(keys(&view.scan(Table::State, b"", None, usize::MAX).unwrap()), ["a", "b"]);
    let tables = [Table::State];
    disk.replace(&tables, new(vec![]), Batch::default()).await.unwrap();
    assert_eq!(keys(&view.scan(Table::State, b"", None, usize::MAX).unwrap()), ["a", "b"]);
    assert!(disk.scan(Table::State, b"", None, usize::MAX).unwrap().is_empty());
}

async fn tables_are_apart(disk: impl Disk) {
    for table in Table::ALL {
        let mut batch = Batch::default();
        batch.put(table, "key", table.name());
        disk.submit(batch, Durability::Buffered).await.unwrap();
    }
    for table in Table::ALL {
        assert_eq!(disk.get(table, b"key").unwrap(), Some(table.name().into()));
    }
}

async fn replace_leaves_only_the_new_content(disk: impl Disk) {
    fill(&disk, Table::State, &["a", "b"]).await;
    fill(&disk, Table::Events, &["e"]).await;
    fill(&disk, Table::Raft, &["applied", "vote"]).await;
    let rows = vec![(Table::State, row("b", "new")), (Table::State, row("z", "new"))];
    let mut and = Batch::default();
    and.put(Table::Raft, "applied", "new");
    disk.replace(&[Table::State, Table::Events], new(rows), and).await.unwrap();
    assert_eq!(disk.scan(Table::State, b"", None, 9).unwrap(), [row("b", "new"), row("z", "new")]);
    assert!(disk.scan(Table::Events, b"", None, 9).unwrap().is_empty());
    assert_eq!(disk.scan(Table::Raft, b"", None, 9).unwrap(), [row("applied", "new"), row("vote", "vote")]);

    // Rows that end in an error are none.
    let rows = [Ok((Table::State, row("c", "newer"))), Err(DiskError::Io("the rows cannot be read".into()))];
    let replaced = disk.replace(&[Table::State], Box::new(rows.into_iter()), Batch::default()).await;
    assert!(matches!(replaced, Err(DiskError::Io(why)) if why.contains("cannot be read")));
    assert_eq!(disk.scan(Table::State, b"", None, 9).unwrap(), [row("b", "new"), row("z", "new")]);
}

async fn many_synced_batches_all_end(disk: impl Disk) {
    let waiting: Vec<_> = (0..500_u32)
        .map(|number| {
            let mut batch = Batch::default();
            batch.put(Table::Log, Bytes::copy_from_slice(&number.to_be_bytes()), "");
            disk.submit(batch, Durability::Synced)
        })
        .collect();
    for completion in waiting {
        completion.await.unwrap();
    }
    assert_eq!(disk.scan(Table::Log, b"", None, usize::MAX).unwrap().len(), 500);
}

async fn what_was_synced_survives_reopening<D: Disk>(open: impl Fn() -> D) {
    let disk = open();
    fill(&disk, Table::State, &["buffered"]).await;
    let mut batch = Batch::default();
    batch.put(Table::Log, "synced", "");
    disk.submit(batch, Durability::Synced).await.unwrap();
    drop(disk);
    let disk = open();
    assert!(disk.get(Table::Log, b"synced").unwrap().is_some());
    assert!(disk.get(Table::State, b"buffered").unwrap().is_some(), "submitted before what was synced");
}

fn new(rows: Vec<(Table, Row)>) -> NewRows {
    Box::new(rows.into_iter().map(Ok))
}

fn row(key: &'static str, value: &'static str) -> Row {
    (key.into(), value.into())
}

fn keys(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|(key, _)| std::str::from_utf8(key).unwrap()).collect()
}

fn fill(disk: &impl Disk, table: Table, keys: &[&'static str]) -> impl Future<Output = ()> {
    let mut batch = Batch::default();
    for key in keys {
        batch.put(table, *key, *key);
    }
    let completion = disk.submit(batch, Durability::Buffered);
    async move { completion.await.unwrap() }
}
