//! Each property notices the violation that it is for, and only that.

use super::*;

fn done(revision: u64, run: &str) -> Told {
    Told::Done { revision, of_run: run.to_owned() }
}

fn call(begun_us: u64, ended_us: u64, asked: Asked, told: Told) -> Call {
    Call { who: "client-1.1".to_owned(), begun_us, ended_us, asked, told }
}

fn submit(job: &str) -> Asked {
    Asked::Submit { job: job.to_owned() }
}

fn execution(promise: &str, attempt: u32, first_cs: u64, last_cs: u64) -> Execution {
    Execution {
        run: "r1".to_owned(),
        index: 0,
        attempt,
        node: format!("node-{attempt}"),
        promise: promise.to_owned(),
        starts: 1,
        first_cs,
        last_cs,
        has_ended: true,
    }
}

fn watched(events: &[(u64, &str)]) -> Watched {
    let events = events.iter().map(|(revision, event)| (*revision, (*event).to_owned())).collect();
    Watched { who: "client-1.1".to_owned(), run: "r1".to_owned(), from: 10, events }
}

/// One run, accepted, annotated, watched, cancelled after its only attempt, and all is well.
fn well() -> Evidence {
    let run = FinalRun {
        job: "a".to_owned(),
        has_ended: true,
        annotations: BTreeMap::from([("k".to_owned(), "1".to_owned())]),
        attempts: vec![(0, 1, 12, true)],
    };
    let annotate = Asked::Annotate { run: "r1".to_owned(), key: "k".to_owned(), value: "1".to_owned() };
    Evidence {
        calls: vec![
            call(0, 10, submit("a"), done(10, "r1")),
            call(20, 30, annotate, done(15, "r1")),
            call(25, 60, Asked::Cancel { run: "r1".to_owned() }, done(14, "r1")),
            call(40, 50, submit("b"), Told::Unavailable { why: "no quorum".to_owned() }),
        ],
        watched: vec![watched(&[(12, "placed")])],
        replays: vec![watched(&[(12, "placed"), (14, "ended")])],
        executions: vec![execution("fenced", 1, 100, 200)],
        runs: BTreeMap::from([("r1".to_owned(), run)]),
        stalls: Vec::new(),
        digests: vec![(20, "abc".to_owned()); 3],
        deaths: Vec::new(),
    }
}

/// The properties that a change of what is well violates.
fn broken_by(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = well();
    change(&mut evidence);
    judge(&evidence).into_iter().map(|(name, _)| name.split(' ').next().unwrap_or("")).collect()
}

fn run(evidence: &mut Evidence) -> &mut FinalRun {
    evidence.runs.get_mut("r1").unwrap()
}

#[test]
fn what_is_well_breaks_nothing() {
    assert_eq!(broken_by(|_| {}), [""; 0]);
}

#[test]
fn what_was_accepted_must_be_there() {
    assert_eq!(broken_by(|e| run(e).has_ended = false), ["C8"]);
    assert_eq!(broken_by(|e| run(e).annotations.clear()), ["C8"]);
    assert!(broken_by(|e| e.runs.clear()).contains(&"C8"));
}

#[test]
fn what_was_not_done_must_not_be_there_and_nothing_twice() {
    let again = |e: &mut Evidence, job: &str| {
        let run = FinalRun { job: job.to_owned(), ..e.runs["r1"].clone() };
        e.runs.insert("r2".to_owned(), run);
    };
    assert_eq!(broken_by(|e| again(e, "a")), ["C9"]);
    assert_eq!(broken_by(|e| again(e, "b")), ["C9"]);
    assert_eq!(broken_by(|e| again(e, "of somebody else")), [""; 0]);
}

#[test]
fn an_answer_from_the_past_is_noticed_and_one_that_overlaps_is_none() {
    let get = |begun, ended| call(begun, ended, Asked::Get { run: "r1".to_owned() }, done(14, "r1"));
    assert_eq!(broken_by(|e| e.calls.push(get(31, 40))), ["R1"]);
    assert_eq!(broken_by(|e| e.calls.push(get(29, 40))), [""; 0]);
}

#[test]
fn a_watch_must_be_the_beginning_of_its_replay() {
    assert_eq!(broken_by(|e| e.watched[0] = watched(&[(14, "ended")])), ["R3"]);
    assert_eq!(broken_by(|e| e.replays[0] = watched(&[])), ["R3"]);
}

#[test]
fn a_placement_after_the_cancel_is_noticed() {
    assert_eq!(broken_by(|e| run(e).attempts.push((0, 2, 15, false))), ["P8"]);
    assert_eq!(broken_by(|e| run(e).attempts.push((0, 2, 14, false))), [""; 0]);
}

#[test]
fn copies_are_noticed_unless_their_agent_stood_still() {
    let second = |promise: &'static str, first_cs: u64| {
        move |e: &mut Evidence| {
            e.executions = vec![execution(promise, 1, 100, 200), execution(promise, 2, first_cs, 300)];
        }
    };
    assert_eq!(broken_by(second("fenced", 199)), ["P2"]);
    assert_eq!(broken_by(second("fenced", 201)), [""; 0]);
    assert_eq!(broken_by(second("at_least_once", 199)), [""; 0]);
    assert_eq!(broken_by(second("at_most_once", 201)), ["P2"]);
    let stalled = |e: &mut Evidence| {
        second("fenced", 199)(e);
        e.stalls.push(("node-1".to_owned(), 150, 180));
    };
    assert_eq!(broken_by(stalled), [""; 0]);
    assert_eq!(broken_by(|e| e.executions[0].starts = 2), ["P2"]);
}

#[test]
fn a_success_that_nobody_wrote_down_is_noticed() {
    assert_eq!(broken_by(|e| e.executions[0].has_ended = false), ["Attempts"]);
}

#[test]
fn replicas_that_differ_or_die_are_noticed() {
    assert_eq!(broken_by(|e| e.digests[1].1 = "abd".to_owned()), ["C6"]);
    assert_eq!(broken_by(|e| e.deaths.push("replica-1 ended".to_owned())), ["C6"]);
}
