//! Nodes that are set aside for a namespace for a time that was agreed beforehand.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_state::{
    Change, Choice, Claim, ClaimTerms, Command, Event, Feature, GpuHold, Infeasible, JobSpec, Namespace, NodeName,
    PlacementOutcome, RESERVATION_MS_MAX, Rejection, Reply, ReservationMove, ReservationName, Resources, RunId, Served,
    ShareChange, TaskSpec, Unreserved,
};

use crate::cluster::{Cluster, id, job, task};

fn name() -> ReservationName {
    "spring".parse().unwrap()
}

fn nodes(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn reserve(called: &str, on: &[&str], wait_ms: u64, for_ms: u64) -> Command {
    let (reservation, namespace) = (called.parse().unwrap(), "acme".parse().unwrap());
    Command::Reserve { reservation, namespace, nodes: nodes(on), wait_ms, for_ms }
}

/// A task that asks for the reservation.
fn asking(called: &str) -> TaskSpec {
    let mut spec = task(called, &[]);
    spec.place.reservation = Some(name());
    spec
}

/// `n` and `o`, and a run of task 0, which asks for nothing, and task 1, which asks for the reservation.
fn world() -> Cluster {
    let mut world = Cluster::new();
    for feature in Feature::ALL {
        world.run(Command::EnableFeature { feature, term: 1 }).unwrap();
    }
    for (uuid, node) in ["n", "o"].into_iter().enumerate() {
        world.register(node, uuid as u128 + 1, "eu", "eu-a").unwrap();
    }
    world.submit(1, job(vec![task("any", &[]), asking("ours")])).unwrap();
    world
}

fn turn(world: &mut Cluster, at: Served) -> Reply {
    world.run(Command::TurnReservations { due: vec![(name(), at)] }).unwrap()
}

fn refused(world: &mut Cluster, step: u32, node: &str) -> Rejection {
    match world.try_place(id(step), node) {
        PlacementOutcome::Refused(why) => *why,
        placed => panic!("{placed:?}"),
    }
}

#[test]
fn what_is_set_aside_takes_who_asks_for_it_and_they_go_nowhere_else() {
    let mut world = world();
    world.run(reserve("spring", &["n"], 0, 60_000)).unwrap();
    let opened = |events: &[Event]| {
        let moves = events.iter().filter_map(|event| match event {
            Event::ReservationMoved { to, .. } => Some(*to),
            _ => None,
        });
        moves.collect::<Vec<_>>()
    };
    assert_eq!(opened(&world.events), [ReservationMove::Made, ReservationMove::Opened]);
    assert_eq!(refused(&mut world, 0, "n"), Rejection::Infeasible(Infeasible::Reserved));
    assert_eq!(refused(&mut world, 1, "o"), Rejection::Infeasible(Infeasible::Unreserved));
    world.place(id(0), "o");
    world.place(id(1), "n");
}

#[test]
fn its_time_begins_and_ends_when_that_is_due_and_not_before() {
    let mut world = world();
    world.run(reserve("spring", &["n"], 10_000, 60_000)).unwrap();
    let row = world.state.reservation(&name()).unwrap().clone();
    let run = world.state.run(id(1).run).unwrap().clone();
    assert_eq!(world.state.unreserved(&run, &run.spec.tasks[1]), Some(Unreserved::Until(row.from)));
    assert_eq!(world.state.unreserved(&run, &run.spec.tasks[0]), None);
    assert_eq!(refused(&mut world, 1, "n"), Rejection::Stale(Unreserved::Until(row.from).why()));
    assert_eq!(turn(&mut world, row.from), Reply::Counted(0), "it is not time");
    // What came before it goes on.
    world.place(id(0), "n");
    world.pass(10_000);
    assert_eq!(turn(&mut world, row.until), Reply::Counted(0), "another instant");
    assert_eq!(turn(&mut world, row.from), Reply::Counted(1));
    assert_eq!(turn(&mut world, row.from), Reply::Counted(0), "once");
    assert_eq!(world.state.node(&"n".parse().unwrap()).unwrap().around.reservation, Some(name()));
    world.place(id(1), "n");
    world.pass(60_000);
    assert_eq!(turn(&mut world, row.until), Reply::Counted(1));
    assert_eq!(world.state.reservations_count(), 0);
    assert_eq!(world.state.node(&"n".parse().unwrap()).unwrap().around.reservation, None);
    assert_eq!(world.state.unreserved(&run, &run.spec.tasks[1]), Some(Unreserved::Missing));
    assert_eq!(world.state.attempts_count_on(&"n".parse().unwrap()), 2, "what runs goes on");
}

#[test]
fn no_node_is_of_two_at_a_time_and_what_cannot_be_is_refused() {
    let mut world = world();
    world.run(reserve("spring", &["n"], 10_000, 60_000)).unwrap();
    let taken = Rejection::NodeReserved { node: "n".parse().unwrap(), other: name() };
    assert_eq!(world.run(reserve("other", &["n", "o"], 0, 10_001)), Err(taken.clone()));
    assert_eq!(world.run(reserve("other", &["n"], 69_999, 1)), Err(taken));
    assert_eq!(world.run(reserve("spring", &["o"], 0, 1)), Err(Rejection::ReservationExists(name())));
    let gone = Rejection::UnknownNode("x".parse().unwrap());
    assert_eq!(world.run(reserve("other", &["o", "x"], 0, 1)), Err(gone));
    for (on, wait_ms, for_ms) in
        [(&[][..], 0, 1), (&["o"][..], 0, 0), (&["o"][..], RESERVATION_MS_MAX + 1, 1), (&["o"][..], 0, u64::MAX)]
    {
        let result = world.run(reserve("other", on, wait_ms, for_ms));
        assert!(matches!(result, Err(Rejection::Invalid(_))), "{result:?}");
    }
    let Command::Reserve { reservation, nodes, wait_ms, for_ms, .. } = reserve("other", &["o"], 0, 1) else { panic!() };
    let nobody: Namespace = "nobody".parse().unwrap();
    let command = Command::Reserve { reservation, namespace: nobody.clone(), nodes, wait_ms, for_ms };
    assert_eq!(world.run(command), Err(Rejection::UnknownNamespace(nobody)));
    world.run(reserve("before", &["n"], 0, 10_000)).unwrap();
    world.run(reserve("after", &["n"], 70_000, 1)).unwrap();
    world.run(Command::EndReservation { reservation: name() }).unwrap();
    let over = world.run(Command::EndReservation { reservation: name() });
    assert_eq!(over, Err(Rejection::UnknownReservation(name())));
}

#[test]
fn room_that_is_kept_for_others_on_what_is_set_aside_is_let_go() {
    let mut world = world();
    let (node, epoch) = ("n".parse().unwrap(), world.state.node(&"n".parse().unwrap()).unwrap().epoch);
    let until = world.state.meta().served.plus(10_000);
    let terms = ClaimTerms { resources: Resources::ZERO, gpus: GpuHold::NONE, choice: Choice::FIRST, until };
    world.state.commit(&Change::Claim(Arc::new(Claim { task: id(0), node, epoch, terms })));
    world.run(reserve("spring", &["o"], 0, 60_000)).unwrap();
    assert_eq!(world.state.claims_count(), 1);
    world.run(reserve("summer", &["n"], 0, 60_000)).unwrap();
    assert_eq!(world.state.claims_count(), 0);
}

#[test]
fn tasks_of_the_namespaces_below_may_ask_and_those_beside_may_not() {
    let mut world = world();
    for (namespace, parent) in [("below", Some("acme")), ("beside", None)] {
        let parent = parent.map(|parent| parent.parse().unwrap());
        let change = ShareChange { parent: Some(parent), ..Default::default() };
        let command =
            Command::SetNamespace { namespace: namespace.parse().unwrap(), is_new: true, change: Box::new(change) };
        world.run(command).unwrap();
    }
    world.run(reserve("spring", &["n"], 0, 60_000)).unwrap();
    for (run, namespace, why) in [(2, "below", None), (3, "beside", Some(Unreserved::NotIts))] {
        let spec = JobSpec { namespace: namespace.parse().unwrap(), ..job(vec![asking("ours")]) };
        world.submit(run, spec).unwrap();
        let row = world.state.run(RunId(run)).unwrap();
        assert_eq!(world.state.unreserved(row, &row.spec.tasks[0]), why);
    }
}

#[test]
fn one_that_begins_where_another_is_over_and_nobody_has_looked_ends_that() {
    let mut world = world();
    world.run(reserve("before", &["n"], 0, 1_000)).unwrap();
    world.run(reserve("spring", &["n", "o"], 1_000, 1_000)).unwrap();
    world.pass(1_500);
    let from = world.state.reservation(&name()).unwrap().from;
    turn(&mut world, from);
    let left: Vec<String> = world.state.reservations().map(|row| row.name.to_string()).collect();
    assert_eq!(left, ["spring"]);
    assert_eq!(world.state.node(&"n".parse().unwrap()).unwrap().around.reservation, Some(name()));
    world.pass(600);
    world.run(reserve("after", &["o"], 0, 1_000)).unwrap();
    let after = world.state.node(&"o".parse().unwrap()).unwrap().around.reservation.clone();
    assert_eq!(after, Some("after".parse().unwrap()));
    assert_eq!(world.state.reservations_count(), 1, "what has begun on a part of its nodes ends it on all");
}

#[test]
fn one_whose_whole_time_went_by_never_begins() {
    let mut world = world();
    world.run(reserve("spring", &["n"], 1_000, 1_000)).unwrap();
    world.pass(2_500);
    world.run(reserve("now", &["n"], 0, 1_000)).unwrap();
    let from = world.state.reservation(&name()).unwrap().from;
    turn(&mut world, from);
    let left: Vec<String> = world.state.reservations().map(|row| row.name.to_string()).collect();
    assert_eq!(left, ["now"]);
    assert_eq!(world.state.node(&"n".parse().unwrap()).unwrap().around.reservation, Some("now".parse().unwrap()));
}
