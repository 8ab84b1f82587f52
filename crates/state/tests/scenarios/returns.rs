//! The table of ADR 0046, case by case: a node runs a task, is away for a while, and comes back.

use quorate_state::{
    AttemptClaim, AttemptId, AttemptState, Choice, FailReason, GpuHold, OnNodeLoss, Settings, StopReason, TaskSpec,
    TaskState, Wait,
};

use crate::cluster::{Cluster, id, job, task};

/// What has happened by the time at which it is back.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// Its lease goes on.
    Shortly,
    /// Its lease is over, and nothing else has happened.
    PastItsLease,
    /// Another copy was placed, or, where none may be, the time to wait for it is over.
    TooLong,
}

/// What its agent has.
#[derive(Clone, Copy, Debug)]
enum Back {
    /// Its journal, and the copy.
    WithTheCopy,
    /// Its journal, which says that the copy is gone.
    WithoutTheCopy,
    /// A new journal.
    WithoutItsJournal,
}

/// What then becomes of the first copy, and of its task.
fn outcome(promise: OnNodeLoss, away: Away, back: Back) -> String {
    use quorate_state::AttemptPhase::Running;
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { on_node_loss: promise, ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report(id(0), Running, None);
    match away {
        Away::Shortly => {}
        Away::PastItsLease => cluster.expire("n"),
        Away::TooLong => {
            cluster.expire("n");
            if promise == OnNodeLoss::AtMostOnce {
                cluster.pass(Settings::default().unknown_ms_max);
            } else {
                cluster.pass(Settings::default().lease.kill_ms);
                cluster.place(id(0), "m");
                cluster.report(id(0), Running, None);
            }
        }
    }
    let attempt = AttemptId { task: id(0), number: 1 };
    match back {
        Back::WithTheCopy => cluster.return_of(
            "n",
            token.0,
            vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token }],
        ),
        Back::WithoutTheCopy => cluster.return_of("n", token.0, vec![]),
        Back::WithoutItsJournal => cluster.return_without_journal("n", 99, 0),
    }
    let copy = cluster.state.attempt(attempt).unwrap();
    let copy = match (copy.state, copy.gone, copy.stop) {
        (AttemptState::Running, false, None) => "goes on",
        (AttemptState::Lost, true, None) => "lost and gone",
        // A desired set names what is over and not gone, with the order to stop (`sessions/desired.rs`).
        (AttemptState::Lost, false, None | Some(StopReason::Cancelled)) => "lost and ended",
        other => panic!("{promise:?} {away:?} {back:?}: {other:?}"),
    };
    let task = match cluster.task(id(0)) {
        TaskState::Running if copy == "goes on" => "runs",
        TaskState::Running => "runs elsewhere",
        TaskState::Ready => "placed again",
        TaskState::Waiting(Wait::Fence { .. }) => "waits until it is dead",
        TaskState::Failed(FailReason::Lost) => "failed, lost",
        other => panic!("{promise:?} {away:?} {back:?}: {other:?}"),
    };
    format!("{copy}; {task}")
}

/// One row for each length of absence, one column for each state of the agent.
fn check(promise: OnNodeLoss, expected: [[&str; 3]; 3]) {
    for (away, row) in [Away::Shortly, Away::PastItsLease, Away::TooLong].into_iter().zip(expected) {
        for (back, expected) in [Back::WithTheCopy, Back::WithoutTheCopy, Back::WithoutItsJournal].into_iter().zip(row)
        {
            assert_eq!(outcome(promise, away, back), expected, "{promise:?} {away:?} {back:?}");
        }
    }
}

#[test]
fn at_least_once_goes_on_unless_it_was_replaced_and_is_placed_again_otherwise() {
    check(
        OnNodeLoss::AtLeastOnce,
        [
            ["goes on; runs", "lost and gone; placed again", "lost and ended; placed again"],
            ["goes on; runs", "lost and gone; placed again", "lost and ended; placed again"],
            ["lost and ended; runs elsewhere", "lost and gone; runs elsewhere", "lost and ended; runs elsewhere"],
        ],
    );
}

#[test]
fn fenced_is_placed_again_only_once_its_copy_is_certainly_dead() {
    check(
        OnNodeLoss::Fenced,
        [
            ["goes on; runs", "lost and gone; placed again", "lost and ended; waits until it is dead"],
            ["goes on; runs", "lost and gone; placed again", "lost and ended; waits until it is dead"],
            ["lost and ended; runs elsewhere", "lost and gone; runs elsewhere", "lost and ended; runs elsewhere"],
        ],
    );
}

#[test]
fn at_most_once_goes_on_or_fails_and_is_never_placed_again() {
    check(
        OnNodeLoss::AtMostOnce,
        [
            ["goes on; runs", "lost and gone; failed, lost", "lost and ended; failed, lost"],
            ["goes on; runs", "lost and gone; failed, lost", "lost and ended; failed, lost"],
            ["lost and ended; failed, lost", "lost and gone; failed, lost", "lost and ended; failed, lost"],
        ],
    );
}
