//! The journal seam: the few records an agent must never forget, appended and synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A small append-only list of records that survives a crash.
pub trait Journal: Send + Sync + 'static {
    /// All records in order. A torn last record (a crash in the middle of an append) is dropped.
    fn load(&self) -> io::Result<Vec<Vec<u8>>>;
    /// Appends a record; it is durable when this returns.
    fn append(&self, record: &[u8]) -> io::Result<()>;
    /// Replaces all records, atomically and durably.
    fn rewrite(&self, records: &[Vec<u8>]) -> io::Result<()>;
}

/// Bytes before each record: its length and its checksum.
const HEADER: usize = 8;
/// No record is longer: a length above this is damage, not data.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A journal in one file: `length (u32 LE), crc32 (u32 LE), bytes` per record.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    file: Mutex<File>,
}

impl FileJournal {
    /// Opens or creates the journal at `path`.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        sync_parent(&path)?;
        Ok(Self { path, file: Mutex::new(file) })
    }
}

impl Journal for FileJournal {
    fn load(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.read_to_end(&mut bytes)?;
        let mut records = Vec::new();
        let mut at = 0;
        while bytes.len() - at >= HEADER {
            let length = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
            let sum = u32::from_le_bytes([bytes[at + 4], bytes[at + 5], bytes[at + 6], bytes[at + 7]]);
            if length > RECORD_BYTES_MAX {
                // No append ever wrote such a length, torn or whole.
                return Err(damaged(&self.path, at));
            }
            let Some(record) = bytes.get(at + HEADER..at + HEADER + length) else { break };
            if crc32(record) != sum {
                // Only the last record can be torn: appends are synced one by one.
                if at + HEADER + length < bytes.len() {
                    return Err(damaged(&self.path, at));
                }
                break;
            }
            records.push(record.to_vec());
            at += HEADER + length;
        }
        if at < bytes.len() {
            // Cut the torn tail off, or the next append would hide behind it.
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.set_len(at as u64)?;
            file.sync_all()?;
        }
        Ok(records)
    }

    fn append(&self, record: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&framed(record)?)?;
        file.sync_data()
    }

    fn rewrite(&self, records: &[Vec<u8>]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let part = self.path.with_extension("part");
        let mut fresh = File::create(&part)?;
        for record in records {
            fresh.write_all(&framed(record)?)?;
        }
        fresh.sync_all()?;
        std::fs::rename(&part, &self.path)?;
        sync_parent(&self.path)?;
        *file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        Ok(())
    }
}

fn framed(record: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= RECORD_BYTES_MAX);
    let length = length.ok_or_else(|| {
        let what = format!("a journal record of {} bytes is over RECORD_BYTES_MAX ({RECORD_BYTES_MAX})", record.len());
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })?;
    let mut bytes = Vec::with_capacity(HEADER + record.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32(record).to_le_bytes());
    bytes.extend_from_slice(record);
    Ok(bytes)
}

fn damaged(path: &Path, at: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged at byte {at}", path.display()))
}

/// A new or renamed file is durable only once its directory is.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// CRC-32 (IEEE 802.3), bit by bit: records are small and rare.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(sum & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("quorate-journal-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("journal");
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn records_survive_reopening() {
        let path = scratch("reopen");
        let journal = FileJournal::open(&path).unwrap();
        journal.append(b"one").unwrap();
        journal.append(b"").unwrap();
        drop(journal);
        let journal = FileJournal::open(&path).unwrap();
        journal.append(b"three").unwrap();
        assert_eq!(journal.load().unwrap(), [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn a_torn_tail_is_cut_and_the_next_append_is_found() {
        let path = scratch("torn");
        let journal = FileJournal::open(&path).unwrap();
        journal.append(b"kept").unwrap();
        journal.append(b"torn apart").unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
        let journal = FileJournal::open(&path).unwrap();
        assert_eq!(journal.load().unwrap(), [b"kept".to_vec()]);
        journal.append(b"after").unwrap();
        assert_eq!(journal.load().unwrap(), [b"kept".to_vec(), b"after".to_vec()]);
    }

    #[test]
    fn damage_in_the_middle_is_an_error() {
        let path = scratch("damage");
        let journal = FileJournal::open(&path).unwrap();
        journal.append(b"first").unwrap();
        journal.append(b"second").unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(journal.load().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
