//! GPUs: given to attempts device by device, whole or in parts, and never twice.

use std::sync::Arc;

use quorate_state::{
    AttemptClaim, AttemptId, AttemptPhase, Choice, Command, Exit, Feature, GpuHold, GpuModel, Infeasible, Node,
    Placement, PlacementOutcome, Rejection, Reply, Shortfall, TaskId, TaskSpec, Token, Violation,
};

use crate::cluster::{Cluster, id, job, task};

fn models(names: &[&str]) -> Arc<[GpuModel]> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A task that takes so much of GPUs, and nothing else.
fn taking(name: &str, gpu_milli: u64) -> TaskSpec {
    let mut spec = task(name, &[]);
    (spec.resources.cpu_milli, spec.resources.gpu_milli) = (0, gpu_milli);
    spec
}

fn arrive(cluster: &mut Cluster, gpus: &[&str], attempts: Vec<AttemptClaim>) -> Result<Reply, Rejection> {
    let Command::RegisterNode(mut registration) = cluster.registration("n", 1, "eu", "eu-a") else { unreachable!() };
    (registration.gpus, registration.attempts) = (models(gpus), attempts);
    cluster.run(Command::RegisterNode(registration))
}

/// A node with these GPUs, and a run of these tasks.
fn ready(gpus: &[&str], tasks: Vec<TaskSpec>) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::Gpus);
    arrive(&mut cluster, gpus, vec![]).unwrap();
    cluster.submit(1, job(tasks)).unwrap();
    cluster
}

fn node(cluster: &Cluster) -> Arc<Node> {
    cluster.state.node(&"n".parse().unwrap()).unwrap().clone()
}

fn give(cluster: &mut Cluster, task: TaskId, devices: u64, milli: u16) -> Result<Token, Rejection> {
    let (node, generation) = (node(cluster), cluster.state.task(task).unwrap().generation);
    let gpus = GpuHold { devices, milli };
    let placement =
        Placement { task, generation, node: node.name.clone(), epoch: node.epoch, gpus, choice: Choice::FIRST };
    let reply = cluster.run(Command::CommitPlan { placements: vec![placement] })?;
    let Reply::PlanCommitted(outcomes) = reply else { panic!("{reply:?}") };
    match outcomes.into_iter().next().unwrap() {
        PlacementOutcome::Placed(token) => Ok(token),
        PlacementOutcome::Refused(why) => Err(*why),
    }
}

fn full(gpu_milli: u64) -> Result<Token, Rejection> {
    Err(Rejection::Infeasible(Infeasible::Full(Shortfall { gpu_milli, ..Shortfall::default() })))
}

#[test]
fn a_device_is_shared_by_what_fits_on_it_and_a_whole_one_by_nobody() {
    let tasks = vec![taking("a", 600), taking("b", 600), taking("c", 400), taking("d", 1_000), taking("e", 100)];
    let mut cluster = ready(&["T4", "T4"], tasks);
    assert_eq!(node(&cluster).capacity.gpu_milli, 2_000);
    give(&mut cluster, id(0), 0b01, 600).unwrap();
    assert!(matches!(give(&mut cluster, id(1), 0b01, 600), Err(Rejection::Stale(_))), "only 400 are left");
    give(&mut cluster, id(2), 0b01, 400).unwrap();
    give(&mut cluster, id(3), 0b10, 1_000).unwrap();
    assert_eq!(give(&mut cluster, id(4), 0b10, 100), full(100));
    assert_eq!(cluster.state.free_on(&node(&cluster)).gpu_milli, 0);
    assert_eq!(cluster.attempt(id(3)).gpus, GpuHold { devices: 0b10, milli: 1_000 });
    // Given back with the attempt.
    cluster.report(id(3), AttemptPhase::Ended, Some(Exit::Code(0)));
    give(&mut cluster, id(4), 0b10, 100).unwrap();
    assert_eq!(
        give(&mut cluster, id(1), 0b01, 600),
        Err(Rejection::Stale("the devices are not what the task takes, or are not free"))
    );
    give(&mut cluster, id(1), 0b10, 600).unwrap();
    assert_eq!(cluster.state.check(), Vec::<String>::new());
}

#[test]
fn what_is_left_of_two_devices_is_not_one() {
    let mut cluster =
        ready(&["T4", "T4"], vec![taking("a", 500), taking("b", 500), taking("c", 1_000), taking("d", 800)]);
    give(&mut cluster, id(0), 0b01, 500).unwrap();
    give(&mut cluster, id(1), 0b10, 500).unwrap();
    assert_eq!(give(&mut cluster, id(2), 0b01, 1_000), full(1_000));
    assert_eq!(give(&mut cluster, id(3), 0b01, 800), full(300));
}

#[test]
fn devices_are_those_that_the_task_may_have_and_as_many_as_it_takes() {
    let mut choosy = taking("a", 1_000);
    choosy.gpu_models = models(&["A100", "H100"]).to_vec();
    let mut cluster = ready(&["T4", "A100"], vec![choosy, taking("b", 2_000), taking("c", 3_000)]);
    assert!(matches!(give(&mut cluster, id(0), 0b01, 1_000), Err(Rejection::Stale(_))), "a T4");
    assert!(matches!(give(&mut cluster, id(0), 0, 0), Err(Rejection::Stale(_))), "none");
    assert!(matches!(give(&mut cluster, id(0), 0b11, 500), Err(Rejection::Stale(_))), "two halves");
    assert!(matches!(give(&mut cluster, id(0), 0b110, 1_000), Err(Rejection::Stale(_))), "there is no third");
    give(&mut cluster, id(0), 0b10, 1_000).unwrap();
    assert_eq!(give(&mut cluster, id(1), 0b01, 1_000), full(1_000));
    let too_small = give(&mut cluster, id(2), 0b11, 1_000);
    assert!(
        matches!(too_small, Err(Rejection::Infeasible(Infeasible::TooSmall(missing))) if missing.gpu_milli == 1_000)
    );
}

#[test]
fn a_node_without_the_models_is_none_for_the_task() {
    let mut choosy = taking("a", 500);
    choosy.gpu_models = models(&["A100"]).to_vec();
    let mut cluster = ready(&["T4", "T4"], vec![choosy]);
    assert_eq!(give(&mut cluster, id(0), 0b01, 500), Err(Rejection::Infeasible(Infeasible::GpuModel)));
}

/// What ran goes on where it was, and nothing is put beside it; what is gone for good takes its devices with it.
#[test]
fn a_node_that_comes_back_with_fewer_devices_takes_no_more_than_is_left() {
    let mut cluster = ready(&["T4", "T4"], vec![taking("a", 1_000), taking("b", 500)]);
    let token = give(&mut cluster, id(0), 0b10, 1_000).unwrap();
    cluster.report(id(0), AttemptPhase::Running, None);
    let attempt = AttemptId { task: id(0), number: 1 };
    let claim = AttemptClaim { attempt, token, gpus: GpuHold { devices: 0b10, milli: 1_000 }, choice: Choice::FIRST };
    arrive(&mut cluster, &["T4"], vec![claim]).unwrap();
    assert_eq!(node(&cluster).capacity.gpu_milli, 1_000);
    assert_eq!(give(&mut cluster, id(1), 0b01, 500), full(500));
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    give(&mut cluster, id(1), 0b01, 500).unwrap();
    assert_eq!(cluster.state.check(), Vec::<String>::new());
}

#[test]
fn before_every_replica_knows_them_there_are_none() {
    let mut cluster = Cluster::new();
    assert_eq!(arrive(&mut cluster, &["T4"], vec![]), Err(Rejection::FeatureNotEnabled(Feature::Gpus)));
    assert_eq!(cluster.submit(1, job(vec![taking("a", 500)])), Err(Rejection::FeatureNotEnabled(Feature::Gpus)));
    arrive(&mut cluster, &[], vec![]).unwrap();
    assert_eq!(node(&cluster).capacity.gpu_milli, 0);
}

#[test]
fn what_no_node_could_give_is_refused_at_the_submit() {
    let mut cluster = ready(&[], vec![task("a", &[])]);
    let mut refused = |spec: TaskSpec| match cluster.submit(2, job(vec![spec])) {
        Err(Rejection::Invalid(found)) => found.into_iter().map(|Violation { field, .. }| field).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(taking("a", 1_500)), ["task.a.resources.gpu"]);
    assert_eq!(refused(taking("a", 65_000)), ["task.a.resources.gpu"]);
    let mut none = task("a", &[]);
    none.gpu_models = models(&["T4"]).to_vec();
    assert_eq!(refused(none), ["task.a.resources.gpu_models"]);
}
