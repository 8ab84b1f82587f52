//! What namespaces may hold.

use quorate_state::{
    Amounts, Attempt, AttemptId, Change, Command, Feature, Namespace, OnFailure, ShareChange, Task, TaskId, TaskState,
};

use super::{caught, holds, row};
use crate::oracles::hand::{Hand, task};
use crate::oracles::p5_quota;

fn share(hand: &mut Hand, namespace: &str, is_new: bool, parent: Option<&str>, cpu_milli: Option<u64>) {
    let namespace: Namespace = namespace.parse().unwrap();
    let change = ShareChange {
        parent: parent.map(|parent| Some(parent.parse().unwrap())),
        maximum: Some(Amounts { cpu_milli, ..Amounts::default() }),
        ..ShareChange::default()
    };
    hand.commit(Command::SetNamespace { namespace, is_new, change: Box::new(change) });
}

#[test]
fn a_placement_above_the_maximum_of_a_namespace_above_is_caught() {
    let mut hand = Hand::new(2);
    Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
    hand.pass(60_000);
    let run = hand.submit(OnFailure::Finish, vec![task("a", &[]), task("b", &[])]);
    let (a, b) = (TaskId { run, step: 0, index: 0 }, TaskId { run, step: 1, index: 0 });
    let takes = hand.state.run(run).unwrap().spec.tasks[0].resources.cpu_milli;
    share(&mut hand, "above", true, None, Some(takes));
    share(&mut hand, "acme", false, Some("above"), None);
    hand.place(a, "n1");
    holds(&hand);
    // The product refuses the second; a lower maximum is no placement.
    share(&mut hand, "above", false, None, Some(takes - 1));
    holds(&hand);
    let first = row(&hand, hand.state.task(a).unwrap().newest_attempt().unwrap());
    let row = (**hand.state.task(b).unwrap()).clone();
    let attempt = Attempt { id: AttemptId { task: b, number: 1 }, ..first };
    let placed = Task { state: TaskState::Placed, attempts: 1, generation: row.generation + 1, ..row };
    hand.forge(vec![Change::Attempt(attempt.into()), Change::Task(placed.into())]);
    caught(hand.judge(p5_quota::Quota::default()), "takes namespace above to");
}
