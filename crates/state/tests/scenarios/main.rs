//! Single stories about `apply`, told command by command, where the random histories of `model.rs`
//! would rarely go or could not tell right from wrong.

mod admission;
mod cluster;
mod drain;
mod features;
mod leases;
mod refusals;
mod returns;
mod work;
