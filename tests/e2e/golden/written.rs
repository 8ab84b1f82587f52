//! Writes the archives: `cargo test -p quorate-tests --test e2e -- --ignored golden_directory`. Rename what they
//! make after the format and the version, and commit both files.

use quorate_bench::local::{LocalCluster, Options};
use quorate_proto::v1;
use quorate_tests::{Ledger, binary, get_run, options, run_end, run_ref, start, submit, until};

use super::{content, directory, tar};

/// What users do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes to tests/golden"]
async fn a_golden_directory_is_written() {
    let cluster = start(whole_log()).await;
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
    keep(cluster, "new").await;
}

/// What an operator does: nodes that are cordoned, drained, maintained and forgotten, join tokens, and a job that
/// demands labels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes to tests/golden"]
async fn a_golden_directory_of_operators_is_written() {
    let mut cluster = start(whole_log()).await;
    let client = cluster.client();
    enabled(&client).await;
    let labelled =
        "name = \"labelled\"\n[task.t]\nrun = [\"true\"]\nplace = { labels = { \"quorate.dev/arch\" = \"*\" } }\n";
    let run = submit(&client, labelled).await;
    run_end(&client, &run).await;
    let lasting =
        "name = \"lasting\"\n[task.t]\nrun = [\"sleep\", \"600\"]\ncount = 4\nplace = { spread = \"node\" }\n";
    let lasting = submit(&client, lasting).await;
    until("every element runs", || async {
        let counts = get_run(&client, &lasting).await?.counts.unwrap_or_default();
        if counts.running == 4 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let (node, request_id) = (|number: u32| format!("node-{number}"), String::new);
    let cordon = |cordoned| v1::CordonNodeRequest { node: node(1), cordoned, request_id: request_id() };
    client.cordon_node(cordon(true)).await.unwrap();
    client.cordon_node(cordon(false)).await.unwrap();
    client.cordon_node(cordon(true)).await.unwrap();
    let reason = "its fan is loud".to_owned();
    let drain = v1::DrainNodeRequest { node: node(2), wait_ms: 0, reason, request_id: request_id() };
    client.drain_node(drain).await.unwrap();
    until("nothing runs on the drained node", || async {
        let answer = client.get_node(v1::GetNodeRequest { node: node(2) }).await.map_err(|error| error.to_string())?;
        if answer.attempts.is_empty() { Ok(()) } else { Err(format!("{:?}", answer.attempts)) }
    })
    .await;
    // One maintenance that lasts for ten years, one that ends while it is recorded.
    for (for_ms, reason) in [(500, "soon over"), (315_360_000_000, "moved to another room")] {
        let reason = reason.to_owned();
        let maintain =
            v1::MaintainNodeRequest { node: node(3), wait_ms: 100, for_ms, reason, request_id: request_id() };
        client.maintain_node(maintain).await.unwrap();
        if for_ms == 500 {
            until("the maintenance is over", || async {
                let answer = client.get_node(v1::GetNodeRequest { node: node(3) }).await;
                let node = answer.map_err(|error| error.to_string())?.node.unwrap_or_default();
                if node.withdrawal.is_none() { Ok(()) } else { Err(format!("{node:?}")) }
            })
            .await;
        }
    }
    cluster.kill9_agent(3);
    until("the node that is gone can be forgotten", || async {
        let forget = v1::ForgetNodeRequest { node: node(4), request_id: request_id() };
        client.forget_node(forget).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    for (first, region, uses_max) in [(1_u8, "eu", 3), (2, "", 1)] {
        let token = v1::CreateJoinTokenRequest {
            digest: (first..first + 32).collect(),
            ttl_ms: 31_536_000_000,
            uses_max,
            region: region.to_owned(),
            cluster: String::new(),
            labels: vec![v1::Label { key: "rack".to_owned(), value: "7".to_owned() }],
            request_id: request_id(),
        };
        let made = client.create_join_token(token).await.unwrap();
        if region.is_empty() {
            let revoke = v1::RevokeJoinTokenRequest { id: made.id, request_id: request_id() };
            client.revoke_join_token(revoke).await.unwrap();
        }
    }
    let mut admission = v1::SetNodeAdmissionRequest { admission: 0, request_id: request_id() };
    admission.set_admission(v1::NodeAdmission::Token);
    client.set_node_admission(admission).await.unwrap();
    client.cancel_run(v1::CancelRunRequest { run: run_ref(&lasting), request_id: request_id() }).await.unwrap();
    run_end(&client, &lasting).await;
    keep(cluster, "new-operators").await;
}

/// One replica whose log is never cut, and four agents.
fn whole_log() -> Options {
    let product = Options::new(binary(), 1, 0);
    let (snapshot_entries, keep_entries) = (product.snapshot_entries, product.keep_entries);
    Options { snapshot_entries, keep_entries, ..options(1) }
}

/// Waits for all features.
async fn enabled(client: &quorate_client::Client) {
    until("every feature is enabled", || async {
        let answer = client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?;
        match answer.features.iter().find(|feature| feature.since_revision.is_none()) {
            Some(feature) => Err(format!("{feature:?}")),
            None => Ok(()),
        }
    })
    .await;
}

/// Ends the cluster and keeps what it has written, and what is to be found there.
async fn keep(mut cluster: LocalCluster, name: &str) {
    for agent in (0..cluster.agent_count()).filter(|agent| cluster.agent_pid(*agent).is_some()).collect::<Vec<_>>() {
        cluster.stop_agent(agent).await.unwrap();
    }
    let content = content(&cluster.client()).await;
    cluster.stop(0).await.unwrap();
    let data = cluster.directory().join("replica-1");
    let archive = directory().join(format!("{name}.tar.gz"));
    tar(&["-czf", archive.to_str().unwrap(), "-C", data.to_str().unwrap(), "data"]);
    std::fs::write(directory().join(format!("{name}.json")), format!("{content:#}\n")).unwrap();
}
