//! Looks at the write-ahead log before RocksDB recovers from it, and refuses what RocksDB would take.
//!
//! RocksDB replays whatever batches it can read. After a loss of power these need not be the first
//! ones: pages of a file reach the device in any order, so the end of one log may be missing while
//! the next log is there, and zeroes in the middle are skipped. Batches then vanish from the middle,
//! without an error in any of RocksDB's recovery modes. So before it opens the store, this checks
//! that what can be read is one run of batches without a gap, and that nothing readable follows the
//! place where a log breaks off. What remains is a prefix: a torn end, which nobody was promised.
//!
//! The format is <https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format>.

use std::path::{Path, PathBuf};

use quorate_seams::DiskError;
use rocksdb::{DB, WriteBatch, WriteOptions};

/// Records do not cross blocks of this many bytes.
const BLOCK: usize = 32 << 10;
/// Checksum (4 bytes), length (2), type (1).
const HEADER: usize = 7;
/// A batch begins with its sequence number (8 bytes) and how many it uses (4).
const BATCH_HEADER: usize = 12;
/// What a crash loses of a file at once.
const PAGE: usize = 4096;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Refuses the store in `directory` if its log has a hole or damage that no crash explains.
pub(crate) fn check(directory: &Path) -> Result<(), DiskError> {
    let unreadable = |path: &Path, error: &std::io::Error| DiskError::Open(format!("{}: {error}", path.display()));
    let mut logs: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number.filter(|_| is_log) {
            logs.push((number, path));
        }
    }
    logs.sort();
    let mut next = None;
    let mut empty = None;
    for (_, path) in logs {
        let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let corrupt = |why: String| DiskError::Corrupt(format!("{}: {why}", path.display()));
        check_log(&bytes, &mut next).map_err(corrupt)?;
        match (next, &empty) {
            // RocksDB begins no new log while the last one is empty, so this one was not.
            (Some(_), Some(lost)) => {
                return Err(corrupt(format!("writes are missing before this part of the write-ahead log, in {lost}")));
            }
            (Some(_), None) => {}
            (None, _) => empty = Some(path.display().to_string()),
        }
    }
    Ok(())
}

/// Begins the log of a store that was just opened, durably: whatever follows can be seen to follow.
pub(crate) fn begin(db: &DB) -> Result<(), rocksdb::Error> {
    let mut mark = WriteBatch::default();
    // For the log alone; no table holds it.
    mark.put_log_data(b"opened");
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    db.write_opt(mark, &synced)
}

/// Checks one log; `next` is the sequence number that must follow what came before.
fn check_log(bytes: &[u8], next: &mut Option<u64>) -> Result<(), String> {
    let mut at = 0;
    // The batch whose records are being read: where it began, and the first bytes of it.
    let mut batch: Option<(usize, Vec<u8>)> = None;
    loop {
        at = skip_trailer(at);
        let Some(record) = Record::at(bytes, at) else { break };
        match record.kind {
            FULL | FIRST => batch = Some((at, record.content.to_vec())),
            MIDDLE | LAST => {
                if let Some((_, begun)) = &mut batch {
                    begun.extend(record.content.iter().take(BATCH_HEADER));
                }
            }
            // Notes of RocksDB to itself.
            _ => {}
        }
        if matches!(record.kind, FULL | LAST)
            && let Some((from, begun)) = batch.take()
        {
            let (first, count) =
                numbers(&begun).ok_or_else(|| format!("the record at byte {from} is no batch of writes"))?;
            if let Some(expected) = next.filter(|expected| *expected != first) {
                return Err(format!(
                    "writes are missing in the middle of the write-ahead log: number {first} follows, not {expected}"
                ));
            }
            *next = Some(first.saturating_add(count));
        }
        at = record.end;
    }
    let broken_at = batch.map_or(at, |(from, _)| from);
    if let Some(later) = intact_batch_after(bytes, at) {
        return Err(format!("the write-ahead log is damaged at byte {broken_at}, and goes on at byte {later}"));
    }
    if is_torn(bytes, at) { Ok(()) } else { Err(format!("the write-ahead log is damaged at byte {broken_at}")) }
}

/// A record that is whole.
struct Record<'a> {
    kind: u8,
    content: &'a [u8],
    end: usize,
}

impl<'a> Record<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let (kind, end) = extent(bytes, at)?;
        let checked = bytes.get(at + HEADER - 1..end)?;
        // An empty record of type 0 is what zeroes look like.
        let is_intact = kind != 0 && unmask(u32_at(bytes, at)?) == crc32c(checked);
        is_intact.then(|| Self { kind, content: &checked[1..], end })
    }
}

/// The type of the record whose header is at `at`, and where it ends if its length is right.
fn extent(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let header = bytes.get(at..at + HEADER)?;
    let end = at + HEADER + usize::from(u16::from_le_bytes([header[4], header[5]]));
    (end <= (at / BLOCK + 1) * BLOCK).then_some((header[6], end))
}

/// No record begins where its header does not fit into the block.
fn skip_trailer(at: usize) -> usize {
    let left = BLOCK - at % BLOCK;
    if left < HEADER { at + left } else { at }
}

fn numbers(batch: &[u8]) -> Option<(u64, u64)> {
    let first = batch.get(..8)?.try_into().ok()?;
    Some((u64::from_le_bytes(first), u64::from(u32_at(batch, 8)?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Where a batch begins that is still there although one before it is not. Records behind the break
/// that only continue a batch say nothing: they are of the one that broke.
fn intact_batch_after(bytes: &[u8], broken: usize) -> Option<usize> {
    (broken + 1..bytes.len()).find(|at| {
        let kind = bytes.get(at + HEADER - 1);
        kind.is_some_and(|kind| matches!(*kind, FULL | FIRST)) && Record::at(bytes, *at).is_some()
    })
}

/// True when a crash explains why no record can be read at `at`: the file ends there or before the
/// record does, or pages of the record were never written and read as zeroes.
fn is_torn(bytes: &[u8], at: usize) -> bool {
    let end = match extent(bytes, at) {
        Some((kind, end)) if end <= bytes.len() && kind != 0 => end,
        Some(_) | None => bytes.len(),
    };
    if at + HEADER > bytes.len() || extent(bytes, at).is_some_and(|(_, end)| end > bytes.len()) {
        return true;
    }
    let is_zero = |from: usize, to: usize| from < to && bytes[from..to].iter().all(|byte| *byte == 0);
    let first_page = at / PAGE * PAGE;
    let lost_page = (first_page..end).step_by(PAGE).any(|page| is_zero(page.max(at), (page + PAGE).min(end)));
    lost_page || is_zero(end - 1, bytes.len())
}

/// The checksum as it is stored is not the checksum itself, so that one over stored ones differs.
fn unmask(stored: u32) -> u32 {
    stored.wrapping_sub(0xa282_ead8).rotate_left(15)
}

/// CRC-32C (Castagnoli).
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        #[expect(clippy::cast_possible_truncation, reason = "the index of a byte")]
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Vec<u8>);

    impl Log {
        fn record(&mut self, kind: u8, content: &[u8]) {
            let mut checked = vec![kind];
            checked.extend(content);
            let masked = crc32c(&checked).rotate_right(15).wrapping_add(0xa282_ead8);
            self.0.extend(masked.to_le_bytes());
            self.0.extend(u16::try_from(content.len()).unwrap().to_le_bytes());
            self.0.extend(checked);
        }

        /// A batch that uses `count` numbers from `first` on.
        fn batch(&mut self, first: u64, count: u32, length: usize) {
            let mut content = first.to_le_bytes().to_vec();
            content.extend(count.to_le_bytes());
            content.extend(vec![b'x'; length]);
            let mut kind = FULL;
            loop {
                let at = self.0.len();
                self.0.resize(skip_trailer(at), 0);
                let room = BLOCK - self.0.len() % BLOCK - HEADER;
                if content.len() <= room {
                    return self.record(if kind == FULL { FULL } else { LAST }, &content);
                }
                let rest = content.split_off(room);
                self.record(if kind == FULL { FIRST } else { MIDDLE }, &content);
                (content, kind) = (rest, MIDDLE);
            }
        }
    }

    fn three() -> Log {
        let mut log = Log::default();
        log.batch(1, 2, 100);
        log.batch(3, 1, 70_000);
        log.batch(4, 5, 100);
        log
    }

    #[test]
    fn the_checksum_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_whole_log_is_fine_and_so_is_what_follows_it() {
        let mut next = None;
        check_log(&three().0, &mut next).unwrap();
        assert_eq!(next, Some(9));
        check_log(&[], &mut next).unwrap();
        let mut log = Log::default();
        log.batch(9, 0, 0);
        log.batch(9, 1, 0);
        check_log(&log.0, &mut next).unwrap();
        assert_eq!(next, Some(10));
    }

    #[test]
    fn a_log_may_be_cut_anywhere_but_nothing_may_follow_the_cut() {
        let log = three().0;
        for length in (0..log.len()).step_by(463) {
            let mut next = None;
            check_log(&log[..length], &mut next).unwrap();
            assert!(matches!(next, None | Some(3 | 4)), "{next:?}");
            let mut later = Log::default();
            later.batch(9, 1, 10);
            // Nothing at all before it cannot be told from a log that began later.
            assert_eq!(check_log(&later.0, &mut next).is_ok(), length < 119 && next == Some(10), "{length}");
        }
    }

    #[test]
    fn an_end_of_zeroes_is_a_cut() {
        let log = three().0;
        for length in (0..log.len()).step_by(463) {
            let mut zeroed = log.clone();
            zeroed[length..].fill(0);
            check_log(&zeroed, &mut None).unwrap();
        }
    }

    #[test]
    fn a_lost_page_is_a_cut_only_in_the_last_batch() {
        let log = three().0;
        for page in 0..log.len() / PAGE {
            let mut lost = log.clone();
            lost[page * PAGE..(page + 1) * PAGE].fill(0);
            let why = check_log(&lost, &mut None).unwrap_err();
            assert!(why.contains("goes on at"), "{why}");
        }
        let mut log = Log::default();
        log.batch(1, 1, 100);
        log.batch(2, 1, 70_000);
        for page in 1..log.0.len() / PAGE {
            let mut lost = log.0.clone();
            lost[page * PAGE..(page + 1) * PAGE].fill(0);
            check_log(&lost, &mut None).unwrap();
        }
    }

    #[test]
    fn a_changed_byte_is_refused_in_every_batch() {
        let log = three().0;
        for at in (0..log.len()).step_by(463) {
            let mut changed = log.clone();
            changed[at] ^= 0x40;
            assert!(check_log(&changed, &mut None).is_err(), "byte {at}");
        }
    }
}
