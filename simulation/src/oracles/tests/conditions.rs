//! What P12 says of nodes for which a task's condition does not hold.

use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptId, Change, Choice, Claim, ClaimTerms, Command, Feature, GpuHold, OnFailure, OnNodeLoss, RunId,
    Served, TaskId,
};

use super::{caught, forge, row};
use crate::oracles::hand::{Hand, task};
use crate::oracles::p12_place::Places;
use crate::scenario::{Ask, Condition, JobPlan, OperationPlan, SessionPlan, TaskPlan, When};

/// A run of a task with this condition, which the scenario means so.
fn submit(hand: &mut Hand, condition: &Condition) -> RunId {
    let job = JobPlan {
        name: "where".into(),
        edition: 0,
        priority: 50,
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks: vec![TaskPlan { condition: Some(condition.clone()), ..TaskPlan::one() }],
    };
    let steps = vec![OperationPlan { at_ms: 0, what: Ask::Submit(job) }];
    hand.scenario.sessions.push(SessionPlan { host: 0, when: When::Always, steps });
    let mut spec = task("a", &[]);
    spec.place.condition = Some(Arc::new(condition.text().parse().unwrap()));
    hand.commit(Command::EnableFeature { feature: Feature::PlaceWhere, term: 1 });
    hand.submit(OnFailure::Finish, vec![spec])
}

fn first(run: RunId) -> TaskId {
    TaskId { run, step: 0, index: 0 }
}

/// A history in which that task is placed, whatever the product says.
fn placed(condition: &Condition) -> Hand {
    let mut hand = Hand::new(2);
    let other = hand.submit_one(OnNodeLoss::AtLeastOnce);
    let other = hand.place(other, "n1");
    let id = AttemptId { task: first(submit(&mut hand, condition)), number: 1 };
    let blind = Attempt { id, ..row(&hand, other) };
    forge(&mut hand, blind);
    hand
}

#[test]
fn p12_a_placement_where_a_condition_does_not_hold_is_caught() {
    let zone = || Box::new(Condition::ZoneIn(vec!["x".into()]));
    let eu = || Box::new(Condition::Region("eu".into()));
    let holding = [*eu(), Condition::Either(zone(), eu()), Condition::CpuAtLeast(1_000)];
    for condition in holding {
        assert_eq!(placed(&condition).judge(Places::default()), Ok(()), "{condition:?}");
        let mut hand = Hand::new(1);
        let run = submit(&mut hand, &condition);
        hand.place(first(run), "n1");
        assert_eq!(hand.judge(Places::default()), Ok(()), "{condition:?}");
    }
    // The nodes have no zone: it is neither so nor otherwise.
    let failing = [*zone(), Condition::Not(zone()), Condition::Both(eu(), zone()), Condition::Not(eu())];
    for condition in failing {
        caught(placed(&condition).judge(Places::default()), "none for which its condition holds");
    }
}

#[test]
fn p12_room_that_is_kept_where_a_condition_does_not_hold_is_caught() {
    let kept = |condition: Condition| {
        let mut hand = Hand::new(1);
        let task = first(submit(&mut hand, &condition));
        let node = hand.node("n1");
        let resources = hand.state.run(task.run).unwrap().spec.tasks[0].resources;
        let terms = ClaimTerms { resources, gpus: GpuHold::NONE, choice: Choice::FIRST, until: Served(1) };
        hand.forge(vec![Change::Claim(Arc::new(Claim { task, node: node.name.clone(), epoch: node.epoch, terms }))]);
        hand.judge(Places::default())
    };
    assert_eq!(kept(Condition::CpuAtLeast(1_000)), Ok(()));
    caught(kept(Condition::CpuAtLeast(1_001)), "for which its condition does not hold");
}
