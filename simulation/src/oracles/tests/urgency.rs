//! What is more urgent goes first.

use quorate_state::{Command, Feature, OnFailure, TaskId};

use super::caught;
use crate::oracles::hand::{Hand, task};
use crate::oracles::p11_urgency;

#[test]
fn p11_a_placement_before_one_that_is_more_urgent_is_caught() {
    let first = |hand: &mut Hand, priority, cpu_milli| {
        let mut spec = task("a", &[]);
        spec.resources.cpu_milli = cpu_milli;
        TaskId { run: hand.submit_at(priority, OnFailure::Finish, vec![spec]), step: 0, index: 0 }
    };
    let places = |urgent, cpu_milli| {
        let mut hand = Hand::new(1);
        first(&mut hand, urgent, cpu_milli);
        let other = first(&mut hand, 50, 600);
        hand.place(other, "n1");
        hand.judge(p11_urgency::Urgency::default())
    };
    caught(places(51, 600), "of priority 50 was placed on n1, while");
    assert_eq!(places(50, 600), Ok(()), "no more urgent");
    assert_eq!(places(51, 601), Ok(()), "the other may not have fitted");
}

/// By what was said of the run before the other task was there.
#[test]
fn p11_the_priority_that_was_set_counts() {
    let submit = |hand: &mut Hand, priority| {
        let run = hand.submit_at(priority, OnFailure::Finish, vec![task("a", &[])]);
        TaskId { run, step: 0, index: 0 }
    };
    let places = |control: fn(&mut Hand, TaskId), late: fn(&mut Hand, TaskId)| {
        let mut hand = Hand::new(1);
        hand.commit(Command::EnableFeature { feature: Feature::RunControl, term: 1 });
        let urgent = submit(&mut hand, 50);
        control(&mut hand, urgent);
        let other = submit(&mut hand, 50);
        late(&mut hand, urgent);
        hand.place(other, "n1");
        hand.judge(p11_urgency::Urgency::default())
    };
    let raise = |hand: &mut Hand, task: TaskId| hand.commit(Command::SetRunPriority { run: task.run, priority: 51 });
    let pause = |hand: &mut Hand, task: TaskId| hand.commit(Command::PauseRun { run: task.run, reason: "".into() });
    caught(places(raise, |_, _| {}), "of priority 50 was placed on n1, while");
    assert_eq!(places(|_, _| {}, raise), Ok(()), "the plan may be older");
    assert_eq!(places(raise, pause), Ok(()), "it may not be placed");
}
