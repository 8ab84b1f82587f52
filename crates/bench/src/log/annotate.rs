//! Our operation: a word of 256 bytes at one of many runs.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_proto::v1::runs_client::RunsClient;
use quorate_seams::{Clock as _, Entropy as _, SystemClock, SystemEntropy};
use tokio::task::JoinSet;
use tonic::Request;
use tonic::transport::Channel;

use crate::Error;
use crate::jobs::{Work, job, run_by_id};
use crate::load::{CALL_DEADLINE, Target, object, value};

/// Submits at once while the runs are made.
const SUBMITS_AT_ONCE: usize = 256;
/// The runs end within this time.
const RUNS_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at how many have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Annotates runs over some connections.
pub(crate) struct Annotate {
    connections: Vec<RunsClient<Channel>>,
    runs: Vec<String>,
    nonce: u64,
    has_ids: bool,
}

impl Annotate {
    pub(crate) fn new(connections: Vec<Channel>, runs: Vec<String>) -> Self {
        let connections = connections.into_iter().map(RunsClient::new).collect();
        Self { connections, runs, nonce: SystemEntropy.u64(), has_ids: true }
    }

    /// The same without request ids: of these, the product remembers no more than `requests_max` an hour.
    pub(crate) fn without_ids(self) -> Self {
        Self { has_ids: false, ..self }
    }
}

impl Target for Annotate {
    async fn operate(&self, connection: usize, number: u64) -> Result<(), String> {
        let mut annotation = annotation(&self.runs, self.nonce, number);
        if !self.has_ids {
            annotation.request_id.clear();
        }
        let mut request = Request::new(annotation);
        request.set_timeout(CALL_DEADLINE);
        let answer = self.connections[connection].clone().annotate_run(request).await;
        answer.map(drop).map_err(|status| status.to_string())
    }
}

/// What operation `number` asks for. `nonce` makes request ids of this measurement differ from those of
/// any other.
pub(super) fn annotation(runs: &[String], nonce: u64, number: u64) -> v1::AnnotateRunRequest {
    v1::AnnotateRunRequest {
        run: run_by_id(&runs[object(number) % runs.len()]),
        key: "note".to_owned(),
        value: value(number),
        request_id: format!("{nonce:016x}{number:016x}"),
    }
}

/// Submits `count` jobs of one task that does nothing, and returns when all their runs have ended.
pub(crate) async fn make_runs(client: &Client, count: usize) -> Result<Vec<String>, Error> {
    let mut submits = JoinSet::new();
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        if submits.len() >= SUBMITS_AT_ONCE {
            runs.extend(next(&mut submits).await?);
        }
        let client = client.clone();
        submits.spawn(async move {
            let request = v1::SubmitJobRequest { spec: Some(idle_job()), request_id: String::new() };
            client.submit_job(request).await.map(|answer| answer.run_id)
        });
    }
    while let Some(run) = next(&mut submits).await? {
        runs.push(run);
    }
    let begun = SystemClock.boot();
    loop {
        let states = vec![v1::RunState::Pending.into(), v1::RunState::Running.into()];
        let request = v1::ListRunsRequest { states, page_size: 1, ..v1::ListRunsRequest::default() };
        if client.list_runs(request).await?.runs.is_empty() {
            return Ok(runs);
        }
        if SystemClock.boot().since(begun) > RUNS_WAIT {
            let what = format!("the end of {count} runs of nothing");
            return Err(Error::NotInTime { what, waited: RUNS_WAIT, detail: String::new() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn next(submits: &mut JoinSet<Result<String, quorate_client::Error>>) -> Result<Option<String>, Error> {
    let Some(ended) = submits.join_next().await else { return Ok(None) };
    let run = ended.map_err(|error| Error::Outcome(format!("a submit ended early: {error}")))?;
    Ok(Some(run?))
}

/// A job of one task that does nothing.
pub(crate) fn idle_job() -> v1::JobSpec {
    job(Work {
        job: "idle".to_owned(),
        driver: v1::Driver::Noop,
        argv: Vec::new(),
        count: 1,
        resources: v1::Resources { cpu_milli: 1, memory_bytes: 1 << 20, gpu_milli: 0 },
    })
}
