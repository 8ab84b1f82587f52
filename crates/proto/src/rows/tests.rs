//! Every row survives the store, loads in key order to the same state, and keeps its bytes.

use std::sync::LazyLock;

use proptest::prelude::*;
use quorate_state::{
    AttemptId, AttemptPhase, AttemptReport, Choice, Command, Entry, Epoch, GpuHold, Item, Millis, Placement, Principal,
    Registration, RequestId, RequestKey, RequestRow, Revision, Served, Stamp, State, TaskId, Token, Uuid,
};

use super::*;
use crate::convert::job::spec_digest;
use crate::samples;

fn put(change: &Change) -> Option<(Bytes, Bytes)> {
    match encode_change(change) {
        RowWrite::Put { key, value } => Some((key, value)),
        RowWrite::Delete { .. }
        | RowWrite::DeleteEventsBelow { .. }
        | RowWrite::DeleteRange { .. }
        | RowWrite::All(_) => None,
    }
}

#[test]
fn every_row_survives_the_store() {
    let mut specs = SpecCache::default();
    for change in samples::changes() {
        if let Some((key, value)) = put(&change) {
            assert_eq!(decode_row(&key, &value, &mut specs), Ok(change));
        }
    }
}

#[test]
fn every_event_survives_the_store() {
    for row in samples::events() {
        let (key, value) = encode_event(&row);
        assert_eq!(key, event_key(row.revision, row.sequence));
        assert_eq!(decode_event(&key, &value), Ok(row));
    }
}

#[test]
fn an_event_about_a_run_is_never_taken_for_one_that_is_not() {
    let other = RunId(samples::RUN.0 ^ 1);
    for row in samples::events() {
        let value = encode_event(&row).1;
        if let Some(run) = row.event.run() {
            assert!(may_be_about(&value, run), "{row:?}");
            assert!(may_be_about(&value, RunId(0)), "which leaves no bytes");
        }
        assert!(!may_be_about(&value, other), "{row:?}");
    }
}

/// What a replica does: applies a few entries, writes every change, and reads the rows after a restart.
#[test]
fn rows_read_in_key_order_give_the_state_that_wrote_them() {
    let mut spec = samples::specs().remove(0);
    spec.tasks[0].run_timeout_ms = Some(60_000);
    spec.tasks[0].retry.never = vec![137];
    let registration = Registration { attempts: vec![], ..samples::registration() };
    let node = registration.node.clone();
    let task = TaskId { run: samples::RUN, step: 0, index: 0 };
    let (generation, epoch) = (0, Epoch(3));
    let report = AttemptReport {
        attempt: AttemptId { task, number: 1 },
        token: Token(6),
        phase: AttemptPhase::Running,
        ..samples::reports().remove(0)
    };
    let commands = [
        Command::Bootstrap { cluster: Uuid(1), incarnation: 1, settings: Box::default() },
        Command::CreateNamespace { namespace: spec.namespace.clone() },
        Command::RegisterNode(Box::new(registration)),
        Command::SubmitJob { run: samples::RUN, spec_digest: spec_digest(&spec), spec: Arc::new(spec) },
        Command::AdvanceStep { run: samples::RUN, step: 0, limit: 10 },
        Command::CommitPlan {
            placements: vec![Placement {
                choice: Choice::FIRST,
                gpus: GpuHold::NONE,
                task,
                generation,
                node: node.clone(),
                epoch,
            }],
        },
        Command::ReportAttempts { node, epoch, reports: vec![report] },
    ];
    let mut written = State::default();
    let mut rows: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    for (command, number) in commands.into_iter().zip(1_u64..) {
        let request = RequestKey { id: RequestId(number.to_string().into()), namespace: None, digest: Digest([0; 32]) };
        let item = Item { principal: Principal::controller(), request: (number > 1).then_some(request), command };
        let entry = Entry { stamp: Stamp { wall: Millis(1), term: 1, elapsed_ms: number }, items: vec![item] };
        let applied = quorate_state::apply(&written, Revision(number), &entry);
        assert!(applied.replies.iter().all(Result::is_ok), "{:?}", applied.replies);
        for change in &applied.changes {
            match encode_change(change) {
                RowWrite::Put { key, value } => drop(rows.insert(key, value)),
                RowWrite::Delete { key } => drop(rows.remove(&key)),
                RowWrite::DeleteEventsBelow { .. } | RowWrite::DeleteRange { .. } | RowWrite::All(_) => {}
            }
        }
        written = applied.next;
    }

    let mut specs = SpecCache::default();
    let mut read = State::default();
    for (key, value) in &rows {
        read.commit(&decode_row(key, value, &mut specs).unwrap());
    }
    assert_eq!(read.check(), Vec::<String>::new());
    assert_eq!(content(&read), content(&written));
    let attempt = read.attempt(AttemptId { task, number: 1 }).unwrap();
    assert_eq!(attempt.state, quorate_state::AttemptState::Running);
}

fn content(state: &State) -> String {
    let (meta, settings) = (state.meta(), state.settings());
    let namespaces: Vec<_> = state.namespaces().collect();
    let (jobs, runs): (Vec<_>, Vec<_>) = (state.jobs().collect(), state.runs_newest_first(None).collect());
    let (nodes, clusters): (Vec<_>, Vec<_>) = (state.nodes().collect(), state.clusters().collect());
    let tasks: Vec<_> = state.tasks_of(samples::RUN).collect();
    let attempts: Vec<_> = state.attempts_of_run(samples::RUN).collect();
    let derived = (state.ready().collect::<Vec<_>>(), state.timers().collect::<Vec<_>>());
    format!(
        "{meta:?} {settings:?} {namespaces:?} {jobs:?} {runs:?} {nodes:?} {clusters:?} {tasks:?} {attempts:?} {derived:?}"
    )
}

#[test]
fn what_a_change_removes_is_what_it_wrote() {
    let row = samples::requests().remove(0);
    let RowWrite::Delete { key } = encode_change(&Change::RequestGone(row.key())) else { panic!("not a delete") };
    assert_eq!(put(&Change::Request(Arc::new(row))).unwrap().0, key);
    let RowWrite::DeleteEventsBelow { to } = encode_change(&Change::EventsBelow(Revision(9))) else {
        panic!("not a range");
    };
    assert!(event_key(Revision(8), u32::MAX) < to);
    assert!(event_key(Revision(9), 0) >= to);
}

#[test]
fn runs_of_one_spec_share_it() {
    let mut specs = SpecCache::default();
    let runs: Vec<Arc<quorate_state::Run>> = samples::changes()
        .iter()
        .filter_map(put)
        .filter_map(|(key, value)| match decode_row(&key, &value, &mut specs).unwrap() {
            Change::Run(run) => Some(run),
            _ => None,
        })
        .collect();
    assert!(runs.len() > 1);
    assert!(runs.iter().all(|run| Arc::ptr_eq(&run.spec, &runs[0].spec) && Arc::ptr_eq(&run.graph, &runs[0].graph)));
}

#[test]
fn a_wrong_digest_never_hands_a_run_another_spec() {
    let mut specs = SpecCache::default();
    let (first, second) = (samples::specs().remove(0), samples::specs().remove(1));
    let digest = Digest([1; 32]);
    for (run, spec) in [(RunId(1), &first), (RunId(2), &second)] {
        let (key, value) = put(&Change::Spec(run, digest, Arc::new(spec.clone()))).unwrap();
        assert_eq!(decode_row(&key, &value, &mut specs), Ok(Change::Spec(run, digest, Arc::new(spec.clone()))));
    }
}

#[test]
fn a_run_before_its_spec_is_refused() {
    let run = samples::runs().remove(0);
    let (key, value) = put(&Change::Run(Arc::new(run.clone()))).unwrap();
    assert_eq!(decode_row(&key, &value, &mut SpecCache::default()), Err(FormatError::NoSpec(run.id)));
}

#[test]
fn a_row_with_a_field_of_a_later_version_is_refused() {
    const LATER: [u8; 3] = [0xc0, 0x3e, 1];
    let mut specs = SpecCache::default();
    for change in samples::changes() {
        let Some((key, value)) = put(&change) else { continue };
        let later: Vec<u8> = value.iter().copied().chain(LATER).collect();
        assert_eq!(decode_row(&key, &later, &mut specs), Err(FormatError::Unfaithful("a row")), "{change:?}");
    }
    let (key, value) = encode_event(&samples::events()[0]);
    let later: Vec<u8> = value.iter().copied().chain(LATER).collect();
    assert_eq!(decode_event(&key, &later), Err(FormatError::Unfaithful("an event row")));
}

#[test]
fn the_first_row_says_which_format_all_have() {
    let rows: Vec<(Bytes, Bytes)> = samples::changes().iter().filter_map(put).collect();
    assert_eq!(rows.iter().min_by_key(|(key, _)| key), Some(&rows[0]));
    let mut meta = pb::MetaRow::decode(&*rows[0].1).unwrap();
    meta.format += 1;
    let refused = decode_row(&rows[0].0, &meta.encode_to_vec(), &mut SpecCache::default());
    assert!(matches!(refused, Err(FormatError::Number { found, .. }) if found == meta.format), "{refused:?}");
}

#[test]
fn keys_that_nothing_writes_are_refused() {
    let value = pb::NamespaceRow::default().encode_to_vec();
    for key in [&[][..], &[0], &[99], &[3], b"\x03a", b"\x03a\0", b"\x03a\0\x02", b"\x03\xff\0\x01"] {
        let refused = decode_row(key, &value, &mut SpecCache::default());
        assert_eq!(refused, Err(FormatError::Key(key.to_vec())), "{key:?}");
    }
    let trailing = decode_row(b"\x03a\0\x01b", &value, &mut SpecCache::default());
    assert_eq!(trailing, Err(FormatError::Unfaithful("a row")));
    assert!(matches!(decode_event(b"short", &value), Err(FormatError::Key(_))));
}

#[test]
fn the_bytes_of_format_1_stay_what_they_are() {
    let row = quorate_state::NamespaceRow::new("default".parse().unwrap(), Millis(1));
    let namespace = Change::Namespace(Arc::new(row));
    let (key, value) = put(&namespace).unwrap();
    assert_eq!((&key[..], &value[..]), (&b"\x03default\0\x01"[..], &[0x08, 1][..]));

    let line = |(key, value): (Bytes, Bytes)| format!("{} {}", samples::hex(&key), samples::hex(&value));
    let rows: Vec<String> = samples::changes().iter().filter_map(put).map(line).collect();
    samples::assert_golden("rows-1.hex", &rows);
    let several = samples::changes().into_iter().filter_map(|change| match encode_change(&change) {
        RowWrite::All(writes) => Some(writes),
        RowWrite::Put { .. }
        | RowWrite::Delete { .. }
        | RowWrite::DeleteEventsBelow { .. }
        | RowWrite::DeleteRange { .. } => None,
    });
    let archived = several.flatten().map(|write| match write {
        RowWrite::Put { key, value } => line((key, value)),
        RowWrite::Delete { key } => format!("- {}", samples::hex(&key)),
        RowWrite::DeleteRange { from, to } => format!("- {} .. {}", samples::hex(&from), samples::hex(&to)),
        RowWrite::DeleteEventsBelow { .. } | RowWrite::All(_) => panic!("{write:?} is not of the archive"),
    });
    samples::assert_golden("archive-1.hex", &archived.collect::<Vec<_>>());
    let events: Vec<String> = samples::events().iter().map(encode_event).map(line).collect();
    samples::assert_golden("events-1.hex", &events);
}

#[test]
fn what_was_written_before_there_were_features_is_still_read() {
    let mut specs = SpecCache::default();
    for row in samples::golden("rows-1-before-features.hex") {
        decode_row(&row[0], &row[1], &mut specs).unwrap();
    }
    for row in samples::golden("events-1-before-features.hex") {
        decode_event(&row[0], &row[1]).unwrap();
    }
}

#[test]
fn a_feature_of_a_later_version_stops_the_reader() {
    let later = decode_row(b"\x0d\0\0\x03\xe8", &[], &mut SpecCache::default());
    assert_eq!(later, Err(FormatError::Feature { number: 1_000 }));
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('b'), Just('\u{e4}')], 0..4)
        .prop_map(|chars| chars.into_iter().collect())
}

fn request() -> impl Strategy<Value = RequestRow> {
    let namespace = proptest::option::of("[ab][ab.-]{0,2}");
    (namespace, text(), text()).prop_map(|(namespace, principal, id)| RequestRow {
        namespace: namespace.map(|name| name.parse().unwrap()),
        principal: Principal(principal.into()),
        id: RequestId(id.into()),
        digest: Digest([0; 32]),
        reply: quorate_state::Reply::Done,
        expires_at: Served(0),
    })
}

fn job_key() -> impl Strategy<Value = (String, String)> {
    ("[ab][ab.-]{0,2}", "[ab][ab.-]{0,2}")
}

fn attempt() -> impl Strategy<Value = AttemptId> {
    let small_or_large = || prop_oneof![0..3_u32, Just(256), Just(u32::MAX)];
    let run = prop_oneof![0..3_u64, Just(256), Just(u64::MAX)];
    (run, small_or_large(), small_or_large(), small_or_large())
        .prop_map(|(run, step, index, number)| AttemptId { task: TaskId { run: RunId(run), step, index }, number })
}

proptest! {
    #[test]
    fn keys_of_requests_are_in_the_order_of_their_table(left in request(), right in request()) {
        let key = |row: &RequestRow| put(&Change::Request(Arc::new(row.clone()))).unwrap().0;
        prop_assert_eq!(key(&left).cmp(&key(&right)), left.key().cmp(&right.key()));
        let (key, value) = put(&Change::Request(Arc::new(left.clone()))).unwrap();
        prop_assert_eq!(
            decode_row(&key, &value, &mut SpecCache::default()),
            Ok(Change::Request(Arc::new(left)))
        );
    }

    #[test]
    fn keys_of_jobs_are_in_the_order_of_their_table(left in job_key(), right in job_key()) {
        let key = |(namespace, name): &(String, String)| Key::of(Kind::Job).text(namespace).text(name).done();
        prop_assert_eq!(key(&left).cmp(&key(&right)), left.cmp(&right));
    }

    #[test]
    fn keys_of_attempts_are_in_the_order_of_their_table(left in attempt(), right in attempt()) {
        let key = |id: AttemptId| Key::of(Kind::Attempt).attempt(id).done();
        prop_assert_eq!(key(left).cmp(&key(right)), left.cmp(&right));
    }

    #[test]
    fn keys_of_events_are_in_the_order_of_their_history(
        left in (any::<u64>(), any::<u32>()), right in (any::<u64>(), any::<u32>()),
    ) {
        let key = |(revision, sequence)| event_key(Revision(revision), sequence);
        prop_assert_eq!(key(left).cmp(&key(right)), left.cmp(&right));
    }

    #[test]
    fn numbers_of_any_size_survive(token in any::<u64>(), epoch in any::<u64>(), placed in any::<u64>()) {
        let mut attempt = samples::attempts().remove(3);
        attempt.token = Token(token);
        attempt.epoch = Epoch(epoch);
        attempt.placed_at = Millis(placed);
        let change = Change::Attempt(Arc::new(attempt));
        let (key, value) = put(&change).unwrap();
        prop_assert_eq!(decode_row(&key, &value, &mut SpecCache::default()), Ok(change));
    }

    #[test]
    fn damaged_rows_never_panic(at in any::<usize>(), to in any::<u8>(), which in any::<usize>()) {
        static ROWS: LazyLock<Vec<(Bytes, Bytes)>> =
            LazyLock::new(|| samples::changes().iter().filter_map(put).collect());
        let (key, value) = &ROWS[which % ROWS.len()];
        let mut value = value.to_vec();
        let mut key = key.to_vec();
        if at % 2 == 0 && !value.is_empty() {
            let at = at % value.len();
            value[at] = to;
        } else {
            let at = at % key.len();
            key[at] = to;
        }
        // Either refused, or a row that would be written just so: checked inside.
        let _ = decode_row(&key, &value, &mut SpecCache::default());
    }
}

#[test]
fn what_is_archived_is_read_back_as_it_was() {
    let archived = samples::archived();
    let run = archived.run.id;
    let writes = encode_change(&Change::Archived(Arc::new(archived.clone()))).singles();
    let place = Place::of(archived.run.submitted_revision, archived.run.submitted_item);
    let value_of = |wanted: &Bytes| {
        writes.iter().find_map(|write| match write {
            RowWrite::Put { key, value } if key == wanted => Some(value.clone()),
            RowWrite::Put { .. }
            | RowWrite::Delete { .. }
            | RowWrite::DeleteEventsBelow { .. }
            | RowWrite::DeleteRange { .. }
            | RowWrite::All(_) => None,
        })
    };
    let (from, to) = segment_keys(archived.segment);
    for write in &writes {
        match write {
            RowWrite::Put { key, .. } => assert!(is_archived(key) && (&from..&to).contains(&key)),
            RowWrite::Delete { key } => assert!(!is_archived(key)),
            RowWrite::DeleteEventsBelow { .. } | RowWrite::DeleteRange { .. } | RowWrite::All(_) => panic!("{write:?}"),
        }
    }
    assert_eq!(decode_body(3, run, &value_of(&body_key(3, run)).unwrap()), Ok(archived.clone()));
    let head = decode_head(&value_of(&head_key(3, place)).unwrap()).unwrap();
    assert_eq!((head.run.id, head.run.state, head.counts), (run, archived.run.state, archived.counts()));
    assert_eq!((&head.run.spec.labels, &head.run.spec.name), (&archived.run.spec.labels, &archived.run.spec.name));
    assert_eq!(place_of(&value_of(&id_key(3, run)).unwrap()), Ok(place));
    assert!(value_of(&word_key(3, &Word::State(archived.run.state), place)).is_some());
    assert_eq!(run_of_id_key(&id_key(3, run)), Ok(run));
}

#[test]
fn places_are_in_the_order_of_submits_the_newest_first() {
    let places =
        [(9, 1), (9, 0), (8, u32::MAX), (8, 3), (1, 0)].map(|(revision, item)| Place::of(Revision(revision), item));
    assert!(places.is_sorted());
    assert_eq!(places[0].next(), places[1]);
    assert_eq!(places[1].next(), places[2]);
    assert_eq!(places[2].before(), places[1]);
    assert_eq!(places[1].before(), places[0]);
    assert!(places.iter().all(|place| place.next().before() == *place && Place::NEWEST < *place));
    assert_eq!(places[3].submitted(), (Revision(8), 3));
}
