//! Reservations: nodes that are set aside for a namespace for a time that was agreed beforehand.
//!
//! From the beginning of that time to its end the nodes take nothing but tasks that ask for the reservation by name, and such tasks go
//! nowhere else. Before it, whoever plans leaves nothing there that would not have ended by then; that is up to the planner, as all
//! waiting is. What runs there nevertheless goes on: nobody loses an attempt to a reservation.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_planted::Bug;

use crate::{Millis, Namespace, Node, NodeName, Principal, ReservationName, Run, Served, State, TaskId, TaskSpec};

/// Reservations at once. Part of what feature `reservations` means, as are the next two.
pub const RESERVATIONS_MAX: usize = 100;
/// Nodes of all of them together, a node counted as often as it is in one.
pub const RESERVED_NODES_MAX: usize = 10_000;
/// The longest that a reservation lasts, and the furthest ahead that one begins, in milliseconds: one year.
pub const RESERVATION_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// Nodes that are set aside. Needs [`crate::Feature::Reservations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// By this name tasks ask for it.
    pub name: ReservationName,
    /// Whose tasks may: those of this namespace, and of all below it.
    pub namespace: Namespace,
    /// The nodes, known here or not: one that was forgotten is in it again when it comes back. At least one, and of no
    /// other reservation for any part of that time.
    pub nodes: BTreeSet<NodeName>,
    /// Its time begins.
    pub from: Served,
    /// It is over, which is later.
    pub until: Served,
    /// Its nodes are set aside.
    pub is_open: bool,
    /// Who asked for it.
    pub by: Principal,
    /// When.
    pub at: Millis,
}

impl Reservation {
    /// At this instant something is to be done about it: it begins, or is over.
    pub fn due(&self) -> Served {
        if self.is_open { self.until } else { self.from }
    }

    /// True of one whose time has a part of that of another one.
    pub fn overlaps(&self, from: Served, until: Served) -> bool {
        from < self.until && self.from < until
    }
}

/// What becomes of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationMove {
    /// It was agreed upon.
    Made,
    /// Its time has begun: its nodes are set aside.
    Opened,
    /// Its time is over, and its nodes are for everybody.
    Over,
    /// Somebody ended it before.
    Ended,
}

/// Why a task is not placed that asks for a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreserved {
    /// There is none by that name, or it is over.
    Missing,
    /// It is another namespace's.
    NotIts,
    /// Its time has not begun.
    Until(Served),
}

impl Unreserved {
    /// In words.
    pub fn why(self) -> &'static str {
        match self {
            Self::Missing => "there is no such reservation, or it is over",
            Self::NotIts => "the reservation is another namespace's",
            Self::Until(_) => "the time of the reservation has not begun",
        }
    }
}

impl State {
    /// The reservations that are not over, by name.
    pub fn reservations(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.reservations.values()
    }

    /// How many there are.
    pub fn reservations_count(&self) -> usize {
        self.reservations.size()
    }

    /// A reservation.
    pub fn reservation(&self, name: &ReservationName) -> Option<&Arc<Reservation>> {
        self.reservations.get(name)
    }

    /// Those whose time has not begun, by name.
    pub fn planned_reservations(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.reservations.values().filter(|reservation| !reservation.is_open)
    }

    /// Why tasks of `spec`, a step of `run`, that ask for a reservation may not be placed whatever the room. None for those that ask for
    /// none.
    pub fn unreserved(&self, run: &Run, spec: &TaskSpec) -> Option<Unreserved> {
        let asked = spec.place.reservation.as_ref()?;
        let Some(reservation) = self.reservations.get(asked) else { return Some(Unreserved::Missing) };
        if !self.lineage(&run.spec.namespace).any(|row| row.name == reservation.namespace) {
            return Some(Unreserved::NotIts);
        }
        (!reservation.is_open).then_some(Unreserved::Until(reservation.from))
    }

    /// True if a task may not go to a node because that is set aside, or is not set aside for it.
    pub fn is_set_apart(&self, node: &Node, task: TaskId) -> bool {
        let spec = self.run(task.run).and_then(|run| run.spec.tasks.get(task.step as usize));
        spec.is_none_or(|spec| !suits(node, spec))
    }

    /// The reservation for which a node is set aside now.
    pub(crate) fn set_aside(&self, node: &NodeName) -> Option<&ReservationName> {
        let mut open = self.reservations.values().filter(|reservation| reservation.is_open);
        open.find(|reservation| reservation.nodes.contains(node)).map(|reservation| &reservation.name)
    }

    pub(crate) fn put_reservation(&mut self, name: &ReservationName, row: Option<&Arc<Reservation>>) {
        let old = self.reservations.get(name).cloned();
        match row {
            Some(row) => self.reservations.insert_mut(name.clone(), row.clone()),
            None => {
                self.reservations.remove_mut(name);
            }
        }
        // They have it in their rows, as what is said of their regions.
        for node in old.iter().chain(row).flat_map(|row| &row.nodes) {
            if let Some(node) = self.nodes.get(node).cloned() {
                self.put_node(&node);
            }
        }
    }
}

/// Nodes have room for a task only if both are of the same reservation, or of none.
pub(crate) fn suits(node: &Node, task: &TaskSpec) -> bool {
    node.around.reservation == task.place.reservation || quorate_planted::is(Bug::ReservationIgnored)
}
