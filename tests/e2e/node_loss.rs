//! A node dies: its tasks run elsewhere, each promise as it was given, and its room is released only
//! when its processes are known to be gone.

use quorate_proto::v1;
use quorate_tests::{LEASE, Ledger, attempts, options, run_end, start, submit, until};

async fn node_of_running(client: &quorate_client::Client, run: &str) -> String {
    until("a running attempt", || async {
        let attempts = attempts(client, run).await;
        let running = attempts.iter().find(|attempt| attempt.state() == v1::AttemptState::Running);
        running.map(|attempt| attempt.node.clone()).ok_or_else(|| format!("{attempts:?}"))
    })
    .await
}

fn position(node: &str) -> usize {
    node.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok()).unwrap() - 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_dead_node_run_elsewhere() {
    let mut cluster = start(options(3)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    for promise in ["at_least_once", "fenced"] {
        let task = ledger.task_until(promise);
        let job = format!("name = \"{promise}\"\non_node_loss = \"{promise}\"\n[task.t]\nrun = {task}\n");
        let run = submit(&client, &job).await;
        let node = node_of_running(&client, &run).await;
        cluster.kill9_agent(position(&node));
        until("the loss", || async {
            let attempts = attempts(&client, &run).await;
            if attempts[0].state() == v1::AttemptState::Lost { Ok(()) } else { Err(format!("{attempts:?}")) }
        })
        .await;
        ledger.open(promise);
        assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
        let attempts = attempts(&client, &run).await;
        assert!(attempts.len() >= 2, "{attempts:?}");
        assert_eq!(attempts[0].state(), v1::AttemptState::Lost, "{attempts:?}");
        assert!(attempts[1..].iter().all(|attempt| attempt.node != node), "{attempts:?}");
        assert!(attempts.is_sorted_by(|earlier, later| earlier.token < later.token), "{attempts:?}");
        cluster.restart_agent(position(&node)).unwrap();
        cluster.wait_ready().await.unwrap();
        // Back again, it can prove that its processes died with it: nothing is held any more.
        until("the room to be released", || async {
            let request = v1::ListNodesRequest { page_size: 100, page_token: String::new() };
            let nodes = client.list_nodes(request).await.map_err(|error| error.to_string())?.nodes;
            let used: u64 = nodes.iter().filter_map(|node| node.used).map(|used| used.cpu_milli).sum();
            if used == 0 { Ok(()) } else { Err(format!("{nodes:?}")) }
        })
        .await;
    }
    // The tasks died with their agents: no first attempt saw that it might end.
    let ends = ledger.lines("end");
    assert!(ends.len() >= 2 && !ends.contains(&"t 0 1".to_owned()), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_at_most_once_task_is_not_started_twice() {
    let mut cluster = start(options(1)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let job = format!("name = \"once\"\non_node_loss = \"at_most_once\"\n[task.t]\nrun = {}\n", ledger.task("600"));
    let run = submit(&client, &job).await;
    let node = node_of_running(&client, &run).await;
    cluster.kill9_agent(position(&node));
    until("an unknown attempt", || async {
        let attempts = attempts(&client, &run).await;
        if attempts[0].state() == v1::AttemptState::Unknown { Ok(()) } else { Err(format!("{attempts:?}")) }
    })
    .await;
    cluster.restart_agent(position(&node)).unwrap();
    // The agent returns and proves the process gone: the one start is lost, and with it the run.
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Failed);
    assert_eq!(ledger.lines("start").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_control_plane_kills_nothing_and_repeats_nothing() {
    let mut cluster = start(options(1)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let job = format!("name = \"steady\"\n[task.t]\ncount = 6\nrun = {}\n", ledger.task("10"));
    let run = submit(&client, &job).await;
    until("all to run", || async {
        let lines = ledger.lines("start").len();
        if lines == 6 { Ok(()) } else { Err(format!("{lines} started")) }
    })
    .await;
    cluster.kill9(0);
    // Longer than an agent's lease: only `fenced` tasks would be killed.
    tokio::time::sleep(LEASE.agent + LEASE.kill).await;
    cluster.restart(0).unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    assert_eq!((ledger.lines("start").len(), ledger.lines("end").len()), (6, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_task_is_killed_when_its_agent_is_cut_off() {
    let mut cluster = start(options(1)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let job = format!("name = \"cut\"\non_node_loss = \"fenced\"\n[task.t]\nrun = {}\n", ledger.task_until("back"));
    let run = submit(&client, &job).await;
    node_of_running(&client, &run).await;
    cluster.kill9(0);
    // Past the agent's deadline and the kill bound: whatever ends from here on is another copy.
    tokio::time::sleep(LEASE.agent + LEASE.kill).await;
    ledger.open("back");
    cluster.restart(0).unwrap();
    let end = run_end(&client, &run).await.state();
    assert_eq!(end, v1::RunState::Succeeded, "{:?}", attempts(&client, &run).await);
    let (starts, ends) = (ledger.lines("start"), ledger.lines("end"));
    assert!(starts.len() >= 2 && ends.len() == 1, "{starts:?} {ends:?}");
    assert_ne!(ends, ["t 0 1"], "the first copy must have been killed");
}
