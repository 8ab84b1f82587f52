//! One worker process, seen by the process that started it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Order;
use crate::error::Error;
use crate::isolate;
use crate::outcome::Outcome;

/// A run that takes longer, by the wall's clock, hangs. Runs take seconds.
pub(crate) const SEED_WALL_MAX: Duration = Duration::from_secs(120);

/// Lines of a lost worker's standard error that are told.
const LAST_WORDS_MAX: usize = 20;

/// A child process that runs `worker`.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
    last_words: Option<JoinHandle<VecDeque<String>>>,
}

/// Why there was no answer, and the worker's last lines on standard error.
#[derive(Debug)]
pub(crate) struct Lost {
    what: String,
    last_words: Vec<String>,
}

impl Worker {
    /// Starts one, from the running program's own file.
    pub(crate) fn start() -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::Start)?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::Start)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(orders), Some(output), Some(errors)) = pipes else {
            return Err(Error::Start(std::io::Error::other("a pipe is missing")));
        };
        let (sender, answers) = sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let last_words = std::thread::spawn(move || {
            let mut kept = VecDeque::new();
            let lines = BufReader::new(errors).lines().map_while(Result::ok);
            for line in lines.filter(|line| !line.trim().is_empty()) {
                if kept.len() == LAST_WORDS_MAX {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
            kept
        });
        Ok(Self { child, orders, answers, last_words: Some(last_words) })
    }

    /// Has an order carried out. After a loss the worker is of no more use.
    pub(crate) fn run(&mut self, order: &Order) -> Result<Outcome, Lost> {
        let Ok(mut line) = serde_json::to_string(order) else { return Err(self.lost("crashed: no order".to_owned())) };
        line.push('\n');
        // A worker that is gone already says how below.
        let _ = self.orders.write_all(line.as_bytes()).and_then(|()| self.orders.flush());
        match self.answers.recv_timeout(SEED_WALL_MAX) {
            Ok(answer) => serde_json::from_str(&answer)
                .map_err(|error| self.lost(format!("crashed: its worker's answer is no outcome: {error}"))),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.lost(format!("hung: no end within {} s of real time", SEED_WALL_MAX.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(self.lost(format!("crashed: its process ended with {how}")))
            }
        }
    }

    fn lost(&mut self, what: String) -> Lost {
        self.end();
        let last_words = self.last_words.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        Lost { what, last_words: last_words.into() }
    }

    fn end(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

impl Lost {
    /// As the outcome of the run that it ended.
    pub(crate) fn outcome(self, seed: u64) -> Outcome {
        isolate::died(seed, self.what, self.last_words)
    }
}
