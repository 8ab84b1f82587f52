//! What came with feature `reservations`: behind all that was frozen before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_state::{
    Change, Command, Event, Millis, NodeName, Principal, Reservation, ReservationMove, ReservationName, Served,
};

use super::{RUN, specs, walk};
use crate::convert::job::spec_digest;

fn name() -> ReservationName {
    "spring".parse().unwrap()
}

fn nodes() -> BTreeSet<NodeName> {
    ["eu-1-a", "us-1-a"].into_iter().map(|node| node.parse().unwrap()).collect()
}

pub(super) fn reservation_commands() -> Vec<Command> {
    let mut asks = specs().remove(1);
    asks.tasks[0].place.reservation = Some(name());
    vec![
        Command::Reserve {
            reservation: name(),
            namespace: "a".parse().unwrap(),
            nodes: nodes(),
            wait_ms: 3_600_000,
            for_ms: 7_200_000,
        },
        Command::TurnReservations { due: vec![(name(), Served(3_601_000))] },
        Command::EndReservation { reservation: name() },
        Command::SubmitJob { run: RUN, spec_digest: spec_digest(&asks), spec: Arc::new(asks) },
    ]
}

pub(super) fn reservation_changes() -> Vec<Change> {
    let planned = Reservation {
        name: name(),
        namespace: "a".parse().unwrap(),
        nodes: nodes(),
        from: Served(3_601_000),
        until: Served(10_801_000),
        is_open: false,
        by: Principal::anonymous_local(),
        at: Millis(1_700_000_000_000),
    };
    let open = Reservation { is_open: true, ..planned.clone() };
    vec![
        Change::Reservation(Arc::new(planned)),
        Change::Reservation(Arc::new(open)),
        Change::ReservationGone("autumn".parse().unwrap()),
    ]
}

pub(super) fn reservation_events() -> Vec<Event> {
    let moves = walk(ReservationMove::Made, |to| match to {
        ReservationMove::Made => Some(ReservationMove::Opened),
        ReservationMove::Opened => Some(ReservationMove::Over),
        ReservationMove::Over => Some(ReservationMove::Ended),
        ReservationMove::Ended => None,
    });
    let by = Principal::anonymous_local();
    moves.into_iter().map(|to| Event::ReservationMoved { reservation: name(), to, by: by.clone() }).collect()
}
