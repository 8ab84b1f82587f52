//! Attempts that are stopped to make room for a gang, and the room that is kept for it: for all members, or for none.

use quorate_state::{
    AttemptId, AttemptPhase, AttemptState, Choice, Command, Epoch, Exit, Feature, GANG_VICTIMS_MAX, GangPreempting,
    GangRoom, GangSpec, GpuHold, JobSpec, NodeName, Placement, PlacementOutcome, Preemption, Rejection, Reply,
    Resources, RunId, State, StopReason, TaskId, TaskSpec, TaskState, Within,
};

use crate::cluster::{Cluster, job, task};

const POLICY: Preemption = Preemption { by_priority: true, gap: 10, spare_ms: 0, times_max: 2, ..Preemption::OFF };

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn of(run: u64) -> TaskId {
    TaskId { run: RunId(run), step: 0, index: 0 }
}

fn member(index: u32) -> TaskId {
    TaskId { index, ..of(9) }
}

fn first(run: u64) -> AttemptId {
    AttemptId { task: of(run), number: 1 }
}

fn spec(priority: u8, cpu_milli: u64, gang: Option<u32>) -> JobSpec {
    let resources = Resources { cpu_milli, memory_bytes: 0, gpu_milli: 0 };
    let alone = TaskSpec { resources, ..task("t", &[]) };
    let task = match gang {
        Some(count) => {
            TaskSpec { count, gang: Some(GangSpec { within: Some(Within::Region), start_ms: None }), ..alone }
        }
        None => alone,
    };
    JobSpec { priority, ..job(vec![task]) }
}

/// Three nodes of one core, one of them in another region. Runs 1 and 2, of priority 50, hold all of `n`, run 3 all of `m`, and run 4
/// all of `far`; run 9, of 60, is a gang of three tasks of 500m.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.run(Command::SetPreemption { preemption: POLICY }).unwrap();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.register("m", 2, "eu", "eu-a").unwrap();
    cluster.register("far", 3, "us", "us-a").unwrap();
    for (run, cpu_milli, on) in [(1, 500, "n"), (2, 500, "n"), (3, 1_000, "m"), (4, 1_000, "far")] {
        cluster.submit(run, spec(50, cpu_milli, None)).unwrap();
        cluster.place(of(run), on);
        cluster.report(of(run), AttemptPhase::Running, None);
    }
    cluster.submit(9, spec(60, 500, Some(3))).unwrap();
    cluster
}

fn room(cluster: &Cluster, on: &str, members: u32, victims: &[u64]) -> GangRoom {
    let epoch = cluster.state.node(&node(on)).map_or(Epoch(0), |node| node.epoch);
    GangRoom { node: node(on), epoch, members, victims: victims.iter().copied().map(first).collect() }
}

fn asked(nodes: Vec<GangRoom>) -> Command {
    Command::PreemptForGang(GangPreempting { run: RunId(9), step: 0, generation: 0, nodes })
}

fn preempt(cluster: &mut Cluster, rooms: &[(&str, u32, &[u64])]) -> Result<Reply, Rejection> {
    let rooms = rooms.iter().map(|(on, members, victims)| room(cluster, on, *members, victims)).collect();
    cluster.run(asked(rooms))
}

fn stops(state: &State) -> Vec<Option<StopReason>> {
    (1..5).map(|run| state.attempt(first(run)).unwrap().stop).collect()
}

#[track_caller]
fn refused(cluster: &mut Cluster, rooms: &[(&str, u32, &[u64])], why: &str) {
    let before = cluster.state.clone();
    match preempt(cluster, rooms) {
        Err(error) => assert!(format!("{error:?}").contains(why), "{error:?} instead of {why:?}"),
        other => panic!("{other:?} instead of {why:?}"),
    }
    assert!(cluster.state.claims().eq(before.claims()) && stops(&cluster.state) == stops(&before));
}

const ALL: [(&str, u32, &[u64]); 2] = [("n", 2, &[1, 2]), ("m", 1, &[3])];

#[test]
fn room_is_made_for_all_members_and_they_get_it_together() {
    let mut cluster = cluster();
    assert_eq!(preempt(&mut cluster, &ALL), Ok(Reply::Counted(3)));
    for run in [1, 2, 3] {
        let attempt = cluster.attempt(of(run));
        assert_eq!(attempt.stop, Some(StopReason::Preempted));
        assert_eq!(attempt.preempted.map(|preempted| preempted.by.run), Some(RunId(9)));
    }
    let on = |cluster: &Cluster, index| cluster.state.claim(member(index)).map(|claim| claim.node.to_string());
    assert_eq!((0..3).map(|index| on(&cluster, index).unwrap()).collect::<Vec<_>>(), ["n", "n", "m"]);
    refused(&mut cluster, &ALL, "room is kept for the gang already");
    for run in [1, 2, 3] {
        cluster.report(of(run), AttemptPhase::Ended, Some(Exit::Signal(15)));
        assert_eq!(cluster.attempt(of(run)).state, AttemptState::Preempted);
    }
    // Half of `m` is kept, and the rest is anybody's; what is kept goes to nobody else, however urgent.
    cluster.submit(5, spec(100, 501, None)).unwrap();
    assert!(matches!(cluster.try_place(of(5), "m"), PlacementOutcome::Refused(_)));
    let places = |cluster: &Cluster, on: [&str; 3]| {
        let placements = (0..3).zip(on).map(|(index, on)| {
            let epoch = cluster.state.node(&node(on)).unwrap().epoch;
            let generation = cluster.state.task(member(index)).unwrap().generation;
            let (choice, gpus) = (Choice::FIRST, GpuHold::NONE);
            Placement { task: member(index), generation, node: node(on), epoch, choice, gpus }
        });
        Command::CommitGang { run: RunId(9), step: 0, generation: 0, placements: placements.collect() }
    };
    let elsewhere = places(&cluster, ["m", "n", "n"]);
    let why = cluster.run(elsewhere);
    assert!(matches!(&why, Err(Rejection::Member { .. })), "{why:?}");
    assert_eq!(cluster.state.claims_count(), 3, "nothing of what was refused is there");
    let there = places(&cluster, ["n", "n", "m"]);
    cluster.run(there).unwrap();
    assert_eq!((cluster.state.claims_count(), cluster.state.step_counts(RunId(9), 0).placed), (0, 3));
}

#[test]
fn what_is_not_for_all_of_it_or_not_as_it_was_seen_stops_nobody() {
    let mut cluster = cluster();
    refused(&mut cluster, &[("n", 2, &[1, 2])], "as a whole");
    refused(&mut cluster, &[("n", 2, &[1, 2]), ("n", 1, &[])], "as a whole");
    refused(&mut cluster, &[("n", 3, &[1, 2]), ("m", 0, &[3])], "as a whole");
    refused(&mut cluster, &[("n", 3, &[1, 2])], "would not fit");
    refused(&mut cluster, &[("n", 2, &[1, 2]), ("m", 1, &[])], "would not fit");
    refused(&mut cluster, &[("n", 2, &[1, 2]), ("m", 1, &[4])], "not on the node");
    refused(&mut cluster, &[("n", 2, &[1, 2]), ("far", 1, &[4])], "not alike");
    let stale = |cluster: &mut Cluster, change: &dyn Fn(&mut GangPreempting), why: &str| {
        let nodes = ALL.iter().map(|(on, members, victims)| room(cluster, on, *members, victims)).collect();
        let mut made = GangPreempting { run: RunId(9), step: 0, generation: 0, nodes };
        change(&mut made);
        let before = cluster.state.clone();
        let result = cluster.run(Command::PreemptForGang(made));
        assert!(format!("{result:?}").contains(why), "{result:?} instead of {why:?}");
        assert!(cluster.state.claims().eq(before.claims()) && stops(&cluster.state) == stops(&before));
    };
    stale(&mut cluster, &|made| made.generation = 1, "has moved");
    stale(&mut cluster, &|made| made.run = RunId(1), "not a gang");
    stale(&mut cluster, &|made| made.run = RunId(77), "does not exist");
    stale(&mut cluster, &|made| made.nodes[1].epoch = Epoch(99), "a new lease");
    let many = |made: &mut GangPreempting| made.nodes[0].victims = vec![first(1); 257];
    stale(&mut cluster, &many, "VICTIMS_MAX");
    cluster.run(Command::PauseRun { run: RunId(9), reason: "".into() }).unwrap();
    refused(&mut cluster, &ALL, "is paused");
    cluster.run(Command::ResumeRun { run: RunId(9) }).unwrap();
    cluster.run(Command::SetRunPriority { run: RunId(3), priority: 55 }).unwrap();
    refused(&mut cluster, &ALL, "as urgent");
    cluster.run(Command::SetPreemption { preemption: Preemption::OFF }).unwrap();
    refused(&mut cluster, &ALL, "nobody is preempted any more");
}

#[test]
fn a_gang_has_only_so_many_stopped() {
    let mut cluster = cluster();
    let mut wide = spec(60, 500, Some(5));
    wide.tasks[0].gang = Some(GangSpec::default());
    cluster.submit(8, wide).unwrap();
    let rooms = (0..5).map(|at| GangRoom {
        victims: vec![first(1); GANG_VICTIMS_MAX / 4 - 1],
        ..room(&cluster, &format!("n{at}"), 1, &[])
    });
    let made = GangPreempting { run: RunId(8), step: 0, generation: 0, nodes: rooms.collect() };
    let result = cluster.run(Command::PreemptForGang(made));
    assert!(matches!(result, Err(Rejection::LimitReached { limit: "GANG_VICTIMS_MAX", .. })), "{result:?}");
}

#[test]
fn who_is_not_needed_any_more_is_left_alone() {
    let mut cluster = cluster();
    cluster.run(Command::CancelRun { run: RunId(3) }).unwrap();
    assert!(preempt(&mut cluster, &[("n", 2, &[1, 2]), ("m", 1, &[3])]).is_err(), "it goes by itself");
    assert_eq!(preempt(&mut cluster, &[("n", 1, &[1, 2]), ("m", 2, &[])]), Ok(Reply::Counted(1)));
    assert_eq!((cluster.attempt(of(1)).stop, cluster.attempt(of(2)).stop), (Some(StopReason::Preempted), None));

    let mut cluster = self::cluster();
    for run in [1, 2, 3] {
        cluster.run(Command::CancelRun { run: RunId(run) }).unwrap();
    }
    refused(&mut cluster, &[("n", 2, &[]), ("m", 1, &[])], "room for the gang without them");
}

#[test]
fn what_is_kept_for_a_gang_is_let_go_of_as_a_whole() {
    type Ends = fn(&mut Cluster);
    let ends: [(&str, Ends); 3] = [
        ("its run is paused", |cluster| {
            drop(cluster.run(Command::PauseRun { run: RunId(9), reason: "".into() }).unwrap());
        }),
        ("one of its nodes has a new lease", |cluster| drop(cluster.register("m", 2, "eu", "eu-a").unwrap())),
        ("the time for one of them is over", |cluster| {
            cluster.pass(600_000);
            cluster.run(Command::EndClaims { tasks: vec![member(1)] }).unwrap();
        }),
    ];
    for (why, end) in ends {
        let mut cluster = cluster();
        preempt(&mut cluster, &ALL).unwrap();
        assert_eq!(cluster.state.claims_count(), 3);
        end(&mut cluster);
        assert_eq!(cluster.state.claims_count(), 0, "{why}");
        assert_ne!(cluster.state.task(of(1)).unwrap().state, TaskState::Ready, "{why}: it stops nevertheless");
    }
}

#[test]
fn without_the_feature_nobody_is_stopped_for_a_gang() {
    let mut cluster = Cluster::new();
    for feature in Feature::ALL.into_iter().filter(|feature| *feature != Feature::GangPreemption) {
        cluster.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let nodes = vec![room(&cluster, "n", 3, &[])];
    let result = cluster.run(asked(nodes));
    assert!(
        format!("{result:?}").contains("gang-preemption") || format!("{result:?}").contains("Feature"),
        "{result:?}"
    );
}
