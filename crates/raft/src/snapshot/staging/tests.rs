//! What is staged goes on where it was, and never mixes.

use std::sync::Arc;

use quorate_disk::RocksDisk;
use quorate_seams::Disk as _;

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    disk: Arc<RocksDisk>,
    staging: Staging,
}

impl Bench {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let disk = Arc::new(RocksDisk::open(dir.path()).unwrap());
        let staging = Staging::new(Store::new(disk.clone()));
        Self { dir, disk, staging }
    }

    /// The replica restarts.
    fn reopen(self) -> Self {
        let Self { dir, disk, staging } = self;
        drop((disk, staging));
        Self::open(dir)
    }

    async fn begin(&mut self, snapshot: u64) -> (u64, u64) {
        let (transfer, so_far) = self.staging.begin(record(snapshot)).await.unwrap();
        (transfer, so_far.pieces)
    }

    /// Everything of the first `count` pieces that is not here yet.
    async fn send(&mut self, snapshot: u64, count: u64) -> u64 {
        let (transfer, here) = self.begin(snapshot).await;
        for piece in pieces().into_iter().skip(usize::try_from(here).unwrap()).take_while(|piece| piece.number < count)
        {
            self.staging.take(transfer, piece).await.unwrap();
        }
        transfer
    }

    fn staged_rows(&self) -> usize {
        self.disk.scan(Table::Raft, &[], None, usize::MAX).unwrap().len()
    }
}

fn record(snapshot: u64) -> pb::Staged {
    pb::Staged { snapshot, meta: Some(pb::SnapshotMeta::default()) }
}

/// Three pieces of one row each: a, b, c.
fn pieces() -> Vec<pb::SnapshotPiece> {
    let mut chain = Chain::default();
    let piece = |(number, key): (u64, &'static str)| {
        let row = pb::SnapshotRow { table: 1, key: key.into(), value: "".into() };
        let rows = Bytes::from(pb::SnapshotRows { rows: vec![row] }.encode_to_vec());
        chain = chain.with(&rows);
        pb::SnapshotPiece { number, rows, digest: Bytes::copy_from_slice(chain.digest()) }
    };
    (0..).zip(["a", "b", "c"]).map(piece).collect()
}

fn keys(received: &Received) -> Vec<Bytes> {
    (received.rows)().map(|row| row.unwrap().1.0).collect()
}

#[tokio::test]
async fn pieces_in_order_make_a_whole() {
    let mut bench = Bench::new();
    let transfer = bench.send(7, 3).await;
    let (_, received) = bench.staging.whole(transfer, 3).await.unwrap();
    assert_eq!(keys(&received), ["a", "b", "c"]);
    bench.staging.clear().await.unwrap();
    assert_eq!(bench.staged_rows(), 0);
}

#[tokio::test]
async fn a_transfer_goes_on_where_the_last_ended_also_after_a_restart() {
    let mut bench = Bench::new();
    bench.send(7, 1).await;
    assert_eq!(bench.begin(7).await.1, 1);
    bench.send(7, 2).await;
    let mut bench = bench.reopen();
    assert_eq!(bench.begin(7).await.1, 2);
    let transfer = bench.send(7, 3).await;
    assert_eq!(keys(&bench.staging.whole(transfer, 3).await.unwrap().1), ["a", "b", "c"]);
}

#[tokio::test]
async fn another_snapshot_or_other_metadata_drops_what_is_there() {
    let mut bench = Bench::new();
    bench.send(7, 2).await;
    assert_eq!(bench.begin(8).await.1, 0);
    assert_eq!(bench.begin(7).await.1, 0, "and the first is gone");
    bench.send(7, 2).await;
    let applied = pb::Applied { base: 5, ..pb::Applied::default() };
    let meta = pb::SnapshotMeta { applied: Some(applied), ..pb::SnapshotMeta::default() };
    let (_, so_far) = bench.staging.begin(pb::Staged { meta: Some(meta), ..record(7) }).await.unwrap();
    assert_eq!(so_far.pieces, 0);
    assert_eq!(bench.staged_rows(), 1, "its record alone");
}

#[tokio::test]
async fn a_sender_may_begin_again() {
    let mut bench = Bench::new();
    let transfer = bench.send(7, 2).await;
    for piece in pieces() {
        bench.staging.take(transfer, piece).await.unwrap();
    }
    assert_eq!(keys(&bench.staging.whole(transfer, 3).await.unwrap().1), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_piece_that_is_missing_or_was_changed_drops_all() {
    for wrong in [
        pieces()[2].clone(),
        pb::SnapshotPiece { rows: pieces()[2].rows.clone(), ..pieces()[1].clone() },
        pb::SnapshotPiece { digest: "".into(), ..pieces()[1].clone() },
    ] {
        let mut bench = Bench::new();
        let transfer = bench.send(7, 1).await;
        let refused = bench.staging.take(transfer, wrong).await;
        assert!(matches!(refused, Err(StagingError::Wrong(_))), "{refused:?}");
        assert_eq!(bench.begin(7).await.1, 0);
    }
    let mut bench = Bench::new();
    let transfer = bench.send(7, 2).await;
    assert!(matches!(bench.staging.whole(transfer, 3).await, Err(StagingError::Wrong(_))), "one is missing");
    assert_eq!(bench.begin(7).await.1, 0);
}

#[tokio::test]
async fn a_broken_transfer_adds_nothing_to_the_one_that_took_over() {
    let mut bench = Bench::new();
    let first = bench.send(7, 1).await;
    let (second, here) = bench.begin(7).await;
    assert_eq!(here, 1);
    assert!(matches!(bench.staging.take(first, pieces()[1].clone()).await, Err(StagingError::Overtaken)));
    assert_eq!(bench.staging.take(second, pieces()[1].clone()).await.unwrap().pieces, 2);
}

#[tokio::test]
async fn a_bit_that_flips_on_disk_is_found_before_anything_is_installed() {
    for restarted in [false, true] {
        let mut bench = Bench::new();
        let mut transfer = bench.send(7, 3).await;
        let mut value = bench.disk.get(Table::Raft, &store::staged_piece(1)).unwrap().unwrap().to_vec();
        // A byte of the row's key: it still decodes.
        let at = value.iter().position(|byte| *byte == b'b').unwrap();
        value[at] ^= 1;
        let mut batch = Batch::default();
        batch.put(Table::Raft, store::staged_piece(1), value);
        bench.disk.submit(batch, Durability::Buffered).await.unwrap();
        if restarted {
            bench = bench.reopen();
            let (number, here) = bench.begin(7).await;
            assert_eq!(here, 0);
            transfer = number;
        }
        assert!(matches!(bench.staging.whole(transfer, 3).await, Err(StagingError::Wrong(_))));
        assert_eq!(bench.begin(7).await.1, 0);
    }
}

#[tokio::test]
async fn what_nobody_adds_to_is_dropped_also_when_an_earlier_start_left_it() {
    let mut bench = Bench::new();
    bench.send(7, 2).await;
    tokio::time::pause();
    bench.staging.tidy().await.unwrap();
    assert_eq!(bench.staged_rows(), 3);
    tokio::time::advance(STAGED_IDLE_MAX).await;
    bench.staging.tidy().await.unwrap();
    assert_eq!(bench.staged_rows(), 0);
    bench.send(7, 2).await;
    let mut bench = bench.reopen();
    tokio::time::advance(STAGED_IDLE_MAX).await;
    bench.staging.tidy().await.unwrap();
    assert_eq!(bench.staged_rows(), 0);
    assert_eq!(bench.begin(7).await.1, 0);
}
