//! Data directories that older versions wrote are opened by this one, which comes to the same history.
//!
//! Each is that of a cluster's only replica with its whole log. A second replica joins and applies
//! every entry anew: when this version's `apply` did anything else than that of the version which wrote
//! them, the two histories would differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_bench::local::Options;
use quorate_proto::v1;
use quorate_tests::{Ledger, ask, binary, get_run, history_of, options, run_end, run_ref, start, submit};
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
    let nodes: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let namespaces = client.list_namespaces(v1::ListNamespacesRequest {}).await.unwrap().namespaces;
    let namespaces: Vec<&str> = namespaces.iter().map(|one| one.name.as_str()).collect();
    json!({ "runs": runs, "nodes": nodes, "namespaces": namespaces })
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

/// Writes another one: `cargo test -p quorate-tests --test e2e -- --ignored a_golden_directory`. Rename
/// what it makes after the format and the version, and commit both files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes to tests/golden"]
async fn a_golden_directory_is_written() {
    let product = Options::new(binary(), 1, 0);
    let (snapshot_entries, keep_entries) = (product.snapshot_entries, product.keep_entries);
    let mut cluster = start(Options { snapshot_entries, keep_entries, ..options(1) }).await;
    let client = cluster.client();
    let namespace = v1::CreateNamespaceRequest { namespace: "other".to_owned(), request_id: String::new() };
    client.create_namespace(namespace).await.unwrap();
    let ledger = Ledger::new();
    let mut runs = Vec::new();
    for job in [
        "name = \"nothing\"\n[task.t]\ndriver = \"noop\"\ncount = 3\n".to_owned(),
        "name = \"chain\"\n[task.a]\nrun = [\"true\"]\n[task.b]\nneeds = [\"a\"]\nrun = [\"true\"]\ncount = 2\n".to_owned(),
        "name = \"fails\"\n[retry.soon]\nattempts = 2\nfirst = \"10ms\"\n[task.t]\nrun = [\"false\"]\nretry = \"soon\"\n".to_owned(),
        "name = \"once\"\non_node_loss = \"at_most_once\"\n[task.t]\nrun = [\"true\"]\n".to_owned(),
        format!("name = \"cancelled\"\non_node_loss = \"fenced\"\n[task.t]\nrun = {}\n", ledger.task("60")),
        "name = \"nowhere\"\n[task.t]\nrun = [\"true\"]\nplace = { regions = [\"moon\"] }\n".to_owned(),
    ] {
        runs.push(submit(&client, &job).await);
    }
    for (number, run) in runs.iter().enumerate() {
        let request = v1::AnnotateRunRequest {
            run: run_ref(run),
            key: "number".to_owned(),
            value: number.to_string(),
            request_id: String::new(),
        };
        client.annotate_run(request).await.unwrap();
    }
    for run in &runs[..4] {
        run_end(&client, run).await;
    }
    client.cancel_run(v1::CancelRunRequest { run: run_ref(&runs[4]), request_id: String::new() }).await.unwrap();
    run_end(&client, &runs[4]).await;
    assert_eq!(get_run(&client, &runs[5]).await.unwrap().state(), v1::RunState::Pending);
    for agent in 0..cluster.agent_count() {
        cluster.stop_agent(agent).await.unwrap();
    }
    let content = content(&client).await;
    cluster.stop(0).await.unwrap();
    let data = cluster.directory().join("replica-1");
    let archive = directory().join("new.tar.gz");
    tar(&["-czf", archive.to_str().unwrap(), "-C", data.to_str().unwrap(), "data"]);
    std::fs::write(directory().join("new.json"), format!("{content:#}\n")).unwrap();
}
