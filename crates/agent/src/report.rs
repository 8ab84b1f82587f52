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
use quorate_state::{ErrorType, Outcome};
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
    flaw: Option<String>,
}

/// What a process said of its end, and words for people: its own, or what is wrong with what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWord {
    pub(crate) outcome: Option<Arc<Outcome>>,
    pub(crate) words: Option<String>,
}

impl LastWord {
    /// As a process would have said it, in one line.
    pub(crate) fn to_line(&self) -> String {
        match self.outcome.as_deref() {
            None => "{}".to_owned(),
            Some(Outcome::Result(json)) => format!("{{\"result\":{}}}", String::from_utf8_lossy(json)),
            Some(Outcome::Error(error)) => {
                serde_json::json!({ "error": error.as_str(), "message": self.words }).to_string()
            }
        }
    }

    /// What [`Self::to_line`] was made of.
    pub(crate) fn from_line(line: &str) -> Self {
        let mut reader = Reader::default();
        reader.take_line(line.as_bytes());
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
        LastWord { outcome, words: self.error_words.clone().or_else(|| self.flaw.clone()) }
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
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Place {
        _directory: tempfile::TempDir,
        path: PathBuf,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        Place { _directory: directory, path }
    }

    fn last_word(text: &str) -> LastWord {
        let place = place();
        std::fs::write(&place.path, text).unwrap();
        Reader::default().last_word(&place.path)
    }

    fn result(text: &str) -> Option<Arc<Outcome>> {
        Some(Arc::new(Outcome::Result(text.as_bytes().into())))
    }

    fn error(text: &str) -> Option<Arc<Outcome>> {
        Some(Arc::new(Outcome::Error(text.parse().unwrap())))
    }

    #[test]
    fn the_last_result_counts_byte_for_byte_and_an_error_counts_more() {
        let gone = Reader::default().last_word(&place().path);
        assert_eq!(gone.outcome, error(BAD_REPORT), "it had said something");
        for (text, outcome) in [
            ("", None),
            ("{\"progress\": 0.5}\n\n", None),
            ("{\"result\": {\"b\" : 1.0, \"a\": 2e3}}\n", result("{\"b\" : 1.0, \"a\": 2e3}")),
            ("{\"result\": 1}\n{\"result\": [2]}\n", result("[2]")),
            ("{\"result\": null}", result("null")),
            ("{\"result\": 1}\n{\"error\": \"BadInput\"}\n", error("BadInput")),
            ("{\"error\": \"BadInput\", \"message\": \"at first\"}\n{\"error\": \"Late\"}\n", error("Late")),
        ] {
            assert_eq!(last_word(text), LastWord { outcome, words: None }, "{text}");
        }
        let said = last_word("{\"error\": \"BadInput\", \"message\": \"no rows\"}\n");
        assert_eq!(said, LastWord { outcome: error("BadInput"), words: Some("no rows".into()) });
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_line_and_fails_the_attempt() {
        let long = format!("{{\"result\": \"{}\"}}\n", "x".repeat(REPORT_LINE_BYTES_MAX));
        for (text, line, what) in [
            ("{\"result\": 1}\nnonsense\n", 2, "is not understood"),
            ("{\"result\": [1, }\n", 1, "is not understood"),
            ("{\"reslut\": 1}\n", 1, "unknown field"),
            ("{\"error\": \"no such file\"}\n", 1, "error type"),
            ("{\"progress\": 1.5}\n", 1, "from 0 to 1"),
            ("{\"metric\": {\"a b\": 1}}\n", 1, "name of a metric"),
            (long.as_str(), 1, "REPORT_LINE_BYTES_MAX"),
            ("{\"result\": 1", 1, "is not understood"),
        ] {
            let LastWord { outcome, words } = last_word(text);
            assert_eq!(outcome, error(BAD_REPORT), "{text}");
            let flaw = words.unwrap();
            assert!(flaw.contains(&format!("line {line}")) && flaw.contains(what), "{flaw}");
        }
        let own = last_word("{\"error\": \"Own\"}\nnonsense\n");
        assert_eq!(own.outcome, error("Own"), "its own word for what went wrong is better than ours");
    }

    #[test]
    fn a_last_word_can_be_kept_in_one_line() {
        for text in [
            "",
            "{\"progress\": 0.5}\n",
            "{\"result\": {\"a\": [1, \"\\n\"]}}\n",
            "{\"result\": null}\n",
            "{\"error\": \"BadInput\", \"message\": \"no \\\"rows\\\"\\n\"}\n",
            "{\"error\": \"BadInput\"}\n",
            "nonsense\n",
        ] {
            let said = last_word(text);
            assert_eq!(LastWord::from_line(&said.to_line()), said, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_for_a_moment_is_read_at_the_end() {
        let place = place();
        let mut reader = Reader::default();
        std::fs::create_dir(&place.path).unwrap();
        assert_eq!(reader.look(&place.path), None);
        std::fs::remove_dir(&place.path).unwrap();
        std::fs::write(&place.path, "{\"result\": 1}\n").unwrap();
        assert_eq!(reader.last_word(&place.path), LastWord { outcome: result("1"), words: None });
    }

    /// A longer one in the place of a shorter one that was read.
    #[test]
    fn what_was_written_anew_counts_as_it_stands_in_the_end() {
        let place = place();
        let mut reader = Reader::default();
        std::fs::write(&place.path, "{\"progress\": 0.5}\n").unwrap();
        assert!(reader.look(&place.path).is_some());
        std::fs::write(&place.path, "{\"result\": \"longer than what was there\"}\n").unwrap();
        reader.look(&place.path);
        let outcome = result("\"longer than what was there\"");
        assert_eq!(reader.last_word(&place.path), LastWord { outcome, words: None });
    }

    #[test]
    fn progress_is_read_while_the_file_grows_and_nothing_is_read_twice() {
        use std::io::Write as _;
        let place = place();
        let mut reader = Reader::default();
        assert_eq!(reader.look(&place.path), None);
        let mut file = std::fs::File::options().append(true).create(true).open(&place.path).unwrap();
        write!(file, "{{\"progress\": 0.25, \"message\": \"a quarter\"}}\n{{\"metric\": {{\"rows\"").unwrap();
        let quarter = Progress { done_milli: Some(250), words: "a quarter".into(), ..Progress::default() };
        assert_eq!(reader.look(&place.path), Some(quarter));
        writeln!(file, ": 7}}}}").unwrap();
        let progress = reader.look(&place.path).unwrap();
        assert_eq!(progress.metrics, BTreeMap::from([("rows".to_owned(), 7.0)]));
        assert_eq!(reader.lines, 2);
        writeln!(file, "{{\"progress\": 1}}\n{{\"result\": 5}}").unwrap();
        assert_eq!(reader.last_word(&place.path), LastWord { outcome: result("5"), words: None });
        // Somebody who writes it anew says all of it anew.
        std::fs::write(&place.path, "{\"result\": 6}").unwrap();
        assert_eq!(reader.last_word(&place.path).outcome, result("6"));
    }

    #[tokio::test]
    async fn every_word_is_heard_also_one_that_says_the_same_again() {
        let place = place();
        let ear = Ear(place.path.clone());
        let mut heard = vec![ear.sign().await];
        assert_eq!(heard, [Sign::default()], "there is no file");
        for (second, line) in [(1, "{\"progress\": 0.5}\n"), (2, "{\"progress\": 0.6}\n")] {
            std::fs::write(&place.path, line).unwrap();
            // As if they had been written one after the other: both may be in one tick of the file system's clock.
            let written = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            std::fs::File::options().write(true).open(&place.path).unwrap().set_modified(written).unwrap();
            let sign = ear.sign().await;
            assert!(!heard.contains(&sign), "{line}");
            assert_eq!(ear.sign().await, sign, "and nothing else");
            heard.push(sign);
        }
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let place = place();
        std::fs::create_dir(&place.path).unwrap();
        assert!(Reader::default().last_word(&place.path).words.unwrap().contains("no file"));
        std::fs::remove_dir(&place.path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &place.path).unwrap();
        assert!(Reader::default().last_word(&place.path).words.unwrap().contains("cannot be read"));
    }

    #[test]
    fn there_are_bounds_on_all_of_it() {
        let many: BTreeMap<String, f64> = (0..=METRICS_MAX).map(|number| (format!("m{number}"), 1.0)).collect();
        let flaw = last_word(&serde_json::json!({ "metric": many }).to_string()).words.unwrap();
        assert!(flaw.contains("METRICS_MAX"), "{flaw}");
        let place = place();
        let file = std::fs::File::create(&place.path).unwrap();
        file.set_len(REPORT_FILE_BYTES_MAX + 1).unwrap();
        assert!(Reader::default().last_word(&place.path).words.unwrap().contains("REPORT_FILE_BYTES_MAX"));
        let words = "é".repeat(WORDS_BYTES_MAX);
        assert_eq!(cut(words).len(), WORDS_BYTES_MAX);
    }
}
