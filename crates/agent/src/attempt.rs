//! One attempt through its life: wait until the journal knows of it, start, watch, end, gone.
//!
//! Each attempt is a task of its own that owns its execution. What it should do arrives as a level
//! (a [`Wish`] that only rises), what it saw leaves as events, in order.

mod silence;

use std::sync::Arc;
use std::time::Duration;

use quorate_state::{AttemptId, Token};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::driver::{Driver, Ending, Event, Execution, Leftover, NotStarted, Start, Wish};
use crate::journal::Journal;
use silence::fallen_silent;

/// How often an execution is tended while it runs.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// How often what could not be killed after a restart is looked for again.
const RECOVER_EVERY: Duration = Duration::from_secs(1);

/// What an attempt saw.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) attempt: AttemptId,
    pub(crate) token: Token,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It runs, as this process if it is one.
    Running { process: Option<(u32, u64)> },
    /// It runs, and has said nothing for so long, which is too long. Said once.
    Silent { lasts: Duration },
    /// It was asked to end.
    Stopping,
    /// It ended: by itself, or after it was asked to (`stopped`).
    Ended { ending: Ending, gone: bool, stopped: bool },
    /// It was never started; what is the node's fault is no failure of the task.
    NeverStarted { why: NotStarted },
    /// Nothing of it is left.
    Gone,
}

/// An attempt's side of the conversation with the node.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) attempt: AttemptId,
    pub(crate) token: Token,
    pub(crate) events: mpsc::Sender<Happened>,
}

impl Line {
    async fn tell(&self, what: What) {
        // Nobody listens any more when the agent stops.
        let _ = self.events.send(Happened { attempt: self.attempt, token: self.token, what }).await;
    }
}

/// Lives an attempt from its start, once the journal is durable up to `position`.
pub(crate) async fn live(
    line: Line,
    driver: Arc<dyn Driver>,
    start: Start,
    journal: Journal,
    position: u64,
    grace: Duration,
) {
    // A failed journal stops the agent: what it does not know of must not run.
    if !journal.durable(position).await {
        return;
    }
    let wish = start.wish.clone();
    if let Some(flaw) = start.assignment.flaw.clone() {
        let why = if *wish.borrow() == Wish::Run { NotStarted::Flawed(flaw) } else { NotStarted::Withdrawn };
        return line.tell(What::NeverStarted { why }).await;
    }
    match driver.start(start).await {
        Err(why) => line.tell(What::NeverStarted { why }).await,
        Ok(execution) => {
            line.tell(What::Running { process: execution.process() }).await;
            watch_over(&line, execution, wish, grace).await;
        }
    }
}

/// Lives what an earlier life of the agent began.
pub(crate) async fn go_on(line: Line, execution: Box<dyn Execution>, wish: watch::Receiver<Wish>, grace: Duration) {
    watch_over(&line, execution, wish, grace).await;
}

async fn watch_over(line: &Line, mut execution: Box<dyn Execution>, mut wish: watch::Receiver<Wish>, grace: Duration) {
    let mut done = Wish::Run;
    let mut stopped = false;
    let mut kill_at: Option<Instant> = None;
    let mut tend_at = Instant::now() + TEND_EVERY;
    let silent = fallen_silent(execution.pulse());
    tokio::pin!(silent);
    let mut is_silent = false;
    loop {
        let wanted = *wish.borrow_and_update();
        if wanted > done {
            match wanted {
                Wish::Run => {}
                Wish::Stop => {
                    // One that has ended already is told of by its end.
                    if execution.stop() {
                        stopped = true;
                        kill_at = Some(Instant::now() + grace);
                        line.tell(What::Stopping).await;
                    }
                }
                Wish::Kill => {
                    stopped |= execution.kill();
                    kill_at = None;
                }
            }
            done = wanted;
        }
        tokio::select! {
            biased;
            changed = wish.changed(), if done < Wish::Kill => {
                // Nobody can wish any more: the agent is going.
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep_until(kill_at.unwrap_or(tend_at)), if kill_at.is_some() => {
                execution.kill();
                kill_at = None;
            }
            event = execution.next() => match event {
                Event::Ended { ending, gone } => {
                    line.tell(What::Ended { ending, gone, stopped }).await;
                    if gone {
                        return;
                    }
                }
                Event::Gone => {
                    line.tell(What::Gone).await;
                    return;
                }
            },
            () = tokio::time::sleep_until(tend_at) => {
                execution.tend();
                tend_at = Instant::now() + TEND_EVERY;
            }
            lasts = &mut silent, if !is_silent => {
                is_silent = true;
                line.tell(What::Silent { lasts }).await;
            }
        }
    }
}

/// Waits for what an earlier life left and could not be killed at the start.
pub(crate) async fn outlast(line: Line, driver: Arc<dyn Driver>, leftover: Leftover) {
    while !driver.recover(vec![leftover.clone()]).await.is_empty() {
        tokio::time::sleep(RECOVER_EVERY).await;
    }
    line.tell(What::Gone).await;
}

#[cfg(test)]
mod tests;
