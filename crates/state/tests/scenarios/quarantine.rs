//! A task that takes its nodes down is placed no more before somebody has looked at it, and one that only was there is.

use quorate_state::{
    AttemptId, AttemptPhase, AttemptState, Command, Feature, OnNodeLoss, Rejection, Reply, TaskSpec, TaskState, Wait,
};

use crate::cluster::{Cluster, id, job, task};

const QUARANTINE: TaskState = TaskState::Waiting(Wait::Quarantine);

/// A cluster of nodes that know how to be suspicious, and a task.
fn cluster(spec: TaskSpec) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::TaskOutcomes);
    cluster.submit(1, job(vec![spec])).unwrap();
    for (uuid, node) in (1..).zip(["a", "b", "c", "d"]) {
        cluster.register(node, uuid, "eu", "eu-a").unwrap();
    }
    cluster
}

/// The task runs on a node, whose lease then ends.
fn runs_and_takes_along(cluster: &mut Cluster, node: &str) {
    cluster.place(id(0), node);
    cluster.report(id(0), AttemptPhase::Running, None);
    cluster.expire(node);
    // Between losses there is a delay.
    cluster.pass(200_000);
}

fn nth(number: u32) -> AttemptId {
    AttemptId { task: id(0), number }
}

#[test]
fn the_third_node_that_goes_away_under_a_task_is_the_last() {
    let mut cluster = cluster(task("a", &[]));
    for node in ["a", "b"] {
        runs_and_takes_along(&mut cluster, node);
        assert_eq!(cluster.task(id(0)), TaskState::Ready);
    }
    runs_and_takes_along(&mut cluster, "c");
    assert_eq!(cluster.task(id(0)), QUARANTINE);
    let nodes: Vec<&str> = cluster.state.suspect_nodes(id(0)).into_iter().map(|node| node.as_str()).collect();
    assert_eq!(nodes, ["a", "b", "c"]);
    assert_eq!((cluster.state.ready_count(), cluster.state.run_counts(id(0).run).quarantined), (0, 1));
    cluster.pass(10_000_000);
    assert_eq!(cluster.task(id(0)), QUARANTINE, "time alone changes nothing");
}

#[test]
fn the_same_node_three_times_is_one_bad_node() {
    let mut cluster = cluster(task("a", &[]));
    for _ in 0..3 {
        runs_and_takes_along(&mut cluster, "a");
        assert_eq!(cluster.task(id(0)), TaskState::Ready);
        cluster.return_of("a", cluster.revision, vec![]);
        cluster.pass(200_000);
    }
}

#[test]
fn what_only_waited_there_is_not_to_blame() {
    let mut cluster = cluster(task("a", &[]));
    for node in ["a", "b", "c", "d"] {
        cluster.place(id(0), node);
        cluster.expire(node);
        cluster.pass(200_000);
    }
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
}

#[test]
fn a_node_that_comes_back_with_it_speaks_for_it() {
    let mut cluster = cluster(task("a", &[]));
    for node in ["a", "b", "c"] {
        runs_and_takes_along(&mut cluster, node);
    }
    assert_eq!(cluster.task(id(0)), QUARANTINE);
    // Replaced, and alive all the same: a network was to blame.
    cluster.return_of("b", cluster.revision, vec![cluster.claim(nth(2))]);
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    runs_and_takes_along(&mut cluster, "d");
    assert_eq!(cluster.task(id(0)), QUARANTINE);
    // The newest copy itself is back.
    cluster.return_of("d", cluster.revision, vec![cluster.claim(nth(4))]);
    assert_eq!((cluster.task(id(0)), cluster.attempt(id(0)).state), (TaskState::Running, AttemptState::Running));
}

#[test]
fn an_agent_that_starts_anew_without_it_speaks_against_it() {
    let mut cluster = cluster(TaskSpec { on_node_loss: OnNodeLoss::Fenced, ..task("a", &[]) });
    for node in ["a", "b", "c"] {
        cluster.place(id(0), node);
        cluster.report(id(0), AttemptPhase::Running, None);
        cluster.return_of(node, cluster.revision, vec![]);
        cluster.pass(200_000);
    }
    assert_eq!(cluster.task(id(0)), QUARANTINE);
}

#[test]
fn a_release_begins_anew_and_is_harmless_elsewhere() {
    let mut cluster = cluster(task("a", &[]));
    let release = || Command::ReleaseTask { task: id(0) };
    assert_eq!(cluster.run(release()), Ok(Reply::Counted(0)));
    for node in ["a", "b", "c"] {
        runs_and_takes_along(&mut cluster, node);
    }
    assert_eq!(cluster.run(release()), Ok(Reply::Counted(1)));
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    assert!(cluster.state.suspect_nodes(id(0)).is_empty());
    runs_and_takes_along(&mut cluster, "d");
    assert_eq!(cluster.task(id(0)), TaskState::Ready);
    let absent = Command::ReleaseTask { task: id(7) };
    assert!(matches!(cluster.run(absent), Err(Rejection::Stale(_))));
}

#[test]
fn what_was_forgiven_is_not_held_against_it_when_the_node_comes_back_without_it() {
    let mut cluster = cluster(task("a", &[]));
    for node in ["a", "b", "c"] {
        runs_and_takes_along(&mut cluster, node);
    }
    cluster.run(Command::ReleaseTask { task: id(0) }).unwrap();
    for node in ["a", "b", "c"] {
        cluster.return_of(node, cluster.revision, vec![]);
    }
    assert!(cluster.state.suspect_nodes(id(0)).is_empty());
}

/// A partition ends what is `fenced`; the agent outlives it, and says so.
#[test]
fn an_agent_that_ended_it_for_the_lease_speaks_for_it() {
    let mut cluster = cluster(TaskSpec { on_node_loss: OnNodeLoss::Fenced, ..task("a", &[]) });
    for (number, node) in (1..).zip(["a", "b", "c", "d"]) {
        runs_and_takes_along(&mut cluster, node);
        cluster.return_of(node, cluster.revision, vec![cluster.claim(nth(number))]);
        cluster.report_gone(id(0), AttemptPhase::Lost, None, true);
        assert_eq!(cluster.attempt(id(0)).state, AttemptState::Lost);
        cluster.pass(1_000_000);
        assert_eq!(cluster.task(id(0)), TaskState::Ready, "{node}");
        assert_eq!(cluster.state.task(id(0)).unwrap().losses, number, "counted once");
    }
}

#[test]
fn a_cancel_ends_it() {
    let mut cluster = cluster(task("a", &[]));
    for node in ["a", "b", "c"] {
        runs_and_takes_along(&mut cluster, node);
    }
    cluster.run(Command::CancelRun { run: id(0).run }).unwrap();
    cluster.run(Command::AdvanceStep { run: id(0).run, step: 0, limit: 10 }).unwrap();
    assert_eq!(cluster.task(id(0)), TaskState::Cancelled);
}

#[test]
fn nobody_is_suspected_before_the_feature_is_enabled() {
    let mut cluster = Cluster::new();
    cluster.submit(1, job(vec![task("a", &[])])).unwrap();
    for (uuid, node) in (1..).zip(["a", "b", "c"]) {
        cluster.register(node, uuid, "eu", "eu-a").unwrap();
        runs_and_takes_along(&mut cluster, node);
        assert_eq!(cluster.task(id(0)), TaskState::Ready);
    }
    assert_eq!(
        cluster.run(Command::ReleaseTask { task: id(0) }),
        Err(Rejection::FeatureNotEnabled(Feature::TaskOutcomes))
    );
}
