//! The same request twice is one run, also across a leader change; another body is refused.

use quorate_client::Client;
use quorate_proto::v1;
use quorate_tests::{options, quorate, spec, start};

fn request(name: &str) -> v1::SubmitJobRequest {
    let spec = spec(&format!("name = \"{name}\"\n[task.t]\nrun = [\"true\"]\n"));
    v1::SubmitJobRequest { spec: Some(spec), request_id: "the-request".to_owned() }
}

async fn runs(client: &Client) -> usize {
    let request = v1::ListRunsRequest { page_size: 100, ..v1::ListRunsRequest::default() };
    client.list_runs(request).await.unwrap().runs.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_one_run_across_a_leader_change() {
    let mut cluster = start(options(3)).await;
    let client = cluster.client();
    let first = client.submit_job(request("job")).await.unwrap();
    assert_eq!(client.submit_job(request("job")).await.unwrap(), first);
    let leader = cluster.leader(|_| true).await.unwrap();
    cluster.kill9(leader.replica);
    assert_eq!(client.submit_job(request("job")).await.unwrap(), first);
    assert_eq!(runs(&client).await, 1);
    let refused = client.submit_job(request("another")).await.unwrap_err();
    assert!(refused.to_string().contains("another body"), "{refused}");
    // As a user sees it: exit code 4, a conflict.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("job.toml"), "name = \"third\"\n[task.t]\nrun = [\"true\"]\n").unwrap();
    let said =
        quorate(cluster.api_addresses(), directory.path(), &["job", "run", "job.toml", "--request-id", "the-request"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(runs(&client).await, 1);
}
