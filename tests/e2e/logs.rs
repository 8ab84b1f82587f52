//! Output that is followed while it is written: byte for byte, whoever dies on its way.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_bench::local::LocalCluster;
use quorate_client::Client;
use quorate_proto::v1;
use quorate_tests::{attempts, binary, quorate, run_end, run_ref, said, start, steady, submit, until};

/// Lines of the long output.
const LINES: usize = 3_000;

/// One node, so that a test knows which agent it kills.
async fn one_node(replicas: usize) -> LocalCluster {
    let mut options = steady(replicas);
    options.agents.truncate(1);
    start(options).await
}

/// A job of one task that runs this script.
fn job(name: &str, script: &str, more: &str) -> String {
    format!("name = \"{name}\"\n[task.t]\nrun = [\"sh\", \"-c\", {script:?}]\n{more}\n")
}

pub(super) fn following(cluster: &LocalCluster, directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary());
    command.args(["run", "logs", "-f"]).args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env("QUORATE_SERVERS", cluster.api_addresses().join(","));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

pub(super) async fn ended(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap()
}

/// Reads through the library, and shows how far it has come.
fn read_along(client: &Client, run: &str, stream: v1::LogStream) -> (Arc<Mutex<Vec<u8>>>, tokio::task::JoinHandle<()>) {
    let request = v1::ReadLogsRequest {
        run: run_ref(run),
        task: "t".into(),
        stream: stream.into(),
        follow: true,
        ..v1::ReadLogsRequest::default()
    };
    let mut logs = client.read_logs(request);
    let text = Arc::new(Mutex::new(Vec::new()));
    let seen = text.clone();
    let reading = tokio::spawn(async move {
        while let Some(piece) = logs.next().await {
            let piece = piece.expect("it is read to its end");
            let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(piece.offset, text.len() as u64);
            text.extend_from_slice(&piece.data);
        }
        assert_eq!(logs.missed(), 0);
    });
    (seen, reading)
}

async fn has_come_to(seen: &Mutex<Vec<u8>>, bytes: usize) {
    until("the reading", || async {
        let length = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
        if length >= bytes { Ok(()) } else { Err(format!("{length} of {bytes} bytes")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_followed_byte_for_byte_while_replicas_die() {
    let mut cluster = one_node(3).await;
    let client = cluster.client_with(Duration::from_secs(120));
    let directory = tempfile::tempdir().unwrap();
    // Some seconds, so that all three kills fall into them.
    let script = format!(
        "i=0; while [ $i -lt {LINES} ]; do printf 'line %06d\\n' $i; printf 'also %06d\\n' $i >&2; i=$((i+1)); \
         [ $((i % 25)) -eq 0 ] && sleep 0.1; done; exit 0"
    );
    let run = submit(&client, &job("talk", &script, "")).await;
    let command = following(&cluster, directory.path(), &[&run, "t"]);
    let objects = following(&cluster, directory.path(), &[&run, "t", "--json", "--stream", "stdout"]);
    let (seen, reading) = read_along(&client, &run, v1::LogStream::Stdout);
    let line = |word: &str, number: usize| format!("{word} {number:06}\n");

    has_come_to(&seen, 12 * LINES / 10).await;
    let leader = cluster.leader(|_| true).await.unwrap();
    cluster.kill9(leader.replica);
    // Whichever of the others passes the agent's session on to the new leader dies next.
    let next = cluster.leader(|next| next.term > leader.term).await.unwrap();
    let length = seen.lock().unwrap().len();
    has_come_to(&seen, (length + 12 * LINES / 10).min(12 * LINES)).await;
    cluster.restart(leader.replica).unwrap();
    cluster.wait_ready().await.unwrap();
    for relay in (0..3).filter(|replica| *replica != next.replica) {
        cluster.kill9(relay);
        let length = seen.lock().unwrap().len();
        has_come_to(&seen, (length + 12 * LINES / 20).min(12 * LINES)).await;
        cluster.restart(relay).unwrap();
        cluster.wait_ready().await.unwrap();
    }
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    assert_eq!(attempts(&client, &run).await.len(), 1, "the task itself was left alone");

    reading.await.unwrap();
    let whole: String = (0..LINES).map(|number| line("line", number)).collect();
    assert!(*seen.lock().unwrap() == whole.as_bytes(), "the library's output differs");
    let command = said(&ended(command).await);
    assert_eq!(command.code, 0, "{}", command.err);
    assert!(command.out == whole, "standard output differs");
    let also: String = (0..LINES).map(|number| line("also", number)).collect();
    assert!(command.err == also, "standard error differs");
    let objects = said(&ended(objects).await);
    assert_eq!((objects.code, objects.err.as_str()), (0, ""));
    let mut text = String::new();
    for object in objects.out.lines() {
        let object: serde_json::Value = serde_json::from_str(object).unwrap();
        assert_eq!(object["schema"], "quorate.v1.log_line/1");
        assert_eq!((object["offset"].as_u64(), object["attempt"].as_u64()), (Some(text.len() as u64), Some(1)));
        text += object["text"].as_str().unwrap();
    }
    assert!(text == whole, "the objects' texts differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_goes_on_with_the_next_attempt_and_ends_with_the_task() {
    let cluster = one_node(1).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    // Each attempt fails but the third; the first waits until all follow.
    let script = format!(
        "echo begin $QUORATE_ATTEMPT; while [ ! -e {} ]; do sleep 0.05; done; \
         echo end $QUORATE_ATTEMPT; [ $QUORATE_ATTEMPT -ge 3 ]",
        gate.display()
    );
    let run = submit(&client, &job("again", &script, "retry = { attempts = 5, first = \"100ms\" }")).await;
    let (seen, reading) = read_along(&client, &run, v1::LogStream::Stdout);
    has_come_to(&seen, 8).await;
    let mut all = following(&cluster, directory.path(), &[&run, "t"]);
    let one = following(&cluster, directory.path(), &[&run, "t", "--attempt", "1"]);
    let mut begun = [0; 8];
    all.stdout.as_mut().unwrap().read_exact(&mut begun).expect("it follows");
    assert_eq!(&begun, b"begin 1\n");
    std::fs::write(&gate, "").unwrap();
    reading.await.unwrap();
    let one = said(&ended(one).await);
    assert_eq!((one.code, one.out.as_str()), (0, "begin 1\nend 1\n"), "{one:?}");
    let all = said(&ended(all).await);
    assert_eq!(all.code, 0, "{all:?}");
    assert_eq!(all.out, "end 1\nbegin 2\nend 2\nbegin 3\nend 3\n", "{all:?}");
    assert!(all.err.contains("attempt 2 has ended, attempt 3 follows"), "{all:?}");
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);

    let ask = |arguments: &[&str]| {
        let mut words = vec!["run", "logs", &*run];
        words.extend_from_slice(arguments);
        quorate(cluster.api_addresses(), directory.path(), &words)
    };
    assert_eq!(ask(&["t", "--tail", "1"]).out, "end 3\n");
    assert_eq!(ask(&["t", "--attempt", "2", "--tail", "9"]).out, "begin 2\nend 2\n");
    assert_eq!(ask(&["t", "--since", "10m"]).out, "begin 3\nend 3\n");
    assert_eq!(ask(&["t", "--since", "2099-01-01T00:00:00Z"]).out, "");
    assert_eq!(ask(&["t", "--attempt", "9"]).code, 3);
    assert_eq!(ask(&[]).out, "begin 3\nend 3\n", "the only task needs no name");
    let ended_long_ago = ask(&["t", "-f"]);
    assert_eq!((ended_long_ago.code, ended_long_ago.out.as_str()), (0, "begin 3\nend 3\n"), "{ended_long_ago:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_run_is_read_line_by_line_with_the_task_before_each() {
    let mut cluster = one_node(1).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let mut job = job("many", "printf \"one $QUORATE_TASK_INDEX\\ntwo\"; echo oh >&2", "count = 3");
    job += "[task.last]\nneeds = [\"t\"]\nrun = [\"echo\", \"done\"]\n";
    let run = submit(&client, &job).await;
    let followed = said(&ended(following(&cluster, directory.path(), &[&run])).await);
    assert_eq!(followed.code, 0, "{followed:?}");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    let expected =
        ["last | done", "t[0] | one 0", "t[0] | two", "t[1] | one 1", "t[1] | two", "t[2] | one 2", "t[2] | two"];
    assert_eq!(sorted(&followed.out), expected);
    assert_eq!(sorted(&followed.err), ["t[0] | oh", "t[1] | oh", "t[2] | oh"]);

    // What an agent wrote down is there also when it has started anew.
    run_end(&client, &run).await;
    cluster.kill9_agent(0);
    cluster.restart_agent(0).unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    let read = ask(&["run", "logs", &run]);
    assert_eq!(read.code, 0, "{read:?}");
    assert_eq!(read.out.lines().collect::<Vec<_>>()[..2], ["t[0] | one 0", "t[0] | two"], "in the order of tasks");
    assert_eq!(sorted(&read.out), expected);
    let again = ask(&["run", "logs", &run, "t[2]", "--tail", "1"]);
    assert_eq!((again.code, again.out.as_str()), (0, "two"), "{again:?}");

    let wide = submit(&client, "name = \"wide\"\n[task.t]\ncount = 17\nrun = [\"true\"]\n").await;
    let refused = ask(&["run", "logs", &wide, "-f"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("TASKS_FOLLOWED_MAX") && refused.err.contains("name the task"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_kept_is_counted() {
    let cluster = one_node(1).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    // Half as much again as is kept.
    let script = format!("seq -w 1 3000000; while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let run = submit(&client, &job("talks-a-lot", &script, "")).await;
    let whole: String = (1..=3_000_000).map(|number| format!("{number:07}\n")).collect();
    let request = v1::ReadLogsRequest {
        run: run_ref(&run),
        task: "t".into(),
        stream: v1::LogStream::Stdout.into(),
        ..v1::ReadLogsRequest::default()
    };
    until("the beginning to be dropped", || async {
        let mut logs = client.read_logs(request.clone());
        let first = logs.next().await.ok_or("no output yet")?.map_err(|error| error.to_string())?;
        if logs.missed() > 0 && first.offset == logs.missed() { Ok(()) } else { Err(format!("from {}", first.offset)) }
    })
    .await;
    std::fs::write(&gate, "").unwrap();
    run_end(&client, &run).await;
    let read = quorate(cluster.api_addresses(), directory.path(), &["run", "logs", &run, "t"]);
    assert_eq!(read.code, 0, "{}", read.err);
    assert!(read.out.len() < whole.len() && whole.ends_with(&read.out), "{} bytes", read.out.len());
    let missed = whole.len() - read.out.len();
    let said = format!("{missed} bytes rotated away before offset {missed} of stdout (agent.log_bytes_max)\n");
    assert_eq!(read.err, said);
    let tail = quorate(cluster.api_addresses(), directory.path(), &["run", "logs", &run, "t", "--tail", "2"]);
    assert_eq!((tail.out.as_str(), tail.err.as_str()), ("2999999\n3000000\n", ""));

    let from = |offset: usize, more: &[&str]| {
        let offset = offset.to_string();
        let words = ["run", "logs", &run, "t", "--offset", &offset];
        quorate(cluster.api_addresses(), directory.path(), &[&words[..], more].concat())
    };
    let last = from(whole.len() - 11, &["--stream", "stdout"]);
    assert_eq!((last.out.as_str(), last.err.as_str()), ("99\n3000000\n", ""));
    let beyond = from(whole.len(), &["--stream", "stdout"]);
    assert_eq!((beyond.code, beyond.out.as_str()), (0, ""), "{beyond:?}");
    let refused = from(1, &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--stream stdout"), "{refused:?}");
}
