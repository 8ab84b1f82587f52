//! Rows of reservations.

use std::collections::BTreeSet;

use quorate_state::{Millis, NodeName, Principal, Reservation, ReservationMove, ReservationName, Served};

use crate::convert::reservation::move_from_wire;
use crate::format::FormatError;
use crate::format::parts::{numbered, parsed, required};
use crate::log::v1 as pb;

pub(super) fn reservation_to(row: &Reservation) -> pb::ReservationRow {
    pb::ReservationRow {
        namespace: row.namespace.to_string(),
        nodes: row.nodes.iter().map(ToString::to_string).collect(),
        from_served_ms: row.from.0,
        until_served_ms: row.until.0,
        open: row.is_open,
        by: row.by.to_string(),
        at_ms: row.at.0,
    }
}

pub(super) fn reservation_from(name: ReservationName, row: pb::ReservationRow) -> Result<Reservation, FormatError> {
    let nodes = row.nodes.iter().map(|node| parsed("reservation.nodes", node));
    Ok(Reservation {
        name,
        namespace: parsed("reservation.namespace", &row.namespace)?,
        nodes: nodes.collect::<Result<BTreeSet<NodeName>, FormatError>>()?,
        from: Served(row.from_served_ms),
        until: Served(row.until_served_ms),
        is_open: row.open,
        by: Principal(row.by.into()),
        at: Millis(row.at_ms),
    })
}

pub(super) fn moved_from(to: i32) -> Result<ReservationMove, FormatError> {
    required("reservation_moved.to", move_from_wire(numbered("reservation_moved.to", to)?))
}
