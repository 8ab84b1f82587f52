//! Runs that are paused, resumed and put first.

use std::sync::Arc;

use quorate_state::{
    Change, Choice, Command, Feature, GpuHold, OnNodeLoss, Placement, PlacementOutcome, Reply, Run, TaskId, Token,
};

use super::{caught, holds};
use crate::oracles::hand::Hand;
use crate::oracles::{p6_transitions, p25_control};

fn fresh() -> Hand {
    let mut hand = Hand::new(1);
    hand.commit(Command::EnableFeature { feature: Feature::RunControl, term: 1 });
    hand
}

fn pause(hand: &mut Hand, task: TaskId) {
    hand.commit(Command::PauseRun { run: task.run, reason: "why".into() });
}

fn resume(hand: &mut Hand, task: TaskId) {
    hand.commit(Command::ResumeRun { run: task.run });
}

fn nothing() -> Command {
    Command::FireTimers { timers: vec![] }
}

#[test]
fn a_run_that_is_paused_resumed_and_put_first_violates_nothing() {
    let mut hand = fresh();
    let first = hand.submit_one(OnNodeLoss::AtLeastOnce);
    pause(&mut hand, first);
    hand.commit(Command::SetRunPriority { run: first.run, priority: 90 });
    pause(&mut hand, first);
    resume(&mut hand, first);
    let attempt = hand.place(first, "n1");
    hand.runs(attempt);
    pause(&mut hand, first);
    hand.ends(attempt, 0);
    hand.advance(first.run);
    assert_eq!(hand.state.unfinished_count(), 0);
    holds(&hand);
}

#[test]
fn p25_what_is_placed_of_a_paused_run_is_caught() {
    let places = |control: fn(&mut Hand, TaskId)| {
        let mut hand = fresh();
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        control(&mut hand, task);
        let (generation, epoch) = (hand.state.task(task).unwrap().generation, hand.node("n1").epoch);
        // What the product would do if it did not look.
        let mut open = hand.state.clone();
        let row = Run { paused: None, ..(**open.run(task.run).unwrap()).clone() };
        open.commit(&Change::Run(Arc::new(row)));
        let placed = std::mem::replace(&mut hand.state, open);
        let placement = Placement {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            task,
            generation,
            node: "n1".parse().unwrap(),
            epoch,
        };
        hand.commit(Command::CommitPlan { placements: vec![placement] });
        let pause = placed.run(task.run).unwrap().clone();
        hand.twist(|step| {
            assert!(matches!(&step.replies[..], [Ok(Reply::PlanCommitted(placed))]
                if matches!(placed[..], [PlacementOutcome::Placed(Token(_))])));
            let row = Run { paused: pause.paused.clone(), ..(**step.after.run(task.run).unwrap()).clone() };
            step.after.commit(&Change::Run(Arc::new(row)));
        });
        hand.judge(p25_control::Control::default())
    };
    caught(places(pause), "was placed, its run is paused since revision");
    let again = |hand: &mut Hand, task| {
        pause(hand, task);
        resume(hand, task);
        pause(hand, task);
    };
    caught(places(again), "was placed, its run is paused since revision");
    let over = |hand: &mut Hand, task| {
        pause(hand, task);
        resume(hand, task);
    };
    assert_eq!(places(over), Ok(()));
}

#[test]
fn p25_a_row_that_says_something_else_is_caught() {
    let row = |edit: fn(&mut Run)| {
        let mut hand = fresh();
        let task = hand.submit_one(OnNodeLoss::AtLeastOnce);
        pause(&mut hand, task);
        hand.offer(nothing());
        let mut row = (**hand.state.run(task.run).unwrap()).clone();
        edit(&mut row);
        hand.twist(|step| {
            let change = Change::Run(Arc::new(row));
            step.after.commit(&change);
            step.changes.push(change);
        });
        (hand.judge(p25_control::Control::default()), hand.judge(p6_transitions::Transitions::default()))
    };
    let (rows, moves) = row(|row| row.paused = None);
    caught(rows, "what was said is true");
    caught(moves, "by nobody's word");
    let (rows, moves) = row(|row| row.priority_set = Some(3));
    caught(rows, "Some(3); what was said is true and None");
    caught(moves, "has priority 3, by nobody's word");
}
