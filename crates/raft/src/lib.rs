//! openraft bound to our state: propose, read, log store, snapshots and transport of one replica.
//!
//! Read in this order: `config`, `role` and `error` (what goes in and comes out), `replica` (the
//! way of a proposal), `history` (what is read of it later), `type_config`, `log_store` and `state_machine` (what is
//! stored), `snapshot`, `network` and `service` (what is sent), `join`, `members`, `features` and `compare` (how replicas meet, who
//! takes part, what all of them can do, and how they watch each other), `measures`, `health`, `succession` and `departed` (how fast it
//! all is, and who leads when somebody is slow, silent or gone), `opening`, `refusal`, `backup`, `life` and `recover` (whether and
//! how the data goes on).
//!
//! **Invariant:** no other crate names an openraft type, because its alphas change between numbers
//! and only the simulator may say that a new one is fit.
//! **Invariant:** log, vote, rows and the record of what was applied share one write-ahead log, so
//! a row that is durable has its log entry and its applied index durable with it.
//! **Invariant:** a snapshot is installed from pieces of one view, each of which has the digest that
//! its sender gave it, or not at all, because a mix of two views is a state that nobody ever had.
//! **Invariant:** openraft never sees a message whose cluster, group, store or start count is
//! wrong, because it cannot tell a wiped or restored disk from the one it knew.

mod config;
mod error;
mod role;

mod replica;

mod archive;
mod history;

mod formation;
mod halt;
mod lead;
mod log_clock;
mod measures;
mod propose;
mod read;

mod log_store;
mod runtime;
mod snapshot;
mod state_machine;
mod store;
mod type_config;
mod wire;

mod channel;
mod gate;
mod listener;
mod network;
mod service;

mod compare;
mod departed;
mod features;
mod health;
mod join;
mod members;
mod succession;

mod backup;
mod life;
mod opening;
mod recover;
mod refusal;

pub use archive::{Archive, Found, Parts, Search};
pub use backup::{Backup, Loaded, RestoreError, Summary};
pub use config::{Addresses, Config, Formation, Seams, Tuning};
pub use error::{Error, MemberError, ProposeError, ReadError, StopReason};
pub use features::FeatureStatus;
pub use history::{EventPlace, RunEvents};
pub use life::{Home, NewLife};
pub use members::MemberChange;
pub use recover::{Lost, RecoverError, Recovery, recover};
pub use replica::{EventsPage, Replica};
pub use role::{Hint, Identity, LogStatus, LogTime, Member, Members, Role};
