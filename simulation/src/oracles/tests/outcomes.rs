//! What processes say, what they do not say, and what ends by its time.

use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptId, AttemptPhase, AttemptState, Change, Command, FailReason, Feature, OnFailure, Outcome, Reply,
    Run, StopReason, TaskId, TaskSpec, TaskState, Timer, Token,
};

use super::{caught, forge, forge_task, holds, row};
use crate::executor::{Behaviour, left_by, result_of};
use crate::facts::Happening;
use crate::oracles::hand::{Hand, task};
use crate::oracles::{p9_deadlines, p9_once, p9_quarantine, p9_silence, p24_outcomes};
use crate::scenario::{Says, Speech};

fn fresh(nodes: usize) -> Hand {
    let mut hand = Hand::new(nodes);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    hand.pass(60_000);
    hand
}

fn behaviour() -> Behaviour {
    let runs = Duration::from_millis(500);
    Behaviour { runs, fails: 0, by_run: false, stubborn: false, poison: false, says: None, speech: None, failing: None }
}

fn submit(hand: &mut Hand, spec: TaskSpec) -> TaskId {
    TaskId { run: hand.submit(OnFailure::Finish, vec![spec]), step: 0, index: 0 }
}

fn runs(hand: &mut Hand, spec: TaskSpec) -> AttemptId {
    let task = submit(hand, spec);
    let one = hand.place(task, "n1");
    hand.runs(one);
    one
}

#[test]
fn p24_a_result_that_is_not_what_was_said_is_caught() {
    let mut hand = fresh(1);
    let says = Some(Says::Result { bytes: 40 });
    let spec = TaskSpec { argv: Behaviour { says, ..behaviour() }.to_argv(), ..task("a", &[]) };
    let one = runs(&mut hand, spec);
    let right = result_of(row(&hand, one).token, 40);
    let of = |text: &str| Some(Arc::new(Outcome::Result(text.as_bytes().into())));
    let ended = Attempt { state: AttemptState::Succeeded, gone: true, ..row(&hand, one) };
    let payloads = left_by(ended.token);
    forge(&mut hand, Attempt { outcome: of(&right), payloads, ..ended.clone() });
    let fresh = p24_outcomes::Outcomes::default;
    assert_eq!(hand.judge(fresh()), Ok(()));
    forge(&mut hand, Attempt { outcome: of("1"), ..ended });
    caught(hand.judge(fresh()), "had ended with");
}

#[test]
fn p24_payloads_that_are_not_what_was_left_are_caught() {
    let says = Some(Says::Result { bytes: 40 });
    let fresh = p24_outcomes::Outcomes::default;
    for (state, of_another, words) in [
        (AttemptState::Succeeded, Some(1), "it said"),
        (AttemptState::Succeeded, None, "it said"),
        (AttemptState::Lost, Some(0), "is Lost and has left"),
    ] {
        let mut hand = self::fresh(1);
        let spec = TaskSpec { argv: Behaviour { says, ..behaviour() }.to_argv(), ..task("a", &[]) };
        let one = runs(&mut hand, spec);
        let placed = row(&hand, one);
        let token = placed.token;
        let result = Outcome::Result(result_of(token, 40).into_bytes().into());
        let outcome = (state == AttemptState::Succeeded).then(|| Arc::new(result));
        let payloads = of_another.and_then(|more| left_by(Token(token.0 + more)));
        forge(&mut hand, Attempt { state, gone: true, outcome, payloads, ..placed });
        caught(hand.judge(fresh()), words);
    }
    let mut hand = self::fresh(1);
    let spec = TaskSpec { argv: Behaviour { says, ..behaviour() }.to_argv(), ..task("a", &[]) };
    let one = runs(&mut hand, spec);
    let ended = Attempt { state: AttemptState::Succeeded, gone: true, ..row(&hand, one) };
    let outcome = Some(Arc::new(Outcome::Result(result_of(ended.token, 40).into_bytes().into())));
    forge(&mut hand, Attempt { outcome: outcome.clone(), payloads: left_by(ended.token), ..ended.clone() });
    forge(&mut hand, Attempt { outcome, payloads: None, ..ended });
    caught(hand.judge(fresh()), "had left");
}

#[test]
fn p24_an_outcome_that_is_out_of_place_is_caught_whoever_said_it() {
    for (state, outcome, words) in [
        (AttemptState::Running, Outcome::Error("A".parse().unwrap()), "has not ended"),
        (AttemptState::Failed, Outcome::Result(b"1".as_slice().into()), "has not succeeded"),
        (AttemptState::Succeeded, Outcome::Error("A".parse().unwrap()), "nothing has that succeeded"),
        (AttemptState::Succeeded, Outcome::Result(vec![b'1'; 10_000].into()), "more than there may be"),
    ] {
        let mut hand = fresh(1);
        let one = runs(&mut hand, task("a", &[]));
        let forged = Attempt { state, outcome: Some(Arc::new(outcome)), ..row(&hand, one) };
        forge(&mut hand, forged);
        caught(hand.judge(p24_outcomes::Outcomes::default()), words);
    }
}

#[test]
fn p9_a_task_that_waits_for_longer_than_it_may_or_fails_before_is_caught() {
    let mut hand = fresh(1);
    let task = submit(&mut hand, TaskSpec { queued_timeout_ms: Some(5_000), ..task("a", &[]) });
    let fresh = p9_deadlines::Deadlines::default;
    hand.pass(20_000);
    hand.commit(Command::FireTimers { timers: vec![] });
    assert_eq!(hand.judge(fresh()), Ok(()), "the leader stood still");
    (0..30).for_each(|_| hand.commit(Command::FireTimers { timers: vec![] }));
    caught(hand.judge(fresh()), "is in the queue at served time");
    let mut hand = self::fresh(1);
    let early = submit(&mut hand, TaskSpec { queued_timeout_ms: Some(5_000), ..self::task("a", &[]) });
    forge_task(&mut hand, early, TaskState::Failed(FailReason::Queued));
    caught(hand.judge(fresh()), "failed in the queue");
    assert_eq!(task.step, early.step);
}

#[test]
fn p9_a_run_that_goes_on_for_longer_than_it_may_or_times_out_before_is_caught() {
    let mut hand = fresh(1);
    let run = hand.submit_timed(5_000, vec![task("a", &[])]);
    let fresh = p9_deadlines::Deadlines::default;
    hand.pass(20_000);
    (0..30).for_each(|_| hand.commit(Command::FireTimers { timers: vec![] }));
    assert_eq!(hand.judge(fresh()), Ok(()), "the leader has its time");
    hand.commit(Command::FireTimers { timers: vec![] });
    caught(hand.judge(fresh()), "goes on at served time");
    let timers: Vec<Timer> = hand.state.timers().collect();
    hand.commit(Command::FireTimers { timers });
    assert!(hand.state.run(run).unwrap().timed_out);
    let mut hand = self::fresh(1);
    let run = hand.submit_timed(5_000, vec![task("a", &[])]);
    let early = Run { cancelling: true, timed_out: true, ..(**hand.state.run(run).unwrap()).clone() };
    hand.forge(vec![Change::Run(Arc::new(early))]);
    caught(hand.judge(fresh()), "timed out at served time");
}

#[test]
fn p9_a_timer_that_fires_twice_and_a_reason_that_changes_are_caught() {
    let mut hand = fresh(1);
    let one = runs(&mut hand, TaskSpec { run_timeout_ms: Some(1_000), ..task("a", &[]) });
    hand.pass(1_000);
    let timers: Vec<Timer> = hand.state.timers().collect();
    hand.commit(Command::FireTimers { timers: timers.clone() });
    holds(&hand);
    hand.offer(Command::FireTimers { timers });
    let fresh = p9_once::Once::default;
    assert_eq!(hand.judge(fresh()), Ok(()), "it was asked for twice");
    hand.twist(|step| step.replies = vec![Ok(Reply::Counted(1))]);
    caught(hand.judge(fresh()), "had not fired before");
    let mut hand = self::fresh(1);
    let other = runs(&mut hand, TaskSpec { run_timeout_ms: Some(1_000), ..task("a", &[]) });
    for stop in [StopReason::Cancelled, StopReason::TimedOut] {
        let stopped = Attempt { stop: Some(stop), ..row(&hand, other) };
        forge(&mut hand, stopped);
    }
    caught(hand.judge(fresh()), "was to end for Cancelled");
    assert_eq!(one.number, other.number);
}

#[test]
fn p9_a_silence_that_nobody_heeds_or_that_was_none_is_caught() {
    let speaks = |fails| {
        let speech = Some(Speech { silent_ms: 2_000, every_ms: 500, hangs_ms: 1_200 });
        let argv = Behaviour { fails, speech, ..behaviour() }.to_argv();
        TaskSpec { argv, silent_timeout_ms: Some(2_000), ..task("a", &[]) }
    };
    let fresh = p9_silence::Silence::default;
    let mut hand = self::fresh(1);
    let one = runs(&mut hand, speaks(1));
    hand.pass(60_000);
    assert_eq!(hand.judge(fresh()), Ok(()), "there are faults");
    hand.healed = Some(Duration::from_millis(10));
    caught(hand.judge(fresh()), "was not asked to end");
    hand.executor(one, Happening::Asked);
    assert_eq!(hand.judge(fresh()), Ok(()));
    for (fails, pass, words) in [(1, 2_500, "which is not too long before"), (0, 9_000, "says something every 500 ms")]
    {
        let mut hand = self::fresh(1);
        let one = runs(&mut hand, speaks(fails));
        hand.pass(pass);
        let stopped = Attempt { stop: Some(StopReason::Silent), ..row(&hand, one) };
        forge(&mut hand, stopped);
        caught(hand.judge(fresh()), words);
    }
}

#[test]
fn p9_a_task_that_took_too_many_nodes_along_and_is_placed_is_caught() {
    let mut hand = fresh(4);
    let task = submit(&mut hand, task("a", &[]));
    for node in ["n1", "n2", "n3"] {
        let one = hand.place(task, node);
        hand.report(one, AttemptPhase::Running, None);
        hand.pass(15_000);
        hand.expire(&[node]);
        hand.pass(20_000);
        hand.fire();
    }
    let fresh = p9_quarantine::Quarantine::default;
    assert_eq!(hand.judge(fresh()), Ok(()));
    let last = hand.state.task(task).unwrap().newest_attempt().unwrap();
    let next = AttemptId { number: last.number + 1, ..last };
    let placed = Attempt {
        id: next,
        state: AttemptState::Assigned,
        node: "n4".parse().unwrap(),
        suspect: false,
        started_at: None,
        gone: false,
        ..row(&hand, last)
    };
    forge(&mut hand, placed);
    caught(hand.judge(fresh()), "when these went away");
}
