//! Attempts' output: one file per stream, kept within bounds, read by offset.
//!
//! Processes write to the files themselves, so nothing of the agent stands in their way. What is too
//! old is cut out of the front of the file as a hole: its room is free, and the offsets of what is
//! left stay what they were, which is what a reader that follows needs. `pairs` sees to the files, `silent` remembers
//! who wrote nothing; `place` finds where a reader begins who wants the last lines or what is new.

mod pairs;
mod place;
mod silent;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use quorate_proto::convert::agent::attempt_ref_from_wire;
use quorate_proto::v1;
use quorate_state::{AttemptId, Driver, RunId, TaskId};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use tokio::sync::{Semaphore, mpsc};

use crate::blocking::blocking;
use crate::config::Limits;
use pairs::{age_ms, is_still};
use place::{MARKS_ENDED_MAX, Marks, last_lines};
use silent::Silent;

/// Ending of the file of an attempt's standard output.
pub(crate) const STDOUT: &str = "out";
/// Ending of the file of an attempt's standard error.
pub(crate) const STDERR: &str = "err";

/// Bytes in one answer, whatever was asked for.
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Reads that are answered or wait at the same time; more are told to come back.
const READS_MAX: usize = 128;
/// No read waits longer for output that is not there yet.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a waiting read looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The session takes an answer within this, or the reader asks again.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// Holes are cut in whole blocks of the file system.
const BLOCK_BYTES: u64 = 4_096;

/// The output of all attempts of this node.
#[derive(Debug)]
pub struct Outputs {
    root: PathBuf,
    limits: Limits,
    kept: Mutex<Kept>,
    silent: Mutex<Silent>,
    /// Held while the beginning of an output is cut out.
    cutting: Mutex<()>,
    reads: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Attempts that are not over.
    live: BTreeMap<AttemptId, Driver>,
    /// Ended ones, the oldest first, and the bytes of each.
    ended: VecDeque<(AttemptId, u64)>,
    bytes: u64,
    /// Those of `ended` that wrote nothing and have files, the oldest first.
    silent: VecDeque<AttemptId>,
    /// Those of `ended` that wrote nothing and whose files another attempt has, with the instant of their end in
    /// milliseconds since the Unix epoch.
    given: BTreeMap<AttemptId, u64>,
    /// When standard output and standard error grew, of all that have files and live or lived in this
    /// agent's life.
    marks: BTreeMap<AttemptId, [Marks; 2]>,
}

impl Kept {
    /// True when there is more than may be kept.
    fn excess(&self, limits: &Limits) -> bool {
        self.ended.len() > limits.logs_kept_max || self.bytes > limits.logs_bytes_max
    }

    /// Keeps the oldest no longer: which it is, and whether it has files to remove.
    fn drop_oldest(&mut self) -> Option<(AttemptId, bool)> {
        let (oldest, bytes) = self.ended.pop_front()?;
        self.bytes -= bytes;
        self.marks.remove(&oldest);
        if self.silent.front() == Some(&oldest) {
            self.silent.pop_front();
        }
        Some((oldest, self.given.remove(&oldest).is_none()))
    }
}

/// Some of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins; later than asked for when what was there is no longer kept.
    pub offset: u64,
    /// The bytes; empty when there are none yet.
    pub data: Vec<u8>,
    /// The attempt is over and nothing follows.
    pub end: bool,
}

/// Why there is nothing to read from. `Display` begins with a word for machines.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Never here, or no longer kept.
    #[error(
        "UNKNOWN_ATTEMPT: this node has no output of it (agent.logs_kept_max and agent.logs_bytes_max drop the oldest)"
    )]
    UnknownAttempt,
    /// Its driver makes none.
    #[error("NO_LOGS: the noop driver has no output")]
    NoLogs,
    /// The file cannot be read.
    #[error("IO: {0}")]
    Io(#[from] io::Error),
    /// Too many readers.
    #[error("BUSY: this node answers READS_MAX ({READS_MAX}) readers at a time, try again")]
    Busy,
    /// The question is not one.
    #[error("INVALID: {0}")]
    Invalid(&'static str),
}

impl Outputs {
    /// The outputs below `root`, what earlier lives left included; all have ended but those of `live`.
    pub fn open(root: PathBuf, limits: Limits, live: &BTreeSet<AttemptId>) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(&root)?;
        // Named to processes that stand in other directories.
        let root = root.canonicalize()?;
        let mut found = Vec::new();
        for run in std::fs::read_dir(&root)?.flatten() {
            let Some(id) = run.file_name().to_str().and_then(|name| name.parse::<RunId>().ok()) else { continue };
            for file in std::fs::read_dir(run.path())?.flatten() {
                // Both files of an attempt are there together.
                let Some(attempt) = file.file_name().to_str().and_then(|name| parse_name(id, name)) else { continue };
                found.push((file.metadata().map_or(0, |metadata| age_ms(&metadata)), attempt));
            }
            // Fails unless it is empty.
            let _ = std::fs::remove_dir(run.path());
        }
        let with_files: BTreeSet<AttemptId> = found.iter().map(|(_, attempt)| *attempt).collect();
        let (silent, given) = Silent::open(&root);
        // One that has files after all may have written to them.
        let given: BTreeMap<AttemptId, u64> = given
            .into_iter()
            .filter(|(_, attempt)| !with_files.contains(attempt))
            .map(|(ended_ms, attempt)| (attempt, ended_ms))
            .collect();
        found.extend(given.iter().map(|(attempt, ended_ms)| (*ended_ms, *attempt)));
        found.sort_unstable();
        let reads = Arc::new(Semaphore::new(READS_MAX));
        let kept = Kept { given, ..Kept::default() };
        let (kept, silent) = (Mutex::new(kept), Mutex::new(silent));
        let outputs = Arc::new(Self { root, limits, kept, silent, cutting: Mutex::default(), reads });
        for (_, attempt) in found.into_iter().filter(|(_, attempt)| !live.contains(attempt)) {
            outputs.retire(attempt);
        }
        let given = outputs.lock().given.clone();
        outputs.silent().rewrite(given.into_iter().map(|(attempt, ended_ms)| (ended_ms, attempt)))?;
        Ok(outputs)
    }

    /// The attempt is about to start: readers may wait for its output from now on.
    pub fn begin(&self, attempt: AttemptId, driver: Driver) {
        self.lock().live.insert(attempt, driver);
    }

    /// Nothing of the attempt is left: readers learn where its output ends.
    pub fn end(&self, attempt: AttemptId) {
        self.lock().live.remove(&attempt);
    }

    /// Its processes are gone: its output stays for a while, and what is then too much goes. Waits
    /// for the disk.
    pub fn retire(&self, attempt: AttemptId) {
        let files = [STDOUT, STDERR].map(|ending| std::fs::metadata(self.path(attempt, ending)).ok());
        let bytes = files.iter().flatten().map(held).sum();
        let is_silent = files.iter().all(|file| file.as_ref().is_some_and(|metadata| metadata.len() == 0));
        {
            let mut kept = self.lock();
            kept.ended.push_back((attempt, bytes));
            kept.bytes += bytes;
            if is_silent {
                kept.silent.push_back(attempt);
            }
            let marks = kept.marks.get_mut(&attempt).into_iter().flatten();
            marks.for_each(|marks| marks.thin(MARKS_ENDED_MAX));
        }
        self.clean();
    }

    /// Removes the oldest outputs until the rest is within the limits.
    fn clean(&self) {
        loop {
            let (oldest, has_files) = {
                let mut kept = self.lock();
                if !kept.excess(&self.limits) {
                    break;
                }
                let Some(oldest) = kept.drop_oldest() else { break };
                oldest
            };
            if has_files {
                self.remove_files_of(oldest);
            }
            self.remove_directory_of(oldest);
        }
        let mut silent = self.silent();
        if silent.is_long(self.limits.logs_kept_max) {
            let given = self.lock().given.clone();
            if let Err(error) = silent.rewrite(given.into_iter().map(|(attempt, ended_ms)| (ended_ms, attempt))) {
                tracing::warn!(%error, "the list of attempts without output only grows");
            }
        }
    }

    /// Bytes kept of one stream of one attempt.
    pub(crate) fn log_bytes_max(&self) -> u64 {
        self.limits.log_bytes_max
    }

    /// Looks after a growing output: notes how long it is by now, and cuts its beginning out when it is
    /// over `log_bytes_max`.
    pub fn trim(&self, attempt: AttemptId) {
        let _cutting = self.cutting();
        for (stream, ending) in [STDOUT, STDERR].into_iter().enumerate() {
            let path = self.path(attempt, ending);
            let cut = std::fs::metadata(&path).and_then(|metadata| {
                self.note(attempt, stream, &metadata);
                // Most files are small: looking costs less than opening.
                if surplus(metadata.len(), self.limits.log_bytes_max) == 0 {
                    return Ok(());
                }
                cut(&File::options().write(true).open(&path)?, metadata.len(), self.limits.log_bytes_max)
            });
            match cut {
                Ok(()) => {}
                // It ended meanwhile, and its files are removed or another's.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(?attempt, %error, "its output cannot be kept within agent.log_bytes_max"),
            }
        }
    }

    fn note(&self, attempt: AttemptId, stream: usize, metadata: &Metadata) {
        if metadata.len() == 0 {
            return;
        }
        let mut kept = self.lock();
        // What has ended may be removed at any time, its marks with it.
        if kept.live.contains_key(&attempt) {
            let marks = kept.marks.entry(attempt).or_default();
            marks[stream].note(changed_ms(metadata), metadata.len());
        }
    }

    /// Where a reader begins who wants at most the last lines, or nothing from before an instant.
    pub fn place(
        &self,
        attempt: AttemptId,
        stream: v1::LogStream,
        tail_lines: Option<u32>,
        since_ms: Option<u64>,
    ) -> Result<u64, Unavailable> {
        let (at, ending) = ending(stream)?;
        let path = self.path(attempt, ending);
        let file = match File::open(&path) {
            Ok(file) => file,
            // All that there will be is new. Reading says why there is nothing, if it is not that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let mut place = 0;
        if let Some(since_ms) = since_ms {
            place = match self.lock().marks.get(&attempt) {
                _ if changed_ms(&metadata) < since_ms => metadata.len(),
                Some(marks) => marks[at].before(since_ms),
                None => 0,
            };
        }
        if let Some(lines) = tail_lines {
            place = place.max(last_lines(&file, metadata.len(), lines)?);
        }
        Ok(if is_still(&path, &metadata) { place } else { 0 })
    }

    /// Reads at most `bytes_max` bytes from `offset` on.
    pub fn read(
        &self,
        attempt: AttemptId,
        stream: v1::LogStream,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Piece, Unavailable> {
        let (_, ending) = ending(stream)?;
        // Looked at before the file: what is over then cannot grow between the two.
        let live = self.lock().live.get(&attempt).copied();
        if live == Some(Driver::Noop) {
            return Err(Unavailable::NoLogs);
        }
        let path = self.path(attempt, ending);
        let file = match File::open(&path) {
            Ok(file) => file,
            // It waits for its start.
            Err(error) if error.kind() == io::ErrorKind::NotFound && live.is_some() => {
                return Ok(Piece { offset, data: Vec::new(), end: false });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.without_files(attempt, offset),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        let length = metadata.len();
        let offset = after_hole(&file, offset, length)?;
        let room = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut data = vec![0; room.min(bytes_max).min(CHUNK_BYTES_MAX)];
        let read = file.read_at(&mut data, offset)?;
        data.truncate(read);
        // Otherwise it is another attempt's by now, and so may be what was read.
        if !is_still(&path, &metadata) {
            return self.without_files(attempt, offset);
        }
        let end = live.is_none() && offset + read as u64 >= length;
        Ok(Piece { offset, data, end })
    }

    /// What there is to read of an attempt that has ended and has no files.
    fn without_files(&self, attempt: AttemptId, offset: u64) -> Result<Piece, Unavailable> {
        match self.lock().given.contains_key(&attempt) {
            true => Ok(Piece { offset, data: Vec::new(), end: true }),
            false => Err(Unavailable::UnknownAttempt),
        }
    }

    /// Answers a request over `session`, without keeping the caller waiting.
    pub(crate) fn answer(self: &Arc<Self>, request: v1::LogRequest, session: mpsc::Sender<v1::AgentMessage>) {
        let outputs = self.clone();
        let permit = self.reads.clone().try_acquire_owned();
        tokio::spawn(async move {
            let piece = match &permit {
                Ok(_) => outputs.wait_for(&request).await,
                Err(_) => Err(Unavailable::Busy),
            };
            let mut chunk = v1::LogChunk { id: request.id, ..v1::LogChunk::default() };
            match piece {
                Ok(piece) => {
                    chunk.placed = request.tail_lines.is_some() || request.since_ms.is_some();
                    chunk.offset = piece.offset;
                    chunk.end = piece.end;
                    chunk.data = piece.data.into();
                }
                Err(error) => chunk.error = error.to_string(),
            }
            let message = v1::AgentMessage { message: Some(v1::agent_message::Message::LogChunk(chunk)) };
            let _ = tokio::time::timeout(SEND_DEADLINE, session.send(message)).await;
        });
    }

    async fn wait_for(&self, request: &v1::LogRequest) -> Result<Piece, Unavailable> {
        let attempt = request.attempt.as_ref().and_then(|attempt| attempt_ref_from_wire(attempt).ok());
        let attempt = attempt.ok_or(Unavailable::Invalid("which attempt?"))?;
        let bytes_max = usize::try_from(request.bytes_max).unwrap_or(CHUNK_BYTES_MAX);
        let deadline = tokio::time::Instant::now() + WAIT_MAX.min(Duration::from_millis(request.wait_ms.into()));
        let mut offset = request.offset;
        if request.tail_lines.is_some() || request.since_ms.is_some() {
            let place = blocking(|| self.place(attempt, request.stream(), request.tail_lines, request.since_ms))?;
            offset = offset.max(place);
        }
        loop {
            let piece = blocking(|| self.read(attempt, request.stream(), offset, bytes_max))?;
            if piece.end || !piece.data.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(piece);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cutting(&self) -> MutexGuard<'_, ()> {
        self.cutting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attempt whose standard output a file of this name holds.
fn parse_name(run: RunId, name: &str) -> Option<AttemptId> {
    let name = name.strip_suffix(STDOUT)?.strip_suffix('.')?;
    let mut numbers = name.split('.').map(|number| number.parse::<u32>().ok());
    let (step, index, number) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(AttemptId { task: TaskId { run, step, index }, number })
}

/// Bytes that a file takes on the disk: what was cut out does not count.
fn held(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.blocks() * 512
}

/// Frees all but the last `bytes_max` bytes of a file of `length`, in whole blocks.
pub(crate) fn cut(file: &File, length: u64, bytes_max: u64) -> io::Result<()> {
    match surplus(length, bytes_max) {
        0 => Ok(()),
        surplus => Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, surplus)?),
    }
}

/// How much of a file of `length` is too much, in whole blocks.
fn surplus(length: u64, bytes_max: u64) -> u64 {
    length.saturating_sub(bytes_max) / BLOCK_BYTES * BLOCK_BYTES
}

/// Number and ending of a stream's file.
fn ending(stream: v1::LogStream) -> Result<(usize, &'static str), Unavailable> {
    match stream {
        v1::LogStream::Stdout => Ok((0, STDOUT)),
        v1::LogStream::Stderr => Ok((1, STDERR)),
        v1::LogStream::Unspecified => Err(Unavailable::Invalid("which stream?")),
    }
}

/// When a file was last changed, in milliseconds since the Unix epoch.
fn changed_ms(metadata: &Metadata) -> u64 {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    changed.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The first offset from `offset` on that holds data; the file's length when none does.
fn after_hole(file: &File, offset: u64, length: u64) -> io::Result<u64> {
    if offset >= length {
        return Ok(offset);
    }
    match seek(file, SeekFrom::Data(offset)) {
        Ok(found) => Ok(found),
        Err(rustix::io::Errno::NXIO) => Ok(length),
        // A file system without holes has none.
        Err(rustix::io::Errno::INVAL) => Ok(offset),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests;
