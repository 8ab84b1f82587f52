//! What the leader decides, scenario by scenario: text in, decisions out.

mod world;

mod alternatives;
mod company;
mod conditions;
mod drain;
mod explain;
mod fairness;
mod flow;
mod forecast;
mod gang_holds;
mod gang_preemption;
mod gangs;
mod gpus;
mod holds;
mod kept;
mod lease;
mod measure;
mod pack;
mod placement;
mod preemption;
mod properties;
mod rebalance;
mod region_loss;
mod reservations;
mod retention;
mod shares;
mod spec;
mod sub_runs;
mod timer;
mod why_not;
mod wishes;
mod workflow;
