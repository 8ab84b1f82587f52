//! The scheduler's properties on histories made by hand: what is right passes all of them, and each
//! wrong thing is caught by the one that it is for.

use std::time::Duration;

use quorate_proto::v1;
use quorate_state::{
    Attempt, AttemptClaim, AttemptId, AttemptPhase, AttemptState, Change, Choice, Command, Exit, GpuHold, NodeName,
    OnFailure, OnNodeLoss, Reply, ReportOutcome, Resources, Revision, StopReason, Task, TaskId, TaskSpec, TaskState,
    Token,
};

use super::hand::{Hand, task};
use super::{
    Verdict, all, p1_tokens, p2_copies, p2_lease_over, p3_capacity, p4_conservation, p6_transitions, p7_order,
    p8_cancel, p9_retries, p9_timeouts, p12_place, p13_brake, p14_reasons, plan,
};
use crate::facts::{Answer, Execution, Fact, Happening, Operation, Outcome, Request};
use crate::scenario::Class;

mod conditions;
mod control;
mod flow;
mod gpus;
mod homes;
mod outcomes;
mod preemption;
mod quota;
mod restarts;
mod shares;
mod sub_runs;
mod transitions;
mod upkeep;
mod urgency;

fn caught(verdict: Verdict, words: &str) {
    match verdict {
        Ok(()) => panic!("not caught: {words}"),
        Err(what) => assert!(what.contains(words), "{what}"),
    }
}

fn holds(hand: &Hand) {
    // The others judge disks and clients, which a hand does not have.
    for mut oracle in all() {
        if !oracle.id().starts_with('P') && oracle.id() != "C6" {
            continue;
        }
        assert_eq!(hand.judge_with(&mut *oracle), Ok(()), "{}", oracle.id());
    }
}

fn row(hand: &Hand, attempt: AttemptId) -> Attempt {
    (**hand.state.attempt(attempt).unwrap()).clone()
}

fn forge(hand: &mut Hand, attempt: Attempt) {
    hand.forge(vec![Change::Attempt(attempt.into())]);
}

fn forge_task(hand: &mut Hand, task: TaskId, state: TaskState) {
    let row = (**hand.state.task(task).unwrap()).clone();
    hand.forge(vec![Change::Task(Task { state, generation: row.generation + 1, ..row }.into())]);
}

fn cancelled(hand: &mut Hand, task: TaskId) {
    hand.commit(Command::CancelRun { run: task.run });
    let answer =
        v1::CancelRunResponse { run_id: task.run.to_string(), ended_before: false, revision: hand.state.revision().0 };
    hand.fact(Fact::Operation(
        Operation {
            session: 0,
            called: std::time::Duration::ZERO,
            request: Request::Cancel { request_id: "x".into(), job: "job".into() },
            outcome: Outcome::Answered(Answer::Cancelled(answer)),
        }
        .into(),
    ));
}

#[test]
fn ordinary_histories_violate_nothing() {
    let mut hand = Hand::new(5);
    // A chain with a retry.
    let mut first = task("a", &[]);
    first.retry.attempts = 2;
    let run = hand.submit(OnFailure::Finish, vec![first, task("b", &["a"])]);
    let [a, b] = [0, 1].map(|step| TaskId { run, step, index: 0 });
    let one = hand.place(a, "n1");
    hand.runs(one);
    hand.ends(one, 1);
    hand.pass(2_000);
    hand.fire();
    let two = hand.place(a, "n1");
    hand.runs(two);
    hand.ends(two, 0);
    hand.advance(run);
    let three = hand.place(b, "n2");
    hand.runs(three);
    hand.ends(three, 0);
    hand.advance(run);

    // A failed run: what needs the failed task is skipped.
    let run = hand.submit(OnFailure::Finish, vec![task("a", &[]), task("b", &["a"])]);
    let four = hand.place(TaskId { run, step: 0, index: 0 }, "n1");
    hand.runs(four);
    hand.ends(four, 1);
    hand.advance(run);

    // A cancelled one, whose task is asked to end.
    let five = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let attempt = hand.place(five, "n1");
    hand.runs(attempt);
    cancelled(&mut hand, five);
    hand.advance(five.run);
    hand.executor(attempt, Happening::Asked);
    hand.executor(attempt, Happening::Killed);
    hand.executor(attempt, Happening::Ended { exit: Some(Exit::Signal(9)) });
    hand.report(attempt, AttemptPhase::Ended, None);
    hand.advance(five.run);

    // A node is lost: its fenced task waits and moves, its plain one comes back under its old token.
    let fenced = hand.submit_one(OnNodeLoss::Fenced);
    let plain = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let (old, kept) = (hand.place(fenced, "n2"), hand.place(plain, "n3"));
    hand.runs(old);
    hand.runs(kept);
    hand.fact(Fact::Fault { class: Class::Partition, what: "n2 and n3".into() });
    hand.pass(9_000);
    hand.executor(old, Happening::Killed);
    hand.executor(old, Happening::Ended { exit: None });
    hand.pass(6_000);
    hand.expire(&["n2", "n3"]);
    hand.pass(4_000);
    hand.fire();
    let new = hand.place(fenced, "n4");
    hand.runs(new);
    let claim =
        AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt: kept, token: row(&hand, kept).token };
    hand.register("n3", vec![claim]);
    hand.ends(kept, 0);
    hand.register("n2", vec![]);
    hand.ends(new, 0);
    [fenced, plain].into_iter().for_each(|task| hand.advance(task.run));
    assert_eq!(hand.state.unfinished_count(), 0);
    hand.pass(100_000);
    holds(&hand);
}

#[test]
fn p1_a_token_that_does_not_rise_or_changes_hands_is_caught() {
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    let first = row(&hand, one);
    let second = AttemptId { number: 2, ..one };
    forge(&mut hand, Attempt { id: second, ..first.clone() });
    caught(hand.judge(p1_tokens::Tokens::default()), "was placed at revision");

    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    let elsewhere = Attempt { node: "n2".parse().unwrap(), ..row(&hand, one) };
    forge(&mut hand, elsewhere);
    caught(hand.judge(p1_tokens::Tokens::default()), "had token");
}

#[test]
fn p2_copies_that_must_not_be_are_caught() {
    let fresh = p2_copies::Copies::default;
    // Two live ones in the state.
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    let second = AttemptId { number: 2, ..one };
    let twin = Attempt { id: second, token: Token(99), ..row(&hand, one) };
    forge(&mut hand, twin);
    caught(hand.judge(fresh()), "is live beside attempt 1");

    // The same attempt twice.
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.executor(one, Happening::Ended { exit: None });
    hand.executor(one, Happening::Started);
    caught(hand.judge(fresh()), "for the second time");

    // Elsewhere.
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let attempt = hand.place(task, "n1");
    let (node, token): (NodeName, _) = ("n2".parse().unwrap(), row(&hand, attempt).token);
    let promise = OnNodeLoss::AtLeastOnce;
    let execution =
        Execution { node, attempt, token, promise, words: None, gpus: GpuHold::NONE, what: Happening::Started };
    hand.fact(Fact::Execution(execution));
    caught(hand.judge(fresh()), "it was placed on n1");

    // Without having run.
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.report(one, AttemptPhase::Ended, Some(0));
    caught(hand.judge(fresh()), "without having run");
}

/// A task whose first copy runs on while its node is lost and a second one starts; then `also`.
fn two_copies(promise: OnNodeLoss, also: impl FnOnce(&mut Hand, AttemptId, AttemptId)) -> Hand {
    let mut hand = Hand::new(2);
    let task = hand.submit_one(promise);
    let old = hand.place(task, "n1");
    hand.runs(old);
    hand.fact(Fact::Fault { class: Class::Partition, what: "n1".into() });
    hand.pass(15_000);
    hand.expire(&["n1"]);
    hand.pass(4_000);
    hand.fire();
    let new = hand.place(task, "n2");
    also(&mut hand, old, new);
    hand
}

#[test]
fn p2_only_fenced_copies_must_not_overlap() {
    let overlap = |hand: &mut Hand, _, new| hand.runs(new);
    let hand = two_copies(OnNodeLoss::AtLeastOnce, overlap);
    assert_eq!(hand.judge(p2_copies::Copies::default()), Ok(()));
    let mut hand = two_copies(OnNodeLoss::Fenced, overlap);
    caught(hand.judge(p2_copies::Copies::default()), "while attempt 1 runs on n1");
    // Nothing can be promised when clocks drift further than the lease allows for.
    hand.scenario.racks[0].clock.drift_ppm = -2_000;
    assert_eq!(hand.judge(p2_copies::Copies::default()), Ok(()));
}

#[test]
fn p2_an_old_copy_that_starts_late_is_caught() {
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::Fenced);
    let old = hand.place(task, "n1");
    hand.pass(15_000);
    hand.expire(&["n1"]);
    hand.pass(4_000);
    hand.fire();
    let new = hand.place(task, "n2");
    hand.runs(new);
    hand.ends(new, 0);
    hand.executor(old, Happening::Started);
    caught(hand.judge(p2_copies::Copies::default()), "after attempt 2 on n2");
}

#[test]
fn p3_over_commitment_is_caught_in_the_log_and_on_the_machine() {
    let mut hand = Hand::new(1);
    let (a, b) = (hand.submit_one(OnNodeLoss::AtLeastOnce), hand.submit_one(OnNodeLoss::AtLeastOnce));
    let one = hand.place(a, "n1");
    let two = Attempt { id: AttemptId { task: b, number: 1 }, ..row(&hand, one) };
    forge(&mut hand, two.clone());
    caught(hand.judge(p3_capacity::Capacity::default()), "1200");

    // Room that is freed too early.
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    let gone = Attempt { gone: true, ..row(&hand, one) };
    forge(&mut hand, gone);
    caught(hand.judge(p3_capacity::Capacity::default()), "was freed while it runs");

    // A machine that is smaller than its agent says.
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.scenario.racks[0].agents[0].cpu_milli = 500;
    caught(hand.judge(p3_capacity::Capacity::default()), "it has");
    assert_eq!(two.resources, Resources { cpu_milli: 600, memory_bytes: 1 << 20, gpu_milli: 0 });
}

#[test]
fn p4_what_is_held_or_runs_for_nothing_is_caught_in_the_end() {
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.ends(one, 0);
    let never_gone = Attempt { gone: false, ..row(&hand, one) };
    forge(&mut hand, never_gone);
    assert_eq!(hand.judge(p4_conservation::Conservation::default()), Ok(()), "it may be about to be told");
    hand.pass(20_000);
    caught(hand.judge(p4_conservation::Conservation::default()), "still holds room on n1");

    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.report(one, AttemptPhase::Ended, Some(0));
    hand.pass(20_000);
    caught(hand.judge(p4_conservation::Conservation::default()), "still runs on n1");
}

#[test]
fn p7_what_runs_out_of_order_is_caught() {
    let fresh = p7_order::Order::default;
    let chain = |on_failure| {
        let mut hand = Hand::new(2);
        let run = hand.submit(on_failure, vec![task("a", &[]), task("b", &["a"]), task("c", &[])]);
        let one = hand.place(TaskId { run, step: 0, index: 0 }, "n1");
        hand.runs(one);
        let wish = |step| AttemptId { task: TaskId { run, step, index: 0 }, number: 1 };
        (hand, one, wish(1), wish(2))
    };
    let (mut hand, one, two, _) = chain(OnFailure::Finish);
    let early = Attempt { id: two, node: "n2".parse().unwrap(), state: AttemptState::Assigned, ..row(&hand, one) };
    forge(&mut hand, early);
    caught(hand.judge(fresh()), "0 of 1 tasks had succeeded");

    let (mut hand, one, _, three) = chain(OnFailure::Cancel);
    hand.ends(one, 1);
    assert_eq!(hand.judge(fresh()), Ok(()));
    let late = Attempt { id: three, node: "n2".parse().unwrap(), ..row(&hand, one) };
    forge(&mut hand, late);
    caught(hand.judge(fresh()), "had failed for good");

    let (mut hand, _, two, _) = chain(OnFailure::Finish);
    forge_task(&mut hand, two.task, TaskState::Skipped);
    caught(hand.judge(fresh()), "was skipped");

    let (mut hand, one, ..) = chain(OnFailure::Finish);
    hand.ends(one, 0);
    forge_task(&mut hand, one.task, TaskState::Succeeded);
    caught(hand.judge(fresh()), "for the second time");

    let (mut hand, one, ..) = chain(OnFailure::Finish);
    forge_task(&mut hand, one.task, TaskState::Cancelled);
    caught(hand.judge(fresh()), "its run was not");
}

#[test]
fn p8_what_goes_on_after_a_cancel_is_caught() {
    let fresh = p8_cancel::Cancels::default;
    let mut hand = Hand::new(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let other = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let sample = hand.place(other, "n2");
    cancelled(&mut hand, task);
    assert_eq!(hand.judge(fresh()), Ok(()));
    let token = Token(hand.state.revision().0 + 1);
    let late = Attempt { id: AttemptId { task, number: 1 }, token, ..row(&hand, sample) };
    forge(&mut hand, late);
    caught(hand.judge(fresh()), "its run had been cancelled");

    // Running on for ever, long after the faults.
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    cancelled(&mut hand, task);
    hand.pass(60_000);
    assert_eq!(hand.judge(fresh()), Ok(()), "there are faults");
    hand.healed = Some(std::time::Duration::from_millis(10));
    caught(hand.judge(fresh()), "still runs on n1");

    // An answer that no log has.
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    cancelled(&mut hand, task);
    let mut lie = Hand::new(1);
    let same = lie.submit_one(OnNodeLoss::AtLeastOnce);
    assert_eq!(same, task);
    let operation = Operation {
        session: 0,
        called: std::time::Duration::ZERO,
        request: Request::Cancel { request_id: "x".into(), job: "job".into() },
        outcome: Outcome::Answered(Answer::Cancelled(v1::CancelRunResponse {
            run_id: task.run.to_string(),
            ended_before: false,
            revision: 1,
        })),
    };
    lie.fact(Fact::Operation(operation.into()));
    caught(lie.judge(fresh()), "is in no log");
}

#[test]
fn p9_a_try_too_many_is_caught() {
    let fresh = p9_retries::Retries::default;
    let mut hand = Hand::new(1);
    let task = hand.submit(OnFailure::Finish, vec![task("a", &[])]);
    let task = TaskId { run: task, step: 0, index: 0 };
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.ends(one, 1);
    assert_eq!(hand.judge(fresh()), Ok(()));
    let again = Attempt { id: AttemptId { number: 2, ..one }, state: AttemptState::Assigned, ..row(&hand, one) };
    forge(&mut hand, again);
    caught(hand.judge(fresh()), "follows 1 tries of 1");

    // A loss that is counted as a try.
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.report(one, AttemptPhase::Lost, None);
    assert_eq!(hand.judge(fresh()), Ok(()));
    let burnt = Task { tries: 1, ..(**hand.state.task(task).unwrap()).clone() };
    hand.forge(vec![Change::Task(burnt.into())]);
    caught(hand.judge(fresh()), "counts 1 tries");
}

#[test]
fn p9_a_try_too_soon_is_caught() {
    let mut hand = Hand::new(1);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let one = hand.place(task, "n1");
    hand.runs(one);
    hand.ends(one, 1);
    assert_eq!(hand.judge(p9_retries::Retries::default()), Ok(()));
    let again = AttemptId { number: 2, ..one };
    let token = Token(hand.state.revision().0 + 1);
    let soon = Attempt { id: again, token, state: AttemptState::Assigned, exit: None, ..row(&hand, one) };
    forge(&mut hand, soon);
    caught(hand.judge(p9_retries::Retries::default()), "its backoff ends at");
}

#[test]
fn p9_what_outlasts_its_timeout_is_caught() {
    let mut hand = Hand::new(1);
    let spec = TaskSpec { run_timeout_ms: Some(1_000), ..task("a", &[]) };
    let id = TaskId { run: hand.submit(OnFailure::Finish, vec![spec]), step: 0, index: 0 };
    let one = hand.place(id, "n1");
    hand.runs(one);
    hand.pass(60_000);
    assert_eq!(hand.judge(p9_timeouts::Timeouts::default()), Ok(()), "there are faults");
    hand.healed = Some(Duration::from_millis(10));
    caught(hand.judge(p9_timeouts::Timeouts::default()), "was not asked to end");
    hand.executor(one, Happening::Asked);
    assert_eq!(hand.judge(p9_timeouts::Timeouts::default()), Ok(()));
}

#[test]
fn p2_what_is_fenced_and_outlives_its_lease_out_of_reach_is_caught() {
    let silent = |promise| {
        let mut hand = Hand::new(2);
        let task = hand.submit_one(promise);
        let one = hand.place(task, "n1");
        hand.runs(one);
        hand.silences = vec![Some(Duration::from_millis(10)), None];
        hand.pass(20_000);
        hand.executor(one, Happening::Ended { exit: Some(Exit::Code(0)) });
        hand
    };
    let mut hand = silent(OnNodeLoss::Fenced);
    caught(hand.judge(p2_lease_over::LeaseOver::default()), "which has reached no quorum");
    assert_eq!(silent(OnNodeLoss::AtLeastOnce).judge(p2_lease_over::LeaseOver::default()), Ok(()));
    hand.silences = vec![None, None];
    assert_eq!(hand.judge(p2_lease_over::LeaseOver::default()), Ok(()));
}

#[test]
fn p12_a_placement_where_the_job_does_not_allow_it_is_caught() {
    let mut hand = Hand::new(1);
    let mut spec = task("a", &[]);
    spec.place.regions = vec!["eu".parse().unwrap()];
    let run = hand.submit(OnFailure::Finish, vec![spec]);
    hand.place(TaskId { run, step: 0, index: 0 }, "n1");
    assert_eq!(hand.judge(p12_place::Places::default()), Ok(()));
    hand.scenario.racks[0].region = "us".into();
    caught(hand.judge(p12_place::Places::default()), "which stands elsewhere");

    let mut hand = Hand::new(2);
    let (a, b) = (hand.submit_one(OnNodeLoss::AtLeastOnce), hand.submit_one(OnNodeLoss::AtLeastOnce));
    let one = hand.place(a, "n1");
    hand.expire(&["n1"]);
    let blind = Attempt { id: AttemptId { task: b, number: 1 }, state: AttemptState::Assigned, ..row(&hand, one) };
    forge(&mut hand, blind);
    caught(hand.judge(p12_place::Places::default()), "has lost its lease");
}

#[test]
fn p13_leases_that_end_early_or_all_at_once_are_caught() {
    let fresh = p13_brake::Brake::default;
    let disturbed = |nodes| {
        let mut hand = Hand::new(nodes);
        hand.fact(Fact::Fault { class: Class::Partition, what: "all".into() });
        hand
    };
    let mut hand = disturbed(2);
    hand.pass(10_000);
    hand.expire(&["n1"]);
    caught(hand.judge(fresh()), "it was granted");

    let mut hand = disturbed(6);
    hand.pass(15_000);
    hand.expire(&["n1", "n2", "n3"]);
    assert_eq!(hand.judge(fresh()), Ok(()), "three are single failures");
    hand.pass(2_000);
    hand.expire(&["n4"]);
    assert_eq!(hand.judge(fresh()), Ok(()), "one at a time is what the brake allows");
    hand.expire(&["n5"]);
    caught(hand.judge(fresh()), "were declared lost");

    // Nothing has been wrong for a long time.
    let mut hand = disturbed(2);
    hand.pass(60_000);
    hand.expire(&["n1"]);
    caught(hand.judge(fresh()), "with nothing wrong");
}

#[test]
fn p14_an_end_without_a_reason_is_caught() {
    let fresh = p14_reasons::Reasons::default;
    let killed = |promise, calm: bool, also: fn(&mut Hand, TaskId)| {
        let mut hand = Hand::new(1);
        let task = hand.submit_one(promise);
        let one = hand.place(task, "n1");
        hand.runs(one);
        also(&mut hand, task);
        if calm {
            hand.pass(60_000);
        }
        hand.executor(one, Happening::Killed);
        hand
    };
    let hand = killed(OnNodeLoss::AtLeastOnce, false, |_, _| {});
    caught(hand.judge(fresh()), "was killed on n1");
    let hand = killed(OnNodeLoss::AtLeastOnce, false, |hand, task| {
        hand.commit(Command::CancelRun { run: task.run });
    });
    assert_eq!(hand.judge(fresh()), Ok(()));
    // Fenced: when anything was wrong lately, its lease may have ended.
    assert_eq!(killed(OnNodeLoss::Fenced, false, |_, _| {}).judge(fresh()), Ok(()));
    caught(killed(OnNodeLoss::Fenced, true, |_, _| {}).judge(fresh()), "for no reason");
    // Its agent ends, and takes it along.
    let mut hand = killed(OnNodeLoss::AtMostOnce, false, |_, _| {});
    hand.fact(Fact::AgentStopped { node: "n1".parse().unwrap(), error: None });
    hand.pass(1_000);
    assert_eq!(hand.judge(fresh()), Ok(()));
}

#[test]
fn the_controllers_decide_the_same_when_asked_twice() {
    let mut hand = Hand::new(8);
    for _ in 0..60 {
        hand.submit_one(OnNodeLoss::AtLeastOnce);
    }
    assert!(hand.state.revision() > Revision(60));
    assert_eq!(hand.judge(plan::Plans::default()), Ok(()));
}
