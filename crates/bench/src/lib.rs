//! A cluster of real processes on this machine, and what is measured on one.
//!
//! Read in this order: `local` (replicas and agents as processes), `tasks` (how many tasks the
//! control plane takes through their lives, and how fast), `log` (how many changes the log takes),
//! `failover` (how long nobody leads), `rolling` (what callers notice when every replica is restarted in
//! turn), `state` (what a large state costs), `flood` (what too many submits do to the rest), and `etcd`,
//! which `log` and `failover` can be measured beside.
//!
//! **Invariant:** everything goes through the `quorate` binary and the public API, because a
//! figure from a private path says nothing about what users get.

pub mod local;

pub mod failover;
pub mod flood;
pub mod log;
pub mod rolling;
pub mod state;
pub mod tasks;

mod etcd;

mod cost;
mod jobs;
mod load;
mod samples;

mod ports;
mod process;
mod relay;

mod error;

pub use error::Error;
