//! How the store is set up.

use quorate_seams::Table;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options};

/// Bytes of blocks kept in memory for reads, all tables together.
const CACHE_BYTES: usize = 32 << 20;
/// Bytes of writes kept in memory, all tables together, before they are sorted into files.
const WRITE_BUFFER_BYTES: usize = 64 << 20;
/// The same for one table.
const TABLE_BUFFER_BYTES: usize = 16 << 20;
/// Bytes of write-ahead log before the oldest part is made unnecessary.
const WAL_BYTES_MAX: u64 = 128 << 20;
/// Files held open at once; a process has 1,024 by default in many places.
const OPEN_FILES_MAX: i32 = 512;
/// Files of RocksDB's own log that are kept.
const INFO_LOGS_KEPT: usize = 3;
/// Bytes of one such file.
const INFO_LOG_BYTES_MAX: usize = 4 << 20;

/// The options of the whole store.
pub(crate) fn store() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A crash may tear the end of the log, which was never acknowledged. Anything damaged before
    // the end was, and is an error rather than a silent loss.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_keep_log_file_num(INFO_LOGS_KEPT);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options
}

/// The tables, with one cache between them.
pub(crate) fn tables() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    Table::ALL
        .into_iter()
        .map(|table| {
            let mut blocks = BlockBasedOptions::default();
            blocks.set_block_cache(&cache);
            let mut options = Options::default();
            options.set_block_based_table_factory(&blocks);
            options.set_write_buffer_size(TABLE_BUFFER_BYTES);
            options.set_compression_type(DBCompressionType::Lz4);
            ColumnFamilyDescriptor::new(table.name(), options)
        })
        .collect()
}
