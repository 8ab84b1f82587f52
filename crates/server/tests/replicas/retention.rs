//! How long runs are kept, and that a run in the archive can be asked for everything that it could be asked for before.

use quorate_client::{Client, Error};
use quorate_proto::v1::runs_client::RunsClient;
use quorate_proto::v1::watch_run_response::Item;
use quorate_proto::{ApiError, v1};

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit};
use crate::startup::{get, value};

/// Runs of the tests, in two versions of one job and one of another.
const RUNS: usize = 9;

async fn all_is_enabled(client: &Client) {
    eventually("all features are enabled", || async {
        let known = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.features;
        known.iter().all(|feature| feature.since_revision.is_some()).then_some(())
    })
    .await;
}

async fn retention(client: &Client) -> v1::GetRetentionResponse {
    client.get_retention(v1::GetRetentionRequest {}).await.unwrap()
}

fn job() -> Option<v1::JobRef> {
    Some(v1::JobRef { namespace: "default".into(), name: "claims".into() })
}

fn is_of(assignment: &v1::Assignment, run_id: &str) -> bool {
    assignment.attempt.as_ref().is_some_and(|attempt| attempt.run_id == run_id)
}

/// Submits the runs and takes them to their ends, except for the last one, which is cancelled; their ids.
async fn ended_runs(cluster: &Cluster, client: &Client) -> Vec<String> {
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let mut ids = vec![];
    for number in 0..RUNS {
        let (name, tasks, team) = match number {
            0..3 => ("claims", &["one"][..], "risk"),
            3..6 => ("claims", &["one", "two"][..], "sales"),
            _ => ("others", &["three"][..], "risk"),
        };
        let team = v1::Label { key: "team".into(), value: team.into() };
        let spec = v1::JobSpec { labels: vec![team], ..chain(name, tasks) };
        let id = client.submit_job(submit(spec, "")).await.unwrap().run_id;
        for task in tasks {
            let assignment = agent.find_assignment(|one| one.task == *task && is_of(one, &id)).await;
            if number + 1 == RUNS {
                client.cancel_run(v1::CancelRunRequest { run: run(&id), request_id: String::new() }).await.unwrap();
                let stop = agent.find_assignment(|one| is_of(one, &id) && one.stop).await;
                agent.report(crate::agent::ended(&stop)).await;
            } else {
                agent.finish(&assignment).await;
            }
        }
        ids.push(id);
    }
    let word =
        v1::AnnotateRunRequest { run: run(&ids[0]), key: "ticket".into(), value: "OPS-7".into(), ..Default::default() };
    client.annotate_run(word).await.unwrap();
    eventually("all runs end", || async { (retention(client).await.memory_runs == RUNS as u64).then_some(()) }).await;
    ids
}

/// Lets every run that has ended go to the archive, and waits until all of each is there.
async fn archived(client: &Client) {
    let request = v1::SetRetentionRequest { memory_runs_max: Some(0), segment_runs_max: Some(4), ..Default::default() };
    let limits = client.set_retention(request).await.unwrap().limits.unwrap();
    assert_eq!((limits.memory_runs_max, limits.segment_runs_max, limits.archive_runs_max), (0, 4, 1_000_000));
    eventually("all runs are in the archive", || async {
        let kept = retention(client).await;
        (kept.archive_runs == RUNS as u64 && kept.memory_runs == 0 && kept.memory_rows == 0).then_some(())
    })
    .await;
}

/// What a client is told of one run: itself and its steps, tasks, attempts and history.
type Told = (v1::GetRunResponse, Vec<v1::Task>, Vec<v1::Attempt>, Vec<v1::PastEvent>);

async fn told(client: &Client, id: &str) -> Told {
    let got = client.get_run(v1::GetRunRequest { run: run(id) }).await.unwrap();
    let (mut tasks, mut attempts, mut events) = (vec![], vec![], vec![]);
    let mut request = v1::ListTasksRequest { run: run(id), page_size: 1, ..Default::default() };
    loop {
        let page = client.list_tasks(request.clone()).await.unwrap();
        tasks.extend(page.tasks);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let mut request = v1::ListAttemptsRequest { run: run(id), page_size: 1, ..Default::default() };
    loop {
        let page = client.list_attempts(request.clone()).await.unwrap();
        attempts.extend(page.attempts);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let mut request = v1::ListRunEventsRequest { run: run(id), page_size: 3, ..Default::default() };
    loop {
        let page = client.list_run_events(request.clone()).await.unwrap();
        assert!(page.kept_from <= got.run.as_ref().unwrap().submitted_revision, "its whole history is kept");
        events.extend(page.events);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    // The revision is that of the answer.
    (v1::GetRunResponse { revision: 0, ..got }, tasks, attempts, events)
}

/// The runs of a list, by pages of `page_size`.
async fn listed(client: &Client, request: &v1::ListRunsRequest, page_size: u32) -> Vec<v1::Run> {
    let mut request = v1::ListRunsRequest { page_size, ..request.clone() };
    let mut runs = vec![];
    loop {
        let page = client.list_runs(request.clone()).await.unwrap();
        assert!(page.runs.len() <= page_size as usize);
        runs.extend(page.runs);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return runs;
        }
    }
}

/// What is asked of lists: everything, jobs, states, labels, and all of these.
fn lists() -> Vec<v1::ListRunsRequest> {
    let label = |value: &str| vec![v1::Label { key: "team".into(), value: value.into() }];
    let cancelled = v1::RunState::Cancelled.into();
    vec![
        v1::ListRunsRequest::default(),
        v1::ListRunsRequest { job: "claims".into(), ..Default::default() },
        v1::ListRunsRequest { states: vec![cancelled], ..Default::default() },
        v1::ListRunsRequest { states: vec![v1::RunState::Succeeded.into(), cancelled], ..Default::default() },
        v1::ListRunsRequest { labels: label("risk"), ..Default::default() },
        v1::ListRunsRequest {
            namespace: "default".into(),
            job: "claims".into(),
            labels: label("*"),
            ..Default::default()
        },
        v1::ListRunsRequest { job: "others".into(), labels: label("risk"), ..Default::default() },
        v1::ListRunsRequest { job: "absent".into(), ..Default::default() },
    ]
}

async fn versions(client: &Client) -> Vec<(u32, u32)> {
    let request = v1::ListJobVersionsRequest { job: job(), ..Default::default() };
    let found = client.list_job_versions(request).await.unwrap().versions;
    found.iter().map(|version| (version.version, version.runs)).collect()
}

/// Everything that clients are told.
async fn everything(client: &Client, ids: &[String]) -> (Vec<Told>, Vec<Vec<v1::Run>>, Vec<(u32, u32)>) {
    let mut of_runs = vec![];
    for id in ids {
        of_runs.push(told(client, id).await);
    }
    let mut of_lists = vec![];
    for request in lists() {
        let whole = listed(client, &request, 100).await;
        for page_size in [1, 2, 3] {
            assert_eq!(listed(client, &request, page_size).await, whole, "{page_size} at once of {request:?}");
        }
        of_lists.push(whole);
    }
    (of_runs, of_lists, versions(client).await)
}

fn is_refused<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(
        matches!(&answer, Err(Error::Api(ApiError::Precondition { what, .. })) if what == "RUN_ARCHIVED"),
        "{answer:?}"
    );
}

/// What is asked of archived runs beside what they are, and what is refused.
async fn is_over(cluster: &Cluster, client: &Client, ids: &[String]) {
    let id = &ids[4];
    let mut watches = RunsClient::connect(format!("http://{}", cluster.replicas[0].bound.api)).await.unwrap();
    let mut watch =
        watches.watch_run(v1::WatchRunRequest { run: run(id), after_revision: 0 }).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    let Some(Item::Snapshot(snapshot)) = first.item else { panic!("{first:?}") };
    assert_eq!(snapshot.run.unwrap().state(), v1::RunState::Succeeded);
    while let Some(rest) = watch.message().await.unwrap() {
        assert!(matches!(rest.item, Some(Item::Bookmark(_)) | None), "nothing happens to it: {rest:?}");
    }

    let cancel = v1::CancelRunRequest { run: run(id), request_id: String::new() };
    let cancelled = client.cancel_run(cancel).await.unwrap();
    assert_eq!((&cancelled.run_id, cancelled.ended_before), (id, true));
    let word = v1::AnnotateRunRequest { run: run(id), key: "a".into(), value: "b".into(), ..Default::default() };
    is_refused(client.annotate_run(word).await);
    is_refused(
        client
            .restart_run(v1::RestartRunRequest { run: run(id), from: vec!["one".into()], ..Default::default() })
            .await,
    );
    is_refused(client.pause_run(v1::PauseRunRequest { run: run(id), ..Default::default() }).await);

    let prefix = client.get_run(v1::GetRunRequest { run: run(&id[..12]) }).await.unwrap();
    assert_eq!(&prefix.run.unwrap().id, id);
    let absent = client.get_run(v1::GetRunRequest { run: run("0000000000000") }).await;
    assert!(matches!(absent, Err(Error::Api(ApiError::NotFound { .. }))), "{absent:?}");
    let diff = v1::DiffJobVersionsRequest { job: job(), from: 1, to: 2 };
    let changes = client.diff_job_versions(diff).await.unwrap().changes;
    assert!(changes.contains(&"+ task.two".to_owned()), "{changes:?}");
}

#[tokio::test]
async fn a_run_in_the_archive_answers_as_it_did_before_and_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client();
    all_is_enabled(&client).await;
    let ids = ended_runs(&cluster, &client).await;
    let before = everything(&client, &ids).await;
    let newest_first: Vec<&String> = ids.iter().rev().collect();
    assert_eq!(before.1[0].iter().map(|run| &run.id).collect::<Vec<_>>(), newest_first);
    assert_eq!(before.1.iter().map(Vec::len).collect::<Vec<_>>(), [9, 6, 1, 9, 6, 6, 3, 0]);
    assert_eq!(before.2, [(2, 3), (1, 3)]);

    archived(&client).await;
    assert_eq!(retention(&client).await.segments, 3, "of four runs each");
    assert_eq!(everything(&client, &ids).await, before);
    is_over(&cluster, &client, &ids).await;
    let metrics = get(cluster.replicas[0].bound.ops.as_ref().unwrap(), "/metrics").await;
    for (gauge, expected) in [
        ("quorate_runs_finished", 0.0),
        ("quorate_rows_in_memory", 0.0),
        ("quorate_runs_archived", 9.0),
        ("quorate_archive_segments", 3.0),
    ] {
        assert!((value(&metrics, gauge) - expected).abs() < 0.5, "{gauge} in {metrics}");
    }

    cluster.restart(0).await;
    let client = cluster.client();
    assert_eq!(everything(&client, &ids).await, before);
    is_over(&cluster, &client, &ids).await;

    // A version of which every run is archived is run again, and lists show what is in memory before the rest.
    let revert = v1::RevertJobRequest { job: job(), version: 1, request_id: String::new() };
    let again = client.revert_job(revert).await.unwrap();
    assert_eq!(again.version, 3);
    let listed = listed(&client, &v1::ListRunsRequest::default(), 2).await;
    let expected: Vec<&String> = std::iter::once(&again.run_id).chain(newest_first).collect();
    assert_eq!(listed.iter().map(|run| &run.id).collect::<Vec<_>>(), expected);
    assert_eq!(versions(&client).await, [(3, 1), (2, 3), (1, 3)]);
}

#[tokio::test]
async fn what_is_more_than_the_archive_may_hold_is_forgotten_by_segments() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    all_is_enabled(&client).await;
    let ids = ended_runs(&cluster, &client).await;
    archived(&client).await;
    let full = retention(&client).await;
    let first = client.get_run(v1::GetRunRequest { run: run(&ids[0]) }).await.unwrap().run.unwrap();
    assert_eq!(full.oldest_submitted_at_ms, Some(first.submitted_at_ms));
    assert!(full.forgotten_at_ms > first.ended_at_ms);

    let fewer = v1::SetRetentionRequest { archive_runs_max: Some(6), archive_ms_max: Some(0), ..Default::default() };
    let limits = client.set_retention(fewer).await.unwrap().limits.unwrap();
    assert_eq!((limits.archive_runs_max, limits.memory_runs_max), (6, 0), "what is not given stays");
    let left = eventually("the oldest segment is forgotten", || async {
        let kept = retention(&client).await;
        (kept.archive_runs == 5).then_some(kept)
    })
    .await;
    assert_eq!((left.segments, left.forgotten_at_ms), (2, None));
    for id in &ids[..4] {
        let gone = client.get_run(v1::GetRunRequest { run: run(id) }).await;
        assert!(matches!(gone, Err(Error::Api(ApiError::NotFound { .. }))), "{gone:?}");
    }
    let rest = listed(&client, &v1::ListRunsRequest::default(), 2).await;
    assert_eq!(rest.iter().map(|run| &run.id).collect::<Vec<_>>(), ids[4..].iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_limit_is_within_its_bounds_and_a_request_carried_out_once() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    all_is_enabled(&client).await;
    let wrong =
        v1::SetRetentionRequest { history_revisions_max: Some(1), segment_runs_max: Some(0), ..Default::default() };
    let Err(Error::Api(ApiError::Invalid(found))) = client.set_retention(wrong).await else { panic!("it is taken") };
    let fields: Vec<&str> = found.iter().map(|found| found.field.as_str()).collect();
    assert_eq!(fields, ["retention.history_revisions_max", "retention.segment_runs_max"]);

    let asked = |runs, request_id: &str| v1::SetRetentionRequest {
        memory_runs_max: Some(runs),
        request_id: request_id.into(),
        ..Default::default()
    };
    client.set_retention(asked(7, "one")).await.unwrap();
    client.set_retention(asked(8, "other")).await.unwrap();
    let again = client.set_retention(asked(7, "one")).await.unwrap();
    assert_eq!(again.limits.unwrap().memory_runs_max, 8, "the first one was carried out long ago");
    let reused = client.set_retention(asked(9, "one")).await;
    assert!(reused.is_err(), "another request under the same id: {reused:?}");
}

#[tokio::test]
async fn before_the_archive_is_enabled_the_refusal_names_it() {
    let cluster = Cluster::start_older().await;
    let client = cluster.client();
    let shown = client.get_retention(v1::GetRetentionRequest {}).await.unwrap_err();
    let change = v1::SetRetentionRequest { archive_runs_max: Some(1), ..Default::default() };
    let set = client.set_retention(change).await.unwrap_err();
    for refused in [shown, set] {
        assert!(
            matches!(&refused, Error::Api(ApiError::Precondition { what, why, .. }) if what == "FEATURE" && why.contains("run-archive")),
            "{refused:?}"
        );
    }
}
