//! Nodes are taken out of service: drained while they live, forgotten when they will not be back.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use quorate_proto::v1;
use quorate_tests::{Ledger, attempts, binary, options, quorate, run_end, start, steady, submit, until};

/// The node of an attempt that runs, once all of so many do.
async fn a_busy_node(client: &quorate_client::Client, run: &str, running: usize) -> String {
    until("all to run", || async {
        let attempts = attempts(client, run).await;
        let is_running = |attempt: &&v1::Attempt| attempt.state() == v1::AttemptState::Running;
        let all = attempts.iter().filter(is_running).count() == running;
        if all { Ok(attempts[0].node.clone()) } else { Err(format!("{attempts:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_a_drained_node_runs_elsewhere_and_what_is_started_once_is_waited_for() {
    let cluster = start(steady(1)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    let job = |name: &str, promise: &str, count: u32| {
        let place = "place = { clusters = [\"eu-a\", \"eu-b\"], spread = \"pack\" }";
        let run = ledger.task_until(name);
        format!("name = \"{name}\"\non_node_loss = \"{promise}\"\n[task.t]\ncount = {count}\n{place}\nrun = {run}\n")
    };
    // Packed: what comes later goes where the first has gone.
    let once = submit(&client, &job("once", "at_most_once", 1)).await;
    let node = a_busy_node(&client, &once, 1).await;
    let moved = submit(&client, &job("moved", "fenced", 2)).await;
    assert_eq!(a_busy_node(&client, &moved, 2).await, node);

    let status = ask(&["node", "status", &node]);
    assert!(status.out.contains("moved/t[1]") && status.out.contains("it is at_most_once"), "{status:?}");
    let mut drain = Command::new(binary());
    drain.args(["node", "drain", &node, "--reason", "a new disk", "--wait"]).current_dir(directory.path());
    drain.env("QUORATE_SERVERS", cluster.api_addresses().join(",")).stdin(Stdio::null()).stdout(Stdio::null());
    let mut drain = drain.stderr(Stdio::piped()).spawn().unwrap();
    let mut says = BufReader::new(drain.stderr.take().unwrap()).lines();
    assert!(
        says.any(|line| line.unwrap().contains("1 attempt left (1: it is at_most_once)")),
        "it does not wait for it"
    );
    ledger.open("once");
    let more: Vec<_> = says.collect();
    assert_eq!(drain.wait().unwrap().code(), Some(0), "{more:?}");
    assert_eq!(run_end(&client, &once).await.state(), v1::RunState::Succeeded);
    assert_eq!(attempts(&client, &once).await.len(), 1);

    let tries = attempts(&client, &moved).await;
    let first: Vec<_> = tries.iter().filter(|attempt| attempt.node == node).collect();
    assert!(first.iter().all(|attempt| attempt.state() == v1::AttemptState::Preempted), "{tries:?}");
    assert_eq!(first.len(), 2, "{tries:?}");
    let tasks = until("both to run elsewhere", || async {
        let tasks = v1::ListTasksRequest { run: quorate_tests::run_ref(&moved), page_size: 10, ..Default::default() };
        let tasks = client.list_tasks(tasks).await.map_err(|error| error.to_string())?.tasks;
        let run = tasks.iter().all(|task| task.state() == v1::TaskState::Running);
        if run { Ok(tasks) } else { Err(format!("{tasks:?}")) }
    })
    .await;
    assert!(tasks.iter().all(|task| task.tries == 0), "{tasks:?}");
    // Being moved is no loss.
    let lost = tries.iter().filter(|attempt| attempt.state() == v1::AttemptState::Lost).count();
    assert_eq!(tasks.iter().map(|task| task.losses as usize).sum::<usize>(), lost, "{tasks:?} {tries:?}");

    let status = ask(&["node", "status", &node, "--json"]).json();
    assert_eq!((&status["attempts"], &status["withdrawal"]["reason"]), (&0.into(), &"a new disk".into()), "{status}");
    let list = ask(&["node", "list"]);
    assert!(list.out.contains("up, drained"), "{list:?}");
    assert_eq!(ask(&["node", "undrain", &node]).code, 0);
    assert!(!ask(&["node", "list"]).out.contains("drained"));
    let unknown = ask(&["node", "status", "node-l"]);
    assert!(unknown.code == 3 && unknown.err.contains("did you mean \"node-1\"?"), "{unknown:?}");
    assert_eq!(ask(&["run", "cancel", "moved"]).code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_for_a_time_moves_what_runs_and_ends_by_itself() {
    let cluster = start(steady(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    until("the feature to be enabled", || async {
        let features = ask(&["replica", "list", "--json"]).json()["features"].clone();
        let is_enabled = |feature: &serde_json::Value| {
            feature["name"] == "node-maintenance" && feature["since_revision"].as_u64().is_some()
        };
        if features.as_array().unwrap().iter().any(is_enabled) { Ok(()) } else { Err(features.to_string()) }
    })
    .await;
    let run = submit(&client, "name = \"moved\"\n[task.t]\nrun = [\"sleep\", \"600\"]\n").await;
    let node = a_busy_node(&client, &run, 1).await;
    let wrong = ask(&["node", "drain", &node, "--for", "5s", "--after", "5s"]);
    assert!(wrong.code == 1 && wrong.err.contains("is not longer"), "{wrong:?}");
    let drained = ask(&["node", "drain", &node, "--for", "1h", "--wait"]);
    assert!(drained.code == 0 && drained.out.contains("takes nothing new for 1h00m"), "{drained:?}");
    let status = ask(&["node", "status", &node]);
    assert!(
        status.out.contains("up, drained for another ") && status.out.contains("takes work again by itself"),
        "{status:?}"
    );
    let list = ask(&["node", "list", "--json"]).json();
    let row = list["nodes"].as_array().unwrap().iter().find(|row| row["name"] == node.as_str()).unwrap().clone();
    assert!(row["withdrawal"]["ends_in_ms"].as_u64().is_some_and(|left| left <= 3_600_000), "{row}");
    assert_eq!(ask(&["node", "undrain", &node]).code, 0);
    assert!(ask(&["node", "status", &node, "--json"]).json()["withdrawal"].is_null());

    assert_eq!(ask(&["node", "drain", &node, "--for", "2s"]).code, 0);
    until("the drain to end", || async {
        let status = ask(&["node", "status", &node, "--json"]).json();
        let is_over = status["cordoned"] == false && status["withdrawal"].is_null();
        if is_over { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert!(!ask(&["node", "list"]).out.contains("drain"));
    assert_eq!(ask(&["run", "cancel", "moved"]).code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_node_that_is_forgotten_goes_to_the_machine_that_takes_its_place() {
    let mut cluster = start(options(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let addresses = cluster.api_addresses().to_vec();
    let ask = |arguments: &[&str]| quorate(&addresses, directory.path(), arguments);
    let job = |promise: &str| {
        format!("name = \"{promise}\"\non_node_loss = \"{promise}\"\n[task.t]\nrun = [\"sleep\", \"600\"]\n")
    };
    let once = submit(&client, &job("at_most_once")).await;
    let node = a_busy_node(&client, &once, 1).await;
    let alive = ask(&["node", "forget", &node]);
    assert!(alive.code == 4 && alive.err.contains("is alive"), "{alive:?}");

    let number: usize = node.strip_prefix("node-").unwrap().parse().unwrap();
    cluster.kill9_agent(number - 1);
    std::fs::remove_dir_all(cluster.directory().join(&node).join("data")).unwrap();
    until("the node to be forgotten", || async {
        let forgotten = ask(&["node", "forget", &node]);
        let waits = forgotten.err.contains("is alive") || forgotten.err.contains("wait another");
        assert!(forgotten.code == 0 || waits, "{forgotten:?}");
        if forgotten.code == 0 { Ok(()) } else { Err(format!("{forgotten:?}")) }
    })
    .await;
    // Its one start is lost, long before that would have been concluded from its silence.
    assert_eq!(run_end(&client, &once).await.state(), v1::RunState::Failed);
    assert_eq!(ask(&["node", "status", &node]).code, 3);

    cluster.restart_agent(number - 1).unwrap();
    cluster.wait_ready().await.unwrap();
    let status = ask(&["node", "status", &node, "--json"]).json();
    assert_eq!(
        (&status["status"], &status["attempts"], &status["used_cpu_milli"]),
        (&"up".into(), &0.into(), &0.into())
    );
}
