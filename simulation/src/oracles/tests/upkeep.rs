//! Nodes that an operator takes out of service, and forgets.

use std::time::Duration;

use quorate_state::{
    Attempt, AttemptClaim, AttemptId, AttemptState, Change, Choice, Command, Exit, Feature, GpuHold, Node, NodeName,
    OnFailure, OnNodeLoss, Placement, PlacementOutcome, Reply, StopReason, TaskId, Token,
};

use super::{caught, holds, row};
use crate::facts::{Errand, Fact, Happening, Heard, Told};
use crate::oracles::hand::{Hand, task};
use crate::oracles::{p12_place, p20_out_of_service, p21_drains, p22_forgotten};
use crate::scenario::Class;

fn fresh(nodes: usize) -> Hand {
    let mut hand = Hand::new(nodes);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    hand
}

fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn drain(hand: &mut Hand, node: &str, wait_ms: u64) {
    hand.commit(Command::DrainNode { node: name(node), wait_ms, reason: "".into() });
}

fn maintain(hand: &mut Hand, node: &str, for_ms: u64) {
    hand.commit(Command::MaintainNode { node: name(node), wait_ms: 0, for_ms, reason: "".into() });
}

fn cordon(hand: &mut Hand, node: &str, cordoned: bool) {
    hand.commit(Command::CordonNode { node: name(node), cordoned });
}

/// The leases of nodes end, after they were silent.
fn lose(hand: &mut Hand, node: &str) {
    hand.fact(Fact::Fault { class: Class::Partition, what: node.into() });
    hand.pass(15_000);
    hand.expire(&[node]);
}

/// An entry that says nothing, after which a row is what it should not be.
fn slip(hand: &mut Hand, command: Command, changes: Vec<Change>) {
    hand.offer(command);
    hand.twist(|step| {
        changes.iter().for_each(|change| step.after.commit(change));
        step.changes.extend(changes);
    });
}

fn nothing() -> Command {
    Command::FireTimers { timers: vec![] }
}

/// An attempt is asked to end for a drain, though the product would not.
fn evict(hand: &mut Hand, attempt: AttemptId) {
    let stopped = Attempt { stop: Some(StopReason::Drained), ..row(hand, attempt) };
    slip(hand, Command::EvictAttempts { attempts: vec![attempt] }, vec![Change::Attempt(stopped.into())]);
}

#[test]
fn an_operator_who_sees_to_nodes_violates_nothing() {
    let mut hand = fresh(5);
    // Moved, without a try.
    let moved = hand.submit_one(OnNodeLoss::Fenced);
    let first = hand.place(moved, "n1");
    hand.runs(first);
    drain(&mut hand, "n1", 0);
    hand.commit(Command::EvictAttempts { attempts: vec![first] });
    hand.ends(first, 143);
    assert_eq!(row(&hand, first).state, AttemptState::Preempted);
    let second = hand.place(moved, "n2");
    hand.runs(second);
    hand.ends(second, 0);
    hand.advance(moved.run);
    cordon(&mut hand, "n1", false);

    // A drain for a time ends, one whose place another has taken does not.
    maintain(&mut hand, "n3", 1_000);
    maintain(&mut hand, "n4", 1_000);
    let ends = |hand: &Hand, node: &str| hand.node(node).drain().and_then(|drain| drain.ends).unwrap();
    let drains = vec![(name("n3"), ends(&hand, "n3")), (name("n4"), ends(&hand, "n4"))];
    drain(&mut hand, "n4", 0);
    hand.pass(2_000);
    hand.commit(Command::EndDrains { drains });
    assert_eq!((hand.node("n3").cordoned, hand.node("n4").cordoned), (false, true));
    cordon(&mut hand, "n4", false);

    // Forgotten with what runs there, which ends when the node is back.
    let left = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let (old, token) = {
        let old = hand.place(left, "n5");
        (old, row(&hand, old).token)
    };
    hand.runs(old);
    lose(&mut hand, "n5");
    hand.pass(4_000);
    hand.commit(Command::ForgetNode { node: name("n5") });
    let new = hand.place(left, "n3");
    hand.runs(new);
    hand.register("n5", vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt: old, token }]);
    hand.executor(old, Happening::Killed);
    hand.executor(old, Happening::Ended { exit: Some(Exit::Signal(9)) });
    hand.ends(new, 0);
    hand.advance(left.run);
    assert_eq!(hand.state.unfinished_count(), 0);
    hand.pass(100_000);
    holds(&hand);
}

#[test]
fn p20_work_for_a_node_that_takes_none_is_caught() {
    let placed = |out: fn(&mut Hand)| {
        let mut hand = fresh(2);
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        let (generation, epoch) = (hand.state.task(task).unwrap().generation, hand.node("n1").epoch);
        out(&mut hand);
        let placement =
            Placement { choice: Choice::FIRST, gpus: GpuHold::NONE, task, generation, node: name("n1"), epoch };
        hand.commit(Command::CommitPlan { placements: vec![placement] });
        hand.twist(|step| step.replies = vec![Ok(Reply::PlanCommitted(vec![PlacementOutcome::Placed(Token(9))]))]);
        hand.judge(p20_out_of_service::OutOfService::default())
    };
    caught(placed(|hand| cordon(hand, "n1", true)), "with token 9, which is Out");
    caught(placed(|hand| drain(hand, "n1", 0)), "with token 9, which is Out");
    caught(
        placed(|hand| {
            lose(hand, "n1");
            hand.pass(4_000);
            hand.commit(Command::ForgetNode { node: name("n1") });
        }),
        "which is no node",
    );
    let given_back = placed(|hand| {
        cordon(hand, "n1", true);
        cordon(hand, "n1", false);
    });
    assert_eq!(given_back, Ok(()));
}

#[test]
fn p20_what_was_told_is_done_and_is_not_is_caught() {
    let mut hand = fresh(1);
    let (called, request_id, asked) = (Duration::ZERO, "x".into(), Told::Cordon);
    let errand = Errand { called, request_id, node: "n1".into(), asked, heard: Heard::Done };
    hand.fact(Fact::Errand(errand.into()));
    caught(hand.judge(p20_out_of_service::OutOfService::default()), "the history has no such thing");
}

#[test]
fn p12_a_node_without_the_label_that_is_asked_for_is_caught() {
    let mut hand = fresh(1);
    let mut spec = task("a", &[]);
    let run = hand.submit(OnFailure::Finish, vec![spec.clone()]);
    hand.place(TaskId { run, step: 0, index: 0 }, "n1");
    assert_eq!(hand.judge(p12_place::Places::default()), Ok(()));
    spec.place.labels.insert("pool".into(), "*".into());
    let asks = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        p12_place::asks_for(&spec.place, &labels)
    };
    assert!(!asks(&[]) && asks(&[("pool", "a")]));
    spec.place.labels.insert("pool".into(), "b".into());
    let labels = [("pool".to_owned(), "a".to_owned())].into();
    assert!(!p12_place::asks_for(&spec.place, &labels));
}

#[test]
fn p21_an_end_that_no_drain_asks_for_is_caught() {
    let judged = |promise, before: fn(&mut Hand)| {
        let mut hand = fresh(2);
        let task = hand.submit_one(promise);
        let attempt = hand.place(task, "n1");
        hand.runs(attempt);
        before(&mut hand);
        evict(&mut hand, attempt);
        hand.judge(p21_drains::Drains::default())
    };
    let plain = OnNodeLoss::AtLeastOnce;
    caught(judged(plain, |_| {}), "which is not drained");
    caught(judged(plain, |hand| cordon(hand, "n1", true)), "which is not drained");
    caught(judged(plain, |hand| drain(hand, "n1", 5_000)), "it had until");
    caught(judged(OnNodeLoss::AtMostOnce, |hand| drain(hand, "n1", 0)), "and is started once");
    assert_eq!(judged(plain, |hand| drain(hand, "n1", 0)), Ok(()));

    let mut hand = fresh(1);
    let task = hand.submit_one(plain);
    let attempt = hand.place(task, "n1");
    let stopped = Attempt { stop: Some(StopReason::Drained), ..row(&hand, attempt) };
    slip(&mut hand, nothing(), vec![Change::Attempt(stopped.into())]);
    caught(hand.judge(p21_drains::Drains::default()), "that nobody asked for");
}

#[test]
fn p21_a_drain_that_moves_too_many_at_once_is_caught() {
    let mut hand = fresh(4);
    let mut spec = task("a", &[]);
    spec.count = 3;
    let run = hand.submit(OnFailure::Finish, vec![spec]);
    let attempts = [0, 1].map(|index| {
        let attempt = hand.place(TaskId { run, step: 0, index }, &format!("n{}", index + 1));
        hand.runs(attempt);
        attempt
    });
    drain(&mut hand, "n1", 0);
    drain(&mut hand, "n2", 0);
    hand.commit(Command::EvictAttempts { attempts: vec![attempts[0]] });
    assert_eq!(hand.judge(p21_drains::Drains::default()), Ok(()));
    hand.commit(Command::EvictAttempts { attempts: vec![attempts[1]] });
    caught(hand.judge(p21_drains::Drains::default()), "2 of 3 elements of step 0");
}

#[test]
fn p21_a_drain_that_does_not_end_as_was_said_is_caught() {
    // It never ends.
    let mut late = fresh(1);
    maintain(&mut late, "n1", 1_000);
    for _ in 0..40 {
        late.pass(250);
        late.commit(nothing());
    }
    caught(late.judge(p21_drains::Drains::default()), "should have ended");

    // It ends too soon, or though something else was said.
    let ended = |before: fn(&mut Hand)| {
        let mut hand = fresh(1);
        before(&mut hand);
        let node = Node { cordoned: false, withdrawal: None, ..(*hand.node("n1")).clone() };
        slip(&mut hand, nothing(), vec![Change::Node(node.into())]);
        hand.judge(p21_drains::Drains::default())
    };
    caught(ended(|hand| maintain(hand, "n1", 1_000)), "what was said of it is Some");
    caught(ended(|hand| cordon(hand, "n1", true)), "what was said of it is Some");
}

#[test]
fn p22_a_node_that_is_forgotten_too_soon_is_caught() {
    let forgotten = |before: fn(&mut Hand)| {
        let mut hand = fresh(2);
        before(&mut hand);
        hand.offer(Command::ForgetNode { node: name("n1") });
        hand.twist(|step| step.replies = vec![Ok(Reply::Done)]);
        hand.judge(p22_forgotten::Forgotten::default())
    };
    caught(forgotten(|_| {}), "its lease is live");
    caught(forgotten(|hand| lose(hand, "n1")), "was forgotten at served time");

    let mut hand = fresh(2);
    let task = hand.submit_one(OnNodeLoss::Fenced);
    let attempt = hand.place(task, "n1");
    hand.runs(attempt);
    lose(&mut hand, "n1");
    hand.pass(4_000);
    hand.commit(Command::ForgetNode { node: name("n1") });
    caught(hand.judge(p22_forgotten::Forgotten::default()), "fenced, runs there");
}

#[test]
fn p22_what_is_not_forgotten_for_good_is_caught() {
    let mut hand = fresh(2);
    let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let attempt = hand.place(task, "n1");
    hand.runs(attempt);
    let node = hand.node("n1");
    lose(&mut hand, "n1");
    hand.pass(4_000);
    hand.commit(Command::ForgetNode { node: name("n1") });
    assert_eq!(hand.judge(p22_forgotten::Forgotten::default()), Ok(()));
    let counts = Attempt { state: AttemptState::Succeeded, exit: Some(Exit::Code(0)), ..row(&hand, attempt) };
    slip(&mut hand, nothing(), vec![Change::Attempt(counts.into())]);
    caught(hand.judge(p22_forgotten::Forgotten::default()), "was given up as Lost");

    let mut hand = fresh(1);
    lose(&mut hand, "n1");
    hand.pass(4_000);
    hand.commit(Command::ForgetNode { node: name("n1") });
    slip(&mut hand, nothing(), vec![Change::Node(node)]);
    caught(hand.judge(p22_forgotten::Forgotten::default()), "has not registered");
}
