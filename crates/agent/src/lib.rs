//! One node: hold a lease, make running attempts match assignments, say what became of them.
//!
//! Read in this order: `agent` (what is started), `node` (the loop that changes this node's state),
//! `reconcile`, `fence` and `reports` (its decisions, pure), `session` (when to talk to whom),
//! `attempt` and `driver` (how one attempt runs), `journal` (what must never be forgotten), `logs`,
//! `tidy` (what waits for the disk).
//!
//! **Invariant:** nothing starts that the journal does not know durably, because the next life of
//! this agent must be able to say of every process whether it is gone.
//! **Invariant:** an attempt is reported gone only when no process of it is left, because the
//! control plane gives its room, and a fenced task's next copy, away on that word.
//! **Invariant:** losing the control plane kills nothing but `fenced` work past its lease, because
//! a control plane that is down must not take the work down with it.
//! **Invariant:** no task of the runtime waits for a disk that is not the journal's, because the same
//! threads notice the lease's end and kill.
//! **Invariant:** the agent knows the control plane by its public protocol only; no server type is
//! named here.

mod agent;
pub mod attributes;
mod config;
mod error;

pub mod fence;
mod node;
pub mod reconcile;
mod reports;
mod session;

mod assignment;
mod attempt;
pub mod driver;
mod report;
mod usage;

mod blocking;
pub mod cgroup;
pub mod journal;
pub mod logs;
pub mod tidy;
pub mod workspace;

mod identity;
mod ops;
mod telemetry;

pub use agent::{Seams, run};
pub use assignment::{Assignment, Unreadable};
pub use config::{Config, JoinToken, Limits, Machine, Violation};
pub use error::Error;
pub use identity::open_journal;
pub use report::Progress;
pub use telemetry::Metrics;
pub use usage::Live;
