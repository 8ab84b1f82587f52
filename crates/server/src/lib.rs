//! One replica of the control plane: the gRPC services, who calls them, and the leader's driver.
//!
//! Read in this order: `config` and `replica` (what is started, and in which order), `core` (what
//! all services share), `listener` and `auth` (how a caller gets its name), `reading` (from which
//! state a read is answered), `room` (when the disk is too full for new work), `services` (the API),
//! `leader` and `liveness` (what a leader does by itself), `sessions` (its conversations with
//! agents), `watch` (what happened, told to those who asked), `telemetry` and `ops`.
//!
//! **Invariant:** no service changes anything but by a command through the log, because a second
//! truth would be lost with its replica.
//! **Invariant:** no service answers from this replica's state before a quorum has confirmed that it
//! is not out of date, because a client that was told "accepted" must find its run. A stale read, which
//! somebody asked for by that name, says what it is.
//! **Invariant:** every method asks for the caller's principal, because one that forgets to would be
//! open to all on the day there are more than one.

mod config;
mod error;
mod replica;

mod core;

mod auth;
mod listener;

mod reading;
mod room;
mod services;

mod distances;
mod leader;
mod liveness;
mod sessions;
mod usages;
mod watch;

mod ops;
mod telemetry;

#[cfg(test)]
mod world;

pub use auth::{Plain, Tls};
pub use config::{
    Advertise, Bound, CONNECTIONS_MAX_DEFAULT, Config, DEFAULT_NAMESPACE, DISK_RESERVE_DEFAULT, Listeners,
};
pub use error::Error;
pub use quorate_raft::{Formation, Seams, Tuning};
pub use replica::run;
