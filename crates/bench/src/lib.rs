//! A cluster of real processes on this machine, and what is measured on one.
//!
//! Read in this order: `local` (replicas and agents as processes), `tasks` (how many tasks the
//! control plane takes through their lives, and how fast).
//!
//! **Invariant:** everything goes through the `quorate` binary and the public client, because a
//! figure from a private path says nothing about what users get.

pub mod local;

pub mod tasks;

mod error;

pub use error::Error;
