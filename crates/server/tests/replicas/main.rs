//! Replicas as clients and agents see them: real sockets, real consensus, disks in memory.

mod cluster;
mod disk;

mod agent;
mod jobs;

mod annotations;
mod batches;
mod certificates;
mod consensus;
mod control;
mod events;
mod features;
mod flow;
mod logs;
mod namespaces;
mod older;
mod reads;
mod requests;
mod retention;
mod sessions;
mod space;
mod usage;
mod versions;
mod watches;

mod startup;
mod sub_runs;
