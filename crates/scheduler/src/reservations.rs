//! Begins and ends the time of reservations.
//!
//! When that is due is in the rows, so a new leader goes on where the old one stopped, and `apply` looks at the clock again. What is
//! left on nodes of a reservation before its time is up to placement, which plans for it.

use quorate_planted::Bug;
use quorate_state::{Command, RESERVATIONS_MAX, Reservation, State};

use crate::controller::earlier;
use crate::{Budget, Controller, Decision, LogNow, Observed, Report};

/// Begins and ends the time of reservations.
pub(crate) struct Reservations;

impl Controller for Reservations {
    fn name(&self) -> &'static str {
        "reservations"
    }

    fn is_idle(&self, view: &State) -> bool {
        view.reservations_count() == 0
    }

    fn observes(&self, _view: &State, _now: LogNow) -> bool {
        false
    }

    fn step(&mut self, view: &State, _observed: &Observed, now: LogNow, _seed: u64, _budget: Budget) -> Decision {
        let mut wake_at = None;
        let mut due = Vec::new();
        let stays = |row: &Reservation| row.is_open && quorate_planted::is(Bug::ReservationNeverOver);
        for row in view.reservations().filter(|row| !stays(row)).take(RESERVATIONS_MAX) {
            let is_hasty = !row.is_open && quorate_planted::is(Bug::ReservationEarly);
            let is_due = row.due() <= now.served || is_hasty;
            if is_due {
                due.push((row.name.clone(), row.due()));
            } else {
                wake_at = earlier(wake_at, row.due());
            }
        }
        let counts = vec![("reservations_turned", due.len() as u64)];
        let commands = if due.is_empty() { Vec::new() } else { vec![Command::TurnReservations { due }] };
        Decision { commands, wake_at, report: Report { counts, truncated: false, notes: Vec::new() } }
    }
}
