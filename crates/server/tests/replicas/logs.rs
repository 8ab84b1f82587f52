//! Output on its way from an agent to those who read it: in what order, how much, how many.

use std::time::Duration;

use futures_util::future::join_all;
use quorate_client::{Error, LogReader};
use quorate_proto::ApiError;
use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as Up;
use quorate_proto::v1::server_message::Message as Down;

use crate::agent::{Agent, ended, hello, report};
use crate::cluster::Cluster;
use crate::jobs::{chain, run, submit};

/// No answer of an agent holds more.
const PIECE: usize = 64 << 10;

struct World {
    cluster: Cluster,
    agent: Agent,
    assignment: v1::Assignment,
    run_id: String,
}

/// A replica, and an agent that runs a task.
async fn world() -> World {
    let cluster = Cluster::start(1).await;
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let run_id = cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap().run_id;
    let assignment = agent.assignment().await;
    agent.report(report(&assignment, v1::AttemptPhase::Running)).await;
    World { cluster, agent, assignment, run_id }
}

impl World {
    fn request(&self) -> v1::ReadLogsRequest {
        v1::ReadLogsRequest {
            run: run(&self.run_id),
            task: "one".into(),
            stream: v1::LogStream::Stdout.into(),
            follow: true,
            ..Default::default()
        }
    }

    fn follow(&self) -> LogReader {
        self.cluster.client().read_logs(self.request())
    }

    async fn asked(&mut self) -> v1::LogRequest {
        self.agent
            .find(|message| match &message.message {
                Some(Down::LogRequest(request)) => Some(request.clone()),
                _ => None,
            })
            .await
    }

    async fn answer(&mut self, chunk: v1::LogChunk) {
        self.agent.say(Up::LogChunk(chunk)).await;
    }
}

#[tokio::test]
async fn nothing_is_fetched_for_a_reader_who_does_not_read() {
    let mut world = world().await;
    let mut logs = world.follow();
    let mut fetched = 0;
    let begun = tokio::spawn(async move {
        logs.begin().await.unwrap();
        logs
    });
    // The agent has something new whenever it is asked; it is not asked for ever.
    while let Ok(request) = tokio::time::timeout(Duration::from_secs(1), world.asked()).await {
        let data = vec![b'x'; PIECE].into();
        world.answer(v1::LogChunk { id: request.id, data, offset: request.offset, ..Default::default() }).await;
        fetched += 1;
        // What fits in the buffers of one connection: a window of 2 MiB, and what waits before it.
        assert!(fetched < 64, "{fetched} pieces were fetched and nobody reads");
    }
    // It goes on where it is read on.
    let mut logs = begun.await.unwrap();
    let mut read = 0;
    while read < fetched * PIECE {
        let piece = logs.next().await.unwrap().unwrap();
        assert_eq!(piece.offset, read as u64);
        read += piece.data.len();
    }
    let request = world.asked().await;
    assert_eq!(request.offset as usize, read);
    let data = b"end".to_vec().into();
    world.answer(v1::LogChunk { id: request.id, data, offset: request.offset, end: true, ..Default::default() }).await;
    assert_eq!(logs.next().await.unwrap().unwrap().data.as_ref(), b"end");
    assert!(logs.next().await.is_none());
}

#[tokio::test]
async fn one_reader_too_many_of_a_node_is_told_the_limit_at_once() {
    let mut world = world().await;
    // All at once: who has begun waits for this agent, and not for ever.
    let client = world.cluster.client();
    let mut readers: Vec<_> = (0..96).map(|_| client.read_logs(world.request())).collect();
    let answering = async {
        let mut answered = 0;
        while answered < 96 {
            let request = world.asked().await;
            // Those who read already ask with patience.
            if request.wait_ms == 0 {
                world.answer(v1::LogChunk { id: request.id, ..Default::default() }).await;
                answered += 1;
            }
        }
    };
    let (begun, ()) = tokio::join!(join_all(readers.iter_mut().map(LogReader::begin)), answering);
    begun.into_iter().for_each(|begun| assert_eq!(begun.unwrap(), Some(1)));
    let Err(Error::Api(ApiError::Overloaded { limit, max, advice })) = client.read_logs(world.request()).begin().await
    else {
        panic!("one more than the limit");
    };
    assert_eq!((limit.as_str(), max), ("LOG_STREAMS_PER_NODE_MAX", 96));
    assert!(advice.contains("n1"), "{advice}");
}

#[tokio::test]
async fn a_reader_waits_for_the_next_attempt_and_learns_that_there_is_none() {
    let mut world = world().await;
    let second = v1::ReadLogsRequest { attempt: 2, ..world.request() };
    let mut next = world.cluster.client().read_logs(second.clone());
    let mut far = world.cluster.client().read_logs(v1::ReadLogsRequest { attempt: 3, ..second });
    let refused = far.begin().await.unwrap_err();
    assert!(matches!(&refused, Error::Api(ApiError::NotFound { kind, .. }) if kind == "attempt"), "{refused}");
    let waiting = tokio::spawn(async move { next.begin().await });
    let end = ended(&world.assignment);
    assert_eq!(world.agent.report(end).await, []);
    // It may have asked when that was clear already.
    match waiting.await.unwrap() {
        Ok(begun) => assert_eq!(begun, None),
        Err(refused) => assert!(refused.to_string().contains("attempt"), "{refused}"),
    }
}

#[tokio::test]
async fn a_reader_follows_an_agent_that_comes_back_with_another_session() {
    let mut world = world().await;
    let mut logs = world.follow();
    let reading = tokio::spawn(async move {
        let mut text = Vec::new();
        while let Some(piece) = logs.next().await {
            text.extend_from_slice(&piece.unwrap().data);
        }
        text
    });
    let request = world.asked().await;
    let data = b"before, ".to_vec().into();
    world.answer(v1::LogChunk { id: request.id, data, ..Default::default() }).await;
    assert_eq!(world.asked().await.offset, 8);
    // Asked, and gone without an answer; the attempt runs on.
    let claim = v1::AttemptClaim {
        want: 0,
        gpus: None,
        attempt: world.assignment.attempt.clone(),
        token: world.assignment.token,
    };
    let again = v1::Hello { epoch: world.agent.epoch, attempts: vec![claim], ..hello("n1", 1) };
    let address = world.cluster.replicas[0].bound.agent.clone();
    world.agent = Agent::connect(&address, again).await.unwrap();
    let request = world.asked().await;
    assert_eq!(request.offset, 8);
    let data = b"after".to_vec().into();
    world.answer(v1::LogChunk { id: request.id, offset: 8, data, end: true, ..Default::default() }).await;
    assert_eq!(reading.await.unwrap(), b"before, after");
}

#[tokio::test]
async fn an_agent_that_does_not_know_of_last_lines_is_not_taken_to() {
    let mut world = world().await;
    let tail = v1::ReadLogsRequest { tail_lines: Some(2), since_ms: Some(7), ..world.request() };
    let mut logs = world.cluster.client().read_logs(tail.clone());
    let reading = tokio::spawn(async move { logs.begin().await });
    let request = world.asked().await;
    assert_eq!((request.tail_lines, request.since_ms, request.wait_ms), (Some(2), Some(7), 0));
    world.answer(v1::LogChunk { id: request.id, ..Default::default() }).await;
    let refused = reading.await.unwrap().unwrap_err();
    assert!(matches!(&refused, Error::Api(ApiError::Unsupported(why)) if why.contains("n1")), "{refused}");

    let both = v1::ReadLogsRequest { offset: 5, ..tail };
    let refused = world.cluster.client().read_logs(both).begin().await.unwrap_err();
    assert!(matches!(&refused, Error::Api(ApiError::Invalid(_))), "{refused}");
}
