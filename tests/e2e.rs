//! The promises that only real processes can show.

mod alternatives;
mod apart;
mod bad_input;
mod catch_up;
mod choosy;
mod command_line;
mod drain;
mod failover;
mod fencing_sink;
mod flow;
mod gangs;
mod golden;
mod gpus;
mod logs;
mod namespaces;

mod node_loss;
mod outlive;
mod power;
mod preemption;
mod reads;
mod rebalance;
mod recover;
mod region_loss;
mod regions;
mod replicas;
mod report;
mod requests;
mod reservations;
mod shares;
mod snapshot;
mod stop;
mod tls;
mod usage;
mod waiting;
