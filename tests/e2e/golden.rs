//! Data directories that older versions wrote are opened by this one, which comes to the same history.
//!
//! Each is that of a cluster's only replica with its whole log. A second replica joins and applies
//! every entry anew: when this version's `apply` did anything else than that of the version which wrote
//! them, the two histories would differ.

mod written;

use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_bench::local::Options;
use quorate_proto::v1;
use quorate_tests::{ask, binary, history_of, run_ref, start, submit};
use serde_json::{Value, json};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn tar(arguments: &[&str]) {
    let status = Command::new("tar").args(arguments).status().expect("tar is installed");
    assert!(status.success(), "tar {arguments:?}");
}

/// What must be found in it again.
async fn content(client: &quorate_client::Client) -> Value {
    let request = v1::ListRunsRequest { page_size: 1_000, ..v1::ListRunsRequest::default() };
    let mut runs = Vec::new();
    for run in client.list_runs(request).await.unwrap().runs {
        let answer = client.get_run(v1::GetRunRequest { run: run_ref(&run.id) }).await.unwrap();
        let words: Vec<String> = answer.annotations.iter().map(|word| format!("{}={}", word.key, word.value)).collect();
        let counts = run.counts.unwrap_or_default();
        runs.push(json!([run.id, run.job, run.state().as_str_name(), counts.succeeded, counts.cancelled, words]));
    }
    let request = v1::ListNodesRequest { page_size: 1_000, page_token: String::new() };
    let nodes = client.list_nodes(request).await.unwrap().nodes;
    let nodes: Vec<Value> = nodes.iter().map(node).collect();
    let namespaces = client.list_namespaces(v1::ListNamespacesRequest {}).await.unwrap().namespaces;
    let namespaces: Vec<&str> = namespaces.iter().map(|one| one.name.as_str()).collect();
    let joining = client.list_join_tokens(v1::ListJoinTokensRequest {}).await.unwrap();
    let tokens: Vec<Value> = joining.tokens.iter().map(token).collect();
    let admission = joining.admission().as_str_name();
    json!({ "runs": runs, "nodes": nodes, "namespaces": namespaces, "admission": admission, "tokens": tokens })
}

/// What of a node does not depend on the time.
fn node(node: &v1::Node) -> Value {
    let withdrawal = node.withdrawal.as_ref().map(|withdrawal| {
        let v1::Withdrawal { by, reason, drain_in_ms, ends_in_ms, .. } = withdrawal;
        json!([by, reason, drain_in_ms.is_some(), ends_in_ms.is_some()])
    });
    json!([node.name, node.cordoned, withdrawal, node.join_token])
}

fn token(token: &v1::JoinToken) -> Value {
    let labels: Vec<String> = token.labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
    json!([token.id, token.by, token.uses, token.uses_max, token.region, token.cluster, labels])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_older_versions_wrote_is_read_and_gives_the_same_history() {
    let mut archives: Vec<PathBuf> =
        std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    archives.retain(|path| path.to_string_lossy().ends_with(".tar.gz"));
    assert!(!archives.is_empty());
    archives.sort();
    for archive in archives {
        let name = archive.to_string_lossy().trim_end_matches(".tar.gz").to_owned();
        let expected: Value = serde_json::from_str(&std::fs::read_to_string(format!("{name}.json")).unwrap()).unwrap();
        let unpacked = tempfile::tempdir().unwrap();
        tar(&["-xzf", archive.to_str().unwrap(), "-C", unpacked.path().to_str().unwrap()]);
        let first_data = Some(unpacked.path().join("data"));
        let cluster = start(Options { first_data, ..Options::new(binary(), 2, 0) }).await;
        // The others still know this one by its old addresses: nobody else is asked.
        let client = ask(&cluster.api_addresses()[0]);
        assert_eq!(content(&client).await, expected, "{name}");
        let histories = history_of(cluster.api_addresses(), cluster.directory()).await.unwrap();
        assert_eq!(histories[0], histories[1], "{name}: applied anew, its log gives another history");
        let joined = ask(&cluster.api_addresses()[1]).replica_status(v1::GetReplicaStatusRequest {}).await.unwrap();
        assert_eq!(joined.snapshot_index, None, "{name}: not the log was applied but a snapshot of its outcome");
        // And it goes on.
        submit(&client, "name = \"new\"\n[task.t]\nrun = [\"true\"]\n").await;
    }
}
