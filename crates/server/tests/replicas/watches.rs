//! What a watch tells: everything, in order, once.

use quorate_proto::v1;
use quorate_proto::v1::runs_client::RunsClient;
use quorate_proto::v1::watch_run_response::Item;
use quorate_proto::{ApiError, status};
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, PATIENCE, short_history};
use crate::jobs::{chain, run, submit};

async fn watch(address: &str, id: &str, after_revision: u64) -> Result<Streaming<v1::WatchRunResponse>, tonic::Status> {
    let mut runs = RunsClient::connect(format!("http://{address}")).await.unwrap();
    let request = v1::WatchRunRequest { run: run(id), after_revision };
    Ok(runs.watch_run(request).await?.into_inner())
}

/// What a message says, for comparison; bookmarks say nothing.
fn words(message: &v1::WatchRunResponse) -> Option<String> {
    match message.item.as_ref()? {
        Item::Snapshot(snapshot) => Some(format!("snapshot {:?}", snapshot.run.as_ref()?.state())),
        Item::Bookmark(_) => None,
        Item::Event(event) => match event.event.as_ref()? {
            v1::run_event::Event::Run(moved) => Some(format!("run {:?}", moved.state())),
            v1::run_event::Event::Task(task) => Some(format!("task {} {:?}", task.task, task.state())),
            v1::run_event::Event::Attempt(attempt) => Some(format!("attempt {:?}", attempt.state())),
            v1::run_event::Event::Annotated(annotated) => Some(format!("annotated {}", annotated.key)),
            v1::run_event::Event::Paused(_) => Some("paused".into()),
            v1::run_event::Event::Resumed(_) => Some("resumed".into()),
            v1::run_event::Event::PrioritySet(set) => Some(format!("priority {}", set.priority)),
            v1::run_event::Event::Abandoned(_) => Some("given up".into()),
            v1::run_event::Event::Decided(decided) => Some(format!("{} {:?}", decided.task, decided.decided())),
            v1::run_event::Event::Preempted(one) => Some(format!("{} preempted", one.task)),
            v1::run_event::Event::Rebalanced(one) => Some(format!("{} rebalanced", one.task)),
            v1::run_event::Event::Rest(rest) => Some(format!("{} rest {:?}", rest.task, rest.state())),
        },
    }
}

#[tokio::test]
async fn a_watch_tells_a_run_from_its_first_state_to_its_end_and_resumes_anywhere() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let bound = &cluster.replicas[0].bound;
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let mut stream = watch(&bound.api, &submitted.run_id, 0).await.unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(words(&first).unwrap(), "snapshot Pending");

    let mut agent = Agent::connect(&bound.agent, hello("n1", 1)).await.unwrap();
    let assignment = agent.assignment().await;
    agent.finish(&assignment).await;
    let mut told = vec![first];
    while let Some(message) = stream.message().await.unwrap() {
        told.push(message);
    }
    let said: Vec<_> = told.iter().filter_map(words).collect();
    let ends = ["task one Running", "task one Succeeded", "run Succeeded"];
    assert_eq!(said.iter().filter(|word| ends.contains(&&***word)).collect::<Vec<_>>(), ends);
    assert!(told.is_sorted_by_key(|message| message.revision), "{told:?}");

    // From each revision on, the rest is the same.
    for at in 0..told.len() {
        let after = told[at].revision;
        let mut rest = watch(&bound.api, &submitted.run_id, after).await.unwrap();
        let mut again = Vec::new();
        while let Some(message) = rest.message().await.unwrap() {
            again.push(message);
        }
        let expected: Vec<_> = told.iter().filter(|message| message.revision > after).filter_map(words).collect();
        let expected = if expected.is_empty() { vec!["snapshot Succeeded".into()] } else { expected };
        assert_eq!(again.iter().filter_map(words).collect::<Vec<_>>(), expected, "after {after}");
    }
}

#[tokio::test]
async fn a_watch_from_the_future_or_the_forgotten_past_is_refused() {
    let cluster = Cluster::start_with(1, short_history(5)).await;
    let client = cluster.client();
    let api = &cluster.replicas[0].bound.api;
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let refused = watch(api, &submitted.run_id, 1 << 40).await.unwrap_err();
    assert!(matches!(status::from_status(&refused), ApiError::Invalid(_)), "{refused:?}");

    crate::cluster::eventually("the past is forgotten", || async {
        client.submit_job(submit(chain("other", &["one"]), "")).await.unwrap();
        let refused = watch(api, &submitted.run_id, 1).await.err()?;
        matches!(status::from_status(&refused), ApiError::Compacted { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_ends_the_streams_that_wait() {
    let mut cluster = Cluster::start(3).await;
    let submitted = cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let leader = cluster.leader().await;
    let api = cluster.replicas[leader].bound.api.clone();
    let mut watching = watch(&api, &submitted.run_id, 0).await.unwrap();
    let mut runs = RunsClient::connect(format!("http://{api}")).await.unwrap();
    let request = v1::ReadLogsRequest {
        run: run(&submitted.run_id),
        task: "one".into(),
        stream: v1::LogStream::Stdout.into(),
        follow: true,
        ..Default::default()
    };
    let mut reading = runs.read_logs(request).await.unwrap().into_inner();
    while !matches!(watching.message().await.unwrap().unwrap().item, Some(Item::Bookmark(_))) {}

    (0..3).filter(|at| *at != leader).for_each(|at| cluster.kill(at));
    let ends = async {
        let watched = loop {
            if let Err(status) = watching.message().await {
                break status;
            }
        };
        (watched.code(), reading.message().await.expect_err("nothing was ever placed").code())
    };
    let ends = tokio::time::timeout(PATIENCE, ends).await.expect("both streams end");
    assert_eq!(ends, (Code::Unavailable, Code::Unavailable));
}

#[tokio::test]
async fn a_watch_that_falls_behind_is_cut_off_with_a_reason_and_resumed_without_a_gap() {
    // More than the replica keeps for one watch, with what lies on the way to a connection that takes little.
    const WORDS: usize = 2_000;
    const WINDOW_BYTES: u32 = 1 << 10;
    let cluster = Cluster::start(1).await;
    let (client, api) = (cluster.client(), &cluster.replicas[0].bound.api);
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{api}")).unwrap();
    let narrow = endpoint.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(1 << 16);
    let request = v1::WatchRunRequest { run: run(&submitted.run_id), after_revision: 0 };
    let mut slow = RunsClient::new(narrow.connect().await.unwrap()).watch_run(request).await.unwrap().into_inner();
    let mut left = Vec::new();
    for number in 0..WORDS {
        let key = format!("{:0>60}", number % 64);
        let word = v1::AnnotateRunRequest {
            run: run(&submitted.run_id),
            key,
            value: String::new(),
            request_id: String::new(),
        };
        left.push(client.annotate_run(word).await.unwrap().revision);
    }

    let mut told = Vec::new();
    let mut note = |message: &v1::WatchRunResponse| {
        if words(message).is_some_and(|word| word.starts_with("annotated")) {
            told.push(message.revision);
        }
        message.revision
    };
    let (mut last, reading) = (0, tokio::time::Instant::now());
    let reason = loop {
        assert!(reading.elapsed() < PATIENCE, "it was never cut off");
        match slow.message().await {
            Ok(message) => last = note(&message.expect("the run goes on, and so must the watch")),
            Err(status) => break status::from_status(&status),
        }
    };
    assert!(matches!(&reason, ApiError::Unavailable(why) if why.contains("QUEUE_MAX")), "{reason:?}");
    let mut rest = watch(api, &submitted.run_id, last).await.unwrap();
    while last < *left.last().unwrap() {
        last = note(&rest.message().await.unwrap().unwrap());
    }
    assert_eq!(told, left, "each once, in order");
}
