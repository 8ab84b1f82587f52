//! Follows a run to its end by looking at it: a watch of so many tasks would be a load of its own.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::longest::Seen;
use super::{End, Note, Progress};
use crate::Error;
use crate::cost::{metric_on, metrics_page};
use crate::latency::Latencies;

/// Between two looks at the run, which is how exactly its end is seen.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two looks at what the leader measures.
const METER_EVERY: Duration = Duration::from_millis(250);
/// Between two notes on how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// Tries of the last look at what the leader measures, without which there are no figures.
const LAST_TRIES_MAX: u32 = 5;

/// What was seen of a run.
pub(super) struct Followed {
    pub(super) end: End,
    pub(super) counts: v1::TaskCounts,
    /// From before the submit until it was seen to have ended.
    pub(super) elapsed: Duration,
    /// How long the looks at it took.
    pub(super) looks: Latencies,
}

/// A run, and how long it is followed.
pub(super) struct Run<'a> {
    pub(super) client: &'a Client,
    /// Of which it is the newest.
    pub(super) job: &'a str,
    pub(super) tasks: u32,
    /// When it was submitted.
    pub(super) begun: BootInstant,
    pub(super) until: Instant,
}

/// Looks at a run until it has ended, or there is no more time; `alive` fails when a process is gone.
pub(super) async fn follow(
    run: Run<'_>,
    progress: &watch::Sender<Progress>,
    alive: &mut (dyn FnMut() -> Result<(), Error> + Send),
    note: Note<'_>,
) -> Result<Followed, Error> {
    let Run { client, job, tasks, begun, until } = run;
    let mut followed = Followed {
        end: End::Unfinished,
        counts: v1::TaskCounts::default(),
        elapsed: Duration::ZERO,
        looks: Latencies::default(),
    };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut noted = Instant::now();
    while followed.end == End::Unfinished && Instant::now() < until {
        looks.tick().await;
        alive()?;
        let asked = SystemClock.boot();
        match tokio::time::timeout_at(until, look(client, job)).await {
            Ok(Ok(run)) => {
                followed.end = End::of(run.state());
                followed.counts = run.counts.unwrap_or_default();
                followed.looks.record(SystemClock.boot().since(asked));
            }
            // A leader may be gone and another one not there yet; the deadline is the bound.
            Ok(Err(error)) => note(&format!("the run cannot be looked at: {error}")),
            Err(_) => break,
        }
        progress.send_replace(Progress { succeeded: followed.counts.succeeded, is_over: false });
        if noted.elapsed() >= NOTE_EVERY {
            noted = Instant::now();
            note(&format!("{} of {tasks} tasks have succeeded", followed.counts.succeeded));
        }
    }
    followed.elapsed = SystemClock.boot().since(begun);
    Ok(followed)
}

/// The newest run of the job, without its steps.
async fn look(client: &Client, job: &str) -> Result<v1::Run, Error> {
    let request = v1::ListRunsRequest {
        namespace: "default".to_owned(),
        job: job.to_owned(),
        page_size: 1,
        ..v1::ListRunsRequest::default()
    };
    let mut runs = client.list_runs(request).await?.runs;
    runs.pop().ok_or_else(|| Error::Outcome("the run that was accepted is not known".to_owned()))
}

/// What a replica measures of itself, from one instant to another.
pub(crate) struct Meter {
    address: String,
    pub(crate) steps: Seen,
    pub(crate) applies: Seen,
    first: Sums,
    last: Sums,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    log_bytes: f64,
    entries: f64,
}

impl Meter {
    /// From now on.
    pub(crate) async fn begin(address: &str) -> Result<Self, Error> {
        let mut meter = Self {
            address: address.to_owned(),
            steps: Seen::new("quorate_controller_step_seconds"),
            applies: Seen::new("quorate_apply_seconds"),
            first: Sums::default(),
            last: Sums::default(),
        };
        meter.look().await?;
        meter.first = meter.last;
        Ok(meter)
    }

    /// Looks again and again until what is measured is `over`, and once more.
    pub(crate) async fn until(&mut self, over: impl Future<Output = ()>) -> Result<(), Error> {
        let mut over = std::pin::pin!(over);
        loop {
            // A leader that is too busy to say what it measures says it the next time.
            let _ = self.look().await;
            if tokio::time::timeout(METER_EVERY, &mut over).await.is_ok() {
                break;
            }
        }
        let mut tries = 1;
        loop {
            match self.look().await {
                Err(_) if tries < LAST_TRIES_MAX => tries += 1,
                looked => return looked,
            }
        }
    }

    /// Bytes appended to the log, and entries of it that were applied.
    pub(crate) fn log(&self) -> (f64, f64) {
        (self.last.log_bytes - self.first.log_bytes, self.last.entries - self.first.entries)
    }

    async fn look(&mut self) -> Result<(), Error> {
        let address = &self.address;
        let page = metrics_page(address, "quorate_controller_step_seconds").await?;
        self.last = Sums {
            log_bytes: metric_on(&page, address, "quorate_log_append_bytes_sum")?,
            entries: metric_on(&page, address, "quorate_applied_revision")?,
        };
        self.steps.look(&page);
        self.applies.look(&page);
        Ok(())
    }
}
