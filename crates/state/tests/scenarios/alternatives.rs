//! Tasks that may take one of several things: which one an attempt takes is said when it is placed, kept, and counted.

use std::sync::Arc;

use quorate_state::{
    Alternative, AttemptClaim, AttemptId, AttemptPhase, Change, Choice, Command, Exit, Feature, GangSpec, GpuHold,
    Node, Placement, PlacementOutcome, Rejection, Reply, Resources, TaskId, TaskSpec, Token, Violation,
};

use crate::cluster::{Cluster, id, job, task};

const FEATURE: Feature = Feature::ResourceAlternatives;

fn taking(cpu_milli: u64, gpu_milli: u64) -> Alternative {
    Alternative { resources: Resources { cpu_milli, memory_bytes: 1 << 20, gpu_milli }, gpu_models: vec![] }
}

/// A task that would rather have the first of these.
fn torn(name: &str, all: &[Alternative]) -> TaskSpec {
    let mut spec = task(name, &[]);
    let (first, others) = all.split_first().unwrap();
    (spec.resources, spec.gpu_models) = (first.resources, first.gpu_models.clone());
    spec.alternatives = others.to_vec();
    spec
}

/// A node of 1000m without GPUs, and a run of these tasks.
fn ready(tasks: Vec<TaskSpec>) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::Gpus);
    cluster.enable(FEATURE);
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    cluster.submit(1, job(tasks)).unwrap();
    cluster
}

fn node(cluster: &Cluster) -> Arc<Node> {
    cluster.state.node(&"n".parse().unwrap()).unwrap().clone()
}

fn choice(number: u32) -> Choice {
    Choice::of(number).unwrap()
}

fn give(cluster: &mut Cluster, task: TaskId, number: u32) -> Result<Token, Rejection> {
    let (node, generation) = (node(cluster), cluster.state.task(task).unwrap().generation);
    let (gpus, choice) = (GpuHold::NONE, choice(number));
    let placement = Placement { task, generation, node: node.name.clone(), epoch: node.epoch, gpus, choice };
    let reply = cluster.run(Command::CommitPlan { placements: vec![placement] })?;
    let Reply::PlanCommitted(outcomes) = reply else { panic!("{reply:?}") };
    match outcomes.into_iter().next().unwrap() {
        PlacementOutcome::Placed(token) => Ok(token),
        PlacementOutcome::Refused(why) => Err(*why),
    }
}

#[test]
fn what_is_counted_is_what_was_chosen_and_given_back_as_such() {
    let mut cluster = ready(vec![torn("a", &[taking(100, 1_000), taking(600, 0)]), torn("b", &[taking(500, 0)])]);
    assert!(matches!(give(&mut cluster, id(0), 0), Err(Rejection::Infeasible(_))), "there is no GPU");
    assert_eq!(give(&mut cluster, id(0), 2), Err(Rejection::Stale("the task has no such alternative")));
    give(&mut cluster, id(0), 1).unwrap();
    let attempt = cluster.attempt(id(0));
    assert_eq!((attempt.choice, attempt.resources, attempt.gpus), (choice(1), taking(600, 0).resources, GpuHold::NONE));
    let held = |cluster: &Cluster| cluster.state.held_by(&"acme".parse().unwrap()).cpu_milli;
    assert_eq!((cluster.state.free_on(&node(&cluster)).cpu_milli, held(&cluster)), (400, 600));
    assert!(matches!(give(&mut cluster, id(1), 0), Err(Rejection::Infeasible(_))), "400m are left");
    cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(0)));
    assert_eq!((cluster.state.free_on(&node(&cluster)).cpu_milli, held(&cluster)), (1_000, 0));
    give(&mut cluster, id(1), 0).unwrap();
}

#[test]
fn each_attempt_takes_what_it_was_given_whatever_the_last_one_took() {
    let mut spec = torn("a", &[taking(900, 0), taking(300, 0)]);
    spec.retry = quorate_state::Retry { attempts: 3, first_ms: 0, ..spec.retry };
    let mut cluster = ready(vec![spec]);
    for (number, cpu_milli) in [(1, 300), (0, 900), (1, 300)] {
        cluster.pass(60_000);
        give(&mut cluster, id(0), number).unwrap();
        assert_eq!(cluster.state.used_on(&node(&cluster).name).cpu_milli, cpu_milli);
        assert_eq!(cluster.state.held_by(&"acme".parse().unwrap()).cpu_milli, cpu_milli);
        cluster.report(id(0), AttemptPhase::Ended, Some(Exit::Code(1)));
        assert_eq!(cluster.state.used_on(&node(&cluster).name).cpu_milli, 0);
    }
}

#[test]
fn what_makes_no_choice_is_refused_with_the_field_that_says_so() {
    let refused = |spec: TaskSpec| {
        let mut cluster = ready(vec![task("other", &[])]);
        [Feature::TaskFlow, Feature::Gangs].into_iter().for_each(|feature| cluster.enable(feature));
        let refused = cluster.submit(2, job(vec![spec]));
        let Err(Rejection::Invalid(flaws)) = refused else { panic!("{refused:?}") };
        flaws.into_iter().map(|Violation { field, .. }| field).collect::<Vec<_>>()
    };
    let many: Vec<Alternative> = (0..5).map(|number| taking(900 - 100 * number, 0)).collect();
    assert_eq!(refused(torn("a", &many)), ["task.a.want"]);
    assert_eq!(refused(torn("a", &[taking(100, 0), taking(200, 0)])), ["task.a.want[1]"]);
    assert_eq!(refused(torn("a", &[taking(100, 500), taking(50, 1_000), taking(100, 2_000)])), ["task.a.want[2]"]);
    let mut model = taking(100, 0);
    model.gpu_models = vec!["T4".parse().unwrap()];
    assert_eq!(refused(torn("a", &[taking(500, 1_500), model])), ["task.a.want[0].gpu", "task.a.want[1].gpu_models"]);
    let mut gang = torn("a", &[taking(500, 0), taking(100, 0)]);
    gang.gang = Some(GangSpec { within: None, start_ms: None });
    assert!(refused(gang).contains(&"task.a.want".to_owned()));
}

#[test]
fn before_the_feature_nobody_has_a_choice() {
    let mut cluster = Cluster::new();
    cluster.register("n", 1, "eu", "eu-a").unwrap();
    let spec = job(vec![torn("a", &[taking(500, 0), taking(100, 0)])]);
    assert_eq!(cluster.submit(1, spec), Err(Rejection::FeatureNotEnabled(FEATURE)));
    cluster.submit(2, job(vec![task("a", &[])])).unwrap();
    let first = TaskId { run: quorate_state::RunId(2), step: 0, index: 0 };
    assert_eq!(give(&mut cluster, first, 1), Err(Rejection::FeatureNotEnabled(FEATURE)));
}

#[test]
fn what_an_agent_has_from_an_earlier_life_counts_as_what_it_took_there() {
    let mut cluster = ready(vec![torn("a", &[taking(900, 0), taking(300, 0)])]);
    let mut meta = cluster.state.meta().clone();
    (meta.incarnation, meta.restored_at) = (2, quorate_state::Revision(1 << 40));
    cluster.state.commit(&Change::Meta(meta));
    cluster.revision = 1 << 40;
    let attempt = AttemptId { task: id(0), number: 1 };
    let claim = AttemptClaim { attempt, token: Token(77), gpus: GpuHold::NONE, choice: choice(1) };
    cluster.return_of("n", 99, vec![claim]);
    let adopted = cluster.attempt(id(0));
    assert_eq!((adopted.choice, adopted.resources), (choice(1), taking(300, 0).resources));
    assert_eq!(cluster.state.used_on(&node(&cluster).name).cpu_milli, 300);
    assert_eq!(cluster.state.task(id(0)).unwrap().choice, choice(1));
}
