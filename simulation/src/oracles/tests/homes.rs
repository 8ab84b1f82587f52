//! What ran in a region that is lost. The product believes all nodes to be in one region; by truth the second is elsewhere.

use quorate_state::{Command, Feature, OnFailure, OnRegionLoss, TaskId, TaskSpec};

use super::caught;
use crate::oracles::hand::{Hand, task};
use crate::oracles::{Verdict, p11_urgency, p12_home};

const AFTER_MS: u64 = 5_000;

fn moves(after_ms: u64, spill: &[&str]) -> OnRegionLoss {
    OnRegionLoss::MoveAfter { after_ms, spill: spill.iter().map(|region| region.parse().unwrap()).collect() }
}

/// A task ran on the first of so many nodes, of which the second is in us and all others in eu.
fn ran(nodes: usize, policy: OnRegionLoss) -> (Hand, TaskId) {
    let mut hand = Hand::new(nodes);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    hand.scenario.racks[1].region = "us".into();
    let spec = TaskSpec { on_region_loss: Some(policy), ..task("a", &[]) };
    let task = TaskId { run: hand.submit_at(60, OnFailure::Finish, vec![spec]), step: 0, index: 0 };
    hand.place(task, "n1");
    hand.pass(60_000);
    (hand, task)
}

fn lost_and_placed(policy: OnRegionLoss, after_ms: u64) -> Verdict {
    let (mut hand, task) = ran(2, policy);
    hand.expire(&["n1"]);
    hand.pass(after_ms);
    hand.place(task, "n2");
    hand.judge(p12_home::AtHome::default())
}

#[test]
fn p12_a_task_that_leaves_its_region_too_soon_or_for_another_is_caught() {
    caught(lost_and_placed(OnRegionLoss::Stay, 1_000_000), "is placed on n2");
    caught(lost_and_placed(moves(0, &["asia"]), 0), "is placed on n2");
    assert_eq!(lost_and_placed(moves(0, &["asia", "us"]), 0), Ok(()));
    assert_eq!(lost_and_placed(moves(0, &[]), 0), Ok(()));
}

#[test]
fn p12_a_region_of_which_one_node_is_up_is_not_lost() {
    let (mut hand, task) = ran(3, moves(0, &[]));
    hand.expire(&["n1"]);
    hand.place(task, "n3");
    assert_eq!(hand.judge(p12_home::AtHome::default()), Ok(()));
    let (mut hand, task) = ran(3, moves(0, &[]));
    hand.expire(&["n1"]);
    hand.place(task, "n2");
    caught(hand.judge(p12_home::AtHome::default()), "is placed on n2");
}

/// Something less urgent is placed where it could be, when its time is over.
#[test]
fn p11_a_task_that_does_not_go_when_its_time_is_over_is_caught() {
    let overtaken = |policy, after_ms| {
        let (mut hand, _) = ran(2, policy);
        hand.expire(&["n1"]);
        hand.pass(after_ms);
        let run = hand.submit_at(50, OnFailure::Finish, vec![task("b", &[])]);
        hand.place(TaskId { run, step: 0, index: 0 }, "n2");
        hand.judge(p11_urgency::Urgency::default())
    };
    caught(overtaken(moves(AFTER_MS, &["us"]), AFTER_MS), "of priority 60 waited that fits there");
    assert_eq!(
        overtaken(moves(AFTER_MS, &["us"]), AFTER_MS - 100),
        Ok(()),
        "its time was not over when the other came"
    );
    assert_eq!(overtaken(moves(0, &["asia"]), AFTER_MS), Ok(()));
    assert_eq!(overtaken(OnRegionLoss::Stay, AFTER_MS), Ok(()));
}
