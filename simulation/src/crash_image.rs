//! Crash images of the real store: RocksDB works in a directory whose system calls are recorded; from
//! the record, directories are built that a loss of power could have left; the store is opened from
//! each, and what was acknowledged must be there.

mod exercise;
mod image;
mod interpose;
mod model;

pub(crate) use exercise::run;
