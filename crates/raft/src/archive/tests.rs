//! Runs in segments on a disk that is a map, and searches that are compared with what they should find.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::convert::job::{spec_digest, spec_from_wire};
use quorate_proto::rows::{RowWrite, encode_change, is_archived};
use quorate_proto::v1;
use quorate_seams::DiskError;
use quorate_state::{Command, Entry, Feature, Item, Principal, Retention, Settings, Stamp, Uuid, apply};

use super::*;

/// Rows of the state and nothing else.
#[derive(Clone, Default)]
struct Rows(BTreeMap<Bytes, Bytes>);

impl DiskView for Rows {
    fn get(&self, _: Table, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, _: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, DiskError> {
        let rows = self.0.range(Bytes::copy_from_slice(from)..);
        let rows = rows.take_while(|(key, _)| to.is_none_or(|to| key[..] < *to));
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, _: Table, _: Option<&[u8]>) -> Result<Option<Row>, DiskError> {
        Ok(self.0.last_key_value().map(|(key, value)| (key.clone(), value.clone())))
    }
}

struct Bench {
    state: State,
    rows: Rows,
    ms: u64,
}

impl Bench {
    fn new(segment_runs_max: u32) -> Self {
        let mut bench = Self { state: State::default(), rows: Rows::default(), ms: 0 };
        let retention = Retention {
            memory_runs_max: 0,
            memory_rows_max: 0,
            archive_runs_max: 1_000,
            archive_ms_max: 0,
            history_revisions_max: 1_000,
            segment_runs_max,
        };
        let settings = Box::new(Settings { retention: Some(retention), ..Settings::default() });
        bench.run(Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings });
        for namespace in ["a", "b"] {
            bench.run(Command::CreateNamespace { namespace: namespace.parse().unwrap() });
        }
        for feature in Feature::ALL {
            bench.run(Command::EnableFeature { feature, term: 1 });
        }
        bench
    }

    fn run(&mut self, command: Command) {
        self.ms += 10;
        let item = Item { principal: Principal::controller(), request: None, command };
        let entry = Entry { stamp: Stamp { wall: Millis(self.ms), term: 1, elapsed_ms: self.ms }, items: vec![item] };
        let applied = apply(&self.state, Revision(self.state.revision().0 + 1), &entry);
        assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        for write in applied.changes.iter().flat_map(|change| encode_change(change).singles()) {
            match write {
                RowWrite::Put { key, value } => drop(self.rows.0.insert(key, value)),
                RowWrite::Delete { key } => drop(self.rows.0.remove(&key)),
                RowWrite::DeleteRange { from, to } => self.rows.0.retain(|key, _| !(&from..&to).contains(&key)),
                RowWrite::DeleteEventsBelow { .. } | RowWrite::All(_) => {}
            }
        }
        self.state = applied.next;
        assert_eq!(self.state.check(), Vec::<String>::new());
    }

    /// A run of job `number % 3` in a namespace by `number % 2` that was cancelled, with some labels.
    fn ended(&mut self, number: u64) {
        let label = |key: &str, value: &str| v1::Label { key: key.into(), value: value.into() };
        let wire = v1::JobSpec {
            namespace: if number.is_multiple_of(2) { "a" } else { "b" }.into(),
            name: format!("job-{}", number % 3),
            labels: match number % 5 {
                0 => vec![label("team", "risk")],
                1 => vec![label("team", "risk"), label("tier", "1")],
                2 => vec![label("tier", "2")],
                _ => vec![],
            },
            tasks: vec![v1::TaskSpec {
                name: "only".into(),
                argv: vec!["true".into()],
                count: 1 + u32::try_from(number % 4).unwrap(),
                ..v1::TaskSpec::default()
            }],
            ..v1::JobSpec::default()
        };
        let spec = Arc::new(spec_from_wire(wire).unwrap());
        let run = RunId(1 + number * 1_000);
        self.run(Command::SubmitJob { run, spec_digest: spec_digest(&spec), spec });
        self.run(Command::CancelRun { run });
        self.run(Command::AdvanceStep { run, step: 0, limit: 100 });
        self.run(Command::FinishRun { run });
    }

    fn archive(&self) -> Archive {
        Archive::new(Arc::new(self.rows.clone()), &self.state)
    }
}

/// Runs that ended and were archived in an order that is not that of their submits.
fn filled(runs: u64, segment_runs_max: u32) -> (Bench, Vec<ArchivedHead>) {
    let mut bench = Bench::new(segment_runs_max);
    (0..runs).for_each(|number| bench.ended(number));
    let order = (0..runs).map(|number| RunId(1 + number * 7 % runs * 1_000));
    for run in order {
        bench.run(Command::ArchiveRuns { runs: vec![run], rows_max: 1 });
        while bench.state.leaving().next().is_some() {
            bench.run(Command::ArchiveRuns { runs: vec![run], rows_max: 1 });
        }
    }
    let all = bench.archive().search(&Search::default(), Place::NEWEST, usize::MAX, usize::MAX).unwrap();
    assert_eq!(all.resume, None);
    (bench, all.heads)
}

fn ids(heads: &[ArchivedHead]) -> Vec<u64> {
    heads.iter().map(|head| head.run.id.0).collect()
}

fn searches() -> Vec<Search> {
    let namespace = || Word::Namespace("a".parse().unwrap());
    let job = |name: &str| Word::Job(name.parse().unwrap());
    let label = |key: &str, value: &str| Word::Label(key.into(), value.into());
    let of = |words: Vec<Word>| Search { words, ..Search::default() };
    vec![
        of(vec![]),
        of(vec![namespace()]),
        of(vec![namespace(), job("job-1")]),
        of(vec![label("team", "risk"), Word::LabelKey("tier".into()), Word::State(RunState::Cancelled)]),
        of(vec![label("team", "ris")]),
        of(vec![label("tier", "2"), label("tier", "1")]),
        of(vec![Word::State(RunState::Failed)]),
        Search { states: vec![RunState::Failed, RunState::Cancelled], ..of(vec![job("job-0")]) },
        Search { states: vec![RunState::Failed, RunState::Succeeded], ..of(vec![]) },
        Search { since: Some(Millis(700)), ..of(vec![namespace()]) },
        Search { until: Some(Millis(900)), ..of(vec![]) },
        Search { since: Some(Millis(500)), until: Some(Millis(1_201)), ..of(vec![Word::LabelKey("team".into())]) },
    ]
}

/// The same, run by run.
fn is_wanted(search: &Search, head: &ArchivedHead) -> bool {
    let run = &head.run;
    let has = |word: &Word| match word {
        Word::Namespace(namespace) => run.spec.namespace == *namespace,
        Word::Job(job) => run.spec.name == *job,
        Word::State(state) => run.state == *state,
        Word::Label(key, value) => run.spec.labels.get(key) == Some(value),
        Word::LabelKey(key) => run.spec.labels.contains_key(key),
    };
    search.words.iter().all(has)
        && (search.states.is_empty() || search.states.contains(&run.state))
        && search.since.is_none_or(|since| run.submitted_at >= since)
        && search.until.is_none_or(|until| run.submitted_at < until)
}

#[test]
fn all_that_is_searched_for_is_found_in_order_whatever_the_pages_and_however_few_rows_are_looked_at() {
    for segment_runs_max in [1, 4, 100] {
        let (bench, all) = filled(40, segment_runs_max);
        assert_eq!(ids(&all), (0..40).rev().map(|number| 1 + number * 1_000).collect::<Vec<_>>());
        let archive = bench.archive();
        for search in searches() {
            let wanted: Vec<_> = all.iter().filter(|head| is_wanted(&search, head)).cloned().collect();
            for (size, looks) in [(1, usize::MAX), (3, 1), (3, 2), (7, 5), (100, 40), (100, usize::MAX)] {
                let (mut told, mut from, mut pages) = (Vec::new(), Some(Place::NEWEST), 0);
                while let Some(place) = from {
                    let found = archive.search(&search, place, size, looks).unwrap();
                    assert!(found.heads.len() <= size);
                    assert!(found.resume.is_none_or(|resume| resume >= place), "it goes on");
                    told.extend(found.heads);
                    // With so few looks a page may only get ready for the next.
                    from = found.resume;
                    pages += 1;
                    if pages > 400 {
                        break;
                    }
                }
                if looks > 5 {
                    assert_eq!(ids(&told), ids(&wanted), "{size} at once, {looks} looks");
                } else {
                    let told: BTreeSet<u64> = ids(&told).into_iter().collect();
                    assert!(told.is_subset(&ids(&wanted).into_iter().collect()), "{search:?}");
                }
            }
        }
    }
}

#[test]
fn a_rare_word_makes_a_search_cheap() {
    let (bench, _) = filled(60, 100);
    let search =
        Search { words: vec![Word::State(RunState::Cancelled), Word::LabelKey("none".into())], ..Search::default() };
    let found = bench.archive().search(&search, Place::NEWEST, 10, 17).unwrap();
    assert_eq!((found.heads.len(), found.resume), (0, None), "one look at each list will do");
}

#[test]
fn a_run_is_shown_as_it_was_before_it_left_also_while_it_is_leaving() {
    let mut bench = Bench::new(100);
    bench.ended(3);
    let run = RunId(3_001);
    let before = bench.state.clone();
    let task = |index| TaskId { run, step: 0, index };
    let parts = Parts {
        tasks: Some((task(1)..task(9), 2)),
        attempts: Some((AttemptId { task: task(0), number: 0 }..AttemptId { task: task(9), number: 0 }, 10)),
    };
    for moved in 1..6 {
        bench.run(Command::ArchiveRuns { runs: vec![run], rows_max: 1 });
        assert!(bench.state.run(run).is_none(), "it is in the archive from the first piece on");
        assert_eq!(bench.state.leaving().count(), usize::from(moved < 4));
        let archive = bench.archive();
        let archived = archive.run(run).unwrap().unwrap();
        assert_eq!(&archived.run, before.run(run).unwrap());
        let shown = archive.shown(&bench.state, &archived, &parts).unwrap();
        assert_eq!(shown.run_counts(run), before.run_counts(run));
        assert_eq!(shown.step_counts(run, 0), before.step_counts(run, 0));
        let rows = |state: &State| state.elements_from(run, 0, 1).take(2).collect::<Vec<_>>();
        assert_eq!(rows(&shown), rows(&before), "{moved} rows have followed");
        assert!(shown.tasks_of(run).count() <= 4);
    }
    assert_eq!(bench.archive().ids_between(RunId(3_000), RunId(3_001), 2).unwrap(), [run]);
    assert_eq!(bench.archive().ids_between(RunId(3_002), RunId(u64::MAX), 2).unwrap(), []);
    assert!(bench.archive().run(RunId(7)).unwrap().is_none());
}

#[test]
fn a_segment_that_is_forgotten_leaves_no_row() {
    let (mut bench, all) = filled(10, 4);
    let in_archive = |bench: &Bench| bench.rows.0.keys().filter(|key| is_archived(key)).count();
    let rows = in_archive(&bench);
    bench.run(Command::TrimArchive { below: 2 });
    let left = bench.archive().search(&Search::default(), Place::NEWEST, 100, 1_000).unwrap().heads;
    assert_eq!((all.len(), left.len()), (10, 6));
    assert!(in_archive(&bench) < rows);
    bench.run(Command::TrimArchive { below: 9 });
    assert_eq!(in_archive(&bench), 0);
    assert!(bench.archive().is_empty());
    bench.ended(90);
    bench.run(Command::ArchiveRuns { runs: vec![RunId(90_001)], rows_max: 100 });
    assert_eq!(
        bench.state.segments().map(|segment| segment.number).collect::<Vec<_>>(),
        [4],
        "numbers are not used again"
    );
}
