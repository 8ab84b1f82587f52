//! Single stories about `apply`, told command by command, where the random histories of `model.rs`
//! would rarely go or could not tell right from wrong.

mod admission;
mod alternatives;
mod archive;
mod cluster;
mod company;
mod conditions;
mod constraints;
mod control;
mod drain;
mod features;
mod flow;
mod gang_preemption;
mod gangs;
mod gpus;
mod jobs;
mod leases;
mod locality;
mod namespaces;
mod outcomes;
mod payloads;
mod preemption;
mod quarantine;
mod random_flow;
mod rebalance;
mod refusals;
mod region_loss;
mod reservations;
mod restarts;
mod returns;
mod scopes;
mod sub_runs;
mod work;
