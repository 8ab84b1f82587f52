//! Runs that are paused, resumed and put first, as clients see them.

use quorate_client::{Client, Error};
use quorate_proto::v1::wait_reason::Reason;
use quorate_proto::{ApiError, v1};

use crate::cluster::Cluster;
use crate::jobs::{chain, run, submit};

fn pause(id: &str, request_id: &str) -> v1::PauseRunRequest {
    v1::PauseRunRequest { run: run(id), reason: "the disk is full".into(), request_id: request_id.into() }
}

fn resume(id: &str) -> v1::ResumeRunRequest {
    v1::ResumeRunRequest { run: run(id), request_id: String::new() }
}

fn priority(id: &str, priority: u32) -> v1::SetRunPriorityRequest {
    v1::SetRunPriorityRequest { run: run(id), priority, request_id: String::new() }
}

async fn row(client: &Client, id: &str) -> v1::Run {
    client.get_run(v1::GetRunRequest { run: run(id) }).await.unwrap().run.unwrap()
}

#[tokio::test]
async fn a_pause_is_seen_at_the_run_and_its_tasks_until_it_is_resumed() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let id = client.submit_job(submit(chain("claims", &["one", "two"]), "")).await.unwrap().run_id;
    let paused = client.pause_run(pause(&id, "first")).await.unwrap();
    assert_eq!(paused, client.pause_run(pause(&id, "first")).await.unwrap(), "the same request is carried out once");
    let pause = row(&client, &id).await.paused.unwrap();
    assert_eq!((&*pause.by, &*pause.reason), ("anonymous-local", "the disk is full"));

    let why = v1::ExplainTaskRequest { run: run(&id), task: "one".into(), index: 0 };
    let reason = client.explain_task(why).await.unwrap().reason.unwrap();
    assert_eq!(reason.text, "its run is paused");
    assert_eq!(reason.reason, Some(Reason::Paused(pause)));

    let resumed = client.resume_run(resume(&id)).await.unwrap();
    assert!(resumed.revision > paused.revision);
    assert_eq!(row(&client, &id).await.paused, None);

    let events = v1::ListRunEventsRequest { run: run(&id), after_revision: 0, ..Default::default() };
    let events = client.list_run_events(events).await.unwrap().events;
    let told: Vec<(u64, v1::run_event::Event)> = events
        .into_iter()
        .filter_map(|past| Some((past.revision, past.event?.event?)))
        .filter(|(_, event)| !matches!(event, v1::run_event::Event::Run(_) | v1::run_event::Event::Task(_)))
        .collect();
    let by = || "anonymous-local".to_owned();
    let paused = (paused.revision, v1::run_event::Event::Paused(v1::RunPaused { by: by() }));
    assert_eq!(told, [paused, (resumed.revision, v1::run_event::Event::Resumed(v1::RunResumed { by: by() }))]);
}

#[tokio::test]
async fn a_priority_is_that_of_the_job_until_it_is_set() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let id = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let before = row(&client, &id).await.priority;
    client.set_run_priority(priority(&id, before + 1)).await.unwrap();
    assert_eq!(row(&client, &id).await.priority, before + 1);
    for above in [101, 1_000] {
        let refused = client.set_run_priority(priority(&id, above)).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Api(ApiError::Invalid(found)) if found[0].field == "priority"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn what_has_ended_or_does_not_exist_is_not_controlled() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let id = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    client.cancel_run(v1::CancelRunRequest { run: run(&id), request_id: String::new() }).await.unwrap();
    let refused = client.pause_run(pause(&id, "")).await.unwrap_err();
    assert!(matches!(&refused, Error::Api(ApiError::Precondition { what, .. }) if what == "RUN_OPEN"), "{refused:?}");
    let absent = client.resume_run(resume("0000000000000")).await.unwrap_err();
    assert!(matches!(absent, Error::Api(ApiError::NotFound { .. })), "{absent:?}");
}

#[tokio::test]
async fn what_fits_is_cancelled_page_by_page() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    for number in 0..120 {
        client.submit_job(submit(chain(&format!("claims-{}", number % 2), &["one"]), "")).await.unwrap();
    }
    let request = |page_token, dry_run| v1::CancelRunsRequest {
        namespace: "default".into(),
        states: vec![v1::RunState::Pending.into()],
        page_token,
        dry_run,
        ..Default::default()
    };
    let mut found = (0, 0);
    for dry_run in [true, false, false] {
        let mut page_token = String::new();
        loop {
            let page = client.cancel_runs(request(page_token, dry_run)).await.unwrap();
            assert!(page.run_ids.len() <= 100);
            found = (found.0 + page.run_ids.len(), found.1 + page.cancelled);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    assert_eq!(found, (240, 120), "a dry run cancels nothing, and nothing is cancelled twice");

    // The same request again, as of somebody who has not heard the answer, goes on with what is left.
    for number in 0..120 {
        client.submit_job(submit(chain(&format!("again-{number}"), &["one"]), "")).await.unwrap();
    }
    let mut cancelled = vec![];
    for _ in 0..3 {
        let again = v1::CancelRunsRequest { request_id: "same".into(), ..request(String::new(), false) };
        cancelled.push(client.cancel_runs(again).await.unwrap().cancelled);
    }
    assert_eq!(cancelled, [100, 20, 0]);
    let refused = client.cancel_runs(v1::CancelRunsRequest::default()).await.unwrap_err();
    assert!(matches!(refused, Error::Api(ApiError::Invalid(_))), "{refused:?}");
}
