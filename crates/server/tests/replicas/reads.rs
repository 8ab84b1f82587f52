//! What a read shows: the present on any replica, or what one replica has to those who ask for that.

use quorate_proto::staleness::{Staleness, Tolerance};
use quorate_proto::v1::jobs_client::JobsClient;
use quorate_proto::v1::runs_client::RunsClient;
use quorate_proto::v1::watch_run_response::Item;
use quorate_proto::{ApiError, status, v1};
use tonic::{Request, Response, Status};

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit};

async fn runs_at(address: &str, tolerance: Option<Tolerance>) -> Result<Response<v1::ListRunsResponse>, Status> {
    let mut runs = RunsClient::connect(format!("http://{address}")).await.unwrap();
    let mut request = Request::new(v1::ListRunsRequest::default());
    if let Some(tolerance) = tolerance {
        tolerance.write(request.metadata_mut());
    }
    runs.list_runs(request).await
}

#[tokio::test]
async fn a_follower_shows_what_was_accepted_before_it_was_asked() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let follower = &cluster.replicas[cluster.follower().await].bound.api;
    for count in 1..=10 {
        let accepted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
        let answer = runs_at(follower, None).await.unwrap();
        assert_eq!(Staleness::of(answer.metadata()), None, "a plain read is not stale");
        let answer = answer.into_inner();
        assert!(answer.revision >= accepted.revision);
        assert_eq!(answer.runs.len(), count);
        assert_eq!(answer.runs[0].id, accepted.run_id);
    }
}

#[tokio::test]
async fn what_is_left_of_a_cluster_answers_stale_reads_and_only_these() {
    let mut cluster = Cluster::start(3).await;
    let accepted = cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let survivor = cluster.follower().await;
    let api = cluster.replicas[survivor].bound.api.clone();
    runs_at(&api, None).await.unwrap();
    (0..3).filter(|at| *at != survivor).for_each(|at| cluster.kill(at));

    let refused = runs_at(&api, None).await.unwrap_err();
    let refused = status::from_status(&refused);
    assert!(matches!(refused, ApiError::NotLeader { .. } | ApiError::Unavailable(_)), "{refused:?}");
    let refused = status::from_status(&runs_at(&api, Some(Tolerance::AtMostMs(0))).await.unwrap_err());
    assert!(matches!(refused, ApiError::Unavailable(_)), "{refused:?}");

    let answer = runs_at(&api, Some(Tolerance::Any)).await.unwrap();
    let staleness = Staleness::of(answer.metadata()).expect("it says that it is stale");
    assert!(staleness.age_ms.is_some_and(|age| age > 0), "{staleness:?}");
    let answer = answer.into_inner();
    assert_eq!(answer.revision, staleness.revision.0);
    assert_eq!(answer.runs[0].id, accepted.run_id);

    // The age grows while nobody is there to ask.
    eventually("it gets older", || async {
        let answer = runs_at(&api, Some(Tolerance::Any)).await.ok()?;
        let later = Staleness::of(answer.metadata())?;
        (later.age_ms > staleness.age_ms && later.revision >= staleness.revision).then_some(())
    })
    .await;
    let client = cluster.client_of(survivor).stale(None);
    let listed = client.list_jobs(v1::ListJobsRequest::default()).await.unwrap();
    assert_eq!(listed.jobs.len(), 1);
    assert!(client.staleness().is_some_and(|told| told.age_ms >= staleness.age_ms));
    let why = v1::ExplainTaskRequest { run: run(&accepted.run_id), task: "one".into(), index: 0 };
    assert!(client.explain_task(why).await.unwrap().reason.is_some());
}

#[tokio::test]
async fn a_tolerance_that_nobody_understands_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut jobs = JobsClient::connect(format!("http://{}", cluster.replicas[0].bound.api)).await.unwrap();
    let mut request = Request::new(v1::ListJobsRequest::default());
    request.metadata_mut().insert("quorate-stale", "5s".parse().unwrap());
    let refused = status::from_status(&jobs.list_jobs(request).await.unwrap_err());
    assert!(matches!(refused, ApiError::Invalid(_)), "{refused:?}");
}

#[tokio::test]
async fn a_watch_at_a_follower_tells_all_and_goes_on_under_the_next_leader() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let request = v1::WatchRunRequest { run: run(&submitted.run_id), after_revision: 0 };
    let mut watching = cluster.client_of(follower).watch_run(request);
    assert!(matches!(watching.next().await.unwrap().unwrap().item, Some(Item::Snapshot(_))));

    cluster.kill(leader);
    let next = cluster.leader().await;
    let mut agent = Agent::connect(&cluster.replicas[next].bound.agent, hello("n1", 1)).await.unwrap();
    let assignment = agent.assignment().await;
    agent.finish(&assignment).await;
    let mut last = None;
    while let Some(message) = watching.next().await {
        let item = message.unwrap().item;
        if let Some(Item::Event(v1::RunEvent { event: Some(v1::run_event::Event::Run(moved)), .. })) = item {
            last = Some(moved.state());
        }
    }
    assert_eq!(last, Some(v1::RunState::Succeeded));
}

#[tokio::test]
async fn a_learner_answers_reads_and_watches_like_any_other() {
    let mut cluster = Cluster::start(1).await;
    let learner = cluster.add_learner().await;
    let api = cluster.replicas[learner].bound.api.clone();
    eventually("the learner has heard of the leader", || async { runs_at(&api, None).await.ok() }).await;
    let accepted = cluster.client_of(0).submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let answer = runs_at(&api, None).await.unwrap().into_inner();
    assert_eq!(answer.runs.iter().map(|run| &run.id).collect::<Vec<_>>(), [&accepted.run_id]);

    let stale = runs_at(&api, Some(Tolerance::AtMostMs(60_000))).await.unwrap();
    assert!(Staleness::of(stale.metadata()).is_some_and(|told| told.age_ms.is_some()), "{stale:?}");
    let mut runs = RunsClient::connect(format!("http://{api}")).await.unwrap();
    let request = v1::WatchRunRequest { run: run(&accepted.run_id), after_revision: 0 };
    let mut watching = runs.watch_run(request).await.unwrap().into_inner();
    assert!(matches!(watching.message().await.unwrap().unwrap().item, Some(Item::Snapshot(_))));
    while !matches!(watching.message().await.unwrap().unwrap().item, Some(Item::Bookmark(_))) {}
}
