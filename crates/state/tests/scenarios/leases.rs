//! Nodes that come back, with or without what they knew, and what that means for their attempts.

use std::collections::BTreeMap;

use quorate_state::{
    AttemptClaim, AttemptId, AttemptPhase, AttemptState, Choice, Command, Exit, FailReason, GpuHold, OnNodeLoss,
    Registration, Rejection, ReportOutcome, Resources, Retry, Revision, RunId, RunState, StopReason, TaskId, TaskSpec,
    TaskState, Uuid, Wait,
};

use crate::cluster::{Cluster, id, job, task};

#[test]
fn a_cluster_lies_in_one_region() {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    assert!(matches!(cluster.register("m", 2, "us", "eu-a"), Err(Rejection::ClusterInOtherRegion { .. })));
}

#[test]
fn a_node_that_returns_with_the_current_token_keeps_its_attempt() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    let epoch = cluster.state.node(&"n".parse().unwrap()).unwrap().epoch;
    cluster.run(Command::ExpireLeases { leases: vec![("n".parse().unwrap(), epoch)] }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    let attempt = AttemptId { task: id(0), number: 1 };
    assert_eq!(cluster.state.attempt(attempt).unwrap().state, AttemptState::Unknown);
    cluster
        .run(Command::RegisterNode(Box::new(Registration {
            gpus: [].into(),
            node: "n".parse().unwrap(),
            uuid: Uuid(1),
            journal: Uuid(1),
            boot_id: "boot".into(),
            machine_id: "machine".into(),
            region: "eu".parse().unwrap(),
            cluster: "eu-a".parse().unwrap(),
            capacity: Resources { cpu_milli: 1_000, memory_bytes: 1 << 30, gpu_milli: 0 },
            labels: BTreeMap::new(),
            offer: Default::default(),
            attempts: vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token }],
            seen: Revision(token.0),
        })))
        .unwrap();
    assert_eq!(cluster.state.attempt(attempt).unwrap().state, AttemptState::Running);
    assert_eq!(cluster.task(id(0)), TaskState::Running);
    assert_eq!(cluster.state.ready_count(), 0);
}

#[test]
fn a_lost_task_is_placed_elsewhere_and_the_old_copy_no_longer_counts() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "us", "us-a").unwrap();
    let first = cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    let epoch = cluster.state.node(&"n".parse().unwrap()).unwrap().epoch;
    cluster.run(Command::ExpireLeases { leases: vec![("n".parse().unwrap(), epoch)] }).unwrap();
    let second = cluster.place(id(0), "m");
    assert!(second > first);
    let old = cluster.state.attempt(AttemptId { task: id(0), number: 1 }).unwrap().clone();
    assert_eq!((old.state, old.gone), (AttemptState::Lost, false));
    // Its room is held until the agent confirms.
    assert_eq!(cluster.state.used_on(&"n".parse().unwrap()).cpu_milli, 500);
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    assert_eq!(cluster.task(id(0)), TaskState::Succeeded);
    assert_eq!(cluster.state.task(id(0)).unwrap().losses, 1);
    assert_eq!(cluster.state.task(id(0)).unwrap().tries, 0, "a lost node burns no try");
}

#[test]
fn a_registration_says_nothing_of_attempts_the_agent_was_never_told_of() {
    let mut cluster = Cluster::new();
    let tasks = vec![TaskSpec { on_node_loss: OnNodeLoss::AtMostOnce, ..task("a", &[]) }];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let before = cluster.revision;
    let token = cluster.place(id(0), "n");
    // Sent before the placement, delayed on the way: the attempt may be running by now.
    cluster.return_of("n", before, vec![]);
    assert_eq!(cluster.attempt(id(0)).state, AttemptState::Assigned);
    assert_eq!(cluster.task(id(0)), TaskState::Placed);
    assert_eq!(cluster.state.used_on(&"n".parse().unwrap()).cpu_milli, 500);
    // Sent after it was told of the placement: its journal would know of a start.
    cluster.return_of("n", token.0, vec![]);
    assert_eq!(cluster.attempt(id(0)).state, AttemptState::Lost);
    assert_eq!(cluster.task(id(0)), TaskState::Failed(FailReason::Lost));
}

#[test]
fn an_agent_without_its_journal_is_not_given_the_same_attempt_again() {
    let mut cluster = Cluster::new();
    let promised = |name, on_node_loss| TaskSpec { on_node_loss, ..task(name, &[]) };
    cluster.submit(1, job(vec![promised("a", OnNodeLoss::AtMostOnce), promised("b", OnNodeLoss::Fenced)])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let (once, fenced) = (id(0), TaskId { step: 1, ..id(0) });
    for task in [once, fenced] {
        cluster.place(task, "n");
        cluster.report(task, AttemptPhase::Running, None);
    }
    // Its new journal has seen nothing, which says nothing of what the old one saw.
    let lease = cluster.state.node(&"n".parse().unwrap()).unwrap().lease;
    cluster.return_without_journal("n", 99, 0);
    assert_eq!((cluster.attempt(once).state, cluster.attempt(once).gone), (AttemptState::Lost, false));
    assert_eq!(cluster.task(once), TaskState::Failed(FailReason::Lost));
    assert_eq!(cluster.attempt(fenced).state, AttemptState::Lost);
    cluster.pass(lease.server_ms + lease.kill_ms - 1);
    assert!(matches!(cluster.task(fenced), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(fenced));
    cluster.pass(1);
    assert_eq!(cluster.task(fenced), TaskState::Ready);
}

#[test]
fn a_new_journal_proves_nothing_of_attempts_that_are_older() {
    let mut cluster = Cluster::new();
    let fenced = TaskSpec { on_node_loss: OnNodeLoss::Fenced, ..task("a", &[]) };
    cluster.submit(1, job(vec![fenced])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let lease = cluster.state.node(&"n".parse().unwrap()).unwrap().lease;
    let used = |cluster: &Cluster| cluster.state.used_on(&"n".parse().unwrap()).cpu_milli;
    let is_fenced = |cluster: &Cluster| matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. }));
    cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.return_without_journal("n", 99, cluster.revision);
    // Told to stop what it has never heard of, its agent says that there is nothing.
    assert_eq!(cluster.says_nothing_is_there(id(0)), ReportOutcome::Refused);
    assert_eq!((is_fenced(&cluster), used(&cluster)), (true, 500));
    // Its next registration is the second of the new journal, which does not list the attempt either.
    cluster.return_of("n", cluster.revision, vec![]);
    assert_eq!((is_fenced(&cluster), used(&cluster)), (true, 500));
    // Nor if it has not heard of the refusal, and lists what it answered about.
    let claim = AttemptClaim {
        choice: Choice::FIRST,
        gpus: GpuHold::NONE,
        attempt: AttemptId { task: id(0), number: 1 },
        token: cluster.attempt(id(0)).token,
    };
    cluster.return_of("n", cluster.revision, vec![claim]);
    assert_eq!(cluster.says_nothing_is_there(id(0)), ReportOutcome::Refused);
    assert_eq!((is_fenced(&cluster), used(&cluster)), (true, 500));
    // Nor does yet another journal begin the wait anew.
    cluster.pass(lease.server_ms);
    cluster.return_without_journal("n", 100, 0);
    cluster.pass(lease.kill_ms - 1);
    assert_eq!((is_fenced(&cluster), used(&cluster)), (true, 500));
    // The lease that it ran under is over for everybody, and so is the time to kill it.
    cluster.pass(1);
    assert_eq!((cluster.task(id(0)), used(&cluster)), (TaskState::Ready, 0));
}

#[test]
fn a_new_journal_after_the_lease_does_not_prolong_the_fence() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { on_node_loss: OnNodeLoss::Fenced, ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let lease = cluster.state.node(&"n".parse().unwrap()).unwrap().lease;
    cluster.place(id(0), "n");
    cluster.expire("n");
    cluster.return_without_journal("n", 99, 0);
    cluster.pass(lease.kill_ms - 1);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(id(0)));
    cluster.pass(1);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn the_old_journal_can_still_speak_for_what_was_given_up() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { on_node_loss: OnNodeLoss::Fenced, ..task("a", &[]) }])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    let attempt = AttemptId { task: id(0), number: 1 };
    cluster.return_without_journal("n", 99, 0);
    cluster.register_as("n", 1, 0, vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token }]);
    cluster.pass(10_000_000);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })), "it has a lease again");
    assert_eq!(cluster.says_nothing_is_there(id(0)), ReportOutcome::Accepted);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn a_fence_holds_while_a_copy_that_ended_is_claimed_under_a_live_lease() {
    let mut cluster = Cluster::new();
    let retry = Retry { attempts: 3, first_ms: 1_000, jitter_milli: 0, ..Retry::default() };
    let tasks = vec![TaskSpec { on_node_loss: OnNodeLoss::Fenced, retry, ..task("a", &[]) }];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), false);
    cluster.expire("n");
    // The node is back before the fence is over, and still has what is left of the copy.
    let attempt = AttemptId { task: id(0), number: 1 };
    cluster.return_of("n", token.0, vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token }]);
    cluster.pass(10_000_000);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(id(0)));
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), true);
    cluster.pass(1_000);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn a_fenced_task_waits_for_its_copy_to_be_gone_while_the_lease_is_live() {
    let mut cluster = Cluster::new();
    let retry = Retry { attempts: 3, first_ms: 60_000, jitter_milli: 0, ..Retry::default() };
    let tasks = vec![TaskSpec { on_node_loss: OnNodeLoss::Fenced, retry, ..task("a", &[]) }];
    cluster.submit(1, job(tasks)).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    // Its leader ended, one of its children hangs.
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), false);
    cluster.pass(10_000_000);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })), "{:?}", cluster.task(id(0)));
    // Gone at last: now the delay of its retry, not less.
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), true);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })), "{:?}", cluster.task(id(0)));
    cluster.pass(60_000);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    // The same, but the node dies: the end of its lease and the kill bound lift the fence.
    cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Ended, Some(Exit::Code(1)), false);
    cluster.expire("n");
    cluster.pass(2_999);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Fence { .. })));
    cluster.pass(1);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn a_copy_that_comes_back_after_its_run_was_cancelled_is_stopped() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let token = cluster.place(id(0), "n");
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.expire("n");
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 1 }).unwrap();
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Cancelled);
    let attempt = cluster.attempt(id(0)).id;
    cluster.return_of("n", token.0, vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token }]);
    let back = cluster.attempt(id(0));
    assert_eq!((back.state, back.stop), (AttemptState::Running, Some(StopReason::Cancelled)));
}

#[test]
fn a_copy_that_nobody_had_asked_to_stop_before_its_run_ended_is_stopped_when_it_comes_back() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![TaskSpec { count: 2, ..task("a", &[]) }])).unwrap();
    cluster.register("m", 1, "eu", "eu-a").unwrap();
    cluster.register("n", 2, "eu", "eu-a").unwrap();
    let (here, away) = (id(0), TaskId { index: 1, ..id(0) });
    cluster.place(here, "m");
    let token = cluster.place(away, "n");
    cluster.report(here, AttemptPhase::Running, None);
    cluster.report(away, AttemptPhase::Running, None);
    cluster.expire("n");
    cluster.run(Command::CancelRun { run: RunId(1) }).unwrap();
    // One task at a time: the live copy is asked to stop, the queued task of the lost one ends.
    cluster.run(Command::AdvanceStep { run: RunId(1), step: 0, limit: 1 }).unwrap();
    assert_eq!(cluster.attempt(away).stop, None);
    cluster.report(here, AttemptPhase::Ended, Some(Exit::Signal(15)));
    cluster.run(Command::FinishRun { run: RunId(1) }).unwrap();
    assert_eq!(cluster.state.run(RunId(1)).unwrap().state, RunState::Cancelled);
    let attempt = cluster.attempt(away).id;
    cluster.return_of("n", token.0, vec![AttemptClaim { choice: Choice::FIRST, gpus: GpuHold::NONE, attempt, token }]);
    assert_eq!(cluster.attempt(away).stop, Some(StopReason::Cancelled));
}

#[test]
fn a_node_that_loses_all_it_is_given_does_not_use_up_a_tasks_losses_in_an_instant() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Lost, None, true);
    assert_eq!(cluster.task(id(0)), TaskState::Ready, "one loss costs no time");
    cluster.place(id(0), "n");
    cluster.report_gone(id(0), AttemptPhase::Lost, None, true);
    assert!(matches!(cluster.task(id(0)), TaskState::Waiting(Wait::Backoff { .. })));
}
