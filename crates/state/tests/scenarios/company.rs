//! Rules about other tasks: what waits for the feature, what is refused, and that `apply` holds to them whatever it is told.

use quorate_state::{
    Apart, AtMost, Balance, Choice, Command, Company, Feature, GangSpec, GpuHold, Infeasible, Placement,
    PlacementOutcome, RULES_MAX, Rejection, Reply, SHARE_MAX, TaskId, TaskSpec, Topology,
};

use crate::cluster::{Cluster, id, job, task};

const FEATURE: Feature = Feature::SpreadRules;

fn with(company: Company) -> TaskSpec {
    let mut spec = task("x", &[]);
    spec.place.company = company;
    spec
}

fn at_most(per: Topology, tasks: u32) -> Company {
    Company { at_most: vec![AtMost { per, tasks }], ..Company::default() }
}

fn of_group(apart: bool) -> Company {
    let rule = Apart { from: "db".parse().unwrap(), per: Topology::Node };
    match apart {
        true => Company { apart: vec![rule], ..Company::default() },
        false => Company { group: Some("db".parse().unwrap()), ..Company::default() },
    }
}

/// Two nodes of one cluster, and one of another.
fn ground() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.enable(FEATURE);
    for (name, uuid, of) in [("a", 1, "eu-a"), ("b", 2, "eu-a"), ("c", 3, "eu-b")] {
        cluster.register(name, uuid, "eu", of).unwrap();
    }
    cluster
}

/// Places tasks on nodes with one command: true for each that was.
fn commit(cluster: &mut Cluster, picks: &[(TaskId, &str)]) -> Vec<bool> {
    let placements = picks.iter().map(|(task, node)| {
        let node = cluster.state.node(&node.parse().unwrap()).unwrap();
        let generation = cluster.state.task(*task).unwrap().generation;
        Placement {
            choice: Choice::FIRST,
            gpus: GpuHold::NONE,
            task: *task,
            generation,
            node: node.name.clone(),
            epoch: node.epoch,
        }
    });
    let placements = placements.collect();
    let reply = cluster.run(Command::CommitPlan { placements }).unwrap();
    let Reply::PlanCommitted(outcomes) = reply else { panic!("{reply:?}") };
    let is_placed = |outcome: &PlacementOutcome| match outcome {
        PlacementOutcome::Placed(_) => true,
        PlacementOutcome::Refused(why) => {
            assert_eq!(**why, Rejection::Infeasible(Infeasible::Apart));
            false
        }
    };
    outcomes.iter().map(is_placed).collect()
}

fn element(index: u32) -> TaskId {
    TaskId { index, ..id(0) }
}

#[test]
fn rules_wait_for_the_feature() {
    let mut cluster = Cluster::new();
    let spec = || job(vec![with(at_most(Topology::Node, 1))]);
    assert_eq!(cluster.submit(1, spec()), Err(Rejection::FeatureNotEnabled(FEATURE)));
    cluster.enable(FEATURE);
    cluster.submit(1, spec()).unwrap();
}

#[test]
fn one_too_many_is_refused_also_within_one_command() {
    for (per, expected) in [
        (Topology::Node, [true, false, true, true]),
        (Topology::Cluster, [true, false, false, true]),
        (Topology::Region, [true, false, false, false]),
        (Topology::Label("rack".into()), [false; 4]),
    ] {
        let mut cluster = ground();
        cluster.submit(1, job(vec![TaskSpec { count: 4, ..with(at_most(per.clone(), 1)) }])).unwrap();
        let picks = [(element(0), "a"), (element(1), "a"), (element(2), "b"), (element(3), "c")];
        assert_eq!(commit(&mut cluster, &picks), expected, "{per}");
        // The same one by one.
        let mut cluster = ground();
        cluster.submit(1, job(vec![TaskSpec { count: 4, ..with(at_most(per, 1)) }])).unwrap();
        let each = picks.map(|pick| commit(&mut cluster, &[pick])[0]);
        assert_eq!(each, expected);
    }
}

#[test]
fn who_stays_apart_is_refused_whoever_comes_first() {
    for wary_first in [true, false] {
        let mut cluster = ground();
        cluster.submit(1, job(vec![with(of_group(wary_first))])).unwrap();
        cluster.submit(2, job(vec![with(of_group(!wary_first))])).unwrap();
        let runs: Vec<_> = cluster.state.runs_newest_first(None).map(|run| run.id).collect();
        let task = |at: usize| TaskId { run: runs[at], step: 0, index: 0 };
        assert_eq!(commit(&mut cluster, &[(task(1), "a")]), [true]);
        assert_eq!(commit(&mut cluster, &[(task(0), "a")]), [false]);
        assert_eq!(commit(&mut cluster, &[(task(0), "b")]), [true]);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_limit_by_name() {
    let refused = |spec: TaskSpec| {
        let mut cluster = ground();
        [Feature::TaskFlow, Feature::Gangs].into_iter().for_each(|feature| cluster.enable(feature));
        let Err(Rejection::Invalid(found)) = cluster.submit(1, job(vec![spec])) else { panic!("it is taken") };
        found.iter().map(|it| format!("{}: {}", it.field, it.message)).collect::<Vec<_>>()
    };
    let rule = AtMost { per: Topology::Label(String::new()), tasks: 0 };
    let many = Company { at_most: vec![rule; RULES_MAX + 1], ..Company::default() };
    let found = refused(with(many));
    assert!(found.contains(&"task.x.place.at_most: 5 rules are over RULES_MAX (4)".to_owned()), "{found:?}");
    assert!(found.contains(&"task.x.place.at_most[0].tasks: 0 is not between 1 and 1000000".to_owned()), "{found:?}");
    let key = "task.x.place.at_most[3].per: a label's key has 1 to 256 bytes, none of them NUL";
    assert!(found.contains(&key.to_owned()), "{found:?}");

    let targets = [("a".to_owned(), SHARE_MAX + 1)].into();
    let balance = vec![Balance { per: Topology::Node, targets }];
    let found = refused(with(Company { balance, ..Company::default() }));
    assert!(found[0].starts_with("task.x.place.balance[0].per: to spread over single nodes"), "{found:?}");
    assert_eq!(found[1], "task.x.place.balance[0].targets: \"a\": 1000001 is not between 1 and 1000000");

    let gang = Some(GangSpec::default());
    let found = refused(TaskSpec { gang: gang.clone(), ..with(at_most(Topology::Cluster, 1)) });
    assert!(found[0].starts_with("task.x.place.at_most: of a gang only at_most"), "{found:?}");
    let mut cluster = ground();
    [Feature::TaskFlow, Feature::Gangs].into_iter().for_each(|feature| cluster.enable(feature));
    cluster.submit(1, job(vec![TaskSpec { gang, ..with(at_most(Topology::Node, 1)) }])).unwrap();
}
