//! Many changes over one stream.

use std::collections::BTreeMap;

use quorate_proto::v1::batches_client::BatchesClient;
use quorate_proto::v1::write_request::Change;
use quorate_proto::v1::write_response::Outcome;
use quorate_proto::{ApiError, status, v1};
use tonic::{Code, Status};

use crate::cluster::Cluster;
use crate::jobs::{chain, run, submit};

fn annotate(sequence: u64, id: &str, value: &str) -> v1::WriteRequest {
    let change = v1::AnnotateRunRequest {
        run: run(id),
        key: format!("key-{sequence}"),
        value: value.into(),
        request_id: format!("request-{sequence}"),
    };
    v1::WriteRequest { sequence, change: Some(Change::AnnotateRun(change)) }
}

async fn write(address: &str, requests: Vec<v1::WriteRequest>) -> BTreeMap<u64, Outcome> {
    let mut client = BatchesClient::connect(format!("http://{address}")).await.unwrap();
    let mut answers = client.write(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut outcomes = BTreeMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(outcomes.insert(answer.sequence, answer.outcome.unwrap()).is_none(), "answered twice");
    }
    outcomes
}

fn refusal(outcome: &Outcome) -> ApiError {
    let Outcome::Failure(failure) = outcome else { panic!("{outcome:?}") };
    let details = failure.details.clone();
    status::from_status(&Status::with_details(Code::from_i32(failure.code), failure.message.clone(), details))
}

#[tokio::test]
async fn each_change_is_answered_for_itself_and_the_stream_ends_with_the_last() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let id = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let address = &cluster.replicas[0].bound.api;
    let mut requests: Vec<_> = (0..20).map(|sequence| annotate(sequence, &id, "done")).collect();
    requests.push(annotate(20, "0000000000000", "nobody"));
    requests.push(v1::WriteRequest { sequence: 21, change: None });
    let job = submit(chain("more", &["one"]), "a submit");
    requests.push(v1::WriteRequest { sequence: 22, change: Some(Change::SubmitJob(job)) });
    let cancel = v1::CancelRunRequest { run: run(&id), request_id: String::new() };
    requests.push(v1::WriteRequest { sequence: 23, change: Some(Change::CancelRun(cancel)) });
    let outcomes = write(address, requests.clone()).await;
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), (0..24).collect::<Vec<_>>());
    assert!((0..20).all(|sequence| matches!(&outcomes[&sequence], Outcome::AnnotateRun(_))), "{outcomes:?}");
    assert!(matches!(refusal(&outcomes[&20]), ApiError::NotFound { .. }));
    assert!(matches!(refusal(&outcomes[&21]), ApiError::Invalid(_)), "{:?}", outcomes[&21]);
    assert!(matches!(&outcomes[&22], Outcome::SubmitJob(answer) if !answer.run_id.is_empty()));
    assert!(matches!(&outcomes[&23], Outcome::CancelRun(answer) if answer.run_id == id));
    let got = client.get_run(v1::GetRunRequest { run: run(&id) }).await.unwrap();
    assert_eq!(got.annotations.len(), 20);

    // The same requests again, as after a broken stream: nothing happens twice.
    requests.truncate(20);
    let again = write(address, requests).await;
    assert!(again.iter().all(|(sequence, outcome)| outcomes[sequence] == *outcome), "{again:?}");
}

#[tokio::test]
async fn a_follower_answers_each_change_with_the_leader_to_ask() {
    let cluster = Cluster::start(3).await;
    let id = cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let leader = cluster.replicas[cluster.leader().await].bound.api.clone();
    let follower = &cluster.replicas[cluster.follower().await].bound.api;
    let outcomes = write(follower, vec![annotate(7, &id, "x")]).await;
    assert_eq!(refusal(&outcomes[&7]), ApiError::NotLeader { leader: Some(leader) });
}
