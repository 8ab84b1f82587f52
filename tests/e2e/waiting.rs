//! Why is it waiting? The answer names the check, the node that comes nearest and what it misses; and
//! granting exactly that is enough.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{options, quorate, run_end, run_ref, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn granting_what_is_missing_places_the_task() {
    let mut options = options(1);
    options.agents = vec![AgentOptions {
        node: "node-1".to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("1500m".to_owned()),
        memory: Some("1Gi".to_owned()),
        gpus: None,
        flags: Vec::new(),
    }];
    let mut cluster = start(options.clone()).await;
    let client = cluster.client();
    let job = "name = \"big\"\n[task.t]\nrun = [\"true\"]\nresources = { cpu = 2, memory = \"1Gi\" }\n";
    let run = submit(&client, job).await;
    let nearest = until("the reason", || async {
        let request = v1::ExplainTaskRequest { run: run_ref(&run), task: "t".to_owned(), index: 0 };
        let answer = client.explain_task(request).await.map_err(|error| error.to_string())?;
        match answer.reason.and_then(|reason| reason.reason) {
            Some(v1::wait_reason::Reason::NoNodeFits(reason)) => {
                reason.nearest.ok_or_else(|| "no nearest miss".to_owned())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!((nearest.node.as_str(), nearest.check.as_str()), ("node-1", "TOO_SMALL"));
    assert_eq!((nearest.missing_cpu_milli, nearest.missing_memory_bytes), (500, 0));
    let directory = tempfile::tempdir().unwrap();
    let said = quorate(cluster.api_addresses(), directory.path(), &["task", "why", &run, "t"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("node-1") && said.out.contains("500m"), "{said:?}");
    // Grant exactly that.
    let grown = format!("{}m", 1500 + nearest.missing_cpu_milli);
    cluster.stop_agent(0).await.unwrap();
    cluster.set_agent_cpu(0, &grown);
    cluster.restart_agent(0).unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
}

/// What will have ended passes a task that waits for the whole node, what has no limit does not, and all of them are told why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_passes_a_task_that_waits_ends_before_it_begins() {
    let mut options = options(1);
    options.agents = vec![AgentOptions {
        node: "node-1".to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("2".to_owned()),
        memory: Some("1Gi".to_owned()),
        gpus: None,
        flags: Vec::new(),
    }];
    let cluster = start(options).await;
    let client = cluster.client();
    let job = |name: &str, argv: &str, cpu: u32, limit: &str| {
        let resources = format!("{{ cpu = {cpu}, memory = \"32Mi\" }}");
        format!("name = \"{name}\"\n[task.t]\nrun = {argv}\nresources = {resources}\ntimeouts = {{ {limit} }}\n")
    };
    let busy = submit(&client, &job("busy", "[\"sleep\", \"600\"]", 1, "run = \"30m\"")).await;
    until("the node to be half full", || async {
        let request = v1::GetRunRequest { run: run_ref(&busy) };
        let run = client.get_run(request).await.map_err(|error| error.to_string())?.run.unwrap_or_default();
        (run.counts.unwrap_or_default().running == 1).then_some(()).ok_or_else(|| format!("{:?}", run.counts))
    })
    .await;
    let whole = submit(&client, &job("whole", "[\"true\"]", 2, "")).await;
    let endless = submit(&client, &job("endless", "[\"true\"]", 1, "")).await;
    let short = submit(&client, &job("short", "[\"true\"]", 1, "run = \"1m\"")).await;
    assert_eq!(run_end(&client, &short).await.state(), v1::RunState::Succeeded);
    let directory = tempfile::tempdir().unwrap();
    let says = |words: &[&str]| quorate(cluster.api_addresses(), directory.path(), words).out;
    let why = says(&["task", "why", &endless, "t"]);
    assert!(why.contains("which it would delay"), "{why}");
    let why = says(&["task", "why", &whole, "t"]);
    assert!(why.contains("expected to begin within 30 min") && why.contains("on node node-1"), "{why}");
    let status = says(&["run", "status", &whole]);
    assert!(status.contains("Expected   t begins within 30m"), "{status}");
    let cancel = v1::CancelRunRequest { run: run_ref(&busy), request_id: String::new() };
    client.cancel_run(cancel).await.unwrap();
    for run in [&whole, &endless] {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded);
    }
}
