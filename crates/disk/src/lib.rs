//! The disk seam on RocksDB: one store with one write-ahead log, a column family per table.
//!
//! **Invariant:** the write-ahead log is never disabled, because rows are not synced by themselves:
//! they are durable once anything written after them is.

mod error;
mod options;
mod rocks;
mod sync;
mod view;

pub use rocks::RocksDisk;
