//! Callers that submit and annotate without a pause, and remember what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{BootInstant, Clock as _, SystemClock};
use tokio::task::JoinSet;

use crate::Error;
use crate::jobs::run_by_id;
use crate::load::value;
use crate::log::idle_job;

/// One request in so many is a submit; the others annotate the caller's last run.
const SUBMIT_EVERY: u64 = 32;

/// What callers saw.
#[derive(Default)]
pub(super) struct Seen {
    /// When requests succeeded.
    pub(super) ended: Vec<BootInstant>,
    /// How long those took, in microseconds.
    pub(super) latencies_us: Vec<u32>,
    /// Requests that were given up,
    pub(super) failed: usize,
    /// and why one of them was.
    pub(super) failure: Option<String>,
    /// Runs that were accepted.
    pub(super) runs: Vec<String>,
}

/// Callers at work.
pub(super) struct Callers {
    tasks: JoinSet<Seen>,
    stop: Arc<AtomicBool>,
}

impl Callers {
    /// One caller per client.
    pub(super) fn start(clients: impl Iterator<Item = Client>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(call(client, stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Lets each end its request, and returns what all of them saw.
    pub(super) async fn stop(mut self) -> Result<Seen, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(ended) = self.tasks.join_next().await {
            let one = ended.map_err(|error| Error::Outcome(format!("a caller ended early: {error}")))?;
            all.ended.extend(one.ended);
            all.latencies_us.extend(one.latencies_us);
            all.failed += one.failed;
            all.failure = all.failure.or(one.failure);
            all.runs.extend(one.runs);
        }
        Ok(all)
    }
}

async fn call(client: Client, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let begun = SystemClock.boot();
        let run = seen.runs.last().filter(|_| number % SUBMIT_EVERY != 0);
        let asked = match run {
            Some(run) => annotate(&client, run, number).await.map(|()| None),
            None => submit(&client).await.map(Some),
        };
        number += 1;
        match asked {
            Ok(run) => {
                let now = SystemClock.boot();
                seen.ended.push(now);
                seen.latencies_us.push(u32::try_from(now.since(begun).as_micros()).unwrap_or(u32::MAX));
                seen.runs.extend(run);
            }
            Err(error) => {
                seen.failed += 1;
                seen.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
    seen
}

async fn submit(client: &Client) -> Result<String, quorate_client::Error> {
    let request = v1::SubmitJobRequest { spec: Some(idle_job()), request_id: String::new() };
    client.submit_job(request).await.map(|answer| answer.run_id)
}

async fn annotate(client: &Client, run: &str, number: u64) -> Result<(), quorate_client::Error> {
    let request = v1::AnnotateRunRequest {
        run: run_by_id(run),
        key: "note".to_owned(),
        value: value(number),
        request_id: String::new(),
    };
    client.annotate_run(request).await.map(drop)
}
