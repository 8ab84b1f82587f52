//! Why a node is not the place of a task.

use quorate_scheduler::explain::{Fitness, explain, why_not};
use quorate_state::feasible;

use crate::world::World;

fn ask(world: &World, task: &str, node: &str) -> Fitness {
    let (task, node) = (world.find(task), world.get(node));
    let explanation = explain(&world.state, &world.observed, world.now(), task);
    why_not(&world.state, &world.observed, world.now(), task, &node, &explanation).expect("a task")
}

/// Check, what is asked for, and what there is, line by line.
fn table(world: &World, task: &str, node: &str) -> Vec<String> {
    let failed = ask(world, task, node).failed;
    failed.iter().map(|it| format!("{}: {} | {}", it.check.as_str(), it.wanted, it.found)).collect()
}

#[test]
fn every_check_that_fails_is_named_with_what_there_is() {
    let mut world = World::of(
        "
        node a eu/eu-1 4000m 8Gi disk=hdd gpus=T4:2
        node b us/us-1 4000m 8Gi gpus=A100:2
        use  a 3000m 1Gi
        job  j
        task x 2000m 2Gi regions=us,asia clusters=us-1 label=disk:ssd label=rack:r1 gpu=1000 model=A100
        task y 8000m 64Gi
        task z 1000m 1Gi gpu=2000 loss=fenced
        ",
    );
    assert_eq!(
        table(&world, "j/x[0]", "a"),
        [
            "REGION: region us or asia | eu",
            "CLUSTER: cluster us-1 | eu-1",
            "LABELS: disk=ssd | disk=hdd",
            "LABELS: rack=r1 | no label rack",
            "GPU_MODEL: GPUs of model A100 | 0 of its 2 GPUs are",
            "FULL: 2000m cpu, 1000m gpu in whole devices | 1000m cpu, 0m gpu in whole devices free",
        ]
    );
    let too_small = "TOO_SMALL: 8000m cpu, 68719476736 bytes of memory | 4000m cpu, 8589934592 bytes of memory in all";
    assert_eq!(table(&world, "j/y[0]", "b"), [too_small]);
    assert_eq!(ask(&world, "j/y[0]", "b").to_string(), "the node fails one check, TOO_SMALL");

    let free = ask(&world, "j/z[0]", "b");
    assert_eq!((free.failed.len(), free.has_copy), (0, false));
    let chosen = free.elsewhere.clone().expect("a node");
    assert_eq!(free.to_string(), format!("it fits there, and is about to be placed on {chosen}"));
    world.commit(&world.plan());
    assert!(ask(&world, "j/z[0]", chosen.as_str()).has_copy);
    world.flag(chosen.as_str(), "lost");
    world.pass(300);
    assert_eq!(
        table(&world, "j/z[0]", chosen.as_str())[0],
        "NODE_LOST: a node with a lease | its lease ended 300 ms ago"
    );
}

#[test]
fn a_node_that_takes_nothing_says_why() {
    let mut world =
        World::of("node a eu/eu-1 4000m 8Gi cordoned\nnode b eu/eu-1 4000m 8Gi silent\njob j\ntask x 1m 1Mi");
    assert_eq!(table(&world, "j/x[0]", "a"), ["CORDONED: a node that takes new work | it is cordoned"]);
    assert_eq!(
        table(&world, "j/x[0]", "b"),
        ["NODE_SILENT: a node that the leader hears | nothing was heard for too long"]
    );
    world.flag("a", "draining");
    assert_eq!(table(&world, "j/x[0]", "a"), ["DRAINING: a node that takes new work | it is drained"]);
}

/// What is said agrees with what decides, for every node and every task.
#[test]
fn a_node_fails_no_check_exactly_when_it_can_take_the_task() {
    let world = World::of(
        r#"
        node a eu/eu-1 4000m 8Gi disk=ssd gpus=T4:2
        node b us/us-1 2000m 1Gi lost
        node c us/us-2 500m 1Gi
        node d us/us-2 8000m 16Gi cordoned gpus=A100:4
        use  a 2000m 4Gi
        job  j
        task p 1000m 1Gi
        task q 3000m 1Gi regions=eu
        task r 0m 0Gi clusters=us-2
        task s 100m 1Mi gpu=500
        task t 100m 1Mi gpu=3000 model=A100
        task u 100m 1Mi label=disk:ssd
        task v 100m 1Mi where=node.labels.disk=="hdd"||node.gpus>3
        "#,
    );
    let run = world.state.run(world.find("j/p[0]").run).unwrap();
    for (spec, name) in run.spec.tasks.iter().zip(["p", "q", "r", "s", "t", "u", "v"]) {
        for node in world.state.nodes() {
            let failed = ask(&world, &format!("j/{name}[0]"), node.name.as_str()).failed;
            let verdict = feasible(node, world.state.room_on(node), spec);
            let first = verdict.map_err(|why| quorate_scheduler::explain::Check::of(&why)).err();
            assert_eq!(failed.first().map(|failed| failed.check), first, "{name} on {}", node.name);
        }
    }
}

#[test]
fn a_node_of_a_region_that_is_out_of_service_says_so_beside_what_is_said_of_itself() {
    let mut world = World::of("node a eu/eu-1 1000m 1Gi\n job j\n task x 1000m 1Gi");
    world.flag("a", "draining");
    world.withdraw("cluster eu-1", None);
    world.withdraw("region eu", Some(quorate_state::DrainTime { wait_ms: 0, for_ms: None }));
    assert_eq!(
        table(&world, "j/x[0]", "a"),
        [
            "DRAINING: a node that takes new work | it is drained",
            "CORDONED: a node that takes new work | cluster eu-1 is cordoned: power",
            "DRAINING: a node that takes new work | region eu is drained: power",
        ]
    );
}

#[test]
fn taints_and_pools_are_named() {
    let world = World::of(
        "
        node a eu/eu-1 4000m 8Gi taint=spot:yes taint=team:ml
        node b eu/eu-1 4000m 8Gi pool=big
        job  j
        task x 1000m 1Gi pools=other,big tolerate=team:ops
        task y 1000m 1Gi
        ",
    );
    let expected = [
        "POOL: pool other or big | default",
        "TAINT: no taint spot | taint spot=yes",
        "TAINT: taint team=ops at most | taint team=ml",
    ];
    assert_eq!(table(&world, "j/x[0]", "a"), expected);
    assert_eq!(table(&world, "j/y[0]", "b"), ["POOL: pool default | big"]);
    let why = explain(&world.state, &world.observed, world.now(), world.find("j/y[0]")).to_string();
    assert!(why.contains("(1 in other pools, 1 with taints it does not tolerate)"), "{why}");
    assert!(why.ends_with("nearest is a, with taints it does not tolerate"), "{why}");
}

#[test]
fn a_condition_that_does_not_hold_is_told_with_what_the_node_does_not_say() {
    let world = World::of(
        r#"
        node a eu/eu-1 4000m 8Gi disk=ssd
        node b eu/eu-1 4000m 8Gi
        job  j
        task x 1000m 1Gi where=node.labels.disk=="hdd"
        task y 1000m 1Gi where=int(node.labels.disk)>1
        task z 1000m 1Gi where=node.price<1
        "#,
    );
    let condition = "WHERE: node.labels.disk==\"hdd\" |";
    assert_eq!(table(&world, "j/x[0]", "a"), [format!("{condition} it does not hold")]);
    assert_eq!(table(&world, "j/x[0]", "b"), [format!("{condition} it has no label \"disk\"")]);
    assert_eq!(table(&world, "j/y[0]", "a"), ["WHERE: int(node.labels.disk)>1 | \"ssd\" is no whole number"]);
    assert_eq!(table(&world, "j/z[0]", "a"), ["WHERE: node.price<1 | it names no price"]);
}
