//! Nodes are set aside for a time, and are for everybody again.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use crate::{
    Change, Event, Namespace, NodeName, Principal, RESERVATION_MS_MAX, RESERVATIONS_MAX, RESERVED_NODES_MAX, Rejection,
    Reply, Reservation, ReservationMove, ReservationName, Served, Violation,
};

/// A reservation that somebody asks for.
pub(super) struct Wanted<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) nodes: &'a BTreeSet<NodeName>,
    pub(super) wait_ms: u64,
    pub(super) for_ms: u64,
}

/// Agrees upon a reservation; one that begins at once is open.
pub(super) fn reserve(
    overlay: &mut Overlay,
    by: &Principal,
    name: &ReservationName,
    wanted: &Wanted<'_>,
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let Wanted { namespace, nodes, wait_ms, for_ms } = *wanted;
    let flaws = flaws(wanted);
    if !flaws.is_empty() {
        return Err(Rejection::Invalid(flaws));
    }
    let state = overlay.state();
    if !state.has_namespace(namespace) {
        return Err(Rejection::UnknownNamespace(namespace.clone()));
    }
    if state.reservation(name).is_some() {
        return Err(Rejection::ReservationExists(name.clone()));
    }
    if state.reservations_count() >= RESERVATIONS_MAX {
        let advice = "end one that is not needed, or wait until one is over";
        return Err(Rejection::LimitReached { limit: "RESERVATIONS_MAX", max: RESERVATIONS_MAX as u64, advice });
    }
    let others: usize = state.reservations().map(|other| other.nodes.len()).sum();
    if others + nodes.len() > RESERVED_NODES_MAX {
        let advice = "reserve fewer nodes, or end a reservation that is not needed";
        return Err(Rejection::LimitReached { limit: "RESERVED_NODES_MAX", max: RESERVED_NODES_MAX as u64, advice });
    }
    let from = overlay.served().plus(wait_ms);
    let until = from.plus(for_ms);
    for node in nodes {
        if state.node(node).is_none() {
            return Err(Rejection::UnknownNode(node.clone()));
        }
        let mut others = state.reservations().filter(|other| other.overlaps(from, until));
        if let Some(other) = others.find(|other| other.nodes.contains(node)) {
            return Err(Rejection::NodeReserved { node: node.clone(), other: other.name.clone() });
        }
    }
    let row = Reservation {
        name: name.clone(),
        namespace: namespace.clone(),
        nodes: nodes.clone(),
        from,
        until,
        is_open: false,
        by: by.clone(),
        at: overlay.now(),
    };
    overlay.put(Change::Reservation(Arc::new(row.clone())));
    overlay.emit(Event::ReservationMoved { reservation: name.clone(), to: ReservationMove::Made, by: by.clone() });
    if wait_ms == 0 {
        open(overlay, by, row);
    }
    Ok(Reply::Done)
}

fn flaws(wanted: &Wanted<'_>) -> Vec<Violation> {
    let limits = [
        ("nodes", wanted.nodes.len() as u64, 1, RESERVED_NODES_MAX as u64),
        ("wait_ms", wanted.wait_ms, 0, RESERVATION_MS_MAX),
        ("for_ms", wanted.for_ms, 1, RESERVATION_MS_MAX),
    ];
    let outside = limits.into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
    outside
        .map(|(name, value, least, most)| Violation {
            field: format!("reservation.{name}"),
            message: format!("is {value}, and must be from {least} to {most}"),
        })
        .collect()
}

/// Begins or ends the time of reservations for which that is due. What was said since counts more.
pub(super) fn turn(
    overlay: &mut Overlay,
    by: &Principal,
    due: &[(ReservationName, Served)],
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut turned = 0_u32;
    for (name, at) in due {
        let Some(row) = overlay.state().reservation(name).filter(|row| row.due() == *at).cloned() else { continue };
        let is_hasty = !row.is_open && quorate_planted::is(Bug::ReservationEarly);
        if *at > overlay.served() && !is_hasty {
            continue;
        }
        // Its whole time may have gone by while nobody looked.
        if row.is_open || row.until <= overlay.served() {
            remove(overlay, by, name, ReservationMove::Over);
        } else {
            open(overlay, by, (*row).clone());
        }
        turned = turned.saturating_add(1);
    }
    Ok(Reply::Counted(turned))
}

/// Sets the nodes of a reservation aside. Whose time with one of them was to be over by then, and nobody has looked since, is over.
fn open(overlay: &mut Overlay, by: &Principal, row: Reservation) {
    let state = overlay.state();
    let others = state.reservations().filter(|other| other.is_open && !other.nodes.is_disjoint(&row.nodes));
    let others: Vec<ReservationName> = others.map(|other| other.name.clone()).collect();
    for other in others {
        remove(overlay, by, &other, ReservationMove::Over);
    }
    let reservation = row.name.clone();
    overlay.put(Change::Reservation(Arc::new(Reservation { is_open: true, ..row })));
    overlay.emit(Event::ReservationMoved { reservation, to: ReservationMove::Opened, by: by.clone() });
}

/// Ends a reservation before it is over.
pub(super) fn end(overlay: &mut Overlay, by: &Principal, name: &ReservationName) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if overlay.state().reservation(name).is_none() {
        return Err(Rejection::UnknownReservation(name.clone()));
    }
    remove(overlay, by, name, ReservationMove::Ended);
    Ok(Reply::Done)
}

fn remove(overlay: &mut Overlay, by: &Principal, name: &ReservationName, to: ReservationMove) {
    overlay.put(Change::ReservationGone(name.clone()));
    overlay.emit(Event::ReservationMoved { reservation: name.clone(), to, by: by.clone() });
}
