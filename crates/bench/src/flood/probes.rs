//! What the flood must not hold up: tasks that follow each other, and cancels.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_proto::v1::watch_run_response::Item;
use quorate_seams::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use super::Half;
use crate::Error;
use crate::jobs::{Work, job, run_by_id};
use crate::tasks::Quantiles;

/// Between two cancels.
const CANCEL_EVERY: Duration = Duration::from_millis(50);
/// Links of the chain per second of a measurement: more than can end in it.
const LINKS_PER_S: u64 = 1_000;
/// Submits at once while the runs to be cancelled are made.
const SUBMITS_AT_ONCE: usize = 64;
/// Longest silence of the watch of the chain.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The probes, and runs for them to cancel.
pub(super) struct Probes {
    client: Client,
    waiting: Vec<String>,
}

impl Probes {
    /// Submits what will be cancelled in two halves of this length.
    pub(super) async fn prepare(client: Client, half: Duration) -> Result<Self, Error> {
        let count = 2 * cancels(half);
        let (mut submits, mut waiting) = (JoinSet::new(), Vec::with_capacity(count));
        let taken = |ended: Result<Result<String, quorate_client::Error>, tokio::task::JoinError>| {
            let ended = ended.map_err(|error| Error::Outcome(format!("a submit ended early: {error}")))?;
            Ok::<_, Error>(ended?)
        };
        for _ in 0..count {
            if submits.len() >= SUBMITS_AT_ONCE
                && let Some(ended) = submits.join_next().await
            {
                waiting.push(taken(ended)?);
            }
            let client = client.clone();
            submits.spawn(async move {
                let request = v1::SubmitJobRequest { spec: Some(nowhere("waiting")), request_id: String::new() };
                client.submit_job(request).await.map(|accepted| accepted.run_id)
            });
        }
        while let Some(ended) = submits.join_next().await {
            waiting.push(taken(ended)?);
        }
        Ok(Self { client, waiting })
    }

    /// Runs a chain of its own and cancels for this long.
    pub(super) async fn measure(&mut self, name: &str, time: Duration) -> Result<Half, Error> {
        let request = v1::SubmitJobRequest { spec: Some(chain(name, time)), request_id: String::new() };
        let run = self.client.submit_job(request).await?.run_id;
        let left = self.waiting.len().saturating_sub(cancels(time));
        let waiting = self.waiting.split_off(left);
        let (tasks, cancels) =
            tokio::try_join!(follow(&self.client, &run, time), cancel_all(&self.client, waiting, time))?;
        self.client.cancel_run(v1::CancelRunRequest { run: run_by_id(&run), request_id: String::new() }).await?;
        if tasks.is_empty() || cancels.is_empty() {
            return Err(Error::Outcome(format!("{} tasks and {} cancels ended in time", tasks.len(), cancels.len())));
        }
        Ok(Half {
            tasks: tasks.len(),
            cancels: cancels.len(),
            task: Quantiles::of(tasks),
            cancel: Quantiles::of(cancels),
        })
    }
}

/// As many as fit into that time.
fn cancels(time: Duration) -> usize {
    usize::try_from(time.as_millis() / CANCEL_EVERY.as_millis()).unwrap_or(usize::MAX)
}

/// Follows the chain; the times between the ends of its links come back, in microseconds.
async fn follow(client: &Client, run: &str, time: Duration) -> Result<Vec<u32>, Error> {
    let begun = SystemClock.boot();
    let mut watch = client.watch_run(v1::WatchRunRequest { run: run_by_id(run), after_revision: 0 });
    let (mut ends, mut last) = (Vec::new(), None);
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, watch.next()).await.map_err(|_| Error::NotInTime {
            what: "the next event of the chain".to_owned(),
            waited: SILENCE_MAX,
            detail: format!(": {} tasks had ended", ends.len()),
        })?;
        let item = next.ok_or_else(|| Error::Outcome("the chain ended before the measurement".to_owned()))??.item;
        let now = SystemClock.boot();
        if now.since(begun) >= time {
            return Ok(ends);
        }
        let Some(Item::Event(v1::RunEvent { event: Some(v1::run_event::Event::Task(task)), .. })) = item else {
            continue;
        };
        if task.state() == v1::TaskState::Succeeded
            && let Some(before) = last.replace(now)
        {
            ends.push(u32::try_from(now.since(before).as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// Cancels these runs one after the other; the latencies come back, in microseconds.
async fn cancel_all(client: &Client, waiting: Vec<String>, time: Duration) -> Result<Vec<u32>, Error> {
    let begun = SystemClock.boot();
    let mut ticks = tokio::time::interval(CANCEL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut latencies = Vec::new();
    for run in waiting {
        ticks.tick().await;
        let asked = SystemClock.boot();
        if asked.since(begun) >= time {
            break;
        }
        client.cancel_run(v1::CancelRunRequest { run: run_by_id(&run), request_id: String::new() }).await?;
        latencies.push(u32::try_from(SystemClock.boot().since(asked).as_micros()).unwrap_or(u32::MAX));
    }
    Ok(latencies)
}

/// A job of one task that fits nowhere: it asks for the most that a job may ask for.
pub(super) fn nowhere(name: &str) -> v1::JobSpec {
    let resources = v1::Resources { cpu_milli: 1_000_000_000, memory_bytes: 1 << 20, gpu_milli: 0 };
    job(Work { job: name.to_owned(), driver: v1::Driver::Noop, argv: Vec::new(), count: 1, resources })
}

/// A job of tasks that do nothing, one after the other, before all others.
fn chain(name: &str, time: Duration) -> v1::JobSpec {
    let resources = v1::Resources { cpu_milli: 10, memory_bytes: 1 << 20, gpu_milli: 0 };
    let work = Work { job: format!("chain-{name}"), driver: v1::Driver::Noop, argv: Vec::new(), count: 1, resources };
    let mut spec = job(work);
    let links = time.as_secs() * LINKS_PER_S;
    let link = spec.tasks.pop().unwrap_or_default();
    let needs = |number: u64| if number == 0 { Vec::new() } else { vec![format!("link-{}", number - 1)] };
    spec.tasks = (0..links)
        .map(|number| v1::TaskSpec { name: format!("link-{number}"), needs: needs(number), ..link.clone() })
        .collect();
    spec
}
