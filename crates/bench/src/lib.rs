//! A cluster of real processes on this machine, and what is measured on one.
//!
//! Read in this order: `local` (replicas and agents as processes), `tasks` (how many tasks the
//! control plane takes through their lives, and how fast), `log` (how many changes the log takes),
//! `failover` (how long nobody leads), `elections` (how often a leader is replaced that was there all the time),
//! `timeouts` (what both come to with other heartbeat and election times), `rolling` (what callers notice when every
//! replica is restarted in turn), `state` (what a large state costs), `agents` (what many agents cost, and how soon a
//! lost one is noticed, and how many tasks a second get their places), `workflow` (what very large workflows cost the leader), `archive` (what very many runs that have ended
//! cost, and how fast they are found), `flood` (what too many submits do to the rest), and `etcd`, which `log` and `failover`
//! can be measured beside. `pack` (how much of a cluster's GPUs a placement policy allocates) and `placement` (how many tasks a
//! second the planner gives their places) stand apart: no process.
//!
//! **Invariant:** everything goes through the `quorate` binary and the public API, because a
//! figure from a private path says nothing about what users get. `pack` and `placement` alone ask the scheduler's own code: they
//! are about decisions, of which `tasks` says what becomes of them.

pub mod local;

pub mod agents;
pub mod archive;
pub mod elections;
pub mod failover;
pub mod flood;
pub mod log;
pub mod pack;
pub mod placement;
pub mod replay;
pub mod rolling;
pub mod state;
pub mod tasks;
pub mod timeouts;
pub mod workflow;

mod etcd;

mod cost;
mod dice;
mod jobs;
mod latency;
mod load;
mod samples;

mod ports;
mod process;
mod relay;

mod error;

pub use error::Error;
