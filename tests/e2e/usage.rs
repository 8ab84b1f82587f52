//! What running tasks use is seen while they run.

use quorate_proto::v1;
use quorate_tests::{options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_uses_is_seen_while_it_runs_and_what_it_used_after_its_end() {
    let cluster = start(options(3)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    // Whichever replica is asked.
    let ask = |at: usize, arguments: &[&str]| quorate(&cluster.api_addresses()[at..=at], directory.path(), arguments);
    let script = "kept=$(head -c 16777216 /dev/zero | tr '\\\\0' x); trap 'exit 0' TERM; while :; do :; done";
    let job = format!(
        "name = \"busy\"\n[task.t]\ncount = 2\nresources = {{ cpu = 1, memory = \"256Mi\" }}\nrun = [\"sh\", \"-c\", \"{script}\"]\n"
    );
    let run = submit(&client, &job).await;
    for at in 0..3 {
        // Only the leader's memory holds it, and leadership may move.
        until("both to be known", || async {
            let list = ask(at, &["run", "status", &run, "--usage", "--json"]);
            assert_eq!(list.code, 0, "{list:?}");
            let list = list.json();
            let attempts = list["attempts"].as_array().unwrap();
            let is_known = |attempt: &&serde_json::Value| {
                attempt["live"]["cpu_milli"].as_u64() > Some(0)
                    && attempt["live"]["memory_bytes"].as_u64() > Some(16 << 20)
            };
            if attempts.iter().filter(is_known).count() != 2 {
                return Err(list.to_string());
            }
            assert!(attempts[0]["live"]["age_ms"].as_u64() < Some(60_000), "{list}");
            let status = ask(at, &["run", "status", &run]);
            let says = status.out.contains(" of memory, ") && status.out.contains("in 2 of 2 attempts");
            if says { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }
    until("a table of it", || async {
        let table = ask(0, &["run", "status", &run, "--usage"]);
        if table.out.contains("CPU TIME") && table.out.contains(" ago") { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;
    let node = ask(0, &["run", "status", &run, "--attempts", "--json"]).json()["attempts"][0]["node"].clone();
    until("what the node uses", || async {
        let status = ask(1, &["node", "status", node.as_str().unwrap(), "--json"]).json();
        if status["usage"]["memory_bytes"].as_u64() > Some(16 << 20) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;

    assert_eq!(ask(2, &["run", "cancel", &run]).code, 0);
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Cancelled);
    let list = ask(0, &["run", "status", &run, "--usage", "--json"]).json();
    for attempt in list["attempts"].as_array().unwrap() {
        assert!(attempt["live"].is_null(), "{attempt}");
        assert!(attempt["memory_peak_bytes"].as_u64() > Some(16 << 20), "{attempt}");
    }
    assert!(ask(0, &["run", "status", &run, "--usage"]).out.contains("at its end"));
}
