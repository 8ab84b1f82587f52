//! Words left at runs, as clients see them.

use quorate_client::Error;
use quorate_proto::v1::runs_client::RunsClient;
use quorate_proto::v1::watch_run_response::Item;
use quorate_proto::{ApiError, status, v1};

use crate::cluster::Cluster;
use crate::jobs::{chain, run, submit};

fn annotate(id: &str, key: &str, value: &str, request_id: &str) -> v1::AnnotateRunRequest {
    v1::AnnotateRunRequest { run: run(id), key: key.into(), value: value.into(), request_id: request_id.into() }
}

async fn annotations(client: &quorate_client::Client, id: &str) -> Vec<(String, String)> {
    let got = client.get_run(v1::GetRunRequest { run: run(id) }).await.unwrap();
    got.annotations.into_iter().map(|annotation| (annotation.key, annotation.value)).collect()
}

#[tokio::test]
async fn what_is_left_at_a_run_is_read_from_it_and_told_to_its_watchers() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let id = &submitted.run_id;
    let done = client.annotate_run(annotate(id, "ticket", "OPS-7", "first")).await.unwrap();
    assert_eq!(done.run_id, *id);
    let repeated = client.annotate_run(annotate(id, "ticket", "OPS-7", "first")).await.unwrap();
    assert_eq!(repeated, done, "the same request is carried out once");
    client.annotate_run(annotate(&id[..4], "owner", "", "")).await.unwrap();
    assert_eq!(annotations(&client, id).await, [("owner".into(), String::new()), ("ticket".into(), "OPS-7".into())]);

    let mut watch = client.watch_run(v1::WatchRunRequest { run: run(id), after_revision: submitted.revision });
    let told = loop {
        let message = watch.next().await.unwrap().unwrap();
        if let Some(Item::Event(event)) = message.item {
            break (message.revision, event.event);
        }
    };
    let annotated = v1::run_event::Event::Annotated(v1::RunAnnotated { key: "ticket".into() });
    assert_eq!(told, (done.revision, Some(annotated)));
}

#[tokio::test]
async fn bad_annotations_and_absent_runs_are_refused() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let id = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let long = "x".repeat(4 * 1024 + 1);
    for (key, value, field) in [("no spaces", "", "key"), ("", "", "key"), ("long", &*long, "value")] {
        let refused = client.annotate_run(annotate(&id, key, value, "")).await.unwrap_err();
        let is_right = matches!(&refused, Error::Api(ApiError::Invalid(found)) if found[0].field == field);
        assert!(is_right, "{key:?}: {refused:?}");
    }
    let absent = client.annotate_run(annotate("0000000000000", "a", "b", "")).await.unwrap_err();
    assert!(matches!(absent, Error::Api(ApiError::NotFound { .. })), "{absent:?}");
    assert_eq!(annotations(&client, &id).await, []);
}

#[tokio::test]
async fn a_follower_that_knows_the_run_still_sends_the_writer_to_the_leader() {
    let cluster = Cluster::start(3).await;
    let id = cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let leader = cluster.replicas[cluster.leader().await].bound.api.clone();
    let follower = &cluster.replicas[cluster.follower().await].bound.api;
    let mut runs = RunsClient::connect(format!("http://{follower}")).await.unwrap();
    let refused = runs.annotate_run(annotate(&id, "a", "b", "")).await.unwrap_err();
    assert_eq!(status::from_status(&refused), ApiError::NotLeader { leader: Some(leader) });
}
