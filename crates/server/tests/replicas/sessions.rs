//! What agents and the control plane say to each other.

use std::time::Duration;

use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as Up;
use quorate_proto::v1::server_message::Message as Down;
use quorate_proto::{ApiError, status};
use quorate_state::Settings;

use crate::agent::{Agent, ended, hello, report};
use crate::cluster::{Cluster, SHORT_LEASE, eventually};
use crate::jobs::{chain, run, submit};
use crate::startup::{get, value};

#[tokio::test]
async fn a_session_through_a_follower_runs_a_job_to_its_end() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let follower = cluster.follower().await;
    let mut agent = Agent::connect(&cluster.replicas[follower].bound.agent, hello("n1", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one", "two"]), "")).await.unwrap();
    for name in ["one", "two"] {
        let assignment = agent.assignment().await;
        assert_eq!(assignment.task, name);
        agent.finish(&assignment).await;
    }
    eventually("the run succeeds", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(&submitted.run_id) }).await.unwrap().run.unwrap();
        (got.state() == v1::RunState::Succeeded).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_renewal_comes_back_with_the_agents_own_time() {
    let cluster = Cluster::start(1).await;
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let epoch = agent.epoch;
    agent.say(Up::Renew(v1::Renew { epoch, sent_at_ms: 4_711 })).await;
    let renewed = agent
        .find(|message| match &message.message {
            Some(Down::Renewed(renewed)) => Some(*renewed),
            _ => None,
        })
        .await;
    assert_eq!(renewed, v1::Renewed { epoch, sent_at_ms: 4_711 });

    agent.say(Up::Renew(v1::Renew { epoch: epoch + 1, sent_at_ms: 4_712 })).await;
    let end = loop {
        if let Err(status) = agent.next().await {
            break status;
        }
    };
    assert!(matches!(status::from_status(&end), ApiError::Stale(_)), "{end:?}");
}

/// Asks for the lease and waits until that is confirmed.
pub(crate) async fn renew(agent: &mut Agent, sent_at_ms: u64) {
    let epoch = agent.epoch;
    agent.say(Up::Renew(v1::Renew { epoch, sent_at_ms })).await;
    let renewed = agent
        .find(|message| match &message.message {
            Some(Down::Renewed(renewed)) => Some(*renewed),
            _ => None,
        })
        .await;
    assert_eq!(renewed, v1::Renewed { epoch, sent_at_ms });
}

/// How a session ends.
async fn end(agent: &mut Agent) -> tonic::Status {
    loop {
        if let Err(status) = agent.next().await {
            return status;
        }
    }
}

#[tokio::test]
async fn a_follower_brings_the_renewals_of_its_sessions_to_the_leader_together() {
    let cluster = Cluster::start(3).await;
    let follower = &cluster.replicas[cluster.follower().await].bound;
    let mut agents = Vec::new();
    for identity in 1..=5 {
        agents.push(Agent::connect(&follower.agent, hello(&format!("n{identity}"), identity)).await.unwrap());
    }
    for sent_at_ms in 1..=4 {
        for agent in &mut agents {
            renew(agent, sent_at_ms).await;
        }
    }
    // Of each session the first two go with what its agent reports.
    let metrics = get(follower.ops.as_ref().unwrap(), "/metrics").await;
    assert_eq!(value(&metrics, "quorate_lease_renewals_passed_on_total"), 10.0, "{metrics}");

    let agent = &mut agents[0];
    let epoch = agent.epoch + 1_000;
    agent.say(Up::Renew(v1::Renew { epoch, sent_at_ms: 5 })).await;
    let end = end(agent).await;
    assert!(matches!(status::from_status(&end), ApiError::Stale(_)), "the leader says why: {end:?}");
    renew(&mut agents[1], 5).await;
}

#[tokio::test]
async fn renewals_through_a_follower_stop_being_confirmed_when_the_leader_has_lost_its_quorum() {
    let mut cluster = Cluster::start(2).await;
    let learner = cluster.add_learner().await;
    let leader = cluster.leader().await;
    let address = cluster.replicas[learner].bound.agent.clone();
    let mut agent =
        eventually("the learner knows who leads", || async { Agent::connect(&address, hello("n1", 1)).await.ok() })
            .await;
    for sent_at_ms in 1..=4 {
        renew(&mut agent, sent_at_ms).await;
    }
    cluster.kill(1 - leader);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let epoch = agent.epoch;
    agent.say(Up::Renew(v1::Renew { epoch, sent_at_ms: 5 })).await;
    let answered = tokio::time::timeout(Duration::from_secs(4), async {
        loop {
            match agent.next().await {
                Ok(v1::ServerMessage { message: Some(Down::Renewed(renewed)), .. }) => return renewed,
                Ok(_) => {}
                // A session that ends is no answer either.
                Err(_) => std::future::pending().await,
            }
        }
    });
    assert!(answered.await.is_err(), "neither the leader nor who passes it on may confirm it");
}

#[tokio::test]
async fn a_report_for_an_attempt_of_another_node_is_refused() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let address = &cluster.replicas[0].bound.agent;
    let mut owner = Agent::connect(address, hello("owner", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let assignment = owner.assignment().await;

    let mut other = Agent::connect(address, hello("other", 2)).await.unwrap();
    let attempt = assignment.attempt.clone().unwrap();
    assert_eq!(other.report(ended(&assignment)).await, vec![attempt.clone()]);
    let stale = v1::AttemptReport { token: assignment.token - 1, ..ended(&assignment) };
    assert_eq!(owner.report(stale).await, [attempt], "a token that is not the current one");
    let got = client.get_run(v1::GetRunRequest { run: run(&submitted.run_id) }).await.unwrap();
    assert_eq!(got.steps[0].counts.as_ref().unwrap().placed, 1, "nothing has changed");
}

#[tokio::test]
async fn a_cancelled_run_tells_the_agent_to_stop() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one", "two"]), "")).await.unwrap();
    let assignment = agent.assignment().await;
    agent.report(report(&assignment, v1::AttemptPhase::Running)).await;

    let cancel = || v1::CancelRunRequest { run: run(&submitted.run_id), request_id: String::new() };
    assert!(!client.cancel_run(cancel()).await.unwrap().ended_before);
    let stopping = agent.assignment().await;
    assert_eq!((stopping.token, stopping.stop), (assignment.token, true));
    agent.report(ended(&stopping)).await;
    eventually("the run is cancelled", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(&submitted.run_id) }).await.unwrap().run.unwrap();
        (got.state() == v1::RunState::Cancelled).then_some(())
    })
    .await;
    assert!(client.cancel_run(cancel()).await.unwrap().ended_before);
}

#[tokio::test]
async fn a_second_agent_under_the_same_name_is_refused_and_the_same_one_takes_over() {
    let cluster = Cluster::start(1).await;
    let address = &cluster.replicas[0].bound.agent;
    let mut first = Agent::connect(address, hello("n1", 1)).await.unwrap();
    let refused = Agent::connect(address, hello("n1", 2)).await.err().expect("the name is taken");
    assert!(matches!(status::from_status(&refused), ApiError::Exists { .. }), "{refused:?}");

    let again = v1::Hello { epoch: first.epoch, incarnation: 1, ..hello("n1", 1) };
    let second = Agent::connect(address, again).await.unwrap();
    assert_eq!(second.epoch, first.epoch);
    let end = loop {
        if let Err(status) = first.next().await {
            break status;
        }
    };
    assert!(end.message().contains("taken over"), "{end:?}");
}

#[tokio::test]
async fn an_agent_of_another_cluster_is_refused() {
    let cluster = Cluster::start(1).await;
    let address = &cluster.replicas[0].bound.agent;
    for wrong in [
        v1::Hello { cluster_id: format!("{:032x}", 1), incarnation: 1, ..hello("n1", 1) },
        v1::Hello { incarnation: 2, ..hello("n1", 1) },
        v1::Hello { revision: 1 << 40, incarnation: 1, ..hello("n1", 1) },
    ] {
        let refused = Agent::connect(address, wrong.clone()).await.err().expect("it must be refused");
        assert!(matches!(status::from_status(&refused), ApiError::Precondition { .. }), "{wrong:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_silent_node_loses_its_lease_and_its_task_goes_elsewhere() {
    let settings = Settings { lease: SHORT_LEASE, ..Settings::default() };
    let cluster = Cluster::start_with(1, settings).await;
    let client = cluster.client();
    let address = &cluster.replicas[0].bound.agent;
    let mut silent = Agent::connect(address, hello("silent", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let lost = silent.assignment().await;
    silent.report(report(&lost, v1::AttemptPhase::Running)).await;
    drop(silent);

    let mut other = Agent::connect(address, hello("other", 2)).await.unwrap();
    let epoch = other.epoch;
    other.say(Up::Renew(v1::Renew { epoch, sent_at_ms: 0 })).await;
    let assignment = loop {
        let message = other.next().await.expect("renewed in time, so the session goes on");
        match message.message {
            Some(Down::Delta(delta)) if !delta.set.is_empty() => break delta.set[0].clone(),
            // Each answer to a renewal is the occasion for the next one.
            Some(Down::Renewed(_)) => other.say(Up::Renew(v1::Renew { epoch, sent_at_ms: 0 })).await,
            _ => {}
        }
    };
    assert!(assignment.token > lost.token, "the newest token wins");
    other.finish(&assignment).await;
    let attempts = v1::ListAttemptsRequest { run: run(&submitted.run_id), ..Default::default() };
    let attempts = client.list_attempts(attempts).await.unwrap().attempts;
    let states: Vec<_> = attempts.iter().map(|attempt| (&*attempt.node, attempt.state())).collect();
    assert_eq!(states, [("silent", v1::AttemptState::Lost), ("other", v1::AttemptState::Succeeded)]);
}

#[tokio::test]
async fn output_travels_from_the_agent_to_the_client_piece_by_piece() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let assignment = agent.assignment().await;
    agent.report(report(&assignment, v1::AttemptPhase::Running)).await;

    let text = b"first and second";
    let answering = tokio::spawn(async move {
        // Five bytes at a time, whatever was asked for.
        for _ in 0..4 {
            let request = agent
                .find(|message| match &message.message {
                    Some(Down::LogRequest(request)) => Some(request.clone()),
                    _ => None,
                })
                .await;
            assert_eq!(request.attempt, assignment.attempt);
            let from = request.offset as usize;
            let data = text[from..(from + 5).min(text.len())].to_vec();
            let end = from + data.len() == text.len();
            agent
                .say(Up::LogChunk(v1::LogChunk {
                    id: request.id,
                    data: data.into(),
                    end,
                    offset: request.offset,
                    ..Default::default()
                }))
                .await;
        }
        agent
    });
    let mut logs = client.read_logs(v1::ReadLogsRequest {
        run: run(&submitted.run_id),
        task: "one".into(),
        stream: v1::LogStream::Stdout.into(),
        follow: true,
        ..Default::default()
    });
    let mut read = Vec::new();
    while let Some(piece) = logs.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece.offset as usize, read.len());
        read.extend_from_slice(&piece.data);
    }
    assert_eq!(read, text);
    answering.await.unwrap();
}

#[tokio::test]
async fn an_agent_that_says_too_much_is_told_the_limit() {
    let cluster = Cluster::start(1).await;
    let address = &cluster.replicas[0].bound.agent;
    let long = v1::Hello { boot_id: "b".repeat(257), ..hello("n1", 1) };
    let refused = Agent::connect(address, long).await.err().expect("it must be refused");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(format!("{:?}", status::from_status(&refused)).contains("TEXT_BYTES_MAX"), "{refused:?}");

    let mut agent = Agent::connect(address, hello("n1", 1)).await.unwrap();
    let epoch = agent.epoch;
    let reports = vec![v1::AttemptReport::default(); 4_097];
    agent.say(Up::Reports(v1::Reports { epoch, sequence: 1, reports })).await;
    let end = loop {
        if let Err(status) = agent.next().await {
            break status;
        }
    };
    assert_eq!(end.code(), tonic::Code::InvalidArgument);
    assert!(format!("{:?}", status::from_status(&end)).contains("REPORTS_PER_MESSAGE_MAX"), "{end:?}");
}

#[tokio::test]
async fn what_an_attempt_wrote_just_before_it_was_gone_is_read() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let mut agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let assignment = agent.assignment().await;
    agent.report(report(&assignment, v1::AttemptPhase::Running)).await;
    let mut logs = client.read_logs(v1::ReadLogsRequest {
        run: run(&submitted.run_id),
        task: "one".into(),
        stream: v1::LogStream::Stdout.into(),
        follow: true,
        ..Default::default()
    });

    let answering = tokio::spawn(async move {
        // Nothing yet, then the end is in the log before that is said. No answer says that it was the last.
        for data in [&b""[..], b"last words", b""] {
            let request = agent
                .find(|message| match &message.message {
                    Some(Down::LogRequest(request)) => Some(request.clone()),
                    _ => None,
                })
                .await;
            if data.is_empty() && request.offset == 0 {
                assert_eq!(agent.report(ended(&assignment)).await, []);
            }
            let (id, offset) = (request.id, request.offset);
            let chunk = v1::LogChunk { id, data: data.into(), offset, ..Default::default() };
            agent.say(Up::LogChunk(chunk)).await;
        }
        agent
    });
    let mut read = Vec::new();
    while let Some(piece) = logs.next().await {
        read.extend_from_slice(&piece.unwrap().data);
    }
    assert_eq!(read, b"last words");
    answering.await.unwrap();
}
