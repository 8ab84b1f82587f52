//! After the faults: waits until all is at rest, and gathers what there is to judge.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::Client;
use quorate_proto::v1;
use quorate_seams::{Clock as _, SystemClock};
use quorate_tests::run_ref;
use tokio::task::JoinSet;

use crate::history::Watched;
use crate::judge::{End, FinalRun};
use crate::sessions::{api_addresses, client, follow};

/// Everything must be at rest by then.
const REST_WAIT: Duration = Duration::from_secs(240);
/// A replay of a run that has ended takes no longer.
const REPLAY_WAIT: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Requests at once while evidence is gathered.
const AT_ONCE: usize = 24;
/// Runs or attempts of one page.
const PAGE: u32 = 500;

/// A client with time to wait.
pub(crate) fn patient() -> Client {
    client(api_addresses(), Duration::from_secs(30))
}

/// Waits until no run goes on; what does by then is left for the judge.
pub(crate) async fn until_runs_end(client: &Client) -> Result<(), String> {
    let begun = SystemClock.boot();
    while SystemClock.boot().since(begun) < REST_WAIT {
        let states = vec![v1::RunState::Pending.into(), v1::RunState::Running.into()];
        let request = v1::ListRunsRequest { states, page_size: PAGE, ..v1::ListRunsRequest::default() };
        let going_on = client.list_runs(request).await.map_err(|error| error.to_string())?.runs;
        if going_on.is_empty() {
            return Ok(());
        }
        let held = |run: &&v1::Run| run.counts.is_some_and(|counts| counts.quarantined > 0);
        for run in going_on.iter().filter(held) {
            release(client, &run.id).await?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Lets the tasks of a run go on that were on too many nodes that were struck.
async fn release(client: &Client, run: &str) -> Result<(), String> {
    let mut page_token = String::new();
    loop {
        let (run, task) = (run_ref(run), String::new());
        let request = v1::ListTasksRequest { run: run.clone(), task, page_size: PAGE, page_token };
        let page = client.list_tasks(request).await.map_err(|error| error.to_string())?;
        for task in page.tasks.into_iter().filter(|task| task.reason == "QUARANTINE") {
            let (run, index, request_id) = (run.clone(), task.index, String::new());
            let request = v1::ReleaseTaskRequest { run, task: task.task, index, request_id };
            client.release_task(request).await.map_err(|error| error.to_string())?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
    }
}

/// Every run that the cluster knows, with its annotations and attempts.
pub(crate) async fn runs(client: &Client) -> Result<BTreeMap<String, FinalRun>, String> {
    let mut known = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListRunsRequest { page_size: PAGE, page_token, ..v1::ListRunsRequest::default() };
        let page = client.list_runs(request).await.map_err(|error| error.to_string())?;
        known.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut tasks = JoinSet::new();
    let mut runs = BTreeMap::new();
    for run in known {
        if tasks.len() >= AT_ONCE {
            runs.extend(next(&mut tasks).await?);
        }
        let client = client.clone();
        tasks.spawn(async move { one_run(&client, run).await });
    }
    while !tasks.is_empty() {
        runs.extend(next(&mut tasks).await?);
    }
    Ok(runs)
}

async fn next<T: 'static>(tasks: &mut JoinSet<Result<T, String>>) -> Result<Option<T>, String> {
    tasks.join_next().await.map(|ended| ended.map_err(|error| error.to_string())?).transpose()
}

async fn one_run(client: &Client, run: v1::Run) -> Result<(String, FinalRun), String> {
    let told = |error: quorate_client::Error| format!("run {}: {error}", run.id);
    let answer = client.get_run(v1::GetRunRequest { run: run_ref(&run.id) }).await.map_err(told)?;
    let request =
        v1::ListAttemptsRequest { run: run_ref(&run.id), page_size: PAGE, ..v1::ListAttemptsRequest::default() };
    let attempts = client.list_attempts(request).await.map_err(told)?.attempts;
    let has_ended = match run.state() {
        v1::RunState::Succeeded | v1::RunState::Failed | v1::RunState::Cancelled => true,
        v1::RunState::Unspecified | v1::RunState::Pending | v1::RunState::Running => false,
    };
    let attempt = |one: v1::Attempt| {
        let end = match one.state() {
            v1::AttemptState::Succeeded => End::Succeeded,
            v1::AttemptState::Lost => End::Lost,
            _ => End::Other,
        };
        (one.index, one.number, one.token, end)
    };
    let known = FinalRun {
        job: run.job.clone(),
        has_ended,
        annotations: answer.annotations.into_iter().map(|one| (one.key, one.value)).collect(),
        attempts: attempts.into_iter().map(attempt).collect(),
    };
    Ok((run.id, known))
}

/// What a watch from where each of these began delivers now.
pub(crate) async fn replays(client: &Client, watched: &[Watched]) -> Result<Vec<Watched>, String> {
    let mut tasks = JoinSet::new();
    let mut replays = BTreeMap::new();
    for (position, one) in watched.iter().enumerate() {
        let nothing = Watched { who: String::new(), run: one.run.clone(), from: one.from, events: Vec::new() };
        // Nothing is the beginning of anything, and behind the end of a run there is nothing to wait for.
        if one.events.is_empty() {
            replays.insert(position, nothing);
            continue;
        }
        if tasks.len() >= AT_ONCE {
            replays.extend(next(&mut tasks).await?);
        }
        let (client, run, from) = (client.clone(), one.run.clone(), one.from);
        tasks.spawn(async move {
            let replay = tokio::time::timeout(REPLAY_WAIT, follow(&client, &run, from, |_| ())).await;
            Ok((position, replay.ok().and_then(|(mut parts, _)| parts.pop()).unwrap_or(nothing)))
        });
    }
    while !tasks.is_empty() {
        replays.extend(next(&mut tasks).await?);
    }
    Ok(replays.into_values().collect())
}
