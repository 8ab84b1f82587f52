//! Versions of jobs, as clients see them.

use quorate_client::{Client, Error};
use quorate_proto::{ApiError, v1};

use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit};

fn job() -> Option<v1::JobRef> {
    Some(v1::JobRef { namespace: "default".into(), name: "claims".into() })
}

async fn versions(client: &Client, page_size: u32) -> Vec<(u32, u32, u32)> {
    let mut found = vec![];
    let mut page_token = String::new();
    loop {
        let request = v1::ListJobVersionsRequest { job: job(), page_size, page_token };
        let page = client.list_job_versions(request).await.unwrap();
        found.extend(page.versions.iter().map(|version| (version.version, version.runs, version.task_count)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn versions_are_listed_compared_and_gone_back_to() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    for tasks in [&["one"][..], &["one", "two"], &["one", "two"]] {
        client.submit_job(submit(chain("claims", tasks), "")).await.unwrap();
    }
    assert_eq!(versions(&client, 1).await, [(2, 2, 2), (1, 1, 1)]);
    let diff = v1::DiffJobVersionsRequest { job: job(), from: 1, to: 2 };
    assert_eq!(client.diff_job_versions(diff).await.unwrap().changes, ["+ task.two"]);

    let revert = v1::RevertJobRequest { job: job(), version: 1, request_id: "back".into() };
    let reverted = client.revert_job(revert.clone()).await.unwrap();
    assert_eq!(reverted.version, 3);
    assert_eq!(client.revert_job(revert).await.unwrap(), reverted, "the same request is carried out once");
    assert_eq!(versions(&client, 9).await, [(3, 1, 1), (2, 2, 2), (1, 1, 1)]);
    let absent = v1::RevertJobRequest { job: job(), version: 7, request_id: String::new() };
    let absent = client.revert_job(absent).await.unwrap_err();
    assert!(matches!(&absent, Error::Api(ApiError::NotFound { kind, .. }) if kind == "version"), "{absent:?}");
}

#[tokio::test]
async fn a_submit_over_another_version_than_the_newest_is_refused() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let over = |tasks: &[&str], version| {
        let spec = submit(chain("claims", tasks), "").spec;
        v1::SubmitJobAtRequest { spec, version, request_id: String::new() }
    };
    assert_eq!(client.submit_job_at(over(&["one"], 0)).await.unwrap().version, 1);
    let refused = client.submit_job_at(over(&["one", "two"], 0)).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Api(ApiError::Stale(why)) if why.contains("has version 1, not 0")),
        "{refused:?}"
    );
    assert_eq!(client.submit_job_at(over(&["one", "two"], 1)).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_job_is_deleted_once_its_runs_have_ended_and_its_runs_stay() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let id = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let delete = || v1::DeleteJobRequest { job: job(), request_id: String::new() };
    let refused = client.delete_job(delete()).await.unwrap_err();
    assert!(matches!(&refused, Error::Api(ApiError::Precondition { what, .. }) if what == "JOB_IDLE"), "{refused:?}");
    client.cancel_run(v1::CancelRunRequest { run: run(&id), request_id: String::new() }).await.unwrap();
    eventually("the run to end", || async {
        let state = client.get_run(v1::GetRunRequest { run: run(&id) }).await.ok()?.run?.state();
        (state == v1::RunState::Cancelled).then_some(())
    })
    .await;
    client.delete_job(delete()).await.unwrap();
    let listed = client.list_jobs(v1::ListJobsRequest::default()).await.unwrap().jobs;
    assert_eq!(listed, []);
    let request = v1::ListJobVersionsRequest { job: job(), ..Default::default() };
    let history = client.list_job_versions(request).await.unwrap();
    assert_eq!((history.deleted, history.versions.len()), (true, 1));
    assert!(client.get_run(v1::GetRunRequest { run: run(&id) }).await.is_ok());
    let spec = submit(chain("claims", &["one", "two"]), "").spec;
    let planned = client.plan_job(v1::PlanJobRequest { spec, args: String::new() }).await.unwrap();
    assert_eq!((planned.current_version, planned.version), (0, 2), "versions go on counting");
}
