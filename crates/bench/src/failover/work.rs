//! Work that waits while the leader goes: short tasks, more of them than the node can run at once.

use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};

use crate::Error;
use crate::jobs::{Work, job, run_by_id};

/// Tasks of one round: with 50 ms each and four at once, work for 10 seconds of placing.
const TASKS: u32 = 800;
/// Seconds that a task takes.
const TASK_S: &str = "0.05";
/// So many have ended when the leader goes: placing is in full swing.
const ENDED_BEFORE: u32 = 8;
/// Longest wait for something of a run.
const RUN_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Submits the work, and returns when it goes on; its run comes back.
pub(super) async fn begin(client: &Client) -> Result<String, Error> {
    let request = v1::SubmitJobRequest { spec: Some(naps()), request_id: String::new() };
    let run = client.submit_job(request).await?.run_id;
    until("the first tasks' end", || async {
        let counts = get(client, &run).await?.counts.unwrap_or_default();
        Ok((counts.succeeded >= ENDED_BEFORE).then_some(()))
    })
    .await?;
    Ok(run)
}

/// When the first attempt was placed after this time of day (both in milliseconds since the epoch).
pub(super) async fn first_placement_after(client: &Client, run: &str, wall_ms: u64) -> Result<u64, Error> {
    until("a placement after the leader was gone", || async {
        let request =
            v1::ListAttemptsRequest { run: run_by_id(run), page_size: 1000, ..v1::ListAttemptsRequest::default() };
        let attempts = client.list_attempts(request).await?.attempts;
        Ok(attempts.iter().map(|attempt| attempt.placed_at_ms).filter(|placed| *placed > wall_ms).min())
    })
    .await
}

/// Ends what is left of the work.
pub(super) async fn end(client: &Client, run: &str) -> Result<(), Error> {
    client.cancel_run(v1::CancelRunRequest { run: run_by_id(run), request_id: String::new() }).await?;
    until("the end of the run", || async {
        Ok(match get(client, run).await?.state() {
            v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => None,
            v1::RunState::Succeeded | v1::RunState::Failed | v1::RunState::Cancelled => Some(()),
        })
    })
    .await
}

async fn until<T, F>(what: &str, look: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    let begun = SystemClock.boot();
    while SystemClock.boot().since(begun) < RUN_WAIT {
        if let Some(value) = look().await? {
            return Ok(value);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Error::NotInTime { what: what.to_owned(), waited: RUN_WAIT, detail: String::new() })
}

async fn get(client: &Client, run: &str) -> Result<v1::Run, Error> {
    Ok(client.get_run(v1::GetRunRequest { run: run_by_id(run) }).await?.run.unwrap_or_default())
}

fn naps() -> v1::JobSpec {
    job(Work {
        job: "naps".to_owned(),
        driver: v1::Driver::Process,
        argv: vec!["sleep".to_owned(), TASK_S.to_owned()],
        count: TASKS,
        resources: v1::Resources { cpu_milli: 1_000, memory_bytes: 1 << 20, gpu_milli: 0 },
    })
}
