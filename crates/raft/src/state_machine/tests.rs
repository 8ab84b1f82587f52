//! Rows follow the state, and bring it back; snapshots carry both.

use std::sync::Arc;

use futures_util::stream;
use openraft::EntryPayload;
use openraft::RaftSnapshotBuilder as _;
use openraft::storage::RaftStateMachine as _;
use quorate_disk::RocksDisk;
use quorate_proto::log::encode_entry;
use quorate_seams::{Disk as _, NewRows};
use quorate_state::{ClusterId, Command, Entry, FeatureSet, Item, Millis, Namespace, Principal, Settings, Stamp};

use super::*;
use crate::log_store::PurgeBound;
use crate::type_config::{Membership, Payload, Peer, log_id};

struct Bench {
    dir: tempfile::TempDir,
    machine: StateMachine,
    published: Arc<Published>,
}

impl Bench {
    fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap())
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let store = Store::new(Arc::new(RocksDisk::open(dir.path()).unwrap()));
        let published = Arc::new(Published::new(PurgeBound::default(), 1));
        let machine = StateMachine::load(store, published.clone(), FeatureSet::known()).unwrap();
        Self { dir, machine, published }
    }

    fn reopen(self) -> Self {
        let Self { dir, machine, .. } = self;
        drop(machine);
        Self::open(dir)
    }

    async fn apply(&mut self, entries: impl IntoIterator<Item = LogEntry>) {
        let entries: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
        self.machine.apply(stream::iter(entries)).await.unwrap();
    }

    fn shown(&self) -> String {
        let view = self.published.view();
        let namespaces: Vec<_> = view.namespaces().collect();
        format!("{:?} {:?} {namespaces:?} {:?}", view.meta(), view.settings(), self.machine.done)
    }
}

fn entry(index: u64, command: Command) -> LogEntry {
    let item = Item { principal: Principal::controller(), request: None, command };
    let stamp = Stamp { wall: Millis(1_000 + index), term: 1, elapsed_ms: index };
    let bytes = encode_entry(&Entry { stamp, items: vec![item] });
    LogEntry { log_id: log_id(1, index), payload: EntryPayload::Normal(Payload::of(bytes)) }
}

fn history() -> Vec<LogEntry> {
    let members = Membership::new_with_defaults(vec![[3].into()], std::iter::empty::<u64>());
    let settings = Box::new(Settings::default());
    let namespace = |index, name| entry(index, Command::CreateNamespace { namespace: Namespace::new(name).unwrap() });
    vec![
        LogEntry { log_id: log_id(1, 0), payload: EntryPayload::Membership(members) },
        LogEntry { log_id: log_id(1, 1), payload: EntryPayload::Blank },
        entry(2, Command::Bootstrap { cluster: ClusterId::default(), incarnation: 0, settings }),
        namespace(3, "one"),
        namespace(4, "one"),
        namespace(5, "two"),
        LogEntry { log_id: log_id(2, 6), payload: EntryPayload::Blank },
    ]
}

#[tokio::test]
async fn a_restart_loads_the_state_that_was_applied() {
    let mut bench = Bench::new();
    bench.apply(history()).await;
    assert_eq!(bench.published.view().revision(), Revision(6));
    assert_eq!(bench.published.replica_max(), 3);
    assert!(bench.published.view().has_namespace(&Namespace::new("two").unwrap()));
    let before = bench.shown();
    let mut bench = bench.reopen();
    assert_eq!(bench.shown(), before);
    assert_eq!(bench.machine.applied_state().await.unwrap().0, Some(log_id(2, 6)));
}

#[tokio::test]
async fn one_by_one_or_together_the_history_is_the_same() {
    let (mut together, mut apart) = (Bench::new(), Bench::new());
    together.apply(history()).await;
    for entry in history() {
        apart.apply([entry]).await;
    }
    assert_eq!(together.shown(), apart.shown());
    assert_eq!(together.published.checkpoints(), apart.published.checkpoints());
}

#[tokio::test]
async fn another_history_has_another_digest() {
    let (mut one, mut other) = (Bench::new(), Bench::new());
    one.apply(history()).await;
    let mut entries = history();
    entries[5] = entry(5, Command::CreateNamespace { namespace: Namespace::new("three").unwrap() });
    other.apply(entries).await;
    let digests = |bench: &Bench| bench.published.checkpoints();
    assert_eq!(digests(&one)[..5], digests(&other)[..5]);
    assert_ne!(digests(&one)[5], digests(&other)[5]);
    assert_ne!(digests(&one)[6], digests(&other)[6], "a difference never goes away");
}

#[tokio::test]
async fn a_snapshot_brings_another_store_to_the_same_state() {
    let (mut from, mut to) = (Bench::new(), Bench::new());
    from.apply(history()).await;
    to.apply(history().into_iter().take(2)).await;
    let mut builder = from.machine.try_create_snapshot_builder(true).await.unwrap();
    let before = from.shown();
    // What comes after the builder is not in the snapshot.
    from.apply([entry(7, Command::CreateNamespace { namespace: Namespace::new("late").unwrap() })]).await;
    let snapshot = builder.build_snapshot().await.unwrap();
    let received = snapshot.snapshot.open().unwrap();
    to.machine.install_snapshot(&snapshot.meta, Image::Rows(Box::new(received))).await.unwrap();
    assert_eq!(to.shown(), before);
    let to = to.reopen();
    assert_eq!(to.shown(), before);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_changes_nothing() {
    let (mut from, mut to) = (Bench::new(), Bench::new());
    from.apply(history()).await;
    to.apply(history().into_iter().take(3)).await;
    let before = to.shown();
    let current = from.machine.get_current_snapshot().await.unwrap().unwrap();
    let meta = current.meta.clone();
    let whole = current.snapshot.open().unwrap();
    let mut rows: Vec<_> = (whole.rows)().map(Result::unwrap).collect();
    rows.pop();
    rows.push((Table::State, ("\u{1}no row".into(), "nonsense".into())));
    let rows = move || -> NewRows { Box::new(rows.clone().into_iter().map(Ok)) };
    let damaged = Received { rows: Box::new(rows), ..whole };
    assert!(to.machine.install_snapshot(&meta, Image::Rows(Box::new(damaged))).await.is_err());
    assert_eq!(to.shown(), before);
    assert_eq!(to.reopen().shown(), before);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_halts_instead_of_being_skipped() {
    let mut bench = Bench::new();
    bench.apply(history()).await;
    let nonsense = LogEntry { log_id: log_id(2, 7), payload: EntryPayload::Normal(Payload::of("\u{8}\u{7f}".into())) };
    assert!(bench.machine.apply(stream::iter([Ok((nonsense, None))])).await.is_err());
    assert!(bench.machine.store.failure().is_some());
}

#[test]
fn rows_and_record_that_disagree_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RocksDisk::open(dir.path()).unwrap();
    let mut batch = Batch::default();
    let done = Done { log_id: Some(log_id(1, 9)), ..Done::default() };
    store::put(&mut batch, store::APPLIED, &done.to_record());
    drop(disk.submit(batch, Durability::Buffered));
    let published = Arc::new(Published::new(PurgeBound::default(), 1));
    let loaded = StateMachine::load(Store::new(Arc::new(disk)), published, FeatureSet::known());
    assert!(matches!(loaded, Err(Error::Format(_))));
}

#[test]
fn the_record_survives_its_bytes() {
    let peer = Peer { raft: "a:1".into(), api: "a:2".into(), agent: "a:3".into(), ..Peer::default() };
    let membership = Membership::new(vec![[1].into()], std::collections::BTreeMap::from([(1, peer)])).unwrap();
    let done = Done {
        log_id: Some(log_id(3, 9)),
        membership: StoredMembership::new(Some(log_id(2, 4)), membership),
        base: 7 << 20,
        digest: Digest::default(),
        replica_max: 5,
    };
    assert_eq!(Done::from_record(done.to_record()).unwrap(), done);
}
