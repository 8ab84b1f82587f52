//! How the store is set up.

use quorate_seams::Table;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options};

/// Bytes of blocks kept in memory for reads, all tables together.
const CACHE_BYTES: usize = 32 << 20;
/// Files held open at once; a process has 1,024 by default in many places.
const OPEN_FILES_MAX: i32 = 512;
/// Files of RocksDB's own log that are kept.
const INFO_LOGS_KEPT: usize = 3;
/// Bytes of one such file.
const INFO_LOG_BYTES_MAX: usize = 4 << 20;

/// What a store is opened with. The default is what a replica runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// When RocksDB writes files.
    pub sizes: Sizes,
    /// Which thread makes batches durable.
    pub syncing: Syncing,
}

/// How much is written before RocksDB turns it into files, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Writes kept in memory, all tables together.
    pub buffer: usize,
    /// The same for one table.
    pub table_buffer: usize,
    /// The write-ahead log, before its oldest part is made unnecessary.
    pub wal_max: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { buffer: 64 << 20, table_buffer: 16 << 20, wal_max: 128 << 20 }
    }
}

/// Which thread makes batches durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncing {
    /// One of the store's own: submitting never waits for the device, and batches share syncs.
    #[default]
    Thread,
    /// The one that submits, before `submit` returns: the store starts no thread, so that a
    /// simulation decides every order.
    Inline,
}

/// The options of the whole store.
pub(crate) fn store(sizes: Sizes) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A crash may tear the end of the log, which was never acknowledged: what is before it is
    // recovered. That it is the end, and nothing was damaged before it, is checked in `wal.rs`;
    // RocksDB's other modes miss holes as well, and refuse stores whose end reads as zeroes.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_paranoid_checks(true);
    // Batches come one after the other, and keys of the log and of events only rise: a writer who is alone finds the
    // place of the next one beside that of the last.
    options.set_allow_concurrent_memtable_write(false);
    options.set_db_write_buffer_size(sizes.buffer);
    options.set_max_total_wal_size(sizes.wal_max);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

/// The options for a look that writes nothing.
pub(crate) fn reading() -> Options {
    let mut options = Options::default();
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_paranoid_checks(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options
}

/// The tables, with one cache between them.
pub(crate) fn tables(sizes: Sizes) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    Table::ALL
        .into_iter()
        .map(|table| {
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&cache);
            let mut options = Options::default();
            options.set_block_based_table_factory(&blocks);
            options.set_write_buffer_size(sizes.table_buffer);
            options.set_compression_type(DBCompressionType::Lz4);
            ColumnFamilyDescriptor::new(table.name(), options)
        })
        .collect()
}
