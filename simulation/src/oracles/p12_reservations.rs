//! P12, of nodes that are set aside: from the instant that was agreed upon to the end of the time they take nothing but what asks for the
//! reservation, and what asks for it goes nowhere else. It begins and ends when that is due, whoever leads, and no node is of two at a
//! time.
//!
//! Stands for a machine that was promised for tonight and is full when the night comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    Command, Event, NodeName, Placement, PlacementOutcome, Reply, ReservationMove, ReservationName, Served, TaskId,
};

use super::history::{spec_of, task_name};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// What is due has begun or ended after this, spent by one leader.
const TURNS_WITHIN: Duration = Duration::from_secs(5);
/// Between two entries, so much counts as spent at most: whoever stood still did nothing.
const SPENT_MAX: Duration = Duration::from_millis(250);

/// Follows what was agreed upon.
#[derive(Default)]
pub(crate) struct Reservations {
    /// Requests that were carried out: sent again, they change nothing.
    done: BTreeSet<Arc<str>>,
    agreed: BTreeMap<ReservationName, Agreed>,
    /// Of those for which something is due, the time that the leader of a term has had since.
    overdue: BTreeMap<ReservationName, Overdue>,
}

#[derive(Clone, Copy)]
struct Overdue {
    due: Served,
    term: u64,
    seen: Duration,
    spent: Duration,
}

#[derive(Clone, PartialEq, Debug)]
struct Agreed {
    nodes: BTreeSet<NodeName>,
    from: Served,
    until: Served,
    is_open: bool,
}

impl Oracle for Reservations {
    fn id(&self) -> &'static str {
        "P12"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        let served = step.after.meta().served;
        let mut told: Vec<(ReservationName, ReservationMove)> = Vec::new();
        for (item, reply) in answered(step) {
            let Ok(reply) = reply else { continue };
            let is_new = item.request.as_ref().is_none_or(|request| self.done.insert(request.id.0.clone()));
            match (&item.command, reply) {
                (Command::Reserve { reservation, nodes, wait_ms, for_ms, .. }, _) if is_new => {
                    let from = served.plus(*wait_ms);
                    let (until, is_open) = (from.plus(*for_ms), *wait_ms == 0);
                    let shared = self
                        .agreed
                        .iter()
                        .find(|(_, other)| from < other.until && other.from < until && !other.nodes.is_disjoint(nodes));
                    if let Some((other, _)) = shared {
                        return Err(format!("reservations {reservation} and {other} share nodes and time"));
                    }
                    told.push((reservation.clone(), ReservationMove::Made));
                    let agreed = Agreed { nodes: nodes.clone(), from, until, is_open: false };
                    self.agreed.insert(reservation.clone(), agreed);
                    if is_open {
                        self.open(reservation, &mut told);
                    }
                }
                (Command::EndReservation { reservation }, _) if is_new => {
                    self.agreed.remove(reservation);
                    told.push((reservation.clone(), ReservationMove::Ended));
                }
                (Command::TurnReservations { due }, _) => {
                    for (name, at) in due.iter().filter(|(_, at)| *at <= served) {
                        let Some(agreed) = self.agreed.get(name) else { continue };
                        // What is asked for a moment that is not its next one is of an older look.
                        let next = if agreed.is_open { agreed.until } else { agreed.from };
                        if next != *at {
                            continue;
                        }
                        if agreed.is_open || served >= agreed.until {
                            self.agreed.remove(name);
                            told.push((name.clone(), ReservationMove::Over));
                        } else {
                            self.open(name, &mut told);
                        }
                    }
                }
                (Command::CommitPlan { placements }, Reply::PlanCommitted(outcomes)) => {
                    let placed = placements.iter().zip(outcomes);
                    let placed = placed.filter(|(_, outcome)| matches!(outcome, PlacementOutcome::Placed(_)));
                    placed.map(|(placement, _)| placement).try_for_each(|placement| self.check(placement, step))?;
                }
                (Command::CommitGang { placements, .. }, _) => {
                    placements.iter().try_for_each(|placement| self.check(placement, step))?;
                }
                _ => {}
            }
        }
        self.compare(step)?;
        self.check_turns(step)?;
        let events = step.events.iter().filter_map(|row| match &row.event {
            Event::ReservationMoved { reservation, to, .. } => Some((reservation.clone(), *to)),
            _ => None,
        });
        let events: Vec<_> = events.collect();
        if events == told { Ok(()) } else { Err(format!("of reservations {told:?} happened, and {events:?} is told")) }
    }
}

impl Reservations {
    /// Its nodes are set aside. Those that share some with it are over by then.
    fn open(&mut self, name: &ReservationName, told: &mut Vec<(ReservationName, ReservationMove)>) {
        let Some(nodes) = self.agreed.get(name).map(|agreed| agreed.nodes.clone()) else { return };
        let is_over = |other: &Agreed| other.is_open && !other.nodes.is_disjoint(&nodes);
        let over: Vec<ReservationName> =
            self.agreed.iter().filter(|(_, other)| is_over(other)).map(|(other, _)| other.clone()).collect();
        for other in over {
            self.agreed.remove(&other);
            told.push((other, ReservationMove::Over));
        }
        if let Some(agreed) = self.agreed.get_mut(name) {
            agreed.is_open = true;
        }
        told.push((name.clone(), ReservationMove::Opened));
    }

    fn check(&self, placement: &Placement, step: &Step) -> Verdict {
        let open = self.agreed.iter().find(|(_, agreed)| agreed.is_open && agreed.nodes.contains(&placement.node));
        let (open, asked) = (open.map(|(name, _)| name), asked_by(step, placement.task));
        if open == asked {
            return Ok(());
        }
        Err(format!(
            "{} was placed on {}, which is set aside for {open:?}, and asks for {asked:?}",
            task_name(placement.task),
            placement.node
        ))
    }

    /// What is due comes to pass soon after.
    fn check_turns(&mut self, step: &Step) -> Verdict {
        let served = step.after.meta().served;
        let due =
            self.agreed.iter().map(|(name, agreed)| (name, if agreed.is_open { agreed.until } else { agreed.from }));
        let due: BTreeMap<&ReservationName, Served> = due.filter(|(_, due)| *due <= served).collect();
        self.overdue.retain(|name, overdue| overdue.term == step.term && due.get(name) == Some(&overdue.due));
        for (name, due) in due {
            let fresh = Overdue { due, term: step.term, seen: step.at, spent: Duration::ZERO };
            let overdue = self.overdue.entry(name.clone()).or_insert(fresh);
            overdue.spent += (step.at - overdue.seen).min(SPENT_MAX);
            overdue.seen = step.at;
            if overdue.spent > TURNS_WITHIN {
                return Err(format!(
                    "reservation {name} should have begun or ended ({due:?}), served time is {served:?}"
                ));
            }
        }
        Ok(())
    }

    /// The rows are what was agreed upon and has come to pass.
    fn compare(&self, step: &Step) -> Verdict {
        let rows = step.after.reservations().map(|row| {
            let agreed = Agreed { nodes: row.nodes.clone(), from: row.from, until: row.until, is_open: row.is_open };
            (row.name.clone(), agreed)
        });
        let rows: BTreeMap<ReservationName, Agreed> = rows.collect();
        // What came with an image had its entries elsewhere.
        if rows == self.agreed || step.entry.is_none() {
            return Ok(());
        }
        Err(format!("revision {}: agreed upon was {:?}, there is {rows:?}", step.revision, self.agreed))
    }
}

fn asked_by(step: &Step, task: TaskId) -> Option<&ReservationName> {
    spec_of(&step.after, task)?.place.reservation.as_ref()
}
