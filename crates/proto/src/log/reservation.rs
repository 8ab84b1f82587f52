//! Commands about reservations as persisted messages.

use std::collections::BTreeSet;

use quorate_state::{Command, NodeName, ReservationName, Served};

use super::v1 as pb;
use crate::format::FormatError;
use crate::format::parts::parsed;

pub(super) fn due_to(due: &[(ReservationName, Served)]) -> pb::TurnReservations {
    let due = due.iter().map(|(name, at)| pb::DueReservation { reservation: name.to_string(), at_served_ms: at.0 });
    pb::TurnReservations { due: due.collect() }
}

pub(super) fn due_from(turn: &pb::TurnReservations) -> Result<Command, FormatError> {
    let due = turn.due.iter().map(|due| Ok((parsed("due.reservation", &due.reservation)?, Served(due.at_served_ms))));
    Ok(Command::TurnReservations { due: due.collect::<Result<_, FormatError>>()? })
}

pub(super) fn reserve_from(reserve: &pb::Reserve) -> Result<Command, FormatError> {
    let nodes = reserve.nodes.iter().map(|node| parsed("nodes", node));
    Ok(Command::Reserve {
        reservation: parsed("reservation", &reserve.reservation)?,
        namespace: parsed("namespace", &reserve.namespace)?,
        nodes: nodes.collect::<Result<BTreeSet<NodeName>, FormatError>>()?,
        wait_ms: reserve.wait_ms,
        for_ms: reserve.for_ms,
    })
}
