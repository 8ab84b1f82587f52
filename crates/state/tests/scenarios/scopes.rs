//! Clusters and regions that are taken out of service as one.

use quorate_state::{
    AttemptPhase, Command, DrainTime, Event, Feature, Infeasible, Node, Principal, Rejection, Reply, Room, Scope,
    Stays, StopReason, Violation, evictable, feasible,
};

use crate::cluster::{Cluster, id, job, task};

fn region(name: &str) -> Scope {
    Scope::Region(name.parse().unwrap())
}

fn cluster(name: &str) -> Scope {
    Scope::Cluster(name.parse().unwrap())
}

fn drain(scope: Scope, wait_ms: u64, for_ms: Option<u64>) -> Command {
    Command::WithdrawScope { scope, drain: Some(DrainTime { wait_ms, for_ms }), reason: "power".into() }
}

fn cordon(scope: Scope) -> Command {
    Command::WithdrawScope { scope, drain: None, reason: "".into() }
}

fn restore(scope: Scope) -> Command {
    Command::RestoreScope { scope }
}

/// `n` and `o` in two clusters of eu, `m` in us.
fn world() -> Cluster {
    let mut world = Cluster::new();
    for feature in Feature::ALL {
        world.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    for (uuid, (node, region, cluster)) in
        [("n", "eu", "eu-a"), ("o", "eu", "eu-b"), ("m", "us", "us-a")].into_iter().enumerate()
    {
        world.register(node, uuid as u128 + 1, region, cluster).unwrap();
    }
    world.submit(1, job(vec![task("a", &[])])).unwrap();
    world
}

fn node(world: &Cluster, name: &str) -> Node {
    (**world.state.node(&name.parse().unwrap()).unwrap()).clone()
}

fn fits(world: &Cluster, name: &str) -> Result<(), Infeasible> {
    let node = node(world, name);
    let run = world.state.runs_newest_first(None).next().unwrap();
    feasible(&node, Room::empty(&node), &run.spec.tasks[0])
}

fn draining(world: &Cluster) -> Vec<&str> {
    world.state.draining().map(|node| node.name.as_str()).collect()
}

#[test]
fn a_drained_region_takes_nothing_and_what_runs_there_is_moved() {
    let mut world = world();
    world.place(id(0), "n");
    world.report(id(0), AttemptPhase::Running, None);
    world.run(drain(region("eu"), 5_000, None)).unwrap();
    assert_eq!(draining(&world), ["n", "o"]);
    assert_eq!(
        [fits(&world, "n"), fits(&world, "o"), fits(&world, "m")],
        [Err(Infeasible::Draining), Err(Infeasible::Draining), Ok(())]
    );
    let attempt = world.attempt(id(0));
    let due = node(&world, "n").drain().unwrap().due;
    assert_eq!(evictable(&world.state, &attempt, world.state.meta().served), Err(Stays::Until(due)));
    world.pass(5_000);
    assert_eq!(world.run(Command::EvictAttempts { attempts: vec![attempt.id] }), Ok(Reply::Counted(1)));
    assert_eq!(world.attempt(id(0)).stop, Some(StopReason::Drained));
}

#[test]
fn a_node_that_comes_to_a_drained_cluster_is_drained_from_its_first_moment() {
    let mut world = world();
    world.run(drain(cluster("eu-a"), 0, None)).unwrap();
    world.register("p", 9, "eu", "eu-a").unwrap();
    assert_eq!(draining(&world), ["n", "p"]);
    assert_eq!(fits(&world, "p"), Err(Infeasible::Draining));
    // So is one that comes back under another lease, and one that is known already.
    world.register("n", 1, "eu", "eu-a").unwrap();
    assert_eq!(draining(&world), ["n", "p"]);
    world.run(restore(cluster("eu-a"))).unwrap();
    assert_eq!((draining(&world), fits(&world, "p")), (vec![], Ok(())));
}

#[test]
fn what_was_said_of_a_node_by_itself_outlasts_what_is_said_of_its_region() {
    let mut world = world();
    world.run(Command::DrainNode { node: "n".parse().unwrap(), wait_ms: 0, reason: "disk".into() }).unwrap();
    world.run(Command::CordonNode { node: "o".parse().unwrap(), cordoned: true }).unwrap();
    world.run(drain(region("eu"), 0, None)).unwrap();
    world.run(drain(cluster("eu-a"), 0, None)).unwrap();
    // The region goes on when a node is given back.
    world.run(Command::CordonNode { node: "n".parse().unwrap(), cordoned: false }).unwrap();
    assert_eq!(fits(&world, "n"), Err(Infeasible::Draining));
    world.run(Command::DrainNode { node: "n".parse().unwrap(), wait_ms: 0, reason: "disk".into() }).unwrap();
    world.run(restore(region("eu"))).unwrap();
    assert_eq!([fits(&world, "n"), fits(&world, "o")], [Err(Infeasible::Draining), Err(Infeasible::Cordoned)]);
    world.run(restore(cluster("eu-a"))).unwrap();
    assert_eq!(draining(&world), ["n"]);
    assert_eq!(node(&world, "n").withdrawal.unwrap().reason.as_ref(), "disk");
}

#[test]
fn the_earliest_due_counts_and_the_latest_end() {
    let mut world = world();
    world.run(drain(region("eu"), 4_000, Some(9_000))).unwrap();
    world.run(drain(cluster("eu-a"), 2_000, Some(20_000))).unwrap();
    let served = world.state.meta().served;
    let of_n = node(&world, "n").drain().unwrap();
    assert_eq!((of_n.due, of_n.ends), (served.plus(2_000), Some(served.plus(20_000))));
    world.run(drain(cluster("eu-a"), 2_000, None)).unwrap();
    assert_eq!(node(&world, "n").drain().unwrap().ends, None);
    assert_eq!(node(&world, "o").drain().unwrap().ends, Some(served.plus(9_000)));
}

#[test]
fn a_drain_for_a_time_ends_at_its_instant_and_not_for_an_older_one() {
    let mut world = world();
    world.run(drain(region("eu"), 0, Some(5_000))).unwrap();
    let first = node(&world, "n").drain().unwrap().ends.unwrap();
    let end = |ends| Command::EndScopeDrains { drains: vec![(region("eu"), ends)] };
    assert_eq!(world.run(end(first)), Ok(Reply::Counted(0)), "too soon");
    world.pass(1_000);
    world.run(drain(region("eu"), 0, Some(5_000))).unwrap();
    world.pass(4_000);
    assert_eq!(world.run(end(first)), Ok(Reply::Counted(0)), "it was said anew");
    world.pass(1_000);
    let second = node(&world, "n").drain().unwrap().ends.unwrap();
    assert_eq!(world.run(end(second)), Ok(Reply::Counted(1)));
    assert_eq!(draining(&world), [""; 0]);
}

#[test]
fn a_drain_that_has_come_to_its_end_moves_nothing_though_nobody_has_ended_it() {
    let mut world = world();
    world.place(id(0), "n");
    world.report(id(0), AttemptPhase::Running, None);
    world.run(Command::DrainNode { node: "n".parse().unwrap(), wait_ms: 5_000, reason: "disk".into() }).unwrap();
    let due = node(&world, "n").drain().unwrap().due;
    world.run(drain(cluster("eu-a"), 0, Some(1_000))).unwrap();
    world.pass(1_000);
    let attempt = world.attempt(id(0));
    assert_eq!(evictable(&world.state, &attempt, world.state.meta().served), Err(Stays::Until(due)));
    world.run(Command::CordonNode { node: "n".parse().unwrap(), cordoned: false }).unwrap();
    assert_eq!(evictable(&world.state, &attempt, world.state.meta().served), Err(Stays::NotDraining));
}

#[test]
fn a_cordon_leaves_a_drain_alone_and_what_does_not_exist_is_refused() {
    let mut world = world();
    world.run(cordon(cluster("eu-b"))).unwrap();
    assert_eq!((fits(&world, "o"), draining(&world).len()), (Err(Infeasible::Cordoned), 0));
    world.run(drain(cluster("eu-b"), 0, None)).unwrap();
    world.run(cordon(cluster("eu-b"))).unwrap();
    assert_eq!(draining(&world), ["o"]);
    assert_eq!(world.run(drain(region("eu-b"), 0, None)), Err(Rejection::UnknownScope(region("eu-b"))));
    assert_eq!(world.run(restore(cluster("eu"))), Err(Rejection::UnknownScope(cluster("eu"))));
    let refused = world.run(drain(region("eu"), 5, Some(5)));
    assert!(
        matches!(&refused, Err(Rejection::Invalid(why)) if matches!(&why[..], [Violation { field, .. }] if field == "for_ms"))
    );
}

#[test]
fn the_history_says_who_did_it() {
    let mut world = world();
    let by = Principal::anonymous_local();
    world.run(drain(region("eu"), 0, None)).unwrap();
    assert_eq!(world.events, [Event::ScopeWithdrawn { scope: region("eu"), drains: true, by: by.clone() }]);
    world.run(restore(region("eu"))).unwrap();
    assert_eq!(world.events, [Event::ScopeRestored { scope: region("eu"), by }]);
    world.run(restore(region("eu"))).unwrap();
    assert_eq!(world.events, [], "nothing has changed");
}
