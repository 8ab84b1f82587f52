//! Who is stopped for what namespaces have, and who waits for that for too long.

use std::time::Duration;

use quorate_state::{
    Attempt, AttemptId, AttemptPhase, Change, Choice, Claim, ClaimTerms, Command, Feature, GpuHold, JobSpec, Preempted,
    Preempting, Preemption, Resources, Served, ShareTaken, StopReason, TaskId,
};

use super::{caught, row};
use crate::oracles::hand::{Hand, task};
use crate::oracles::{l6_starvation, p11_shares};

const TAKEN: ShareTaken =
    ShareTaken { had_ppm: 0, part_ppm: 500_000, from_had_ppm: 750_000, from_part_ppm: 500_000, guaranteed: false };

/// Two nodes of a core, where namespaces take their parts from each other.
fn fresh() -> Hand {
    let mut hand = Hand::new(2);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    let preemption = Preemption { by_share: true, share_gap: 0, spare_ms: 0, ..Preemption::OFF };
    hand.commit(Command::SetPreemption { preemption });
    hand.commit(Command::CreateNamespace { namespace: "b".parse().unwrap() });
    hand
}

fn submit(hand: &mut Hand, namespace: &str, cpu_milli: u64) -> TaskId {
    let mut spec = task("a", &[]);
    spec.resources.cpu_milli = cpu_milli;
    let spec = JobSpec { namespace: namespace.parse().unwrap(), tasks: vec![spec], ..hand.bare_spec() };
    TaskId { run: hand.submit_spec(spec), step: 0, index: 0 }
}

/// So many tasks of half a core of `acme` run, the first two on one node.
fn runs(hand: &mut Hand, many: usize) -> Vec<AttemptId> {
    let nodes = ["n1", "n1", "n2", "n2"];
    let place = |node: &&str| {
        let task = submit(hand, "acme", 500);
        let attempt = hand.place(task, node);
        hand.runs(attempt);
        attempt
    };
    nodes.iter().take(many).map(place).collect()
}

/// The product stops an attempt for a task, whether or not it should.
fn forge(hand: &mut Hand, task: TaskId, victim: AttemptId, share: Option<ShareTaken>) {
    let preempted = Some(Preempted { by: task, priority: 50, share });
    let attempt = row(hand, victim);
    let node = attempt.node.clone();
    let stopped = Attempt { stop: Some(StopReason::Preempted), preempted, ..attempt };
    let resources = Resources { cpu_milli: 500, ..Resources::ZERO };
    let terms = ClaimTerms { resources, gpus: GpuHold::NONE, choice: Choice::FIRST, until: Served(u64::MAX) };
    let claim = Claim { task, epoch: hand.node(node.as_str()).epoch, node, terms };
    hand.forge(vec![Change::Attempt(stopped.into()), Change::Claim(claim.into())]);
}

fn judged(hand: &Hand) -> Result<(), String> {
    hand.judge(p11_shares::Shares::default())
}

#[test]
fn room_that_goes_to_who_has_less_than_its_part_violates_nothing() {
    let mut hand = fresh();
    let victims = runs(&mut hand, 3);
    let waits = submit(&mut hand, "b", 500);
    let node = hand.node("n1");
    let generation = hand.state.task(waits).unwrap().generation;
    let (name, epoch, victims) = (node.name.clone(), node.epoch, vec![victims[0]]);
    let asked =
        Preempting { task: waits, generation, node: name, epoch, choice: Choice::FIRST, victims: victims.clone() };
    hand.commit(Command::PreemptAttempts(asked));
    assert_eq!(row(&hand, victims[0]).preempted.unwrap().share, Some(TAKEN));
    assert_eq!(judged(&hand), Ok(()));
}

#[test]
fn a_victim_of_whom_has_its_part_and_one_that_is_told_otherwise_are_caught() {
    let mut hand = fresh();
    let victims = runs(&mut hand, 2);
    let waits = submit(&mut hand, "b", 500);
    forge(&mut hand, waits, victims[0], Some(TAKEN));
    caught(judged(&hand), "acme would be left with 0.2500");

    let mut hand = fresh();
    let victims = runs(&mut hand, 3);
    let waits = submit(&mut hand, "b", 500);
    forge(&mut hand, waits, victims[0], None);
    caught(judged(&hand), "told as None");

    // It has half of the cluster, and wants more.
    let mut hand = fresh();
    let victims = runs(&mut hand, 4);
    let first = submit(&mut hand, "b", 500);
    let again = submit(&mut hand, "acme", 500);
    forge(&mut hand, first, victims[0], Some(TAKEN));
    hand.report(victims[0], AttemptPhase::Ended, Some(0));
    let attempt = hand.place(first, "n1");
    forge(&mut hand, again, attempt, Some(TAKEN));
    caught(judged(&hand), "acme has 0.7500 of 0.5000");
}

#[test]
fn two_that_stop_each_other_are_caught() {
    let mut hand = fresh();
    let victims = runs(&mut hand, 3);
    let waits = submit(&mut hand, "b", 500);
    forge(&mut hand, waits, victims[0], Some(TAKEN));
    hand.report(victims[0], AttemptPhase::Ended, Some(0));
    let attempt = hand.place(waits, "n1");
    forge(&mut hand, victims[0].task, attempt, Some(TAKEN));
    caught(judged(&hand), "and nothing else happened");
}

#[test]
fn who_waits_for_what_others_have_too_much_of_is_seen_in_time() {
    let mut hand = fresh();
    hand.healed = Some(Duration::ZERO);
    runs(&mut hand, 4);
    submit(&mut hand, "b", 500);
    for (second, name) in ["c", "d", "e", "f"].into_iter().enumerate() {
        assert_eq!(hand.judge(l6_starvation::Starvation::default()), Ok(()), "after {second} times four seconds");
        hand.pass(4_000);
        hand.commit(Command::CreateNamespace { namespace: name.parse().unwrap() });
    }
    caught(hand.judge(l6_starvation::Starvation::default()), "has waited since");
}
