//! What a replica says when it cannot start, and what operators see when it has.

use quorate_proto::v1::jobs_client::JobsClient;
use quorate_seams::Shutdown;
use quorate_server::{Error, Formation};
use quorate_state::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use crate::cluster::{Cluster, config, eventually, network, seams};
use crate::jobs::{chain, submit};

#[tokio::test]
async fn a_port_in_use_is_named_with_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(Formation::Init, &Settings::default());
    config.listen.agent = taken.local_addr().unwrap().to_string();
    let (_stop, shutdown) = Shutdown::new();
    let error = Box::pin(quorate_server::run(config, seams(), shutdown, |_| ())).await.unwrap_err();
    assert!(matches!(&error, Error::Bind { key: "listen.agent", .. }), "{error:?}");
}

#[tokio::test]
async fn an_empty_disk_never_forms_a_cluster_by_itself() {
    let (_stop, shutdown) = Shutdown::new();
    let config = config(Formation::Run, &Settings::default());
    let error = Box::pin(quorate_server::run(config, seams(), shutdown, |_| ())).await.unwrap_err();
    assert!(matches!(&error, Error::Start(_)), "{error:?}");
}

pub(crate) async fn get(address: &str, path: &str) -> String {
    let mut stream = network().connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn operators_see_health_readiness_and_metrics() {
    let cluster = Cluster::start(1).await;
    let ops = cluster.replicas[0].bound.ops.clone().unwrap();
    cluster.client().submit_job(submit(chain("claims", &["one"]), "")).await.unwrap();
    assert!(get(&ops, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(&ops, "/readyz").await.starts_with("HTTP/1.1 200"));
    eventually("the task is in the queue", || async {
        get(&ops, "/metrics").await.contains("quorate_ready_tasks 1").then_some(())
    })
    .await;
    let metrics = get(&ops, "/metrics").await;
    for line in
        ["quorate_is_leader 1", "quorate_disk_syncs_total 0", "quorate_rpcs_total{code=\"OK\",method=\"SubmitJob\"} 1"]
    {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
}

/// The number of a line of `/metrics`.
pub(crate) fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not in:\n{metrics}")).parse().unwrap()
}

#[tokio::test]
async fn every_stage_of_a_proposal_is_measured() {
    const PROPOSALS: u32 = 20;
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let ops = cluster.replicas[leader].bound.ops.clone().unwrap();
    let before = get(&ops, "/metrics").await;
    for number in 0..PROPOSALS {
        cluster.client().submit_job(submit(chain(&format!("job-{number}"), &["one"]), "")).await.unwrap();
    }
    let after = get(&ops, "/metrics").await;
    for line in [
        "quorate_proposal_seconds_count",
        "quorate_proposal_stage_seconds_count{stage=\"queued\"}",
        "quorate_proposal_stage_seconds_count{stage=\"replicated\"}",
        "quorate_proposal_stage_seconds_count{stage=\"applied\"}",
        "quorate_entry_items_count",
        "quorate_entry_bytes_count",
        "quorate_log_sync_seconds_count",
        "quorate_log_append_entries_count",
        "quorate_log_append_bytes_count",
        "quorate_apply_seconds_count",
        "quorate_apply_entries_count",
    ] {
        let moved = value(&after, line) - value(&before, line);
        assert!(moved >= f64::from(PROPOSALS) * 0.9, "{line} moved by {moved}");
    }
    for line in [
        "quorate_queue_groups{lane=\"submits\"}",
        "quorate_queue_items",
        "quorate_disk_slow",
        "quorate_leadership_handed_over_total",
    ] {
        assert!(value(&after, line) >= 0.0);
    }
    for gauge in ["quorate_peer_lag_entries", "quorate_peer_silent_seconds"] {
        assert_eq!(after.matches(&format!("\n{gauge}{{peer=")).count(), 2, "{gauge} of each follower:\n{after}");
    }
    let follower = cluster.follower().await;
    let metrics = get(cluster.replicas[follower].bound.ops.as_ref().unwrap(), "/metrics").await;
    assert!(value(&metrics, "quorate_log_sync_seconds_count") > 0.0, "a follower's disk is measured too");
    assert!(!metrics.contains("quorate_peer_lag_entries{"), "only a leader knows");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut client = JobsClient::connect(format!("http://{}", cluster.replicas[0].bound.api)).await.unwrap();
    let mut spec = chain("huge", &["one"]);
    spec.tasks[0].argv = vec!["x".repeat(33 << 20)];
    let refused = client.submit_job(submit(spec, "")).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
}
