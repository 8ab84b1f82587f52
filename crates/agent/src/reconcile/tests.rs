//! Reconcile, by scenario: what was said and what runs in, what to do out.

use quorate_state::{Choice, Driver, GpuHold, JobName, Namespace, OnNodeLoss, Resources, RunId, TaskId, TaskName};

use super::*;

/// Attempt `a` is element 0 of the step named by its letter, first try.
fn attempt(name: &str) -> AttemptId {
    let step = u32::from(name.as_bytes()[0] - b'a');
    AttemptId { task: TaskId { run: RunId(1), step, index: 0 }, number: 1 }
}

fn name(attempt: AttemptId) -> char {
    char::from(b'a' + u8::try_from(attempt.task.step).unwrap())
}

/// `a@7` or `a@7!` (should stop).
fn assignment(word: &str) -> Assignment {
    let (which, token) = word.trim_end_matches('!').split_once('@').unwrap();
    Assignment {
        choice: None,
        gpus: GpuHold::NONE,
        attempt: attempt(which),
        token: Token(token.parse().unwrap()),
        namespace: Namespace::new("default").unwrap(),
        job: JobName::new("job").unwrap(),
        task: TaskName::new(which).unwrap(),
        driver: Driver::Process,
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        resources: Resources::ZERO,
        on_node_loss: OnNodeLoss::AtLeastOnce,
        stop: word.ends_with('!'),
        count: 1,
        silent_max: None,
        flaw: None,
        gang: None,
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap()
}

/// Plays a scenario, one line per event, and compares what is done with what the line expects after
/// `=>`. Lines: `full R: a@1 b@2!` · `part R: a@1` · `delta F R: a@1 -b` · `ack R` · `session` · `life N` ·
/// `room N` · `ended a` (no longer wanted by itself) · `forgotten a` (its end was acknowledged).
fn check(scenario: &str) {
    let mut desired = Desired::resume(Seen { incarnation: 1, revision: Revision(0) });
    let mut known: BTreeMap<AttemptId, Known> = BTreeMap::new();
    let mut waiting: BTreeSet<AttemptId> = BTreeSet::new();
    let mut room = usize::MAX;
    for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, expected) = line.split_once("=>").unwrap_or((line, ""));
        let (head, body) = event.split_once(':').unwrap_or((event, ""));
        let head: Vec<&str> = head.split_whitespace().collect();
        let set = || body.split_whitespace().filter(|word| !word.starts_with('-')).map(assignment).collect();
        let taken = match head[0] {
            "full" => desired.take(Revision(number(head[1])), Statement::Full(set())),
            "part" => desired.take(Revision(number(head[1])), Statement::Part(set())),
            "delta" => {
                let removed = body.split_whitespace().filter_map(|word| word.strip_prefix('-')).map(attempt).collect();
                let delta = Statement::Delta { from: Revision(number(head[1])), set: set(), removed };
                desired.take(Revision(number(head[2])), delta)
            }
            "ack" => {
                desired.acknowledged(Revision(number(head[1])));
                Ok(Touched::Some(BTreeSet::new()))
            }
            "session" => {
                desired.session_opened();
                Ok(Touched::Some(BTreeSet::new()))
            }
            "life" => {
                if desired.meet(number(head[1])) {
                    Ok(Touched::Some(BTreeSet::new()))
                } else {
                    Err(Refusal::Older)
                }
            }
            "room" => {
                room = head[1].parse().unwrap();
                Ok(Touched::Some(waiting.clone()))
            }
            "ended" => {
                known.get_mut(&attempt(head[1])).unwrap().wanted = false;
                Ok(Touched::Some(BTreeSet::new()))
            }
            "forgotten" => {
                let gone = attempt(head[1]);
                let token = known.remove(&gone).unwrap().token;
                desired.forget(gone, token);
                Ok(Touched::Some(BTreeSet::from([gone])))
            }
            other => panic!("no such event: {other}"),
        };
        let done = match taken {
            Err(refusal) => format!("{refusal:?}"),
            Ok(touched) => {
                let attempts: BTreeSet<AttemptId> = match touched {
                    Touched::All => desired.attempts().chain(known.keys().copied()).collect(),
                    Touched::Some(some) => some,
                };
                let steps = steps(&desired, |id| known.get(&id).copied(), attempts, room);
                waiting = steps.waiting;
                let mut words: Vec<String> = steps.now.iter().map(|step| carry_out(step, &mut known)).collect();
                words.extend(waiting.iter().map(|attempt| format!("wait {}", name(*attempt))));
                words.join(", ")
            }
        };
        assert_eq!(done, expected.trim(), "at {line:?}");
    }
}

fn carry_out(step: &Step, known: &mut BTreeMap<AttemptId, Known>) -> String {
    match step {
        Step::Start(wanted) => {
            known.insert(wanted.attempt, Known { token: wanted.token, wanted: true });
            format!("start {}", name(wanted.attempt))
        }
        Step::Decline(wanted) => {
            known.insert(wanted.attempt, Known { token: wanted.token, wanted: false });
            format!("decline {}", name(wanted.attempt))
        }
        Step::Disclaim(dropped) => {
            known.insert(dropped.attempt, Known { token: dropped.token, wanted: false });
            format!("disclaim {}", name(dropped.attempt))
        }
        Step::Stop(attempt) => {
            known.get_mut(attempt).unwrap().wanted = false;
            format!("stop {}", name(*attempt))
        }
    }
}

#[test]
fn what_is_wanted_and_missing_starts_once() {
    check(
        "full 10: a@3 b@2 => start b, start a
         full 10: a@3 b@2
         delta 10 12: c@11 => start c
         full 15: a@3 b@2 c@11",
    );
}

#[test]
fn what_is_no_longer_wanted_stops_once() {
    check(
        "full 10: a@3 b@2 => start b, start a
         delta 10 11: -a => stop a
         full 12: => stop b
         full 13:",
    );
}

#[test]
fn a_flag_stops_an_attempt_and_declines_one_that_never_started() {
    check(
        "full 10: a@3 => start a
         delta 10 12: a@3! b@4! => stop a, decline b
         delta 12 13: a@3! b@4!",
    );
}

#[test]
fn a_set_says_nothing_of_attempts_placed_after_it() {
    check(
        "full 10: a@9 => start a
         session
         full 10:  => stop a
         forgotten a
         delta 10 20: b@19 => start b
         session
         life 2
         full 15:
         full 19: => stop b",
    );
}

#[test]
fn an_older_set_is_refused_because_it_could_start_what_has_ended() {
    check(
        "full 10: a@3 => start a
         ended a
         ack 14
         forgotten a
         full 12: a@3 => Older
         session
         full 13: a@3 => Older
         full 14:",
    );
}

#[test]
fn the_set_in_hand_does_not_start_again_what_was_acknowledged() {
    check(
        "full 10: a@3 b@3 => start a, start b
         ended a
         ack 14
         forgotten a
         delta 10 15: b@3!  => stop b",
    );
}

#[test]
fn a_delta_that_does_not_continue_the_set_asks_for_a_full_one() {
    check(
        "delta 5 6: a@1 => Gap
         full 10: => 
         delta 9 12: a@11 => Gap
         delta 10 12: a@11 => start a
         session
         delta 12 13: -a => Gap
         full 13: => stop a",
    );
}

#[test]
fn a_newer_life_of_the_data_starts_afresh_and_an_older_one_is_refused() {
    check(
        "full 1000: a@900 => start a
         life 2
         life 1 => Older
         delta 1000 1001: -a => Gap
         full 50: b@40 => start b",
    );
}

#[test]
fn a_name_reused_with_a_newer_token_waits_until_the_old_one_is_forgotten() {
    check(
        "full 10: a@3 => start a
         full 20: a@19 => stop a
         full 21: a@19
         forgotten a => start a
         full 22: a@3",
    );
}

#[test]
fn starts_beyond_the_room_wait_and_are_not_lost() {
    check(
        "room 2
         full 10: a@5 b@4 c@3 => start c, start b, wait a
         room 0 => wait a
         room 1 => start a
         room 1",
    );
}

#[test]
fn a_set_in_parts_is_taken_once_it_is_whole() {
    check(
        "full 10: a@3 => start a
         part 12: a@3
         part 12: b@11
         full 12: c@11 => start b, start c
         delta 12 13: -c => stop c
         part 14: a@3
         full 14: => stop b",
    );
}

#[test]
fn what_breaks_into_a_set_discards_all_of_it_and_its_rest() {
    // Were the rest taken for a set of its own, `a` would be stopped.
    check(
        "full 10: a@3 b@4 => start a, start b
         part 12: a@3
         delta 10 13: c@11 => Gap
         part 12: b@4
         full 12: => Gap
         full 12: a@3 b@4
         part 14: a@3
         part 15: b@4 => Gap
         full 15: => Gap
         part 16: a@3
         full 17: b@4 => Gap
         full 17: a@3 b@4
         part 18: a@3
         ack 19
         full 18: b@4 => Older
         part 18: a@3 => Older
         full 18: b@4 => Gap
         part 20: a@3
         session
         full 20: a@3 b@4
         part 21: a@3
         life 2
         full 5: b@4 => stop a",
    );
}

#[test]
fn a_set_is_bounded_over_all_its_parts() {
    let element = |index: u32| {
        let task = TaskId { index, ..attempt("a").task };
        Assignment { attempt: AttemptId { task, number: 1 }, ..assignment("a@1") }
    };
    let mut desired = Desired::default();
    let most = (0..SET_MAX as u32).map(element).collect();
    assert_eq!(desired.take(Revision(5), Statement::Part(most)), Ok(Touched::Some(BTreeSet::new())));
    let more = vec![element(u32::MAX)];
    assert_eq!(desired.take(Revision(5), Statement::Full(more)), Err(Refusal::TooLarge));
    assert_eq!(desired.attempts().count(), 0);
}

#[test]
fn what_waits_is_claimed_and_disclaimed_when_it_is_dropped() {
    check(
        "room 1
         full 10: a@3 b@4 c@5 => start a, wait b, wait c
         room 0 => wait b, wait c
         delta 10 11: -b => disclaim b
         full 12: a@3 => disclaim c
         full 13: a@3",
    );
    let mut desired = Desired::default();
    let set = ["a@3", "b@4", "c@5!"].map(assignment).to_vec();
    desired.take(Revision(10), Statement::Full(set)).unwrap();
    desired.session_opened();
    let claims: Vec<_> = desired.claims(|one| one == attempt("a")).collect();
    assert_eq!(
        claims,
        [AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt: attempt("b"), token: Token(4) }]
    );
}
