//! Attempts that are stopped to make room for a task, and the room that is kept for it.

use std::sync::Arc;

use quorate_state::{
    AttemptId, AttemptPhase, AttemptState, Choice, Command, Digest, Epoch, Exit, Feature, GangSpec, GpuHold, JobSpec,
    NodeName, OnNodeLoss, Placement, PlacementOutcome, Preempting, Preemption, Rejection, Reply, Resources, RunId,
    Served, StopReason, TaskId, TaskSpec, TaskState,
};

use crate::cluster::{Cluster, job, task};

const POLICY: Preemption = Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 2, ..Preemption::OFF };

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn of(run: u64) -> TaskId {
    TaskId { run: RunId(run), step: 0, index: 0 }
}

fn first(run: u64) -> AttemptId {
    AttemptId { task: of(run), number: 1 }
}

fn spec(priority: u8, cpu_milli: u64) -> JobSpec {
    let resources = Resources { cpu_milli, memory_bytes: 0, gpu_milli: 0 };
    JobSpec { priority, ..job(vec![TaskSpec { resources, ..task("t", &[]) }]) }
}

/// Two nodes of one core. Runs 1 to 3, of priority 50, hold all of `n`, and run 9, of 60, waits for 500m of it.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.run(Command::SetPreemption { preemption: POLICY }).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "us", "us-a").unwrap();
    for (run, cpu_milli) in [(1, 300), (2, 300), (3, 400)] {
        cluster.submit(run, spec(50, cpu_milli)).unwrap();
        cluster.place(of(run), "n");
        cluster.report(of(run), AttemptPhase::Running, None);
    }
    cluster.submit(9, spec(60, 500)).unwrap();
    cluster
}

fn asked(cluster: &Cluster, victims: &[u64]) -> Preempting {
    let epoch = cluster.state.node(&node("n")).map_or(Epoch(0), |node| node.epoch);
    let generation = cluster.state.task(of(9)).unwrap().generation;
    Preempting {
        task: of(9),
        generation,
        node: node("n"),
        epoch,
        choice: Choice::FIRST,
        victims: victims.iter().copied().map(first).collect(),
    }
}

fn preempt(cluster: &mut Cluster, victims: &[u64]) -> Result<Reply, Rejection> {
    let asked = asked(cluster, victims);
    cluster.run(Command::PreemptAttempts(asked))
}

#[track_caller]
fn refused(cluster: &mut Cluster, victims: &[u64], why: &str) {
    let before = cluster.state.clone();
    match preempt(cluster, victims) {
        Err(Rejection::Stale(message)) => assert!(message.contains(why), "{message:?} instead of {why:?}"),
        other => panic!("{other:?} instead of {why:?}"),
    }
    assert!(cluster.state.claims().eq(before.claims()));
    assert!(victims.iter().all(|run| cluster.attempt(of(*run)).stop == before.attempt(first(*run)).unwrap().stop));
}

#[test]
fn who_is_preempted_stops_is_queued_again_and_has_burnt_nothing() {
    let mut cluster = cluster();
    assert_eq!(preempt(&mut cluster, &[2, 3]), Ok(Reply::Counted(2)));
    for run in [2, 3] {
        let attempt = cluster.attempt(of(run)).clone();
        assert_eq!(attempt.stop, Some(StopReason::Preempted));
        assert_eq!(attempt.preempted.map(|preempted| (preempted.by, preempted.priority)), Some((of(9), 60)));
        cluster.report(of(run), AttemptPhase::Ended, Some(Exit::Signal(15)));
        assert_eq!(cluster.attempt(of(run)).state, AttemptState::Preempted);
        let row = cluster.state.task(of(run)).unwrap();
        assert_eq!((&row.state, row.tries, row.losses, row.preemptions), (&TaskState::Ready, 0, 0, 1));
    }
    assert_eq!(cluster.attempt(of(1)).stop, None, "nobody asked for its room");
    cluster.place(of(9), "n");
    assert_eq!(cluster.state.claims_count(), 0, "it has what was kept for it");
}

#[test]
fn a_gang_is_spared_and_none_of_it_preempts_alone() {
    let mut cluster = cluster();
    let gang = |priority| {
        let spec = spec(priority, 500);
        let tasks = spec.tasks.into_iter();
        let tasks = tasks.map(|task| TaskSpec { count: 2, gang: Some(GangSpec::default()), ..task }).collect();
        JobSpec { tasks, ..spec }
    };
    cluster.submit(4, gang(0)).unwrap();
    cluster.submit(8, gang(100)).unwrap();
    let epoch = cluster.state.node(&node("m")).unwrap().epoch;
    let placement = |index| {
        let task = TaskId { index, ..of(4) };
        let generation = cluster.state.task(task).unwrap().generation;
        Placement { task, generation, node: node("m"), epoch, choice: Choice::FIRST, gpus: GpuHold::NONE }
    };
    let placements = vec![placement(0), placement(1)];
    cluster.run(Command::CommitGang { run: RunId(4), step: 0, generation: 0, placements }).unwrap();
    cluster.report(of(4), AttemptPhase::Running, None);
    let stale =
        |reply, why: &str| assert!(matches!(&reply, Err(Rejection::Stale(stale)) if stale.contains(why)), "{reply:?}");
    let victim = Preempting { node: node("m"), epoch, ..asked(&cluster, &[4]) };
    stale(cluster.run(Command::PreemptAttempts(victim)), "is spared now");
    let generation = cluster.state.task(of(8)).unwrap().generation;
    let member = Preempting { task: of(8), generation, ..asked(&cluster, &[2, 3]) };
    stale(cluster.run(Command::PreemptAttempts(member)), "placed as a whole");
}

#[test]
fn room_that_is_kept_goes_to_nobody_else_and_the_one_it_is_for_nowhere_else() {
    let mut cluster = cluster();
    cluster.submit(5, spec(100, 100)).unwrap();
    preempt(&mut cluster, &[2, 3]).unwrap();
    for run in [2, 3] {
        cluster.report(of(run), AttemptPhase::Ended, Some(Exit::Signal(15)));
    }
    // 700m are free, of which 500m are kept.
    let n = cluster.state.node(&node("n")).unwrap().clone();
    assert_eq!(cluster.state.free_on(&n).cpu_milli, 200);
    cluster.submit(6, spec(100, 201)).unwrap();
    assert!(matches!(cluster.try_place(of(6), "n"), PlacementOutcome::Refused(_)), "however urgent it is");
    assert!(matches!(cluster.try_place(of(9), "m"), PlacementOutcome::Refused(_)), "its room is here");
    assert!(matches!(cluster.try_place(of(5), "n"), PlacementOutcome::Placed(_)), "what is not kept is free");
    assert!(matches!(cluster.try_place(of(9), "n"), PlacementOutcome::Placed(_)));
}

#[test]
fn nobody_is_preempted_by_whom_is_not_more_urgent_by_the_gap() {
    let mut cluster = cluster();
    cluster.run(Command::SetRunPriority { run: RunId(9), priority: 59 }).unwrap();
    refused(&mut cluster, &[2, 3], "as urgent");
    cluster.run(Command::SetRunPriority { run: RunId(3), priority: 49 }).unwrap();
    refused(&mut cluster, &[2, 3], "as urgent");
    cluster.run(Command::SetRunPriority { run: RunId(2), priority: 0 }).unwrap();
    assert_eq!(preempt(&mut cluster, &[2, 3]), Ok(Reply::Counted(2)));
}

#[test]
fn nobody_is_preempted_for_nothing_or_for_too_little() {
    let mut cluster = cluster();
    refused(&mut cluster, &[1], "would not fit");
    refused(&mut cluster, &[], "would not fit");
    // The room of what is about to go anyway is counted.
    cluster.run(Command::CancelRun { run: RunId(3) }).unwrap();
    refused(&mut cluster, &[3], "spared");
    assert_eq!(preempt(&mut cluster, &[2]), Ok(Reply::Counted(1)));
    // Who is not needed is left alone.
    let mut cluster = self::cluster();
    assert_eq!(preempt(&mut cluster, &[1, 2, 3]), Ok(Reply::Counted(2)));
    assert_eq!(cluster.attempt(of(3)).stop, None, "300m and 300m are enough");
    let mut cluster = self::cluster();
    for run in [2, 3] {
        cluster.run(Command::CancelRun { run: RunId(run) }).unwrap();
    }
    refused(&mut cluster, &[1], "room for it without them");
}

#[test]
fn what_is_started_once_protected_paused_or_fresh_is_spared() {
    let with = |change: fn(&mut JobSpec)| {
        let mut cluster = cluster();
        cluster.register("o", 3, "eu", "eu-a").unwrap();
        let mut spec = spec(0, 900);
        change(&mut spec);
        let command = Command::SubmitJob { run: RunId(7), spec: Arc::new(spec), spec_digest: Digest([7; 32]) };
        cluster.run(command).unwrap();
        cluster.place(of(7), "o");
        cluster
    };
    let on_o = |cluster: &mut Cluster| {
        let epoch = cluster.state.node(&node("o")).unwrap().epoch;
        let asked = Preempting { node: node("o"), epoch, ..asked(cluster, &[7]) };
        cluster.run(Command::PreemptAttempts(asked))
    };
    assert_eq!(on_o(&mut with(|_| {})), Ok(Reply::Counted(1)));
    assert!(on_o(&mut with(|spec| spec.tasks[0].preemptible = false)).is_err());
    assert!(on_o(&mut with(|spec| spec.tasks[0].on_node_loss = OnNodeLoss::AtMostOnce)).is_err());
    let mut paused = with(|_| {});
    paused.run(Command::PauseRun { run: RunId(7), reason: "".into() }).unwrap();
    assert!(on_o(&mut paused).is_err(), "what runs of a paused run goes on");
}

#[test]
fn an_attempt_is_spared_for_longer_after_each_time_and_for_ever_after_the_last() {
    let mut cluster = cluster();
    cluster.run(Command::SetPreemption { preemption: Preemption { spare_ms: 5_000, ..POLICY } }).unwrap();
    preempt(&mut cluster, &[2, 3]).unwrap();
    cluster.report(of(3), AttemptPhase::Ended, Some(Exit::Signal(15)));
    cluster.place(of(3), "m");
    assert_eq!(cluster.attempt(of(3)).spared_until, Some(cluster.state.meta().served.plus(10_000)));

    cluster.submit(8, spec(100, 900)).unwrap();
    let again = Preempting {
        task: of(8),
        generation: cluster.state.task(of(8)).unwrap().generation,
        node: node("m"),
        epoch: cluster.state.node(&node("m")).unwrap().epoch,
        choice: Choice::FIRST,
        victims: vec![AttemptId { task: of(3), number: 2 }],
    };
    cluster.pass(9_999);
    assert!(cluster.run(Command::PreemptAttempts(again.clone())).is_err(), "it is fresh");
    cluster.pass(1);
    cluster.run(Command::PreemptAttempts(again)).unwrap();
    cluster.report(of(3), AttemptPhase::Ended, Some(Exit::Signal(15)));
    cluster.register("o", 3, "eu", "eu-a").unwrap();
    cluster.place(of(3), "o");
    assert_eq!(cluster.attempt(of(3)).spared_until, Some(Served::NEVER), "times_max is 2");
}

#[test]
fn room_is_kept_no_longer_than_the_task_waits_and_the_node_takes_work() {
    let kept = || {
        let mut cluster = cluster();
        preempt(&mut cluster, &[2, 3]).unwrap();
        assert!(cluster.state.claim(of(9)).is_some());
        cluster
    };
    let epoch = kept().state.node(&node("n")).unwrap().epoch;
    for command in [
        Command::PauseRun { run: RunId(9), reason: "".into() },
        Command::CordonNode { node: node("n"), cordoned: true },
        Command::DrainNode { node: node("n"), wait_ms: 60_000, reason: "".into() },
        Command::ExpireLeases { leases: vec![(node("n"), epoch)] },
    ] {
        let mut cluster = kept();
        cluster.run(command.clone()).unwrap();
        assert_eq!(cluster.state.claims_count(), 0, "after {command:?}");
    }
    let mut cluster = kept();
    cluster.run(Command::CancelRun { run: RunId(9) }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(9), step: 0, limit: 10 }).unwrap();
    assert_eq!((cluster.task(of(9)), cluster.state.claims_count()), (TaskState::Cancelled, 0));
}

#[test]
fn room_is_kept_until_it_expires_and_only_then_let_go() {
    let mut cluster = cluster();
    preempt(&mut cluster, &[2, 3]).unwrap();
    let until = cluster.state.claim(of(9)).unwrap().terms.until;
    let end = Command::EndClaims { tasks: vec![of(9), of(1)] };
    assert_eq!(cluster.run(end.clone()), Ok(Reply::Counted(0)));
    cluster.pass(until.0 - cluster.state.meta().served.0);
    assert_eq!(cluster.run(end.clone()), Ok(Reply::Counted(1)));
    assert_eq!(cluster.run(end), Ok(Reply::Counted(0)));
}

#[test]
fn what_room_is_kept_for_counts_against_quotas() {
    use quorate_state::{Amounts, ShareChange};
    let mut cluster = cluster();
    let maximum = Some(Amounts { cpu_milli: Some(1_500), ..Amounts::default() });
    let change = Box::new(ShareChange { maximum, ..ShareChange::default() });
    let namespace = "acme".parse().unwrap();
    cluster.run(Command::SetNamespace { namespace, is_new: false, change }).unwrap();
    preempt(&mut cluster, &[2, 3]).unwrap();
    // 1000m are held and 500m kept: there is no more for anybody, and exactly that for whom it is kept.
    cluster.submit(6, spec(100, 1)).unwrap();
    let PlacementOutcome::Refused(why) = cluster.try_place(of(6), "m") else { panic!("it was placed") };
    assert!(matches!(*why, Rejection::OverQuota(_)), "{why}");
    for run in [2, 3] {
        cluster.report(of(run), AttemptPhase::Ended, Some(Exit::Signal(15)));
    }
    cluster.place(of(9), "n");
}

#[test]
fn a_cluster_in_which_somebody_works_begins_without_preemption_and_a_new_one_with_it() {
    let mut fresh = Cluster::new();
    fresh.enable(Feature::Preemption);
    assert!(fresh.state.preemption().is_some_and(|policy| policy.by_priority && !policy.by_share));
    fresh.enable(Feature::FairPreemption);
    assert!(fresh.state.preemption().is_some_and(|policy| !policy.by_share), "there are no shares yet");
    fresh.enable(Feature::FairShare);
    assert!(fresh.state.preemption().is_some_and(|policy| policy.by_priority && policy.by_share));
    let mut old = Cluster::new();
    old.submit(1, spec(50, 100)).unwrap();
    old.enable(Feature::Preemption);
    assert_eq!(old.state.preemption(), None);
    let wrong = Preemption { gap: 0, times_max: 0, share_gap: 101, ..POLICY };
    old.enable(Feature::FairPreemption);
    assert_eq!(old.state.preemption(), None, "nothing begins by itself");
    let Err(Rejection::Invalid(flaws)) = old.run(Command::SetPreemption { preemption: wrong }) else { panic!() };
    assert_eq!(flaws.len(), 3);
    old.run(Command::SetPreemption { preemption: POLICY }).unwrap();
    assert_eq!(old.state.preemption(), Some(POLICY));
}

/// Run 9, of 50 in a namespace of its own, waits for 500m of `n`, which runs 1 to 3 of `acme` hold.
fn of_shares() -> Cluster {
    let mut cluster = cluster();
    cluster.run(Command::CancelRun { run: RunId(9) }).unwrap();
    cluster.run(Command::AdvanceStep { run: RunId(9), step: 0, limit: 10 }).unwrap();
    cluster.run(Command::SetPreemption { preemption: SHARES }).unwrap();
    cluster.run(Command::CreateNamespace { namespace: "other".parse().unwrap() }).unwrap();
    cluster
}

const SHARES: Preemption = Preemption { by_share: true, share_gap: 0, ..POLICY };

/// A run of `other` that waits, and what it asks for.
fn asks(cluster: &mut Cluster, run: u64, priority: u8, cpu_milli: u64, victims: &[u64]) -> Result<Reply, Rejection> {
    let spec = JobSpec { namespace: "other".parse().unwrap(), ..spec(priority, cpu_milli) };
    let command = Command::SubmitJob { run: RunId(run), spec: Arc::new(spec), spec_digest: Digest([8; 32]) };
    cluster.run(command).unwrap();
    let generation = cluster.state.task(of(run)).unwrap().generation;
    let at = cluster.attempt(of(victims[0])).node.clone();
    let epoch = cluster.state.node(&at).unwrap().epoch;
    let asked = Preempting { task: of(run), generation, node: at, epoch, ..asked(cluster, victims) };
    cluster.run(Command::PreemptAttempts(asked))
}

#[test]
fn room_changes_hands_between_namespaces_only_as_far_as_their_parts_go() {
    let stale = |reply: Result<Reply, Rejection>, why: &str| {
        assert!(matches!(&reply, Err(Rejection::Stale(stale)) if stale.contains(why)), "{reply:?} instead of {why}");
    };
    // Two cores are up, and the part of each is one of them; acme has one, and would have less than that.
    stale(asks(&mut of_shares(), 13, 50, 500, &[2, 3]), "less than its part");
    let mut cluster = of_shares();
    for run in [4, 5] {
        cluster.submit(run, spec(50, 500)).unwrap();
        cluster.place(of(run), "m");
    }
    stale(asks(&mut cluster, 14, 49, 500, &[2, 3]), "as urgent");
    assert_eq!(asks(&mut cluster, 11, 50, 500, &[2, 3]), Ok(Reply::Counted(2)));
    let share = cluster.attempt(of(2)).preempted.unwrap().share.unwrap();
    assert_eq!((share.had_ppm, share.part_ppm, share.guaranteed), (0, 500_000, false));
    assert_eq!((share.from_had_ppm, share.from_part_ppm), (1_000_000, 500_000));
    // With what is kept for it, it would have more than its part.
    stale(asks(&mut cluster, 12, 50, 501, &[4, 5]), "has its part");
}
