//! What an agent must never forget, over the journal seam: what it started, and how new the newest
//! word was that it acted on.
//!
//! Two rules make it safe to restart an agent at any instant. A start is durable *before* the
//! process exists, so that no process is ever unknown to the next life. The newest revision seen is
//! durable *before* an attempt is forgotten, so that no older desired set can start it again. All
//! other facts (the process's number, its outcome) only spare questions: losing one costs a search
//! or a repeated attempt, never a second copy, and nobody waits for them.
//!
//! Facts that arrive while an append is under way share the next one. Those that nobody waits for wait themselves, for a
//! while, for one that somebody does: each append is a sync of the disk.

mod image;
mod row;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_seams::{Clock, Entropy, Journal as Seam};
use quorate_state::Uuid;
use tokio::sync::{Notify, watch};

pub use image::{Attempt, Image};
pub use row::{Fact, Over};

use crate::blocking::blocking;
use crate::error::Error;
use crate::telemetry::Metrics;

/// Facts appended since the last compaction before the next one is due.
const FACTS_UNTIL_COMPACTION: usize = 50_000;

/// Facts that nobody waits for are durable after this at the latest, if the disk is up to it. What it delays is that
/// attempts are forgotten.
const COMPANY_WAIT: Duration = Duration::from_millis(20);

/// How far the journal is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to this position.
    Durable(u64),
    /// The disk failed; nothing more will be durable.
    Failed(String),
}

/// Where facts are handed in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: Arc<Queue>,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Something came that somebody waits for,
    awaited: Notify,
    /// or something else.
    arrived: Notify,
}

/// Bounded by the attempts an agent may hold: each has a start, a process, an end and a forgetting,
/// and is not forgotten before those are durable.
#[derive(Debug, Default)]
struct Waiting {
    facts: Vec<Fact>,
    position: u64,
}

/// Reads the journal, or begins one. The image is what the earlier lives of this agent left; the
/// future writes what is handed in, for as long as it is polled.
pub fn open(
    seam: Arc<dyn Seam>,
    entropy: &dyn Entropy,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    boot_id: &str,
) -> Result<(Journal, Image, impl Future<Output = ()> + Send + use<>), Error> {
    let failed = |error: std::io::Error| Error::Journal(error.to_string());
    let mut image = Image::default();
    for record in seam.load().map_err(failed)? {
        for fact in row::decode(&record)? {
            image.apply(fact);
        }
    }
    let left = image.clone();
    let mut begin = Vec::new();
    if image.journal == Uuid::default() {
        begin.push(Fact::Begun { journal: Uuid(entropy.u128()) });
    }
    begin.push(Fact::Booted { boot_id: boot_id.into() });
    seam.append(&row::encode(&begin)).map_err(failed)?;
    begin.into_iter().for_each(|fact| image.apply(fact));
    let left = Image { journal: image.journal, ..left };

    let queue = Arc::new(Queue::default());
    let (sender, progress) = watch::channel(Progress::Durable(0));
    let writer = Writer { seam, clock, metrics, image, facts_since: 0, queue: queue.clone() };
    Ok((Journal { queue, progress }, left, writer.run(sender)))
}

impl Journal {
    /// Hands facts in, in order; they are durable once [`Self::durable`] of the position returned is.
    pub fn push(&self, facts: impl IntoIterator<Item = Fact>) -> u64 {
        let position = self.hand_in(facts);
        self.queue.awaited.notify_one();
        position
    }

    /// The same for facts that need not be durable at once: they go with others, or a little later.
    pub fn note(&self, facts: impl IntoIterator<Item = Fact>) -> u64 {
        let position = self.hand_in(facts);
        self.queue.arrived.notify_one();
        position
    }

    fn hand_in(&self, facts: impl IntoIterator<Item = Fact>) -> u64 {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.facts.len();
        waiting.facts.extend(facts);
        waiting.position += (waiting.facts.len() - before) as u64;
        waiting.position
    }

    /// Waits until everything up to `position` is durable. False: it never will be.
    pub async fn durable(&self, position: u64) -> bool {
        let mut progress = self.progress.clone();
        let reached = |progress: &Progress| match progress {
            Progress::Durable(durable) => *durable >= position,
            Progress::Failed(_) => true,
        };
        match progress.wait_for(reached).await {
            Ok(progress) => matches!(*progress, Progress::Durable(_)),
            Err(_) => false,
        }
    }

    /// How far it is durable, for whoever follows.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

struct Writer {
    seam: Arc<dyn Seam>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    image: Image,
    facts_since: usize,
    queue: Arc<Queue>,
}

impl Writer {
    async fn run(mut self, progress: watch::Sender<Progress>) {
        loop {
            tokio::select! {
                biased;
                () = self.queue.awaited.notified() => {}
                () = self.queue.arrived.notified() => {
                    let _ = tokio::time::timeout(COMPANY_WAIT, self.queue.awaited.notified()).await;
                }
            }
            let (facts, position) = {
                let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                (std::mem::take(&mut waiting.facts), waiting.position)
            };
            if facts.is_empty() {
                continue;
            }
            let began = self.clock.boot();
            let outcome = blocking(|| self.write(facts));
            self.metrics.journal_seconds.observe(self.clock.boot().since(began).as_secs_f64());
            match outcome {
                Ok(()) => progress.send_replace(Progress::Durable(position)),
                Err(error) => {
                    progress.send_replace(Progress::Failed(error.to_string()));
                    return;
                }
            };
        }
    }

    fn write(&mut self, facts: Vec<Fact>) -> std::io::Result<()> {
        for record in row::records(&facts) {
            self.seam.append(&record)?;
        }
        self.facts_since += facts.len();
        facts.into_iter().for_each(|fact| self.image.apply(fact));
        // Rewriting costs as much as is alive: it is paid for by as many facts as that.
        let due = FACTS_UNTIL_COMPACTION.max(self.image.attempts.len() * 4);
        if self.facts_since >= due {
            self.seam.rewrite(&row::records(&self.image.facts()))?;
            self.facts_since = 0;
        }
        Ok(())
    }
}

/// How long the last facts may take to become durable when the agent stops.
pub(crate) const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
