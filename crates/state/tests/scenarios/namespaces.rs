//! Namespaces as tenants: their tree, what is guaranteed to them, and that none holds more than it may.

use quorate_state::{
    Amounts, AttemptPhase, Change, Command, Exit, Fairness, Feature, JobSpec, NAMESPACES_DEEP_MAX, Namespace,
    OverQuota, Placement, PlacementOutcome, Rejection, Reply, Resource, Resources, RunId, Share, ShareChange, State,
    TaskId, TaskState,
};

use crate::cluster::{Cluster, job, task};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(Feature::FairShare);
    cluster
}

fn name(name: &str) -> Namespace {
    name.parse().unwrap()
}

fn below(parent: &str) -> ShareChange {
    ShareChange { parent: Some(Some(name(parent))), ..ShareChange::default() }
}

fn cores(cores: u64) -> Option<Amounts> {
    Some(Amounts { cpu_milli: Some(cores * 1_000), ..Amounts::default() })
}

fn make(cluster: &mut Cluster, namespace: &str, change: ShareChange) -> Result<Reply, Rejection> {
    cluster.run(Command::SetNamespace { namespace: name(namespace), is_new: true, change: Box::new(change) })
}

fn set(cluster: &mut Cluster, namespace: &str, change: ShareChange) -> Result<Reply, Rejection> {
    cluster.run(Command::SetNamespace { namespace: name(namespace), is_new: false, change: Box::new(change) })
}

/// The fields that are said to be wrong.
fn flaws(result: Result<Reply, Rejection>) -> Vec<String> {
    let Err(Rejection::Invalid(found)) = result else { panic!("{result:?}") };
    found.into_iter().map(|flaw| format!("{}: {}", flaw.field, flaw.message)).collect()
}

fn share(cluster: &Cluster, namespace: &str) -> Share {
    cluster.state.namespace(&name(namespace)).unwrap().share.clone()
}

/// A job of so many tasks of a core each, in a namespace.
fn of(namespace: &str, count: u32) -> JobSpec {
    let mut spec = task("t", &[]);
    (spec.count, spec.resources.cpu_milli) = (count, 1_000);
    JobSpec { namespace: name(namespace), ..job(vec![spec]) }
}

fn id(run: u64, index: u32) -> TaskId {
    TaskId { run: RunId(run), step: 0, index }
}

/// A node of sixteen cores comes.
fn arrive(cluster: &mut Cluster, node: &str, uuid: u128) {
    let Command::RegisterNode(mut registration) = cluster.registration(node, uuid, "eu", "eu-a") else {
        unreachable!()
    };
    registration.capacity.cpu_milli = 16_000;
    cluster.run(Command::RegisterNode(registration)).unwrap();
}

/// Places these tasks with one command; which were, and why the others were not.
fn place(cluster: &mut Cluster, tasks: &[TaskId]) -> Vec<Result<(), Rejection>> {
    let node = cluster.state.nodes().next().unwrap().clone();
    let placements = tasks.iter().map(|task| Placement {
        task: *task,
        generation: cluster.state.task(*task).unwrap().generation,
        node: node.name.clone(),
        epoch: node.epoch,
        choice: quorate_state::Choice::FIRST,
        gpus: quorate_state::GpuHold::NONE,
    });
    let placements = placements.collect();
    let Ok(Reply::PlanCommitted(outcomes)) = cluster.run(Command::CommitPlan { placements }) else { panic!("a plan") };
    let outcome = |outcome| match outcome {
        PlacementOutcome::Placed(_) => Ok(()),
        PlacementOutcome::Refused(why) => Err(*why),
    };
    outcomes.into_iter().map(outcome).collect()
}

fn held(cluster: &Cluster, namespace: &str) -> u64 {
    cluster.state.held_below(&name(namespace)).cpu_milli / 1_000
}

#[test]
fn a_share_is_set_part_by_part() {
    let mut cluster = cluster();
    let change = ShareChange { weight: Some(7), guaranteed: cores(2), maximum: cores(4), ..ShareChange::default() };
    assert_eq!(make(&mut cluster, "a", change), Ok(Reply::Done));
    assert_eq!(make(&mut cluster, "a", ShareChange::default()), Err(Rejection::NamespaceExists(name("a"))));
    assert_eq!(set(&mut cluster, "b", ShareChange::default()), Err(Rejection::UnknownNamespace(name("b"))));
    set(&mut cluster, "a", ShareChange { maximum: cores(9), ..ShareChange::default() }).unwrap();
    let expected = Share { parent: None, weight: 7, guaranteed: cores(2).unwrap(), maximum: cores(9).unwrap() };
    assert_eq!(share(&cluster, "a"), expected);
    let taken_back = ShareChange { maximum: Some(Amounts::default()), ..ShareChange::default() };
    set(&mut cluster, "a", taken_back).unwrap();
    assert_eq!(share(&cluster, "a").maximum, Amounts::default());
}

#[test]
fn a_tree_has_no_circles_and_an_end() {
    let mut cluster = cluster();
    let orphan = make(&mut cluster, "a", below("nobody"));
    assert_eq!(orphan, Err(Rejection::UnknownNamespace(name("nobody"))));
    make(&mut cluster, "a", ShareChange::default()).unwrap();
    make(&mut cluster, "b", below("a")).unwrap();
    make(&mut cluster, "c", below("b")).unwrap();
    for inner in ["a", "b", "c"] {
        assert!(flaws(set(&mut cluster, "a", below(inner)))[0].starts_with("parent: "), "{inner}");
    }
    // To another branch, and to the top.
    make(&mut cluster, "d", ShareChange::default()).unwrap();
    set(&mut cluster, "b", below("d")).unwrap();
    set(&mut cluster, "a", below("c")).unwrap();
    let lineage: Vec<String> = cluster.state.lineage(&name("a")).map(|row| row.name.to_string()).collect();
    assert_eq!(lineage, ["a", "c", "b", "d"]);
    let up = ShareChange { parent: Some(None), ..ShareChange::default() };
    set(&mut cluster, "c", up).unwrap();
    assert_eq!(cluster.state.lineage(&name("a")).count(), 2);

    let mut last = "a".to_owned();
    for level in 3..=NAMESPACES_DEEP_MAX {
        let next = format!("level-{level}");
        make(&mut cluster, &next, below(&last)).unwrap();
        last = next;
    }
    let deep = make(&mut cluster, "deeper", below(&last));
    assert!(matches!(deep, Err(Rejection::LimitReached { limit: "NAMESPACES_DEEP_MAX", .. })), "{deep:?}");
    // With all that stands below it.
    let moved = set(&mut cluster, "c", below("d"));
    assert!(matches!(moved, Err(Rejection::LimitReached { limit: "NAMESPACES_DEEP_MAX", .. })), "{moved:?}");
}

#[test]
fn guarantees_lie_within_that_of_the_parent_and_within_a_maximum() {
    let mut cluster = cluster();
    let guaranteeing = |amount| ShareChange { guaranteed: cores(amount), ..ShareChange::default() };
    make(&mut cluster, "top", guaranteeing(10)).unwrap();
    make(&mut cluster, "a", ShareChange { guaranteed: cores(6), ..below("top") }).unwrap();
    let more = flaws(make(&mut cluster, "b", ShareChange { guaranteed: cores(5), ..below("top") }));
    let expected = "guaranteed.cpu: 11 would be guaranteed to the children of top, and 10 is to top itself: guarantee more to \
                    it, or less to them";
    assert_eq!(more, [expected]);
    make(&mut cluster, "b", ShareChange { guaranteed: cores(4), ..below("top") }).unwrap();
    assert_eq!(flaws(set(&mut cluster, "top", guaranteeing(9))).len(), 1);
    // Neither by coming from elsewhere.
    make(&mut cluster, "c", guaranteeing(1)).unwrap();
    assert_eq!(flaws(set(&mut cluster, "c", below("top"))).len(), 1);
    // One that goes elsewhere leaves room.
    set(&mut cluster, "b", ShareChange { parent: Some(None), ..ShareChange::default() }).unwrap();
    set(&mut cluster, "c", below("top")).unwrap();
    let small = ShareChange { maximum: cores(5), ..ShareChange::default() };
    assert_eq!(flaws(set(&mut cluster, "a", small)), ["maximum.cpu: 5 is below the guarantee, 6"]);
    let weightless = ShareChange { weight: Some(0), ..ShareChange::default() };
    assert_eq!(flaws(set(&mut cluster, "a", weightless)), ["weight: 0 is not between 1 and WEIGHT_MAX (1000000)"]);
}

#[test]
fn what_a_namespace_holds_counts_for_all_above_it_wherever_they_stand() {
    let mut cluster = cluster();
    arrive(&mut cluster, "n", 1);
    for namespace in ["left", "right"] {
        make(&mut cluster, namespace, ShareChange::default()).unwrap();
    }
    make(&mut cluster, "leaf", below("left")).unwrap();
    cluster.submit(1, of("leaf", 2)).unwrap();
    cluster.submit(2, of("left", 1)).unwrap();
    assert_eq!(place(&mut cluster, &[id(1, 0), id(1, 1), id(2, 0)]), [Ok(()), Ok(()), Ok(())]);
    assert_eq!((held(&cluster, "leaf"), held(&cluster, "left"), held(&cluster, "right")), (2, 3, 0));
    assert_eq!(cluster.state.held_by(&name("left")).cpu_milli, 1_000);
    set(&mut cluster, "leaf", below("right")).unwrap();
    assert_eq!((held(&cluster, "leaf"), held(&cluster, "left"), held(&cluster, "right")), (2, 1, 2));
    cluster.report_gone(id(1, 0), AttemptPhase::Ended, Some(Exit::Code(0)), true);
    assert_eq!((held(&cluster, "leaf"), held(&cluster, "right")), (1, 1));
}

#[test]
fn a_placement_beyond_a_maximum_is_refused_singly() {
    let mut cluster = cluster();
    arrive(&mut cluster, "n", 1);
    make(&mut cluster, "top", ShareChange { maximum: cores(3), ..ShareChange::default() }).unwrap();
    make(&mut cluster, "a", ShareChange { maximum: cores(2), ..below("top") }).unwrap();
    make(&mut cluster, "b", below("top")).unwrap();
    cluster.submit(1, of("a", 3)).unwrap();
    cluster.submit(2, of("b", 3)).unwrap();
    let over = |namespace: &str, used, maximum| {
        let namespace = name(namespace);
        Err(Rejection::OverQuota(OverQuota { namespace, resource: Resource::Cpu, used, maximum, asked: 1_000 }))
    };
    let placed = place(&mut cluster, &[id(1, 0), id(1, 1), id(1, 2), id(2, 0), id(2, 1)]);
    let expected = [Ok(()), Ok(()), over("a", 2_000, 2_000), Ok(()), over("top", 3_000, 3_000)];
    assert_eq!(placed, expected);
    assert_eq!(cluster.state.task(id(1, 2)).unwrap().state, TaskState::Ready, "it waits");
    // A lower maximum stops nothing, and lets nothing in until enough has ended.
    set(&mut cluster, "top", ShareChange { maximum: cores(2), ..ShareChange::default() }).unwrap();
    cluster.report_gone(id(1, 0), AttemptPhase::Ended, Some(Exit::Code(0)), true);
    assert_eq!(place(&mut cluster, &[id(2, 1)]), [over("top", 2_000, 2_000)]);
    cluster.report_gone(id(1, 1), AttemptPhase::Ended, Some(Exit::Code(0)), true);
    assert_eq!(place(&mut cluster, &[id(2, 1)]), [Ok(())]);
}

#[test]
fn a_task_counts_once_however_many_copies_of_it_there_may_be() {
    let mut cluster = cluster();
    arrive(&mut cluster, "n", 1);
    make(&mut cluster, "a", ShareChange { maximum: cores(1), ..ShareChange::default() }).unwrap();
    cluster.submit(1, of("a", 1)).unwrap();
    cluster.place(id(1, 0), "n");
    let lease = cluster.state.nodes().next().unwrap().clone();
    cluster.run(Command::ExpireLeases { leases: vec![(lease.name.clone(), lease.epoch)] }).unwrap();
    // Its copy may run on, and it is in the queue again: its place is free for it elsewhere.
    assert_eq!((cluster.state.task(id(1, 0)).unwrap().state.clone(), held(&cluster, "a")), (TaskState::Ready, 0));
    arrive(&mut cluster, "m", 2);
    cluster.place(id(1, 0), "m");
    assert_eq!(held(&cluster, "a"), 1);
}

#[test]
fn before_the_feature_is_enabled_namespaces_are_what_they_were() {
    let mut cluster = Cluster::new();
    let change = Box::new(ShareChange { weight: Some(3), ..ShareChange::default() });
    let refused = Err(Rejection::FeatureNotEnabled(Feature::FairShare));
    assert_eq!(cluster.run(Command::SetNamespace { namespace: name("acme"), is_new: false, change }), refused);
    let fairness = Fairness { half_life_ms: 0, overdue_ms: 0 };
    assert_eq!(cluster.run(Command::SetFairness { fairness }), refused);
    assert_eq!(cluster.run(Command::SampleUse { namespaces: vec![name("acme")] }), refused);
    assert_eq!(cluster.state.fairness(), None);
    cluster.submit(1, of("acme", 1)).unwrap();
    assert_eq!(cluster.state.task(id(1, 0)).unwrap().ready_since, None);
    cluster.enable(Feature::FairShare);
    assert_eq!(cluster.state.fairness(), Some(Fairness { half_life_ms: 600_000, overdue_ms: 14_400_000 }));
    cluster.submit(2, of("acme", 1)).unwrap();
    assert_eq!(cluster.state.task(id(2, 0)).unwrap().ready_since, Some(cluster.state.meta().served));
    let wrong = Fairness { half_life_ms: 1, overdue_ms: u64::MAX };
    assert_eq!(flaws(cluster.run(Command::SetFairness { fairness: wrong })).len(), 2);
}

#[test]
fn rows_of_namespaces_give_the_same_tree_in_any_order() {
    let mut cluster = cluster();
    arrive(&mut cluster, "n", 1);
    // Children come before their parents by name, and after them.
    make(&mut cluster, "m", ShareChange::default()).unwrap();
    for (child, parent) in [("a", "m"), ("z", "a"), ("b", "z")] {
        make(&mut cluster, child, below(parent)).unwrap();
    }
    cluster.submit(1, of("b", 2)).unwrap();
    assert_eq!(place(&mut cluster, &[id(1, 0), id(1, 1)]), [Ok(()), Ok(())]);
    cluster.run(Command::SampleUse { namespaces: vec![name("b"), name("m")] }).unwrap();
    let rows: Vec<_> = cluster.state.namespaces().cloned().collect();
    for turn in 0..rows.len() {
        let mut read = State::default();
        for row in rows.iter().cycle().skip(turn).take(rows.len()) {
            read.commit(&Change::Namespace(row.clone()));
        }
        assert!(read.namespaces_below(&name("m")).map(|row| row.name.as_str()).eq(["a"]), "from {turn}");
        assert!(read.lineage(&name("b")).map(|row| row.name.as_str()).eq(["b", "z", "a", "m"]), "from {turn}");
        assert_eq!(read.past_below(&name("m")), cluster.state.past_below(&name("m")));
        assert_eq!(read.held_below(&name("m")), Resources::ZERO, "there are no tasks");
    }
}
