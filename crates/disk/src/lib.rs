//! The disk seam on RocksDB: one store with one write-ahead log, a column family per table.
//!
//! **Invariant:** the write-ahead log is never disabled, because rows are not synced by themselves:
//! they are durable once anything written after them is.

mod directory;
mod error;
mod intact;
mod lock;
mod options;
mod replace;
mod rocks;
mod sync;
mod view;
mod wal;

pub use options::{Setup, Sizes, Syncing};
pub use rocks::RocksDisk;
