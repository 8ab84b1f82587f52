//! What clients asked and were told, as it happened: a line of JSON each, in a file, and in memory.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_seams::{BootInstant, Clock as _, SystemClock};
use serde::Serialize;

/// One call of one session.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Call {
    /// The session.
    pub(crate) who: String,
    /// Microseconds since the load began.
    pub(crate) begun_us: u64,
    pub(crate) ended_us: u64,
    #[serde(flatten)]
    pub(crate) asked: Asked,
    #[serde(flatten)]
    pub(crate) told: Told,
    /// The whole answer, encoded, where there is one.
    #[serde(skip)]
    pub(crate) answer: Vec<u8>,
}

impl Call {
    /// A job that was accepted.
    pub(crate) fn is_accepted_job(&self) -> bool {
        matches!((&self.asked, &self.told), (Asked::Submit { .. }, Told::Done { .. }))
    }
}

/// What was asked.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "asked", rename_all = "snake_case")]
pub(crate) enum Asked {
    /// A job whose name no other submit has.
    Submit {
        job: String,
    },
    /// A word under a key that no other annotation has.
    Annotate {
        run: String,
        key: String,
        value: String,
    },
    Cancel {
        run: String,
    },
    Get {
        run: String,
    },
}

/// What was answered.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub(crate) enum Told {
    /// It is done, as of this revision.
    Done { revision: u64, of_run: String },
    /// It was not done, for this reason.
    Refused { why: String },
    /// It was not done: nobody could do it.
    Unavailable { why: String },
    /// It may have been done.
    Unknown { why: String },
}

/// What one watch of a run delivered, from one snapshot on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Watched {
    pub(crate) who: String,
    pub(crate) run: String,
    /// Revision of the snapshot.
    pub(crate) from: u64,
    /// Revision and content.
    pub(crate) events: Vec<(u64, String)>,
}

/// All that one watch was told, as it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) run: String,
    /// Microseconds since the load began.
    pub(crate) opened_us: u64,
    /// Each message, encoded, with when it came.
    pub(crate) messages: Vec<(u64, Vec<u8>)>,
    pub(crate) ended_us: u64,
    /// Why it came to an early end, if it did.
    pub(crate) failed: Option<String>,
}

/// Everything so far.
pub(crate) struct History {
    began: BootInstant,
    kept: Mutex<Kept>,
}

struct Kept {
    calls: Vec<Call>,
    watched: Vec<Watched>,
    streams: Vec<Stream>,
    file: BufWriter<File>,
}

impl History {
    /// An empty one, written to `path`.
    pub(crate) fn begin(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (calls, watched, streams) = (Vec::new(), Vec::new(), Vec::new());
        let kept = Kept { calls, watched, streams, file: BufWriter::new(file) };
        Ok(Self { began: SystemClock.boot(), kept: Mutex::new(kept) })
    }

    /// Microseconds since the load began.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(SystemClock.boot().since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// When the load began.
    pub(crate) fn began(&self) -> BootInstant {
        self.began
    }

    /// The same, in microseconds since the machine was switched on.
    pub(crate) fn began_us(&self) -> u64 {
        u64::try_from(self.began.0.as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn call(&self, call: Call) {
        let mut kept = self.lock();
        kept.line(&call);
        kept.calls.push(call);
    }

    pub(crate) fn watched(&self, watched: Watched) {
        let mut kept = self.lock();
        kept.line(&watched);
        kept.watched.push(watched);
    }

    pub(crate) fn streamed(&self, stream: Stream) {
        self.lock().streams.push(stream);
    }

    /// How many jobs were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.lock().calls.iter().filter(|call| call.is_accepted_job()).count()
    }

    /// All of it, once nobody adds to it.
    pub(crate) fn take(&self) -> (Vec<Call>, Vec<Watched>, Vec<Stream>) {
        let mut kept = self.lock();
        let _ = kept.file.flush();
        let Kept { calls, watched, streams, .. } = &mut *kept;
        (std::mem::take(calls), std::mem::take(watched), std::mem::take(streams))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn line(&mut self, what: &impl Serialize) {
        // The file is for people who look into a failure; the judge reads what is in memory.
        let line = serde_json::to_string(what).unwrap_or_default();
        let _ = writeln!(self.file, "{line}");
    }
}
