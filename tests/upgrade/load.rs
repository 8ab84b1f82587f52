//! Callers that submit and annotate while the cluster under them is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_bench::local::LocalCluster;
use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use quorate_tests::{Ledger, get_run, run_ref, spec};
use tokio::task::JoinSet;

/// Callers at once.
const CALLERS: usize = 6;
/// Annotations of each run.
const ANNOTATIONS: u64 = 8;
/// Pause of a caller between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// The runs end within this time.
const RUNS_WAIT: Duration = Duration::from_secs(120);
/// Between two looks at a run.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What callers saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: usize,
    /// What was given up, and why.
    pub(crate) failures: Vec<String>,
    /// Runs that were accepted.
    pub(crate) runs: Vec<String>,
}

/// Callers at work.
pub(crate) struct Load {
    callers: JoinSet<Seen>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts them; every second job runs a process that writes to `ledger`, the others do nothing.
    pub(crate) fn start(cluster: &LocalCluster, ledger: &Ledger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = ledger.task("0.3");
        let mut callers = JoinSet::new();
        for caller in 1..=CALLERS {
            callers.spawn(call(cluster.client(), caller, task.clone(), stop.clone()));
        }
        Self { callers, stop }
    }

    /// Lets each end its request, and returns what all of them saw.
    pub(crate) async fn stop(mut self) -> Result<Seen, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(ended) = self.callers.join_next().await {
            let one = ended.map_err(|error| format!("a caller ended early: {error}"))?;
            all.requests += one.requests;
            all.failures.extend(one.failures);
            all.runs.extend(one.runs);
        }
        Ok(all)
    }
}

async fn call(client: Client, caller: usize, task: String, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let asked = match seen.runs.last().filter(|_| number % (ANNOTATIONS + 1) != 0) {
            Some(run) => annotate(&client, run, number).await.map(|()| None),
            None => {
                let what = if seen.runs.len().is_multiple_of(2) {
                    format!("run = {task}")
                } else {
                    "driver = \"noop\"".to_owned()
                };
                submit(&client, &format!("name = \"job-{caller}-{number}\"\n[task.t]\n{what}\n")).await.map(Some)
            }
        };
        number += 1;
        seen.requests += 1;
        match asked {
            Ok(run) => seen.runs.extend(run),
            Err(error) => seen.failures.push(error.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

async fn submit(client: &Client, job: &str) -> Result<String, quorate_client::Error> {
    let request = v1::SubmitJobRequest { spec: Some(spec(job)), request_id: String::new() };
    client.submit_job(request).await.map(|answer| answer.run_id)
}

async fn annotate(client: &Client, run: &str, number: u64) -> Result<(), quorate_client::Error> {
    let key = format!("k{}", number % ANNOTATIONS);
    let request =
        v1::AnnotateRunRequest { run: run_ref(run), key, value: number.to_string(), request_id: String::new() };
    client.annotate_run(request).await.map(drop)
}

/// Waits until every run has succeeded.
pub(crate) async fn all_succeed(client: &Client, runs: &[String]) -> Result<(), String> {
    let begun = SystemClock.boot();
    for run in runs {
        loop {
            let known = get_run(client, run).await.map_err(|why| format!("run {run}: {why}"))?;
            match known.state() {
                v1::RunState::Succeeded => break,
                v1::RunState::Failed | v1::RunState::Cancelled => return Err(format!("run {run} ended as {known:?}")),
                v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => {}
            }
            if SystemClock.boot().since(begun) > RUNS_WAIT {
                return Err(format!("run {run} has not ended within {RUNS_WAIT:?}: {known:?}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// One more job, which succeeds.
pub(crate) async fn one_more(client: &Client) -> Result<(), String> {
    let run = submit(client, "name = \"one-more\"\n[task.t]\ndriver = \"noop\"\n").await;
    all_succeed(client, &[run.map_err(|error| error.to_string())?]).await
}
