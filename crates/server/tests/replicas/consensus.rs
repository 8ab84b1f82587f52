//! What clients see of three replicas: the leader named, its death survived.

use quorate_client::Error;
use quorate_proto::v1::cluster_client::ClusterClient;
use quorate_proto::v1::jobs_client::JobsClient;
use quorate_proto::{ApiError, status, v1};

use crate::agent::{Agent, hello};
use crate::cluster::Cluster;
use crate::jobs::{chain, run, submit};

#[tokio::test]
async fn a_follower_names_the_leader_for_writes_and_for_what_only_a_leader_knows() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.replicas[cluster.leader().await].bound.api.clone();
    let follower = &cluster.replicas[cluster.follower().await].bound.api;
    let expected = ApiError::NotLeader { leader: Some(leader) };

    let mut jobs = JobsClient::connect(format!("http://{follower}")).await.unwrap();
    let refused = jobs.submit_job(submit(chain("a", &["a"]), "")).await.unwrap_err();
    assert_eq!(status::from_status(&refused), expected);
    let mut cluster = ClusterClient::connect(format!("http://{follower}")).await.unwrap();
    let refused = cluster.list_nodes(v1::ListNodesRequest::default()).await.unwrap_err();
    assert_eq!(status::from_status(&refused), expected);
}

#[tokio::test]
async fn a_request_id_gives_one_run_also_across_a_change_of_leader() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let first = client.submit_job(submit(chain("claims", &["a"]), "nightly")).await.unwrap();
    assert_eq!(client.submit_job(submit(chain("claims", &["a"]), "nightly")).await.unwrap(), first);

    let leader = cluster.leader().await;
    cluster.kill(leader);
    assert_eq!(client.submit_job(submit(chain("claims", &["a"]), "nightly")).await.unwrap(), first);
    let other = client.submit_job(submit(chain("claims", &["a", "b"]), "nightly")).await;
    assert!(matches!(other, Err(Error::Api(ApiError::Exists { .. }))), "{other:?}");
    let runs = client.list_runs(v1::ListRunsRequest::default()).await.unwrap().runs;
    assert_eq!(runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&first.run_id]);
}

#[tokio::test]
async fn a_lease_and_a_run_go_on_under_the_next_leader() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let leader = cluster.leader().await;
    let mut agent = Agent::connect(&cluster.replicas[leader].bound.agent, hello("n1", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one", "two"]), "")).await.unwrap();
    let one = agent.assignment().await;
    assert_eq!(agent.report(crate::agent::report(&one, v1::AttemptPhase::Running)).await, []);

    cluster.kill(leader);
    let next = cluster.leader().await;
    let claim = v1::AttemptClaim { want: 0, gpus: None, attempt: one.attempt.clone(), token: one.token };
    let back = v1::Hello { epoch: agent.epoch, incarnation: 1, attempts: vec![claim], ..hello("n1", 1) };
    let mut agent = Agent::connect(&cluster.replicas[next].bound.agent, back.clone()).await.unwrap();
    assert_eq!(agent.epoch, back.epoch, "a live lease needs no new registration");
    assert_eq!(agent.assignment().await.token, one.token, "the set names what was running");
    assert_eq!(agent.report(crate::agent::ended(&one)).await, []);
    let two = agent.assignment().await;
    assert_eq!(two.task, "two");
    agent.finish(&two).await;

    let got = client.get_run(v1::GetRunRequest { run: run(&submitted.run_id) }).await.unwrap().run.unwrap();
    let mut watch = client.watch_run(v1::WatchRunRequest { run: run(&got.id), after_revision: 0 });
    let mut last = got.state();
    while let Some(message) = watch.next().await {
        match message.unwrap().item {
            Some(v1::watch_run_response::Item::Snapshot(snapshot)) => last = snapshot.run.unwrap().state(),
            Some(v1::watch_run_response::Item::Event(v1::RunEvent {
                event: Some(v1::run_event::Event::Run(moved)),
                ..
            })) => last = moved.state(),
            _ => {}
        }
    }
    assert_eq!(last, v1::RunState::Succeeded);
    let attempts = v1::ListAttemptsRequest { run: run(&submitted.run_id), ..Default::default() };
    let attempts = client.list_attempts(attempts).await.unwrap().attempts;
    assert_eq!(attempts.len(), 2, "nothing ran twice: {attempts:?}");
}
