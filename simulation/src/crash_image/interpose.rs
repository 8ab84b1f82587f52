//! Records what a program does to one directory, by standing between it and libc.
//!
//! These are the calls that RocksDB changes files with on Linux (seen with strace), and the ones of
//! Rust's standard library. Nothing is recorded until a directory is watched: then each call is
//! carried out first, and recorded if it succeeded, so that whatever the caller may rely on is in the
//! record by the time the caller knows.

#![expect(unsafe_code, reason = "replacing symbols of libc is unsafe by nature; see each block")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{mode_t, off_t, size_t, ssize_t};

use super::image::{FileId, Operation};

/// Looked at by every call before anything else.
static WATCHING: AtomicBool = AtomicBool::new(false);
static RECORD: Mutex<Option<Record>> = Mutex::new(None);
/// One directory at a time.
static ONE: Mutex<()> = Mutex::new(());

struct Record {
    root: PathBuf,
    /// By device and inode number.
    files: BTreeMap<(u64, u64), FileId>,
    directories: BTreeMap<(u64, u64), PathBuf>,
    operations: Vec<Operation>,
    next_file: FileId,
}

/// While this lives, everything done below a directory is recorded.
pub(super) struct Watch {
    _one: MutexGuard<'static, ()>,
}

impl Watch {
    /// Watches `root`; what is there already counts as durable.
    pub(super) fn begin(root: &Path) -> std::io::Result<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = Record {
            root: root.to_path_buf(),
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
            operations: Vec::new(),
            next_file: 0,
        };
        record.import(root)?;
        *lock() = Some(record);
        WATCHING.store(true, Ordering::SeqCst);
        Ok(Self { _one: one })
    }

    /// How many operations there are so far: a point in time at which power may fail.
    pub(super) fn position(&self) -> usize {
        lock().as_ref().map_or(0, |record| record.operations.len())
    }

    /// Stops, and returns what was done.
    pub(super) fn end(self) -> Vec<Operation> {
        lock().take().map(|record| record.operations).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHING.store(false, Ordering::SeqCst);
        *lock() = None;
    }
}

fn lock() -> MutexGuard<'static, Option<Record>> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    fn import(&mut self, directory: &Path) -> std::io::Result<()> {
        let metadata = std::fs::metadata(directory)?;
        let relative = self.below(directory).unwrap_or_default();
        self.directories.insert((metadata.dev(), metadata.ino()), relative.clone());
        if directory != self.root {
            self.operations.push(Operation::MakeDirectory { path: relative.clone() });
        }
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let metadata = std::fs::metadata(&path)?;
            if metadata.is_dir() {
                self.import(&path)?;
            } else {
                let bytes = std::fs::read(&path)?;
                let path = self.below(&path).unwrap_or_default();
                let file = self.add((metadata.dev(), metadata.ino()), path);
                self.operations.push(Operation::Write { file, offset: 0, bytes });
                self.operations.push(Operation::Sync { file, begun: self.operations.len() });
            }
        }
        self.operations.push(Operation::SyncDirectory { path: relative, begun: self.operations.len() });
        Ok(())
    }

    fn add(&mut self, inode: (u64, u64), path: PathBuf) -> FileId {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(inode, file);
        self.operations.push(Operation::Create { path, file });
        file
    }

    /// `path` below the root.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_path_buf)
    }

    /// Forgets an inode that is about to lose its only name: its number may be used again.
    fn forget(&mut self, inode: Option<(u64, u64)>) {
        if let Some(inode) = inode {
            self.files.remove(&inode);
        }
    }
}

/// Carries out `call`, and lets `record` write it down if a directory is watched and it succeeded.
fn around(call: impl FnOnce() -> libc::c_long, record: impl FnOnce(&mut Record, libc::c_long)) -> libc::c_long {
    let result = call();
    if result >= 0 && WATCHING.load(Ordering::Relaxed) {
        // The caller may look at errno only after a failure, so it is free to change here.
        if let Some(recording) = lock().as_mut() {
            record(recording, result);
        }
    }
    result
}

/// The number of operations before a sync begins: it covers these and promises nothing of later ones.
fn before() -> usize {
    if !WATCHING.load(Ordering::Relaxed) {
        return 0;
    }
    lock().as_ref().map_or(0, |record| record.operations.len())
}

fn path_of(path: *const c_char) -> PathBuf {
    if path.is_null() {
        return PathBuf::new();
    }
    // SAFETY: the callers of these functions pass paths that end in a zero byte.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(String::from_utf8_lossy(path.to_bytes()).into_owned())
}

fn inode_of(file: c_int) -> Option<(u64, u64)> {
    // SAFETY: a `stat` of zeroes is a value, and fstat writes to it alone.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    (unsafe { libc::fstat(file, &raw mut stat) } == 0).then_some((stat.st_dev, stat.st_ino))
}

fn inode_at(path: *const c_char) -> Option<(u64, u64)> {
    if !WATCHING.load(Ordering::Relaxed) {
        return None;
    }
    std::fs::symlink_metadata(path_of(path)).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn narrow(result: libc::c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

fn recorded_open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let existed = inode_at(path).is_some();
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags | libc::O_LARGEFILE, mode) };
    narrow(around(call, |record, file| {
        let Some(name) = record.below(&path_of(path)) else { return };
        let Some(inode) = inode_of(narrow(file)) else { return };
        if flags & libc::O_CREAT != 0 && !existed {
            record.add(inode, name);
        } else if flags & libc::O_TRUNC != 0
            && let Some(file) = record.files.get(&inode).copied()
        {
            record.operations.push(Operation::Truncate { file, length: 0 });
        }
    }))
}

/// Replaces libc's, which takes `mode` only where a file may be created; it is not looked at elsewhere.
#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    recorded_open(path, flags, mode)
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    recorded_open(path, flags, mode)
}

fn written(record: &mut Record, file: c_int, offset: Option<off_t>, buffer: *const c_void, count: libc::c_long) {
    let Some(file_id) = inode_of(file).and_then(|inode| record.files.get(&inode).copied()) else { return };
    // SAFETY: asks for the position only.
    let offset = offset.unwrap_or_else(|| unsafe { libc::lseek(file, 0, libc::SEEK_CUR) } - count);
    let (Ok(offset), Ok(count)) = (usize::try_from(offset), usize::try_from(count)) else { return };
    // SAFETY: the kernel has just read `count` bytes from here for the caller.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) };
    record.operations.push(Operation::Write { file: file_id, offset, bytes: bytes.to_vec() });
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn write(file: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_write, file, buffer, count) };
    around(call, |record, count| written(record, file, None, buffer, count)) as ssize_t
}

fn recorded_pwrite(file: c_int, buffer: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_pwrite64, file, buffer, count, offset) };
    around(call, |record, count| written(record, file, Some(offset), buffer, count)) as ssize_t
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn pwrite(file: c_int, buffer: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    recorded_pwrite(file, buffer, count, offset)
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn pwrite64(file: c_int, buffer: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    recorded_pwrite(file, buffer, count, offset)
}

fn recorded_truncate(file: c_int, length: off_t) -> c_int {
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_ftruncate, file, length) };
    narrow(around(call, |record, _| {
        let file = inode_of(file).and_then(|inode| record.files.get(&inode).copied());
        if let (Some(file), Ok(length)) = (file, usize::try_from(length)) {
            record.operations.push(Operation::Truncate { file, length });
        }
    }))
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn ftruncate(file: c_int, length: off_t) -> c_int {
    recorded_truncate(file, length)
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(file: c_int, length: off_t) -> c_int {
    recorded_truncate(file, length)
}

fn recorded_sync(file: c_int, number: libc::c_long) -> c_int {
    let begun = before();
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(number, file) };
    narrow(around(call, |record, _| {
        let Some(inode) = inode_of(file) else { return };
        if let Some(file) = record.files.get(&inode).copied() {
            record.operations.push(Operation::Sync { file, begun });
        } else if let Some(path) = record.directories.get(&inode).cloned() {
            record.operations.push(Operation::SyncDirectory { path, begun });
        }
    }))
}

/// Replaces libc's. (`sync_file_range` is not: it makes nothing durable that can be relied on.)
#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    recorded_sync(file, libc::SYS_fsync)
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    recorded_sync(file, libc::SYS_fdatasync)
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let replaced = inode_at(to);
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) };
    narrow(around(call, |record, _| {
        if let (Some(from), Some(to)) = (record.below(&path_of(from)), record.below(&path_of(to))) {
            record.forget(replaced);
            record.operations.push(Operation::Rename { from, to });
        }
    }))
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_linkat, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) };
    narrow(around(call, |record, _| {
        if let (Some(from), Some(to)) = (record.below(&path_of(from)), record.below(&path_of(to))) {
            record.operations.push(Operation::Link { from, to });
        }
    }))
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    let removed = inode_at(path);
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    narrow(around(call, |record, _| {
        if let Some(path) = record.below(&path_of(path)) {
            record.forget(removed);
            record.operations.push(Operation::Unlink { path });
        }
    }))
}

/// Replaces libc's.
#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the same call, with the caller's own arguments.
    let call = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    narrow(around(call, |record, _| {
        if let (Some(name), Some(inode)) = (record.below(&path_of(path)), inode_at(path)) {
            record.directories.insert(inode, name.clone());
            record.operations.push(Operation::MakeDirectory { path: name });
        }
    }))
}
