//! What a process says by itself: lines of JSON that it appends to a file of its own (`QUORATE_REPORT`).
//!
//! The process makes the file by its first word, so that one that says nothing costs nothing. What it says last counts:
//! the last result, the last error, the last progress. A line that cannot be understood is not passed over: whoever
//! waits for a result must not be told that there was none.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use quorate_state::{ErrorType, Outcome, Payload, PayloadName, Payloads};
use rustix::fs::{Mode, OFlags};
use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::driver::{Pulse, Sign};

/// The file's name in the attempt's working directory.
pub(crate) const FILE: &str = ".quorate-report";
/// The error type of an attempt whose report cannot be understood.
pub(crate) const BAD_REPORT: &str = "BadReport";

/// Bytes of one line. A result may be smaller still: `result_bytes_max` of the cluster.
const REPORT_LINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one file: a line each second for a week.
const REPORT_FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes read at a stretch while an attempt runs; the rest has its turn at the next look.
const LOOK_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of the words that come with progress; longer ones are cut.
const WORDS_BYTES_MAX: usize = 256;
/// Metrics of one attempt, by name.
const METRICS_MAX: usize = 16;
/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// How far a process says that it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// How much of it is done, in thousandths.
    pub done_milli: Option<u32>,
    /// Its own words for that.
    pub words: String,
    /// What it measures by itself, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// Hears of one file that something was said there; a look at the directory, whatever it holds.
#[derive(Clone, Debug)]
pub(crate) struct Ear(pub(crate) PathBuf);

#[async_trait]
impl Pulse for Ear {
    async fn sign(&self) -> Sign {
        let path = self.0.clone();
        let look = tokio::task::spawn_blocking(move || std::fs::symlink_metadata(path));
        // Without a file nothing was said.
        let Ok(Ok(metadata)) = look.await else { return Sign::default() };
        let written_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Sign { bytes: metadata.len(), written_ns }
    }
}

/// Reads one file as it grows.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Read so far.
    offset: u64,
    /// Lines read so far, to name one.
    lines: u64,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    last: Option<Arc<Outcome>>,
    error: Option<ErrorType>,
    /// Its own words for what went wrong.
    error_words: Option<String>,
    progress: Option<Progress>,
    payloads: Payloads,
    flaw: Option<String>,
}

/// What a process said of its end, and words for people: its own, or what is wrong with what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWord {
    pub(crate) outcome: Option<Arc<Outcome>>,
    pub(crate) words: Option<String>,
    /// Data that it has left behind; none of one that says that something went wrong.
    pub(crate) payloads: Option<Arc<Payloads>>,
}

impl LastWord {
    /// As a process would have said it, line by line.
    pub(crate) fn to_lines(&self) -> String {
        let mut lines: Vec<String> = self.payloads.iter().flat_map(|payloads| payloads.iter()).map(to_line).collect();
        lines.push(match self.outcome.as_deref() {
            None => "{}".to_owned(),
            Some(Outcome::Result(json)) => format!("{{\"result\":{}}}", String::from_utf8_lossy(json)),
            Some(Outcome::Error(error)) => {
                serde_json::json!({ "error": error.as_str(), "message": self.words }).to_string()
            }
        });
        lines.join("\n")
    }

    /// What [`Self::to_lines`] was made of.
    pub(crate) fn from_lines(lines: &str) -> Self {
        let mut reader = Reader::default();
        lines.lines().for_each(|line| reader.take_line(line.as_bytes()));
        reader.word()
    }
}

impl Reader {
    /// Reads some of what was added, and says how far the process is by its own words. What cannot be read now is read
    /// at the end.
    pub(crate) fn look(&mut self, path: &Path) -> Option<Progress> {
        if let Err(error) = self.read_lines(path, LOOK_BYTES_MAX)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(path = %path.display(), %error, "a report cannot be read");
        }
        self.progress.clone()
    }

    /// Reads what a process that has ended is known to have left, from the beginning: whoever wrote it anew meanwhile has
    /// said what stands there now. Waits for the disk.
    pub(crate) fn last_word(&mut self, path: &Path) -> LastWord {
        *self = Self::default();
        match self.read_lines(path, REPORT_FILE_BYTES_MAX) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.flaw = Some("its report is gone".into()),
            Err(error) => self.flaw = Some(format!("its report cannot be read: {error}")),
        }
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.take_line(&line);
        }
        self.word()
    }

    fn word(&self) -> LastWord {
        let outcome = match (&self.flaw, &self.error) {
            (_, Some(error)) => Some(Arc::new(Outcome::Error(error.clone()))),
            (Some(_), None) => ErrorType::new(BAD_REPORT).ok().map(|error| Arc::new(Outcome::Error(error))),
            (None, None) => self.last.clone(),
        };
        let is_error = matches!(outcome.as_deref(), Some(Outcome::Error(_)));
        let payloads = if is_error { None } else { self.payloads.clone().kept() };
        LastWord { outcome, words: self.error_words.clone().or_else(|| self.flaw.clone()), payloads }
    }

    fn read_lines(&mut self, path: &Path, bytes_max: u64) -> io::Result<()> {
        // Whatever the process has put there, opening it neither waits nor leads anywhere else.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        if metadata.len() < self.offset {
            // Written anew from the beginning: what it says now counts.
            *self = Self::default();
        }
        if metadata.len() > REPORT_FILE_BYTES_MAX {
            let bytes = metadata.len();
            let flaw = format!("its report has {bytes} bytes, REPORT_FILE_BYTES_MAX is {REPORT_FILE_BYTES_MAX}");
            self.flaw.get_or_insert(flaw);
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut left = bytes_max;
        let mut chunk = [0; CHUNK_BYTES];
        while left > 0 {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            self.offset += count as u64;
            left = left.saturating_sub(count as u64);
            self.take(&chunk[..count]);
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let last = lines.next_back().unwrap_or_default();
        for line in lines {
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(line);
            self.take_line(&whole);
        }
        // One byte more than fits is enough to say so.
        let room = (REPORT_LINE_BYTES_MAX + 1).saturating_sub(self.rest.len());
        self.rest.extend_from_slice(&last[..last.len().min(room)]);
    }

    fn take_line(&mut self, line: &[u8]) {
        self.lines += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if let Err(why) = self.understand(line) {
            let number = self.lines;
            self.flaw.get_or_insert_with(|| format!("line {number} of its report {why}"));
        }
    }

    fn understand(&mut self, line: &[u8]) -> Result<(), String> {
        let wrong = |why: &dyn fmt::Display| format!("is not understood: {why}");
        if line.len() > REPORT_LINE_BYTES_MAX {
            return Err(format!("has more than REPORT_LINE_BYTES_MAX ({REPORT_LINE_BYTES_MAX}) bytes"));
        }
        let mut said: Said<'_> = serde_json::from_slice(line).map_err(|error| wrong(&error))?;
        if let Some(result) = said.result {
            self.last = Some(Arc::new(Outcome::Result(result.get().as_bytes().into())));
        }
        if let Some(error) = &said.error {
            self.error = Some(ErrorType::new(error).map_err(|error| wrong(&error))?);
            self.error_words = said.message.take().map(cut);
        }
        if let Some(payload) = said.payload.take() {
            let (name, payload) = payload.read().map_err(|why| wrong(&why))?;
            self.payloads.put(name, payload).map_err(|error| format!("is one too much: {error}"))?;
        }
        if said.progress.is_some_and(|done| !(0.0..=1.0).contains(&done)) {
            return Err(wrong(&"progress is a number from 0 to 1"));
        }
        if said.progress.is_some() || said.message.is_some() || !said.metric.is_empty() {
            self.advance(said)?;
        }
        Ok(())
    }

    fn advance(&mut self, said: Said<'_>) -> Result<(), String> {
        let progress = self.progress.get_or_insert_default();
        if let Some(done) = said.progress {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 1000")]
            let milli = (done * 1_000.0).round() as u32;
            progress.done_milli = Some(milli);
            progress.words.clear();
        }
        if let Some(words) = said.message {
            progress.words = cut(words);
        }
        for (name, value) in said.metric {
            let is_known = progress.metrics.contains_key(&name);
            if !is_known && progress.metrics.len() >= METRICS_MAX {
                return Err(format!("has one metric too many: METRICS_MAX is {METRICS_MAX}"));
            }
            ErrorType::new(&name).map_err(|_| format!("is not understood: {name:?} is no name of a metric"))?;
            progress.metrics.insert(name, value);
        }
        Ok(())
    }
}

/// One line.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Said<'l> {
    #[serde(default, borrow, deserialize_with = "present")]
    result: Option<&'l RawValue>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    progress: Option<f64>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    metric: BTreeMap<String, f64>,
    #[serde(default)]
    payload: Option<Left>,
}

/// Data that it has left somewhere.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Left {
    name: String,
    uri: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    digest: Option<String>,
}

impl Left {
    fn read(self) -> Result<(PayloadName, Payload), String> {
        let name = PayloadName::new(&self.name).map_err(|error| error.to_string())?;
        let digest = self.digest.as_deref().map(str::parse).transpose();
        let digest = digest.map_err(|error| format!("the payload {name}: {error}"))?;
        let payload = Payload::new(&self.uri, self.size, digest);
        payload.map(|payload| (name.clone(), payload)).map_err(|error| format!("the payload {name}: {error}"))
    }
}

fn to_line((name, payload): (&PayloadName, &Payload)) -> String {
    let digest = payload.digest.map(|digest| digest.to_string());
    let said =
        serde_json::json!({ "name": name.as_str(), "uri": payload.uri(), "size": payload.size, "digest": digest });
    serde_json::json!({ "payload": said }).to_string()
}

/// A result that is `null` is one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn cut(mut words: String) -> String {
    if words.len() > WORDS_BYTES_MAX {
        let end = (0..=WORDS_BYTES_MAX).rev().find(|at| words.is_char_boundary(*at));
        words.truncate(end.unwrap_or(0));
    }
    words
}

#[cfg(test)]
mod tests;
