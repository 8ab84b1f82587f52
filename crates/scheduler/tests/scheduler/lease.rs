//! When leases end, and when the brake keeps them.

use quorate_scheduler::{Decision, Note};
use quorate_state::{Command, Served};

use crate::world::{World, resources};

/// The lease's term by default.
const SERVER_MS: u64 = 15_000;

fn cluster_of(nodes: u32) -> World {
    let mut world = World::empty();
    for number in 0..nodes {
        world.node(&format!("n{number:02}"), "eu", "eu-1", resources("1000m", "1Gi"));
    }
    world
}

fn expired(decision: &Decision) -> Vec<String> {
    let leases = decision.commands.iter().flat_map(|command| match command {
        Command::ExpireLeases { leases } => leases.clone(),
        other => panic!("not about leases: {other:?}"),
    });
    leases.map(|(node, _)| node.to_string()).collect()
}

/// Time passes; all but `silent` renew.
fn pass(world: &mut World, millis: u64, silent: std::ops::Range<usize>) {
    world.pass(millis);
    let names: Vec<String> = world.state.nodes().map(|node| node.name.to_string()).collect();
    for (at, name) in names.iter().enumerate() {
        if !silent.contains(&at) {
            world.see(name, |_| {});
        } else if let Some(seen) = world.observed.nodes.get_mut(&crate::world::node_name(name)) {
            seen.heard_ms_ago += millis;
        }
    }
}

#[test]
fn a_lease_ends_when_it_was_not_renewed() {
    let mut world = cluster_of(3);
    pass(&mut world, SERVER_MS - 1, 1..2);
    let early = world.step("lease");
    assert_eq!((expired(&early), early.wake_at), (vec![], Some(Served(SERVER_MS))));
    pass(&mut world, 1, 1..2);
    assert_eq!(expired(&world.drive("lease")), ["n01"]);
    assert_eq!(expired(&world.step("lease")), Vec::<String>::new(), "it has ended already");
}

#[test]
fn whatever_changes_no_lease_ends_before_the_instant_that_was_asked_for() {
    let mut world = cluster_of(3);
    pass(&mut world, 4_000, 1..2);
    assert_eq!(world.step("lease").wake_at, Some(Served(SERVER_MS)));
    world.node("n90", "eu", "eu-1", resources("1000m", "1Gi"));
    pass(&mut world, SERVER_MS - 4_001, 1..3);
    assert_eq!(expired(&world.step("lease")), Vec::<String>::new());
    pass(&mut world, 1, 1..3);
    assert_eq!(expired(&world.step("lease")), ["n01"]);
}

#[test]
fn a_lease_that_this_leader_may_not_end_yet_stays() {
    let mut world = cluster_of(1);
    world.pass(1_000_000);
    world.see("n00", |seen| seen.expires_at = None);
    assert_eq!(world.step("lease"), Decision { report: world.step("lease").report, ..Decision::default() });
    world.observed.nodes.clear();
    assert_eq!(expired(&world.step("lease")), Vec::<String>::new());
}

#[test]
fn what_was_seen_of_an_older_lease_ends_nothing() {
    let mut world = cluster_of(1);
    world.see("n00", |seen| {
        seen.epoch.0 -= 1;
        seen.expires_at = Some(Served(0));
    });
    assert_eq!(expired(&world.step("lease")), Vec::<String>::new());
}

#[test]
fn half_a_cluster_or_three_nodes_are_single_failures() {
    for (nodes, silent) in [(8, 4), (3, 3)] {
        let mut world = cluster_of(nodes);
        pass(&mut world, SERVER_MS, 0..silent);
        assert_eq!(expired(&world.step("lease")).len(), silent, "{silent} of {nodes}");
    }
}

#[test]
fn when_most_of_a_cluster_falls_silent_its_leases_are_kept_for_another_term_and_then_end_slowly() {
    let mut world = cluster_of(40);
    pass(&mut world, SERVER_MS, 0..30);
    let braked = world.drive("lease");
    assert_eq!(expired(&braked), Vec::<String>::new());
    assert_eq!(
        braked.report.notes,
        [Note::LeaseBrake { cluster: "eu-1".parse().unwrap(), silent: 30, nodes: 40, held: 30 }]
    );
    assert_eq!(braked.wake_at, Some(Served(2 * SERVER_MS)));
    pass(&mut world, SERVER_MS, 0..30);
    for round in 0..3_usize {
        // 10 % of 40 nodes a second.
        let names: Vec<String> = (4 * round..4 * round + 4).map(|node| format!("n{node:02}")).collect();
        assert_eq!(expired(&world.drive("lease")), names);
        let spent = world.drive("lease");
        assert_eq!(expired(&spent), Vec::<String>::new(), "the interval's share is spent");
        assert_eq!(spent.wake_at, Some(world.served.plus(1_000)));
        // However late it looks in between, the next may go a second after the last were lost.
        pass(&mut world, 300, 0..30);
        assert_eq!(world.drive("lease").wake_at, Some(world.served.plus(700)));
        pass(&mut world, 700, 0..30);
    }
    for _ in 0..30 {
        world.drive("lease");
        pass(&mut world, 1_000, 0..30);
    }
    let lost = world.state.nodes().filter(|node| node.status != quorate_state::NodeStatus::Up).count();
    assert_eq!(lost, 30, "in the end all of them are lost");
}

#[test]
fn nodes_that_come_back_while_the_brake_holds_keep_their_leases() {
    let mut world = cluster_of(8);
    pass(&mut world, SERVER_MS, 0..8);
    assert_eq!(expired(&world.drive("lease")), Vec::<String>::new());
    pass(&mut world, SERVER_MS, 0..1);
    assert_eq!(expired(&world.drive("lease")), ["n00"], "alone it is a single failure");
}

#[test]
fn nodes_that_are_about_to_expire_count_as_silent() {
    let mut world = cluster_of(8);
    pass(&mut world, 3_000, 1..8);
    world.see("n00", |seen| seen.expires_at = Some(Served(12_000)));
    pass(&mut world, 9_100, 0..8);
    world.observed.nodes.get_mut(&crate::world::node_name("n00")).unwrap().expires_at = Some(Served(12_000));
    assert_eq!(expired(&world.step("lease")), Vec::<String>::new(), "seven more are silent for 12 s");
}

#[test]
fn the_brake_of_one_cluster_leaves_another_alone() {
    let mut world = cluster_of(6);
    world.node("z", "us", "us-1", resources("1000m", "1Gi"));
    pass(&mut world, SERVER_MS, 0..7);
    assert_eq!(expired(&world.step("lease")), ["z"]);
}

#[test]
fn nodes_lost_long_ago_do_not_count() {
    let mut world = cluster_of(10);
    for number in 0..8 {
        world.flag(&format!("n{number:02}"), "lost");
    }
    pass(&mut world, 10 * SERVER_MS, 0..9);
    world.see("n08", |seen| seen.expires_at = Some(Served(0)));
    assert_eq!(expired(&world.step("lease")), ["n08"]);
}
