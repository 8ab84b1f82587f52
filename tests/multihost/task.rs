//! What tasks run: a program that writes down when it lived, and leaves its token at the sink.
//!
//! It is this same binary, so that nothing else has to be installed. Its clock is the one of leases.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::ledger::{Line, Part, Record, Stage, now_us};

/// The first argument of such a process,
pub(crate) const TASK: &str = "task";
/// of one that it starts,
pub(crate) const CHILD: &str = "task-child";
/// and of one that it starts and that leaves its group.
pub(crate) const APART: &str = "task-apart";
/// In the place of the sink's address: it writes to none.
pub(crate) const NO_SINK: &str = "-";
/// Exit code of a copy that the sink refused, as that of the example.
pub(crate) const REFUSED: u8 = 77;
/// Exit code of one that the sink did not answer in the end.
const UNANSWERED: u8 = 75;

/// Between two looks at the clock: so far off is the last instruction that is known.
const BEAT: Duration = Duration::from_millis(5);
/// Between two writes to the sink.
const WRITE_EVERY: Duration = Duration::from_secs(3);
/// A request to the sink that takes longer is made again,
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
/// after this pause,
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// and so often, the last time that it writes.
const LAST_TRIES: usize = 20;
/// A child that nobody ends does so by itself.
const CHILD_BEATS_MAX: u32 = 60_000;

/// What a task is to do.
struct Errand {
    /// Where it writes down that it lives.
    ledger: std::path::PathBuf,
    /// The sink, if its promise is one for which a sink is right.
    sink: Option<SocketAddr>,
    /// How long it works.
    lasts: Duration,
    /// The first argument of its child.
    child: String,
    promise: String,
}

/// Words of a job file: what runs as a task.
pub(crate) fn argv(
    program: &Path,
    ledger: &Path,
    sink: &str,
    lasts: Duration,
    child: &str,
    promise: &str,
) -> Vec<String> {
    let (program, ledger, lasts) =
        (program.display().to_string(), ledger.display().to_string(), lasts.as_millis().to_string());
    vec![program, TASK.to_owned(), ledger, sink.to_owned(), lasts, child.to_owned(), promise.to_owned()]
}

/// Is a task, or the child of one.
pub(crate) fn main(part: Part, arguments: &[String]) -> ExitCode {
    let first_us = now_us();
    let lived = Errand::of(arguments).and_then(|errand| {
        if part == Part::Apart {
            rustix::process::setsid().map_err(|error| error.to_string())?;
        }
        let record = record(part, first_us, &errand.promise)?;
        let line = Line::begin(&errand.ledger, &record).map_err(|error| error.to_string())?;
        match part {
            Part::First => errand.work(&line, arguments),
            Part::Child | Part::Apart => beat_on(&line),
        }
    });
    match lived {
        Ok(Stage::Runs | Stage::Done) => ExitCode::SUCCESS,
        Ok(Stage::Refused) => ExitCode::from(REFUSED),
        Ok(Stage::Unanswered) => ExitCode::from(UNANSWERED),
        Err(why) => {
            eprintln!("task: {why}");
            ExitCode::FAILURE
        }
    }
}

fn word(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn record(part: Part, first_us: u64, promise: &str) -> Result<Record, String> {
    Ok(Record {
        first_us,
        last_us: first_us,
        stage: Stage::Runs,
        part,
        process: std::process::id(),
        run: word("QUORATE_RUN_ID")?,
        index: number(&word("QUORATE_TASK_INDEX")?)?,
        attempt: number(&word("QUORATE_ATTEMPT")?)?,
        token: number(&word("QUORATE_FENCING_TOKEN")?)?,
        node: word("QUORATE_NODE")?,
        promise: promise.to_owned(),
    })
}

impl Errand {
    fn of(arguments: &[String]) -> Result<Self, String> {
        let [ledger, sink, lasts, child, promise] = arguments else { return Err("expected five words".to_owned()) };
        if ![CHILD, APART].contains(&child.as_str()) {
            return Err(format!("{child:?} is no child"));
        }
        let sink = match sink.as_str() {
            NO_SINK => None,
            address => Some(address.parse().map_err(|error| format!("{address}: {error}"))?),
        };
        let lasts = Duration::from_millis(number(lasts)?);
        Ok(Self { ledger: ledger.into(), sink, lasts, child: child.clone(), promise: promise.clone() })
    }

    /// Works, and tells the ledger all the while that it lives.
    fn work(self, line: &Line, arguments: &[String]) -> Result<Stage, String> {
        let failed = |error: std::io::Error| error.to_string();
        // It is never waited for: what an attempt leaves behind is its agent's to end.
        let _child = child(&self.child, arguments).map_err(failed)?;
        let (sender, outcome) = sync_channel(1);
        std::thread::spawn(move || {
            let stage = self.write();
            let _ = sender.send(stage);
        });
        loop {
            match outcome.recv_timeout(BEAT) {
                Ok(stage) => {
                    line.tell(stage).map_err(failed)?;
                    return Ok(stage);
                }
                Err(RecvTimeoutError::Timeout) => line.tell(Stage::Runs).map_err(failed)?,
                Err(RecvTimeoutError::Disconnected) => return Err("nobody writes any more".to_owned()),
            }
        }
    }

    /// Says that it is there, writes now and then, and a last time when its time is over.
    fn write(&self) -> Stage {
        let Some(sink) = self.sink else {
            pause(self.lasts);
            return Stage::Done;
        };
        let begun_us = now_us();
        let lasts_us = u64::try_from(self.lasts.as_micros()).unwrap_or(u64::MAX);
        let mut step = 0_u64;
        loop {
            let left = Duration::from_micros(lasts_us.saturating_sub(now_us().saturating_sub(begun_us)));
            if left.is_zero() {
                break;
            }
            let verb = if step == 0 { "claim - -".to_owned() } else { format!("write step-{step} {step}") };
            match ask(sink, &verb) {
                Some(0) => step += 1,
                Some(code) if code == i32::from(REFUSED) => return Stage::Refused,
                // What was not answered is asked again.
                Some(_) | None => {}
            }
            pause(left.min(if step == 0 { AGAIN_AFTER } else { WRITE_EVERY }));
        }
        for _ in 0..LAST_TRIES {
            match ask(sink, "write end end") {
                Some(0) => return Stage::Done,
                Some(code) if code == i32::from(REFUSED) => return Stage::Refused,
                Some(_) | None => pause(AGAIN_AFTER),
            }
        }
        Stage::Unanswered
    }
}

/// One request to the sink: the exit code that it answers with.
fn ask(sink: SocketAddr, verb: &str) -> Option<i32> {
    let object = format!("{}-{}", word("QUORATE_RUN_ID").ok()?, word("QUORATE_TASK_INDEX").ok()?);
    let (token, key) = (word("QUORATE_FENCING_TOKEN").ok()?, word("QUORATE_IDEMPOTENCY_KEY").ok()?);
    let mut stream = TcpStream::connect_timeout(&sink, ANSWER_MAX).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    stream.set_write_timeout(Some(ANSWER_MAX)).ok()?;
    stream.write_all(format!("{object} {token} {key} {verb}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    answer.trim().parse().ok()
}

fn child(word: &str, arguments: &[String]) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(word).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Lives until somebody ends it.
fn beat_on(line: &Line) -> Result<Stage, String> {
    let (_nobody, never): (SyncSender<()>, _) = sync_channel(1);
    for _ in 0..CHILD_BEATS_MAX {
        let _ = never.recv_timeout(BEAT);
        line.tell(Stage::Runs).map_err(|error| error.to_string())?;
    }
    Ok(Stage::Done)
}

#[expect(clippy::disallowed_methods, reason = "a thread of a process of its own, which does nothing else")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_says_a_task_understands() {
        let lasts = Duration::from_secs(3);
        let (program, ledger) = (Path::new("/bin/multihost"), Path::new("/tmp/ledger"));
        let words = argv(program, ledger, "10.77.1.41:7500", lasts, APART, "fenced");
        assert_eq!(words[1], TASK);
        let errand = Errand::of(&words[2..]).unwrap();
        assert_eq!((errand.lasts, errand.sink.unwrap().port()), (lasts, 7500));
        let without = argv(program, ledger, NO_SINK, lasts, CHILD, "at_most_once");
        assert!(Errand::of(&without[2..]).unwrap().sink.is_none());
        assert!(Errand::of(&argv(program, ledger, NO_SINK, lasts, TASK, "fenced")[2..]).is_err());
        assert!(Errand::of(&words[3..]).is_err());
    }
}
