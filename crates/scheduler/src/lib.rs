//! Every decision of the leader, as a function of a snapshot.
//!
//! Read `controller` first (what a decision is made from and consists of), then `placement` from top
//! to bottom, then the small controllers; `explain` says why a task is not where its user wants it, and `forecast` what would
//! become of it if its node went away.
//!
//! **Invariant:** nothing here changes state or does IO, because a decision that is a value can be
//! tested without a cluster and replayed from a log. What is decided goes back as commands, and
//! `quorate_state::apply` checks each of them again.
//! **Invariant:** what a controller remembers between two steps never decides, because a new leader must
//! decide as well as the old one from the view alone.
//! **Invariant:** no floats and no hash maps, because the same input must give the same decision on
//! every platform.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_arithmetic))]

mod controller;

pub mod placement;

pub mod drain;
mod fairness;
mod latency;
mod lease;
pub mod rebalance;
mod reservations;
mod retention;
mod timer;
mod workflow;

pub mod explain;
pub mod forecast;

pub use controller::{Budget, Controller, Decision, LogNow, NodeObserved, Note, Observed, Presence, Report};
pub use latency::Latencies;

/// All controllers, in the order in which the leader steps them: what releases tasks comes before
/// what places them.
pub fn controllers() -> Vec<Box<dyn Controller + Send + Sync>> {
    vec![
        Box::new(workflow::Workflow),
        Box::new(placement::PlacementController::default()),
        Box::new(reservations::Reservations),
        Box::new(drain::Drain),
        Box::new(rebalance::Rebalancer::default()),
        Box::new(timer::Timers),
        Box::new(lease::Leases),
        Box::new(retention::Retention),
        Box::new(fairness::Fairness),
    ]
}
