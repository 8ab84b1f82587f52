//! What is more urgent goes first.

use quorate_state::{OnFailure, TaskId};

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
