//! What running attempts use: said by agents to the leader, in its memory alone, and read through any replica.

use quorate_proto::v1;
use quorate_proto::v1::agent_message::Message as Up;

use crate::agent::{Agent, ended, hello, report};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit};

fn usage(assignment: &v1::Assignment, memory_bytes: u64) -> Up {
    let usage = v1::LiveUsage { cpu_us: 3_000_000, cpu_milli: Some(750), memory_bytes, ..v1::LiveUsage::default() };
    let progress = Some(v1::Progress { done_milli: Some(500), words: "half".into(), ..v1::Progress::default() });
    let (attempt, token, usage) = (assignment.attempt.clone(), assignment.token, Some(usage));
    let report = v1::UsageReport { attempt, token, usage, progress };
    Up::Usage(v1::UsageReports { reports: vec![report] })
}

#[tokio::test]
async fn what_an_attempt_uses_is_known_through_every_replica_while_it_runs() {
    let cluster = Cluster::start(3).await;
    let client = cluster.client();
    let follower = cluster.follower().await;
    // Through a follower, which passes it on to the leader.
    let mut agent = Agent::connect(&cluster.replicas[follower].bound.agent, hello("n1", 1)).await.unwrap();
    assert_eq!(agent.usage_every_ms, 5_000);
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let assignment = agent.assignment().await;
    agent.report(report(&assignment, v1::AttemptPhase::Running)).await;
    let ask = || v1::GetUsageRequest { run: run(&submitted.run_id) };
    assert_eq!(client.get_usage(ask()).await.unwrap().attempts, []);

    agent.say(usage(&assignment, 5 << 20)).await;
    for at in 0..3 {
        let client = cluster.client_of(at);
        let known = eventually("it is known", || async {
            let known = client.get_usage(ask()).await.unwrap();
            (!known.attempts.is_empty()).then_some(known)
        })
        .await;
        let one = &known.attempts[0];
        assert_eq!((&*one.task, one.index, one.number, &*one.node), ("one", 0, 1, "n1"));
        let live = one.usage.unwrap();
        assert_eq!((live.memory_bytes, live.cpu_milli), (5 << 20, Some(750)));
        let sum = known.steps[0].usage.unwrap();
        assert_eq!((&*known.steps[0].task, sum.attempts, sum.cpu_us), ("one", 1, 3_000_000));
    }
    let node = client.get_node(v1::GetNodeRequest { node: "n1".into() }).await.unwrap();
    assert_eq!(node.usage.unwrap().memory_bytes, 5 << 20);
    assert_eq!(node.attempts[0].usage.unwrap().memory_bytes, 5 << 20);

    // Its end has figures of its own.
    agent.report(ended(&assignment)).await;
    let known = client.get_usage(ask()).await.unwrap();
    assert_eq!((known.attempts, known.steps), (vec![], vec![]));
}

#[tokio::test]
async fn what_was_said_in_a_session_is_unknown_after_it_and_what_is_too_much_is_refused() {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let address = &cluster.replicas[0].bound.agent;
    let mut agent = Agent::connect(address, hello("n1", 1)).await.unwrap();
    let submitted = client.submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    let assignment = agent.assignment().await;
    agent.say(usage(&assignment, 5 << 20)).await;
    let known = |wanted: usize| {
        let (client, id) = (client.clone(), submitted.run_id.clone());
        move || {
            let (client, request) = (client.clone(), v1::GetUsageRequest { run: run(&id) });
            async move { (client.get_usage(request).await.unwrap().attempts.len() == wanted).then_some(()) }
        }
    };
    eventually("it is known", known(1)).await;

    let reports = vec![v1::UsageReport::default(); 1_025];
    agent.say(Up::Usage(v1::UsageReports { reports })).await;
    let end = loop {
        if let Err(status) = agent.next().await {
            break status;
        }
    };
    assert!(end.message().contains("invalid") || end.code() == tonic::Code::InvalidArgument, "{end:?}");
    eventually("it is forgotten", known(0)).await;
}
