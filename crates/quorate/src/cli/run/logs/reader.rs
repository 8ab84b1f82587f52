//! One task's output, attempt after attempt.

use quorate_client::{Client, LogReader};
use quorate_proto::{ApiError, v1};

use super::super::super::reference::{self, TaskArg};
use super::sink::{Form, Kept, Sink, Target};
use crate::exit::Error;
use crate::render::Output;
use crate::render::time::count;

/// What of a task's output is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) follow: bool,
    /// The attempt was named: no other one is read.
    pub(super) is_one_attempt: bool,
    /// Where the first attempt that is read begins.
    pub(super) offset: u64,
    pub(super) tail_lines: Option<u32>,
    pub(super) since_ms: Option<u64>,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
}

/// Reads a task and prints it.
pub(super) struct Reader {
    pub(super) client: Client,
    /// The run.
    pub(super) id: String,
    pub(super) task: TaskArg,
    pub(super) wanted: Wanted,
    pub(super) output: Output,
    pub(super) form: Form,
    /// The task's name, where there are others.
    pub(super) label: Option<String>,
}

impl Reader {
    /// Reads one of several tasks of a run, the newest of so many attempts; what cannot be read is said at
    /// once.
    pub(super) async fn whole_task(&mut self, attempts: u32) -> Result<(), Error> {
        let read = if self.wanted.follow {
            self.follow(attempts.max(1)).await
        } else {
            self.attempt(attempts, true).await.map(|_| ())
        };
        match read {
            // It will not start.
            Err(error) if is_missing(&error, "attempt") => Ok(()),
            // Its driver has none, or it was dropped.
            Err(error) if is_missing(&error, "output") => {
                self.note(&error.to_string());
                Ok(())
            }
            Err(error) => {
                if !matches!(error, Error::Output(_)) {
                    self.note(&error.to_string());
                }
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reads from this attempt on until the task has ended.
    pub(super) async fn follow(&mut self, first: u32) -> Result<(), Error> {
        let mut failed: Option<(u32, Error)> = None;
        let mut number = first;
        loop {
            match self.attempt(number, number == first).await {
                Ok((true, _)) => {}
                Ok((false, _)) => break,
                Err(error) if number > first && is_missing(&error, "attempt") => break,
                Err(error) => {
                    if self.wanted.is_one_attempt || !is_out_of_reach(&error) {
                        return Err(error);
                    }
                    // Lost with its node, it may be; the next attempt runs elsewhere.
                    self.say_unread(&failed);
                    failed = Some((number, error));
                }
            }
            if self.wanted.is_one_attempt {
                break;
            }
            number += 1;
        }
        match failed {
            // The last one: the error of the command.
            Some((failed, error)) if failed + 1 == number => Err(error),
            failed => {
                self.say_unread(&failed);
                failed.map_or(Ok(()), |(_, error)| Err(error))
            }
        }
    }

    fn say_unread(&self, failed: &Option<(u32, Error)>) {
        if let Some((number, error)) = failed {
            self.note(&format!("attempt {number} could not be read to its end: {error}"));
        }
    }

    /// Reads one attempt, the first that this command reads or a later one; false when there is no such one
    /// and will not be. Also gives what was kept, of standard output and standard error.
    pub(super) async fn attempt(&mut self, number: u32, is_first: bool) -> Result<(bool, [Kept; 2]), Error> {
        let mut out = self.wanted.stdout.then(|| self.open(number, v1::LogStream::Stdout, is_first));
        let mut err = self.wanted.stderr.then(|| self.open(number, v1::LogStream::Stderr, is_first));
        let mut sinks = [Target::Stdout, Target::Stderr].map(|target| Sink::new(self, number, target));
        if let Some(one) = out.as_mut().or(err.as_mut())
            && one.begin().await?.is_none()
        {
            return Ok((false, sinks.map(Sink::kept)));
        }
        if !is_first {
            self.note(&format!("attempt {} has ended, attempt {number} follows", number - 1));
        }
        let [out_sink, err_sink] = &mut sinks;
        tokio::try_join!(self.copy(out.as_mut(), out_sink), self.copy(err.as_mut(), err_sink))?;
        Ok((true, sinks.map(Sink::kept)))
    }

    fn open(&self, attempt: u32, stream: v1::LogStream, is_first: bool) -> LogReader {
        self.client.read_logs(v1::ReadLogsRequest {
            run: reference::by_id(&self.id),
            task: self.task.name.clone(),
            index: self.task.index,
            attempt,
            stream: stream.into(),
            offset: if is_first { self.wanted.offset } else { 0 },
            follow: self.wanted.follow,
            tail_lines: self.wanted.tail_lines.filter(|_| is_first),
            since_ms: self.wanted.since_ms.filter(|_| is_first),
        })
    }

    async fn copy(&self, reader: Option<&mut LogReader>, sink: &mut Sink) -> Result<(), Error> {
        let Some(reader) = reader else { return Ok(()) };
        let mut missed = 0;
        while let Some(piece) = reader.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    // What was read of a line is not lost.
                    sink.end()?;
                    return Err(error.into());
                }
            };
            if reader.missed() > missed {
                let gap = count(reader.missed() - missed, "byte");
                let place = format!("offset {} of {}", piece.offset, sink.stream());
                self.note(&format!("{gap} rotated away before {place} (agent.log_bytes_max)"));
                missed = reader.missed();
            }
            sink.take(piece.offset, &piece.data)?;
        }
        sink.end()
    }

    /// Says something about the reading, on standard error.
    fn note(&self, text: &str) {
        match &self.label {
            Some(label) => self.output.note(&format!("{label}: {text}")),
            None => self.output.note(text),
        }
    }
}

/// True when the cluster says that there is no such thing.
fn is_missing(error: &Error, what: &str) -> bool {
    matches!(error, Error::Api(error) if matches!(error.api(), Some(ApiError::NotFound { kind, .. }) if kind == what))
}

/// True when this attempt's output cannot be read, while that of another one may: its node is not there, or
/// does not have it any more.
fn is_out_of_reach(error: &Error) -> bool {
    let Error::Api(api) = error else { return false };
    let is_absent = matches!(api.api(), Some(ApiError::Precondition { what, .. }) if what == "CONNECTED");
    is_missing(error, "output") || is_absent
}
