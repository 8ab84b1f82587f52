//! Each property notices the violation that it is for, and only that.

use super::*;

fn done(revision: u64, run: &str) -> Told {
    Told::Done { revision, of_run: run.to_owned() }
}

fn call(begun_us: u64, ended_us: u64, asked: Asked, told: Told) -> Call {
    Call { who: "client-1.1".to_owned(), begun_us, ended_us, asked, told, answer: Vec::new() }
}

fn submit(job: &str) -> Asked {
    Asked::Submit { job: job.to_owned() }
}

/// The attempt of this number, with the token of its placement.
fn execution(promise: &str, attempt: u32, first_us: u64, last_us: u64) -> Execution {
    Execution {
        run: "r1".to_owned(),
        index: 0,
        attempt,
        token: if attempt == 1 { 12 } else { 13 },
        node: format!("node-{attempt}"),
        promise: promise.to_owned(),
        starts: 1,
        first_us,
        last_us,
        alone_us: last_us,
        children_us: last_us,
        has_left: attempt == 1,
        has_ended: true,
    }
}

fn taken(lines: &[(u64, &str)]) -> Taken {
    let lines = lines.iter().map(|(token, key)| (*token, (*key).to_owned())).collect();
    Taken::from([("r1-0".to_owned(), lines)])
}

fn affair(cause: Cause, node: Option<&str>, from_us: u64, to_us: u64) -> Affair {
    Affair { cause, node: node.map(str::to_owned), from_us, to_us }
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
        attempts: vec![(0, 1, 12, End::Succeeded)],
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
        taken: taken(&[(12, "claim"), (12, "r1-0/end")]),
        affairs: Vec::new(),
        struck: Vec::new(),
        stillness: Vec::new(),
        digests: vec![(20, "abc".to_owned()); 3],
        deaths: Vec::new(),
    }
}

/// The properties that a change of what is well violates.
fn broken_by(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = well();
    change(&mut evidence);
    let broken = judge(&evidence).into_iter().filter(|judged| judged.violations > 0);
    broken.map(|judged| judged.name.split(' ').next().unwrap_or("")).collect()
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
    assert_eq!(broken_by(|e| run(e).attempts.push((0, 2, 15, End::Lost))), ["P8"]);
    assert_eq!(broken_by(|e| run(e).attempts.push((0, 2, 14, End::Lost))), [""; 0]);
}

/// A second copy, which the cluster placed.
fn second(e: &mut Evidence, promise: &str, first_us: u64) {
    e.executions = vec![execution(promise, 1, 100, 200), execution(promise, 2, first_us, 300)];
    e.executions[0].has_ended = false;
    run(e).attempts = vec![(0, 1, 12, End::Lost), (0, 2, 13, End::Succeeded)];
    e.taken = taken(&[(12, "claim"), (13, "r1-0/end")]);
}

#[test]
fn copies_are_noticed_unless_the_machine_stood_still() {
    assert_eq!(broken_by(|e| second(e, "fenced", 199)), ["P2"]);
    assert_eq!(broken_by(|e| second(e, "fenced", 201)), [""; 0]);
    assert_eq!(broken_by(|e| second(e, "at_least_once", 199)), [""; 0]);
    assert_eq!(broken_by(|e| second(e, "at_most_once", 201)), ["P2"]);
    let stood = |e: &mut Evidence| {
        second(e, "fenced", 199);
        e.stillness.push((150, 180));
        assert_eq!(waived(e), 1);
    };
    assert_eq!(broken_by(stood), [""; 0]);
    assert_eq!(broken_by(|e| e.executions[0].starts = 2), ["P2"]);
}

#[test]
fn a_third_copy_that_meets_the_first_is_noticed() {
    let third = |e: &mut Evidence| {
        second(e, "fenced", 210);
        e.executions[0].last_us = 500;
        e.executions[1].last_us = 220;
        e.executions.push(Execution { token: 14, ..execution("fenced", 3, 490, 600) });
        run(e).attempts.push((0, 3, 14, End::Lost));
    };
    assert_eq!(broken_by(third), ["P2"]);
    let mut evidence = well();
    third(&mut evidence);
    assert_eq!(copies::fenced(&evidence).len(), 2, "each of the later ones");
}

#[test]
fn tokens_that_fall_or_are_not_those_of_the_placement_are_noticed() {
    assert_eq!(broken_by(|e| run(e).attempts.push((0, 2, 11, End::Lost))), ["P1"]);
    assert_eq!(broken_by(|e| e.executions[0].token = 11), ["P1"]);
    assert_eq!(broken_by(|e| e.executions[0].attempt = 7), ["P1", "Attempts"], "it was never placed");
}

#[test]
fn a_late_writer_that_the_sink_took_is_noticed() {
    assert_eq!(broken_by(|e| e.taken = taken(&[(12, "claim"), (11, "late"), (12, "r1-0/end")])), ["P2"]);
    assert_eq!(broken_by(|e| e.taken = taken(&[(12, "r1-0/end"), (13, "claim")])), ["P2"], "it had no last word");
}

#[test]
fn pairs_are_counted_by_what_befell_the_first_copy() {
    let mut evidence = well();
    second(&mut evidence, "fenced", 201);
    let row = |evidence: &Evidence, cause: Cause| {
        let row = table(evidence).into_iter().find(|row| row.cause == cause).unwrap();
        (row.pairs, row.gap_us_min)
    };
    assert_eq!(row(&evidence, Cause::Other), (1, Some(1)));
    evidence.affairs = vec![
        affair(Cause::AgentKilled, Some("node-1"), 150, 400),
        affair(Cause::AgentPaused, Some("node-2"), 150, 400),
        affair(Cause::AgentCut, Some("node-1"), 202, 400),
        affair(Cause::LeaderTransferred, None, 110, 120),
    ];
    assert_eq!(row(&evidence, Cause::AgentKilled), (1, Some(1)));
    assert_eq!(row(&evidence, Cause::AgentPaused), (0, None), "that was the other one's");
    assert_eq!(row(&evidence, Cause::AgentCut), (0, None), "that came too late");
    assert_eq!(row(&evidence, Cause::LeaderTransferred), (1, Some(1)));
    assert_eq!(row(&evidence, Cause::Other), (0, None));
    second(&mut evidence, "fenced", 190);
    assert_eq!(row(&evidence, Cause::AgentKilled), (1, Some(-10)), "they overlapped");
    run(&mut evidence).attempts[0].3 = End::Other;
    assert_eq!(
        (row(&evidence, Cause::AgentKilled), row(&evidence, Cause::Other)),
        ((0, None), (1, Some(-10))),
        "it failed"
    );
    evidence.executions[0].has_ended = true;
    assert_eq!(row(&evidence, Cause::Other), (0, None), "it came to its own end");
}

#[test]
fn a_child_that_outlives_its_attempt_is_noticed_unless_the_attempt_was_only_stopped() {
    let late = |e: &mut Evidence, by_us: u64| e.executions[0].children_us = e.executions[0].alone_us + by_us;
    assert_eq!(broken_by(|e| late(e, 2_000_000)), [""; 0]);
    assert_eq!(broken_by(|e| late(e, 2_000_001)), ["P2"]);
    let stopped = |e: &mut Evidence, attempt: u32, by_us: u64| {
        late(e, by_us);
        e.struck.push(Struck { run: "r1".to_owned(), index: 0, attempt, stopped_until_us: 5_000_000 });
    };
    assert_eq!(broken_by(|e| stopped(e, 1, 6_000_000)), [""; 0]);
    assert_eq!(broken_by(|e| stopped(e, 1, 8_000_000)), ["P2"], "it went on, and was over");
    assert_eq!(broken_by(|e| stopped(e, 2, 6_000_000)), ["P2"], "another one was");
    assert_eq!(
        broken_by(|e| {
            late(e, 8_000_000);
            e.stillness = vec![(1_000, 7_000_000)];
        }),
        [""; 0],
        "nobody could kill it"
    );
}

#[test]
fn an_at_most_once_task_that_somebody_ended_or_whose_end_is_lost_is_noticed() {
    /// The run of one such task, which nobody has cancelled.
    fn once(e: &mut Evidence, has_ended: bool, end: End) {
        e.calls.retain(|call| !matches!(call.asked, Asked::Cancel { .. }));
        e.executions = vec![Execution { has_ended, ..execution("at_most_once", 1, 100, 200) }];
        run(e).attempts = vec![(0, 1, 12, end)];
    }
    assert_eq!(broken_by(|e| once(e, true, End::Succeeded)), [""; 0]);
    assert_eq!(broken_by(|e| once(e, true, End::Lost)), ["P14"]);
    assert_eq!(broken_by(|e| once(e, true, End::Other)), ["P14"]);
    assert_eq!(broken_by(|e| once(e, false, End::Other)), ["P14"]);
    let struck = |e: &mut Evidence, of_run: &str| {
        once(e, false, End::Other);
        e.struck.push(Struck { run: of_run.to_owned(), index: 1, attempt: 1, stopped_until_us: 0 });
    };
    assert_eq!(broken_by(|e| struck(e, "r1")), [""; 0], "one of its run was");
    assert_eq!(broken_by(|e| struck(e, "r2")), ["P14"]);
    let cancelled = |e: &mut Evidence| {
        let calls = e.calls.clone();
        once(e, false, End::Other);
        e.calls = calls;
    };
    assert_eq!(broken_by(cancelled), [""; 0]);
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
