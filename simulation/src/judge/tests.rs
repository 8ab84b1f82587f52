//! Stores that a replica could have left, in a real RocksDB, and what is found in those that none should.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use quorate_disk::RocksDisk;
use quorate_proto::log::encode_entry;
use quorate_proto::raft::v1 as pb;
use quorate_proto::rows::{RowWrite, encode_change};
use quorate_proto::v1;
use quorate_seams::{Batch, Disk as _, Durability, Table};
use quorate_state::{AttemptId, AttemptPhase, OnFailure, RunId, TaskId};
use tempfile::TempDir;

use super::*;
use crate::oracles::hand::{Hand, task};
use crate::scratch;

/// A history with what was seen of it.
struct Recording {
    hand: Hand,
    /// A tick of the clock by which things were seen.
    now_us: u64,
    seen: String,
}

impl Recording {
    /// One node that has, by truth, room for one task, and says so.
    fn new() -> Self {
        let seen = "{\"node\": {\"name\": \"n1\", \"region\": \"eu\", \"cluster\": \"c1\", \
                    \"cpu_milli\": 1000, \"memory_bytes\": 1073741824}}\n";
        Self { hand: Hand::new(1), now_us: 1_000_000, seen: seen.to_owned() }
    }

    fn tick(&mut self) -> u64 {
        self.now_us += 1_000_000;
        self.now_us
    }

    /// A job of so many tasks, whose client is told that it is accepted.
    fn submit(&mut self, count: u32) -> RunId {
        let called_us = self.tick();
        let mut spec = task("a", &[]);
        spec.count = count;
        let run = self.hand.submit(OnFailure::Finish, vec![spec]);
        let revision = self.hand.state.revision().0;
        let (job, window_ms) = {
            let row = self.hand.state.run(run).unwrap();
            (row.spec.name.to_string(), self.hand.state.settings().unwrap().request_window_ms)
        };
        let answer =
            v1::SubmitJobResponse { run_id: run.to_string(), version: 1, revision, request_window_ms: window_ms };
        self.answered(called_us, &format!("{{\"submit\": \"{job}\"}}"), &answer.encode_to_vec());
        run
    }

    fn answered(&mut self, called_us: u64, ask: &str, answer: &[u8]) {
        let at_us = self.tick();
        let digits: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(
            self.seen,
            "{{\"call\": {{\"session\": 0, \"called_us\": {called_us}, \"at_us\": {at_us}, \"ask\": {ask}, \
             \"heard\": {{\"answer\": \"{digits}\"}}}}}}"
        );
    }

    /// A task is placed and starts.
    fn start(&mut self, run: RunId, index: u32) -> (AttemptId, u64) {
        let attempt = self.hand.place(TaskId { run, step: 0, index }, "n1");
        let started_us = self.tick();
        self.hand.report(attempt, AttemptPhase::Running, None);
        (attempt, started_us)
    }

    /// It ends well.
    fn end(&mut self, (attempt, started_us): (AttemptId, u64)) {
        let ended_us = self.tick();
        let token = self.hand.state.attempt(attempt).unwrap().token;
        let AttemptId { task: TaskId { run, step, index }, number } = attempt;
        let _ = writeln!(
            self.seen,
            "{{\"execution\": {{\"node\": \"n1\", \"run\": \"{run}\", \"step\": {step}, \"index\": {index}, \
             \"number\": {number}, \"token\": {token}, \"promise\": \"at_least_once\", \
             \"started_us\": {started_us}, \"ended_us\": {ended_us}, \"code\": 0}}}}"
        );
        self.hand.report(attempt, AttemptPhase::Ended, Some(0));
    }

    /// A job of two tasks, one after the other, from its submit to its end.
    fn well() -> Self {
        let mut recording = Self::new();
        let run = recording.submit(2);
        for index in 0..2 {
            let ran = recording.start(run, index);
            recording.end(ran);
        }
        recording.hand.advance(run);
        recording
    }

    /// Stored entries, from the founding of the cluster on.
    fn log(&self) -> Vec<Bytes> {
        let voters = pb::Voters { replicas: vec![1] };
        let founding = pb::Membership { configs: vec![voters], peers: vec![] };
        let payloads = self.hand.steps().map(|step| match &step.entry {
            Some(entry) => pb::log_entry::Payload::Normal(encode_entry(entry)),
            None => pb::log_entry::Payload::Blank(pb::Blank {}),
        });
        let payloads = std::iter::once(pb::log_entry::Payload::Membership(founding)).chain(payloads);
        let entry =
            |(index, payload)| pb::LogEntry { log_id: Some(pb::LogId { term: 1, index }), payload: Some(payload) };
        (0..).zip(payloads).map(|it| entry(it).encode_to_vec().into()).collect()
    }

    /// A replica's store with this log, in which the rows are those of the history.
    fn leave(&self, log: &[Bytes]) -> TempDir {
        let directory = scratch::directory("judged-").unwrap();
        let mut batch = Batch::default();
        for (index, entry) in (0_u64..).zip(log).filter(|(_, entry)| !entry.is_empty()) {
            batch.put(Table::Log, index.to_be_bytes().to_vec(), entry.clone());
        }
        let last = pb::LogId { term: 1, index: log.len() as u64 - 1 };
        let applied = pb::Applied { log_id: Some(last), ..Default::default() };
        let identity = pb::Identity { replica: 1, ..Default::default() };
        batch.put(Table::Raft, &b"applied"[..], applied.encode_to_vec());
        batch.put(Table::Raft, &b"identity"[..], identity.encode_to_vec());
        for change in self.hand.steps().flat_map(|step| &step.changes) {
            for write in encode_change(change).singles() {
                match write {
                    RowWrite::Put { key, value } => batch.put(Table::State, key, value),
                    RowWrite::Delete { key } => batch.delete(Table::State, key),
                    RowWrite::DeleteRange { from, to } => batch.delete_range(Table::State, from, to),
                    RowWrite::DeleteEventsBelow { .. } | RowWrite::All(_) => {}
                }
            }
        }
        let disk = RocksDisk::open(directory.path()).unwrap();
        let written = disk.submit(batch, Durability::Synced);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(written).unwrap();
        directory
    }

    fn witnesses(&self) -> Witnesses {
        let end_us = self.now_us + 60_000_000;
        let cluster = format!(
            "{{\"cluster\": {{\"election_ms_max\": 1000, \"healed_us\": {}, \"end_us\": {end_us}}}}}",
            self.now_us
        );
        Witnesses::parse(&format!("{}{cluster}\n", self.seen)).unwrap()
    }
}

fn read(directory: &TempDir) -> Store {
    Store::read(directory.path()).unwrap()
}

/// Properties that did not hold, with what was said.
fn violations(judgement: &Judgement) -> Vec<(&str, &str)> {
    let judged = judgement.properties.iter();
    judged.filter_map(|judged| Some((judged.property, judged.violation.as_deref()?))).collect()
}

#[track_caller]
fn check(recording: &Recording, log: &[Bytes], expected: &[(&str, &str)]) {
    let judgement = judge(&[read(&recording.leave(log))], Some(&recording.witnesses()));
    let found = violations(&judgement);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((property, what), (wanted, words)) in found.iter().zip(expected) {
        assert!(property == wanted && what.contains(words), "{found:#?}");
    }
    assert_eq!(judgement.verdict, if expected.is_empty() { Word::Held } else { Word::Violated });
}

#[test]
fn what_a_replica_should_leave_holds_and_is_judged_by_all_who_can() {
    let recording = Recording::well();
    let log = recording.log();
    check(&recording, &log, &[]);
    let judgement = judge(&[read(&recording.leave(&log))], Some(&recording.witnesses()));
    assert_eq!((judgement.entries, judgement.facts), (log.len(), 5));
    let all = |left_out: &[LeftOut]| -> usize { left_out.iter().filter(|left| !left.property.contains(',')).count() };
    let of_ledger = 4;
    assert_eq!(judgement.properties.len() - of_ledger + all(&judgement.left_out), oracles::all().len());
    let alone = judge(&[read(&recording.leave(&log))], None);
    assert_eq!((alone.verdict, alone.facts), (Word::Held, 0));
    assert_eq!(alone.properties.len() - of_ledger + all(&alone.left_out), oracles::all().len());
}

#[test]
fn every_oracle_judges_real_stores_or_says_what_it_lacks() {
    let mut known: Vec<&str> = oracles::all().iter().map(|oracle| oracle.id()).collect();
    let judging = [oracles::of_log(), oracles::of_log_and_witnesses(), oracles::of_witnesses()];
    let mut named: Vec<&str> = judging.iter().flatten().map(|oracle| oracle.id()).collect();
    named.extend(oracles::OF_SIMULATIONS.map(|(property, _)| property));
    known.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, known);
}

#[test]
fn a_log_that_is_not_whole_shows_nothing() {
    let recording = Recording::well();
    for (lacking, words) in [(0, "lacks entry 0 of"), (4, "lacks entry 4 of")] {
        let mut log = recording.log();
        log[lacking] = Bytes::new();
        let judgement = judge(&[read(&recording.leave(&log))], Some(&recording.witnesses()));
        assert_eq!((judgement.verdict, judgement.properties.len()), (Word::Invalid, 0));
        assert!(judgement.invalid.unwrap().contains(words));
    }
    assert!(Store::read(Path::new("/nowhere")).is_err());
}

#[test]
fn another_replica_may_have_let_go_of_its_log_but_not_have_another_one() {
    let recording = Recording::well();
    let log = recording.log();
    let whole = recording.leave(&log);
    let mut tail = log.clone();
    tail[..5].fill(Bytes::new());
    let cut = recording.leave(&tail);
    let judgement = judge(&[read(&cut), read(&whole)], Some(&recording.witnesses()));
    assert_eq!(violations(&judgement), []);
    let index = tail.len() - 2;
    tail[index] = pb::LogEntry {
        log_id: Some(pb::LogId { term: 1, index: index as u64 }),
        payload: Some(pb::log_entry::Payload::Blank(pb::Blank {})),
    }
    .encode_to_vec()
    .into();
    let judgement = judge(&[read(&recording.leave(&tail)), read(&whole)], Some(&recording.witnesses()));
    assert!(matches!(violations(&judgement)[..], [("C2", what)] if what.contains("replica r1 applied another entry")));
}

/// The replica applied one entry, and its log says another.
#[test]
fn an_entry_that_was_doctored_afterwards_gives_other_rows() {
    let (recording, mut other) = (Recording::well(), Recording::new());
    let run = other.submit(3);
    other.start(run, 0);
    let (mut log, others) = (recording.log(), other.log());
    let submitted = (0..log.len()).find(|at| log[*at] != others[*at]).unwrap();
    log[submitted] = others[submitted].clone();
    let judgement = judge(&[read(&recording.leave(&log))], None);
    let found = violations(&judgement);
    assert!(
        found.iter().any(|(property, what)| *property == "C6" && what.contains("not those of the history")),
        "{found:?}"
    );
}

/// The log says that the node has room for two, and so both are placed; by truth it has room for one.
#[test]
fn a_placement_that_takes_a_machine_above_what_it_has_is_found() {
    let mut recording = Recording::new();
    recording.hand.register_with("n1", 1_200, vec![]);
    let run = recording.submit(2);
    let (one, other) = (recording.start(run, 0), recording.start(run, 1));
    recording.end(one);
    recording.end(other);
    recording.hand.advance(run);
    check(&recording, &recording.log(), &[("P3", "n1 runs")]);
}

#[test]
fn a_client_that_was_told_what_is_not_so_is_believed() {
    let mut recording = Recording::well();
    let called_us = recording.tick();
    let revision = recording.hand.state.revision().0;
    let answer = v1::SubmitJobResponse {
        run_id: RunId(77).to_string(),
        version: 1,
        revision,
        request_window_ms: recording.hand.state.settings().unwrap().request_window_ms,
    };
    recording.answered(called_us, "{\"submit\": \"lost\"}", &answer.encode_to_vec());
    let said = format!("revision {revision} does not say that run");
    check(&recording, &recording.log(), &[("C8", &said), ("R1", "the history answers")]);
}

#[test]
fn a_task_that_ran_elsewhere_than_it_was_placed_is_found() {
    let mut recording = Recording::well();
    recording.seen = recording.seen.replace("\"execution\": {\"node\": \"n1\"", "\"execution\": {\"node\": \"n2\"");
    recording.seen += &recording.seen.lines().next().unwrap().replace("n1", "n2");
    recording.seen += "\n";
    check(&recording, &recording.log(), &[("P2", "it was placed on n1")]);
}

#[test]
fn a_success_that_nobody_has_seen_is_found() {
    let mut recording = Recording::well();
    recording.seen = recording.seen.replace("\"code\": 0", "\"code\": 1");
    check(&recording, &recording.log(), &[("P2", "succeeded without having run to its end")]);
}

#[test]
fn lines_that_make_no_sense_are_named() {
    for (line, words) in [
        ("{}", "line 2"),
        ("{\"stall\": {\"from_us\": 1}}", "to_us"),
        (
            "{\"watch\": {\"number\": 1, \"run\": \"\", \"at_us\": 1, \"what\": {\"message\": \"0g\"}}}",
            "no hexadecimal",
        ),
    ] {
        let why =
            Witnesses::parse(&format!("{{\"stall\": {{\"from_us\": 1, \"to_us\": 2}}}}\n{line}\n")).err().unwrap();
        assert!(why.contains(words) && why.starts_with("line 2"), "{why}");
    }
}

/// The replica and the replay have the same bug, so that nothing differs: the books of the oracle do.
#[cfg(feature = "planted")]
#[test]
fn a_bug_that_the_replay_has_too_is_found_by_who_keeps_books_of_its_own() {
    let _planted = crate::run::Planted::new(Some(quorate_planted::Bug::CapacityUnchecked));
    let mut recording = Recording::new();
    let run = recording.submit(2);
    let (one, other) = (recording.start(run, 0), recording.start(run, 1));
    recording.end(one);
    recording.end(other);
    recording.hand.advance(run);
    let judgement = judge(&[read(&recording.leave(&recording.log()))], None);
    let found = violations(&judgement);
    assert!(matches!(found[..], [("P3", what), ..] if what.contains("takes n1 to")), "{found:?}");
}
