//! The example of a sink: late writers are refused, repeats recognised, and a newer token wins.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use quorate_proto::v1;
use quorate_tests::{attempts, options, run_end, start, submit};

/// Where the example is.
fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fencing-sink")
}

/// Ledgers in a directory of their own.
struct Sink(tempfile::TempDir);

impl Sink {
    fn make() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, token: u64, key: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(example().join("sink"));
        command.args(arguments).env("SINK", self.0.path());
        command.env("QUORATE_FENCING_TOKEN", token.to_string()).env("QUORATE_IDEMPOTENCY_KEY", key);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it; the exit code and what it said on success.
    fn ask(&self, token: u64, key: &str, arguments: &[&str], text: &str) -> (i32, String) {
        let output = fed(self.command(token, key, arguments), text);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    fn write(&self, token: u64, key: &str, text: &str) -> (i32, String) {
        self.ask(token, key, &["write", "account"], text)
    }

    fn value(&self) -> String {
        self.ask(0, "", &["read", "account"], "").1
    }

    /// The lines of a ledger: token, key and text.
    fn lines(&self, object: &str) -> Vec<(u64, String, String)> {
        let ledger = std::fs::read_to_string(self.0.path().join(format!("{object}.ledger"))).unwrap();
        let line = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let mut next = || parts.next().unwrap().to_owned();
            (next().parse().unwrap(), next(), next())
        };
        ledger.lines().map(line).collect()
    }
}

fn fed(mut command: Command, text: &str) -> Output {
    use std::io::Write as _;
    let mut child = command.spawn().unwrap();
    // One that does not read has ended by then, which is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(code: i32, answer: &str) -> (i32, String) {
    (code, answer.to_owned())
}

#[test]
fn a_stale_token_is_refused() {
    let sink = Sink::make();
    assert_eq!(sink.write(20, "run-0-0", "of the second copy"), told(0, "written"));
    assert_eq!(sink.write(19, "run-1-0", "of the first copy"), told(77, ""));
    assert_eq!(sink.value(), "of the second copy");
    // Also by a copy that has only said that it is there, and when tokens differ beyond what a float can tell.
    let large = (1 << 53) + 1;
    assert_eq!(sink.ask(large, "run-2-0", &["claim", "account"], ""), told(0, "claimed"));
    assert_eq!(sink.write(large - 1, "run-3-0", "late"), told(77, ""));
    assert_eq!(sink.value(), "of the second copy");
}

#[test]
fn a_repeat_is_recognised_and_shuts_out_the_try_before_it() {
    let sink = Sink::make();
    assert_eq!(sink.write(10, "run-0-0", "100"), told(0, "written"));
    assert_eq!(sink.write(30, "run-0-0", "100"), told(0, "repeated"));
    assert_eq!(sink.ask(20, "run-0-0", &["write", "account", "fee"], "1"), told(77, ""));
    assert_eq!(sink.ask(30, "run-0-0", &["write", "account", "fee"], "1"), told(0, "written"));
    let texts: Vec<String> = sink.lines("account").into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["100", "", "1"], "once each, and a line that only claims");
}

#[test]
fn a_newer_token_wins() {
    let sink = Sink::make();
    assert_eq!(sink.write(10, "run-0-0", "old"), told(0, "written"));
    assert_eq!(sink.write(11, "run-1-0", "new"), told(0, "written"));
    assert_eq!(sink.value(), "new");
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    let sink = Sink::make();
    assert_eq!(sink.ask(1, "run-0-0", &["write", "../account"], "x").0, 2);
    assert_eq!(sink.ask(1, "run-0-0", &["write", "account", "a b"], "x").0, 2);
}

#[test]
fn of_writers_at_once_no_older_one_comes_after_a_newer_one() {
    let sink = Sink::make();
    let writers: Vec<_> = (1..=16)
        .map(|token: u64| {
            // Each key has two writers, so that they also meet in it.
            let mut command = sink.command(token, &format!("run-{}-0", token / 2), &["write", "account"]);
            command.stdin(Stdio::from(std::fs::File::open(example().join("job.toml")).unwrap()));
            command.spawn().unwrap()
        })
        .collect();
    for writer in writers {
        let code = writer.wait_with_output().unwrap().status.code();
        assert!(matches!(code, Some(0 | 77)), "{code:?}");
    }
    let lines = sink.lines("account");
    assert!(lines.is_sorted_by_key(|(token, _, _)| *token), "{lines:?}");
    assert_eq!(lines.last().unwrap().0, 16, "the newest is never refused");
    let mut keys: Vec<&String> = lines.iter().map(|(_, key, _)| key).filter(|key| *key != "claim").collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_writes_once_however_often_it_is_tried() {
    let sink = Sink::make();
    let cluster = start(options(1)).await;
    let client = cluster.client();
    let job = std::fs::read_to_string(example().join("job.toml")).unwrap();
    let places = [("/var/lib/sink", sink.0.path().to_path_buf()), ("/opt/fencing-sink", example())];
    let job = places.iter().fold(job, |job, (there, here)| job.replace(there, &here.display().to_string()));
    // As if the machine had gone just after the write.
    let dies = "sink write \"account-$QUORATE_TASK_INDEX\"";
    assert!(job.contains(dies), "{job}");
    let job = job.replace(dies, &format!("{dies}; [ \"$QUORATE_ATTEMPT\" != 1 ] || exit 3"));
    let run = submit(&client, &job.replace("attempts = 3", "attempts = 3, first = \"10ms\"")).await;
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    let tokens: Vec<u64> = attempts(&client, &run).await.iter().map(|attempt| attempt.token).collect();
    assert_eq!(tokens.len(), 8, "two tries of each task");
    for index in 0..4 {
        let lines = sink.lines(&format!("account-{index}"));
        let written: Vec<_> = lines.iter().filter(|(_, key, _)| key != "claim").collect();
        assert_eq!(written.len(), 1, "{lines:?}");
        assert_eq!(written[0].2, (100 + index).to_string());
        assert!(lines.last().unwrap().0 > written[0].0, "the second try shut the first one out: {lines:?}");
        // What if the first one had only been slow?
        let late = sink.ask(written[0].0, "late", &["write", &format!("account-{index}")], "late");
        assert_eq!(late, told(77, ""));
    }
}
