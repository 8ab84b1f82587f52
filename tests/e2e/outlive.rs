//! Tasks outlive their agent: what it started goes on, is taken over by the next one, and keeps its promise.

use std::path::Path;

use quorate_bench::local::{LocalCluster, Options};
use quorate_client::Client;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, said, start, steady, submit, until};

use super::logs::{ended, following};

/// One replica and one agent whose tasks outlive it.
async fn cluster(options: Options) -> LocalCluster {
    let agents = options.agents.iter().take(1).cloned().collect();
    start(Options { agents, tasks_outlive: true, ..options }).await
}

/// Waits until a file holds a whole line, and gives the text.
async fn written(path: &Path) -> String {
    until(&format!("{}", path.display()), || async {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.ends_with('\n') { Ok(text) } else { Err(text) }
    })
    .await
}

/// The states of all attempts, by their tokens.
async fn states(client: &Client, run: &str) -> Vec<(u64, v1::AttemptState)> {
    attempts(client, run).await.iter().map(|attempt| (attempt.token, attempt.state())).collect()
}

async fn running(client: &Client, run: &str) {
    until("a running attempt", || async {
        let attempts = attempts(client, run).await;
        let is_running = attempts.iter().any(|attempt| attempt.state() == v1::AttemptState::Running);
        if is_running { Ok(()) } else { Err(format!("{attempts:?}")) }
    })
    .await;
}

/// What the task wrote, by way of the command line.
fn output(cluster: &LocalCluster, directory: &Path, run: &str) -> String {
    let said = quorate(cluster.api_addresses(), directory, &["run", "logs", run, "t"]);
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_on_while_its_agent_is_killed_stopped_and_started_again() {
    let mut cluster = cluster(steady(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let (pid, go) = (directory.path().join("pid"), directory.path().join("go"));
    // One number after the other, for as long as it runs: a gap or a repetition would show.
    let script = format!(
        "echo $$ > {pid}; i=0; while ! [ -e {go} ]; do echo $i; i=$((i+1)); sleep 0.01; done; echo $i end; exit 7",
        pid = pid.display(),
        go = go.display()
    );
    let job = format!("name = \"on\"\n[task.t]\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let run = submit(&client, &job).await;
    running(&client, &run).await;
    let process = written(&pid).await;
    let follower = following(&cluster, directory.path(), &[&run, "t"]);
    for stop in [false, true] {
        if stop {
            cluster.stop_agent(0).await.unwrap();
        } else {
            cluster.kill9_agent(0);
        }
        assert!(Path::new(&format!("/proc/{}", process.trim())).exists(), "it goes on without its agent");
        // The node is up as long as its lease lasts: its log alone says that the next agent is there.
        let log = cluster.agent_log(0).to_owned();
        let welcomes = || std::fs::read_to_string(&log).unwrap().matches("welcomed").count();
        let before = welcomes();
        cluster.restart_agent(0).unwrap();
        until("the next agent", || async { if welcomes() > before { Ok(()) } else { Err("not yet".to_owned()) } })
            .await;
        running(&client, &run).await;
    }
    assert_eq!(written(&pid).await, process);
    std::fs::write(&go, "").unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Failed);
    let attempts = attempts(&client, &run).await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(attempts[0].exit, Some(v1::Exit { exit: Some(v1::exit::Exit::Code(7)) }));
    let text = output(&cluster, directory.path(), &run);
    let last = text.lines().count() - 1;
    let expected: String = (0..last).map(|number| format!("{number}\n")).chain([format!("{last} end\n")]).collect();
    assert_eq!(text, expected);
    let followed = said(&ended(follower).await);
    assert_eq!(followed.code, 0, "{}", followed.err);
    assert!(followed.out == expected, "what was followed differs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_no_agent_saw_is_reported_by_the_next_one() {
    let mut cluster = cluster(steady(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let (go, ended) = (directory.path().join("go"), directory.path().join("ended"));
    let script = format!(
        "while ! [ -e {} ]; do sleep 0.01; done; echo all; echo x >> {}; exit 0",
        go.display(),
        ended.display()
    );
    let job = format!("name = \"end\"\n[task.t]\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let run = submit(&client, &job).await;
    running(&client, &run).await;
    cluster.kill9_agent(0);
    std::fs::write(&go, "").unwrap();
    written(&ended).await;
    cluster.restart_agent(0).unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    let attempts = attempts(&client, &run).await;
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(output(&cluster, directory.path(), &run), "all\n");
    assert_eq!(written(&ended).await, "x\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_at_most_once_task_is_not_lost_with_the_lease_of_its_node() {
    let mut cluster = cluster(options(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let script = format!("while ! [ -e {} ]; do sleep 0.01; done", go.display());
    let job =
        format!("name = \"once\"\non_node_loss = \"at_most_once\"\n[task.t]\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let run = submit(&client, &job).await;
    running(&client, &run).await;
    cluster.kill9_agent(0);
    until("an unknown attempt", || async {
        let attempts = attempts(&client, &run).await;
        if attempts[0].state() == v1::AttemptState::Unknown { Ok(()) } else { Err(format!("{attempts:?}")) }
    })
    .await;
    cluster.restart_agent(0).unwrap();
    running(&client, &run).await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    assert_eq!(attempts(&client, &run).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_replaced_while_its_agent_was_away_is_ended_when_that_is_back() {
    let mut options = options(1);
    options.agents.truncate(2);
    options.agents[1].cluster = options.agents[0].cluster.clone();
    let mut cluster = start(Options { tasks_outlive: true, ..options }).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let [pids, go] = ["pids", "go"].map(|name| directory.path().join(name));
    let script = format!("echo $$ >> {}; while ! [ -e {} ]; do sleep 0.01; done", pids.display(), go.display());
    let job = format!("name = \"twice\"\n[task.t]\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let run = submit(&client, &job).await;
    running(&client, &run).await;
    let first = written(&pids).await.trim().to_owned();
    let node = attempts(&client, &run).await[0].node.clone();
    let agent = node.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok()).unwrap() - 1;
    cluster.kill9_agent(agent);
    let second = until("another copy elsewhere", || async {
        let text = std::fs::read_to_string(&pids).unwrap_or_default();
        text.lines().nth(1).map(str::to_owned).ok_or(text)
    })
    .await;
    running(&client, &run).await;
    let lives = |pid: &str| Path::new(&format!("/proc/{pid}")).exists();
    assert!(lives(&first) && lives(&second), "the promise allows two copies until the node is back");
    cluster.restart_agent(agent).unwrap();
    until("the end of the first copy", || async { if lives(&first) { Err("it lives".to_owned()) } else { Ok(()) } })
        .await;
    assert!(lives(&second), "the newest token wins");
    std::fs::write(&go, "").unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    let found = attempts(&client, &run).await;
    let states: Vec<_> = found.iter().map(|attempt| (attempt.node == node, attempt.state())).collect();
    assert_eq!(states, [(true, v1::AttemptState::Lost), (false, v1::AttemptState::Succeeded)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_task_of_a_paused_agent_is_dead_before_its_next_copy_runs() {
    a_fenced_task_is_dead_before_its_next_copy_runs("paused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_task_of_a_killed_agent_is_dead_before_its_next_copy_runs() {
    a_fenced_task_is_dead_before_its_next_copy_runs("killed").await;
}

/// What becomes of a task whose agent is `paused` or `killed` and does not come back before another has it.
async fn a_fenced_task_is_dead_before_its_next_copy_runs(agent_is: &str) {
    let mut options = options(1);
    options.agents.truncate(2);
    // The second agent stands in the same cluster, so that the next copy has a place.
    options.agents[1].cluster = options.agents[0].cluster.clone();
    let mut cluster = start(Options { tasks_outlive: true, ..options }).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    // Each copy says that it lives, every hundredth of a second, with the time since boot: the first one for as long as
    // it lives, the others long enough to be seen beside it.
    let script = format!(
        "i=0; while [ $QUORATE_ATTEMPT -eq 1 -o $i -lt 100 ]; do read up idle < /proc/uptime; \
         echo $QUORATE_ATTEMPT $up >> {}; i=$((i+1)); sleep 0.01; done",
        clock.display()
    );
    let job =
        format!("name = \"{agent_is}\"\non_node_loss = \"fenced\"\n[task.t]\nrun = [\"sh\", \"-c\", \"{script}\"]\n");
    let run = submit(&client, &job).await;
    running(&client, &run).await;
    written(&clock).await;
    let node = attempts(&client, &run).await[0].node.clone();
    let agent = node.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok()).unwrap() - 1;
    match agent_is {
        "paused" => cluster.pause_agent(agent),
        _ => cluster.kill9_agent(agent),
    }
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    let times = |attempt: &str| -> Vec<f64> {
        let text = std::fs::read_to_string(&clock).unwrap();
        let of_it = text.lines().filter_map(|line| line.strip_prefix(attempt)?.trim().parse().ok());
        of_it.collect()
    };
    let (first, second) = (times("1 "), times("2 "));
    let died = *first.last().unwrap();
    assert!(!second.is_empty(), "another copy did run");
    assert!(died < second[0], "the first copy lived at {died}, the second one at {}", second[0]);
    let before = states(&client, &run).await;
    match agent_is {
        "paused" => cluster.resume_agent(agent),
        _ => cluster.restart_agent(agent).unwrap(),
    }
    // It comes to itself, and what it says changes nothing.
    cluster.wait_ready().await.unwrap();
    assert_eq!(states(&client, &run).await, before);
}
