//! What would become of the work if nodes went away.

use quorate_scheduler::forecast::{Fate, Forecast};

use crate::world::World;

fn without(world: &World, goes: impl Fn(&quorate_state::Node) -> bool) -> Fate {
    let mut forecast = Forecast::new(&world.state, &world.observed, world.now(), goes);
    while forecast.step() {}
    forecast.fate()
}

/// Step by step: where it goes, and what else becomes of it.
fn told(fate: &Fate) -> Vec<String> {
    let step = |it: &quorate_scheduler::forecast::StepFate| {
        let mut parts: Vec<String> =
            it.moved.iter().map(|((region, cluster), count)| format!("{count} to {region}/{cluster}")).collect();
        parts.extend((it.kept > 0).then(|| format!("{} kept", it.kept)));
        parts.extend((it.failed > 0).then(|| format!("{} failed", it.failed)));
        parts.extend((it.waiting > 0).then(|| format!("{} waiting", it.waiting)));
        parts.extend(it.reason.as_ref().map(ToString::to_string));
        format!("{}/{}: {}", it.run.0, it.step, parts.join(", "))
    };
    fate.steps.iter().map(step).collect()
}

fn region(name: &str) -> impl Fn(&quorate_state::Node) -> bool {
    move |node| node.region.as_str() == name
}

#[test]
fn what_can_move_moves_and_what_cannot_says_why() {
    let mut world = World::of(
        "
        node a eu/eu-1 8000m 16Gi
        node b us/us-1 3000m 8Gi
        node c us/us-2 2000m 8Gi
        job  j
        task free 1000m 1Gi count=2
        task bound 1000m 1Gi regions=eu
        task once 1000m 1Gi loss=at_most_once
        task big 4000m 1Gi
        ",
    );
    world.flag("b", "cordoned");
    world.flag("c", "cordoned");
    world.commit(&world.plan());
    for node in ["b", "c"] {
        world.change(node, |node| node.cordoned = false);
    }
    let before = world.state.clone();
    let fate = without(&world, region("eu"));
    assert_eq!(world.state.revision(), before.revision(), "nothing has happened");
    assert_eq!(
        told(&fate),
        [
            "1/0: 2 to us/us-2",
            "1/1: 1 waiting, no node fits (1 lost, 2 in other regions); nearest is b, in other regions",
            "1/2: 1 kept",
            "1/3: 1 waiting, no node fits (1 lost, 2 too small); nearest is b, short of 1000m cpu",
        ]
    );
    assert_eq!((fate.nodes, fate.left_out, fate.is_whole), (1, 0, true));
    let lease_ms = world.get("a").lease.server_ms;
    assert_eq!((fate.settled_ms, fate.brake), (lease_ms, None));
}

/// What the product does on the day, a forecast says: the brake holds leases back when a whole cluster falls silent.
#[test]
fn the_brake_and_the_fence_take_their_time_in_a_forecast_as_well() {
    let mut lines: Vec<String> = (0..8).map(|node| format!("node a{node} eu/eu-1 1000m 4Gi")).collect();
    lines.extend((0..8).map(|node| format!("node b{node} us/us-1 1000m 4Gi cordoned")));
    lines.push("job j".to_owned());
    lines.push("task x 1000m 1Gi count=8 loss=fenced".to_owned());
    let mut world = World::of(&lines.join("\n"));
    world.commit(&world.plan());
    for node in 0..8 {
        world.change(&format!("b{node}"), |node| node.cordoned = false);
    }
    let fate = without(&world, region("eu"));
    assert_eq!(told(&fate), ["1/0: 8 to us/us-1"]);
    let lease = world.get("a0").lease;
    // One more term of the lease, then a node at a time, then the fence of the last one.
    assert!(fate.settled_ms >= 2 * lease.server_ms + 7_000, "{}", fate.settled_ms);
    assert!(fate.settled_ms <= 2 * lease.server_ms + 8_000 + lease.server_ms, "{}", fate.settled_ms);
    assert!(
        fate.brake.as_ref().is_some_and(|note| note.to_string().contains("8 of 8 nodes of cluster eu-1")),
        "{fate:?}"
    );
    // Of a part of it, the brake takes no notice.
    let few = without(&world, |node| ["a0", "a1"].contains(&node.name.as_str()));
    assert_eq!((told(&few), few.brake.clone()), (vec!["1/0: 2 to us/us-1".to_owned()], None));
    assert!(few.settled_ms < fate.settled_ms);
}

#[test]
fn who_has_been_lost_too_often_fails_and_who_waits_in_the_queue_before_goes_first() {
    let mut world = World::of(
        "
        node a eu/eu-1 1000m 4Gi
        node b us/us-1 1000m 4Gi cordoned
        job  j priority=10
        task x 1000m 1Gi
        ",
    );
    world.commit(&world.plan());
    world.change("b", |node| node.cordoned = false);
    let mut urgent = crate::world::job("k", &["priority=90"]);
    urgent.tasks.push(crate::world::task("y", crate::world::resources("1000m", "1Gi"), &[]));
    world.submit(urgent);
    world.release();
    let fate = without(&world, region("eu"));
    assert_eq!(fate.steps.len(), 1);
    assert!(told(&fate)[0].starts_with("1/0: 1 waiting, no node fits (1 lost, 1 too full)"), "{:?}", told(&fate));
    assert!(without(&world, |_| false).steps.is_empty());
}
