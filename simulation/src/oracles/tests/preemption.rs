//! Who is stopped to make room, and for whom that is kept.

use quorate_state::{
    Attempt, AttemptId, AttemptPhase, Change, Command, Feature, OnFailure, Preempting, Preemption, Reply, StopReason,
    TaskId,
};

use super::{caught, holds, row};
use crate::oracles::Verdict;
use crate::oracles::hand::{Hand, task};
use crate::oracles::p11_preemption;

fn fresh() -> Hand {
    let mut hand = Hand::new(2);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    let preemption = Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 2, ..Preemption::OFF };
    hand.commit(Command::SetPreemption { preemption });
    hand.pass(60_000);
    hand
}

fn submit(hand: &mut Hand, priority: u8, cpu_milli: u64) -> TaskId {
    let mut spec = task("a", &[]);
    spec.resources.cpu_milli = cpu_milli;
    TaskId { run: hand.submit_at(priority, OnFailure::Finish, vec![spec]), step: 0, index: 0 }
}

fn asked(hand: &Hand, task: TaskId, victim: AttemptId) -> Command {
    let (node, generation) = (hand.node("n1"), hand.state.task(task).unwrap().generation);
    Command::PreemptAttempts(Preempting {
        task,
        generation,
        node: node.name.clone(),
        epoch: node.epoch,
        choice: quorate_state::Choice::FIRST,
        victims: vec![victim],
    })
}

/// The product says yes although it should not.
fn judged(hand: &mut Hand, command: Command, victim: AttemptId) -> Verdict {
    let stopped = Attempt { stop: Some(StopReason::Preempted), ..row(hand, victim) };
    hand.offer(command);
    hand.twist(|step| {
        step.replies = vec![Ok(Reply::Counted(1))];
        step.after.commit(&Change::Attempt(stopped.into()));
    });
    hand.judge(p11_preemption::Preemptions::default())
}

#[test]
fn room_that_is_made_and_taken_by_whom_it_was_made_for_violates_nothing() {
    let mut hand = fresh();
    let low = submit(&mut hand, 50, 600);
    let victim = hand.place(low, "n1");
    hand.runs(victim);
    let urgent = submit(&mut hand, 60, 600);
    let command = asked(&hand, urgent, victim);
    hand.commit(command);
    holds(&hand);
    hand.report(victim, AttemptPhase::Ended, Some(0));
    hand.place(urgent, "n1");
    assert_eq!(hand.judge(p11_preemption::Preemptions::default()), Ok(()));
}

#[test]
fn a_victim_that_is_as_urgent_or_not_needed_is_caught() {
    let mut hand = fresh();
    let low = submit(&mut hand, 50, 600);
    let victim = hand.place(low, "n1");
    let equal = submit(&mut hand, 59, 600);
    let command = asked(&hand, equal, victim);
    caught(judged(&mut hand, command, victim), "of priority 50 is to end for");

    let mut hand = fresh();
    let low = submit(&mut hand, 50, 600);
    let victim = hand.place(low, "n1");
    let small = submit(&mut hand, 90, 400);
    let command = asked(&hand, small, victim);
    caught(judged(&mut hand, command, victim), "has room on n1 without that");
}

#[test]
fn a_placement_into_room_that_is_kept_for_another_is_caught() {
    let mut hand = fresh();
    let low = submit(&mut hand, 50, 600);
    let victim = hand.place(low, "n1");
    let urgent = submit(&mut hand, 60, 600);
    let command = asked(&hand, urgent, victim);
    hand.commit(command);
    let other = submit(&mut hand, 100, 600);
    let id = AttemptId { task: other, number: 1 };
    let placed = Attempt { id, stop: None, preempted: None, ..row(&hand, victim) };
    hand.forge(vec![Change::Attempt(placed.into())]);
    caught(hand.judge(p11_preemption::Preemptions::default()), "into room that is kept for others");
}
