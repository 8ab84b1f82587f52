//! Replacing, cut short at every step.

use std::path::Path;

use quorate_seams::{DiskView as _, Row};

use super::*;
use crate::options::{self, Sizes};

struct Bench {
    db: Arc<DB>,
    lock: Arc<Lock>,
    stage: Stage,
}

impl Bench {
    /// The store as it is found, whatever was under way.
    fn open(path: &Path) -> Self {
        let lock = Lock::take(path).unwrap();
        let sizes = Sizes::default();
        let db = DB::open_cf_descriptors(&options::store(sizes), path, options::tables(sizes)).unwrap();
        resume(&db).unwrap();
        Self { db: Arc::new(db), lock, stage: Stage::default() }
    }

    /// A store with old content.
    fn old(path: &Path) -> Self {
        let bench = Self::open(path);
        bench.put(Table::State, &["a", "b"], "old");
        bench.put(Table::Events, &["e"], "old");
        bench.put(Table::Raft, &["applied"], "old");
        bench
    }

    fn put(&self, table: Table, keys: &[&'static str], value: &'static str) {
        let mut batch = Batch::default();
        keys.iter().for_each(|key| batch.put(table, *key, value));
        let mut writes = WriteBatch::default();
        add(&self.db, &mut writes, &batch.writes).unwrap();
        write(&self.db, writes, false).unwrap();
    }

    fn seen(&self) -> View {
        View::new(&self.db, &self.lock, self.stage.look().clone())
    }

    fn shown(&self, table: Table) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let rows: Vec<Row> = self.seen().scan(table, b"", None, 9).unwrap();
        rows.iter().map(|(key, value)| (text(key), text(value))).collect()
    }

    fn waits(&self) -> usize {
        self.db.iterator_cf(waiting(&self.db).unwrap(), IteratorMode::Start).count()
    }
}

fn new() -> NewRows {
    let row = |table, key: &'static str| Ok((table, (key.into(), "new".into())));
    Box::new([row(Table::State, "b"), row(Table::State, "c"), row(Table::Events, "f")].into_iter())
}

const TABLES: [Table; 2] = [Table::State, Table::Events];

fn and() -> Batch {
    let mut and = Batch::default();
    and.put(Table::Raft, "applied", "new");
    and
}

fn rows(keys: &[&str], value: &str) -> Vec<(String, String)> {
    keys.iter().map(|key| ((*key).to_owned(), value.to_owned())).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Until {
    Gathered,
    Begun,
    HalfFilled,
    Filled,
    Ended,
}

#[test]
fn whenever_it_is_interrupted_the_old_or_the_new_content_is_there() {
    for until in [Until::Gathered, Until::Begun, Until::HalfFilled, Until::Filled, Until::Ended] {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::old(dir.path());
        assert!(gather(&bench.db, new()).is_ok());
        if until >= Until::Begun {
            let last = begin(&bench.db, &TABLES, &and()).unwrap();
            if until == Until::HalfFilled {
                bench.put(Table::State, &["b"], "new");
            }
            if until >= Until::Filled {
                fill(&bench.db).unwrap();
            }
            if until == Until::Ended {
                end(&bench.db, last).unwrap();
            }
        }
        drop(bench);
        let bench = Bench::open(dir.path());
        let shown = [Table::State, Table::Events, Table::Raft].map(|table| bench.shown(table));
        let expected = if until == Until::Gathered {
            [rows(&["a", "b"], "old"), rows(&["e"], "old"), rows(&["applied"], "old")]
        } else {
            [rows(&["b", "c"], "new"), rows(&["f"], "new"), rows(&["applied"], "new")]
        };
        assert_eq!(shown, expected, "{until:?}");
        assert_eq!(bench.waits(), 0, "{until:?}");
    }
}

#[test]
fn readers_see_the_old_content_until_all_of_the_new_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::old(dir.path());
    assert!(gather(&bench.db, new()).is_ok());
    let before = Before { tables: TABLES.into(), view: Arc::new(bench.seen()) };
    bench.stage.show_old(before);
    let last = begin(&bench.db, &TABLES, &and()).unwrap();
    let early = bench.seen();
    fill(&bench.db).unwrap();
    bench.put(Table::Log, &["entry"], "meanwhile");
    assert_eq!(bench.shown(Table::State), rows(&["a", "b"], "old"));
    assert_eq!(bench.shown(Table::Log), rows(&["entry"], "meanwhile"), "what is not replaced is as it is now");
    assert_eq!(bench.shown(Table::Raft), rows(&["applied"], "old"));
    let late = bench.seen();
    bench.stage.show_new(|| end(&bench.db, last)).unwrap();
    assert_eq!(bench.shown(Table::State), rows(&["b", "c"], "new"));
    assert_eq!(bench.shown(Table::Raft), rows(&["applied"], "new"));
    for view in [early, late] {
        assert_eq!(view.get(Table::State, b"a").unwrap(), Some("old".into()), "a view stays what it was");
        assert_eq!(view.last(Table::Events, None).unwrap(), Some(("e".into(), "old".into())));
    }
}

#[test]
fn more_than_a_piece_is_written_in_pieces_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::old(dir.path());
    let count = 9_u32;
    let large =
        move |number: u32| Ok((Table::State, (number.to_be_bytes().to_vec().into(), vec![7; PIECE_BYTES / 2].into())));
    let replaced =
        replace(&bench.db, &bench.lock, &bench.stage, &TABLES, Box::new((0..count).map(large)), &Batch::default());
    assert!(replaced.is_ok());
    let sizes: Vec<usize> =
        bench.seen().scan(Table::State, b"", None, 99).unwrap().iter().map(|(_, value)| value.len()).collect();
    assert_eq!(sizes, vec![PIECE_BYTES / 2; count as usize]);
    assert_eq!(bench.waits(), 0);
}
