//! Runs that are told something, decide what of them runs, go on where something failed, and take back what they did.

use std::path::{Path, PathBuf};

use quorate_bench::local::{LocalCluster, Options};
use quorate_client::Client;
use quorate_proto::v1;
use quorate_tests::{Said, attempts, quorate, run_end, run_ref, spec, start, steady, until};

/// Where the examples are.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// A cluster that has the feature, and a directory for what its tasks leave behind.
struct Flow {
    cluster: LocalCluster,
    client: Client,
    directory: tempfile::TempDir,
}

impl Flow {
    async fn start(options: Options) -> Self {
        let cluster = start(options).await;
        let (client, directory) = (cluster.client(), tempfile::tempdir().unwrap());
        let flow = Self { cluster, client, directory };
        until("task-flow to be enabled", || async {
            let list = flow.ask(&["replica", "list"]);
            if list.out.contains("task-flow") && !list.out.contains("not enabled") { Ok(()) } else { Err(list.out) }
        })
        .await;
        flow
    }

    fn ask(&self, arguments: &[&str]) -> Said {
        quorate(self.cluster.api_addresses(), self.directory.path(), arguments)
    }

    /// Submits a job in which `report` and `mark` stand for commands that say a result and leave a line in a file.
    async fn submit(&self, job: &str, args: &str) -> String {
        let report = examples().join("report/quorate-report").display().to_string();
        let job = job.replace("report ", &format!("{report} ")).replace("MARKS", &self.marks().display().to_string());
        let (args, request_id) = (args.to_owned(), String::new());
        let request = v1::SubmitFlowRequest { spec: Some(spec(&job)), args, version: None, request_id };
        self.client.submit_flow(request).await.expect("the job is accepted").run_id
    }

    fn marks(&self) -> PathBuf {
        self.directory.path().join("marks")
    }

    /// The lines that tasks have left, in order.
    fn marked(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.marks()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn ends(&self, run: &str, state: v1::RunState) -> v1::GetRunResponse {
        let ended = run_end(&self.client, run).await;
        let events = || self.ask(&["run", "events", run]).out;
        assert_eq!(ended.state(), state, "{}", events());
        self.client.get_run(v1::GetRunRequest { run: run_ref(run) }).await.unwrap()
    }

    fn result(&self, run: &str, task: &str) -> String {
        let said = self.ask(&["task", "result", run, task]);
        assert_eq!(said.code, 0, "{said:?}");
        said.out.trim().to_owned()
    }
}

fn step<'r>(run: &'r v1::GetRunResponse, task: &str) -> &'r v1::Step {
    run.steps.iter().find(|step| step.task == task).unwrap_or_else(|| panic!("no step {task}"))
}

fn counts(run: &v1::GetRunResponse, task: &str) -> v1::TaskCounts {
    step(run, task).counts.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_is_told_and_what_comes_out_of_a_task_reach_the_others() {
    let flow = Flow::start(steady(3)).await;
    let job = r#"
name = "passing"
[params]
day = "date"
parts = { type = "integer", default = 4 }
[task.split]
run = ["sh", "-c", 'report result "{\"day\": \"$0\", \"sizes\": [1, 2.5]}"', "${params.day}"]
[task.merge]
env = { SIZES = "${split.result.sizes}", FIRST = "${split.result.sizes.0}" }
run = ["sh", "-c", 'report result "[\"$0\", \"$1\", $SIZES, $FIRST, \"$${HOME}\"]"', "${split.result.day}", "${params.parts}-${run.job}"]
"#;
    let run = flow.submit(job, "{\"day\": \"2026-11-21\"}").await;
    let ended = flow.ends(&run, v1::RunState::Succeeded).await;
    let result: serde_json::Value = serde_json::from_str(&flow.result(&run, "merge")).unwrap();
    assert_eq!(result[0], "2026-11-21");
    assert_eq!(result[1], "4-passing", "a default is a value as well");
    assert_eq!(result[2], serde_json::json!([1, 2.5]));
    assert_eq!(result[3], 1);
    assert!(!result[4].as_str().unwrap().contains("${"), "the shell's own: {result}");
    assert_eq!(ended.run.unwrap().args, "{\"day\":\"2026-11-21\",\"parts\":4}");

    // What a job does not ask for is refused whole, whoever asks.
    let file = flow.directory.path().join("job.toml");
    std::fs::write(&file, job).unwrap();
    for (arguments, why) in [
        (&["--param", "day=soon"][..], "expected a day of the calendar"),
        (&["--param", "day=2026-11-21", "--param", "dya=1"], "did you mean day?"),
        (&[], "the parameter day is missing"),
    ] {
        let said = flow.ask(&[&["job", "run", "job.toml"], arguments].concat());
        assert!(said.code == 2 && said.err.contains(why), "{said:?}");
    }
    let request = v1::SubmitFlowRequest { spec: Some(spec(job)), args: "{}".into(), ..Default::default() };
    let refused = flow.client.submit_flow(request).await.unwrap_err().to_string();
    assert!(refused.contains("the parameter day is missing"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_condition_is_false_is_passed_over_and_the_rest_goes_on() {
    let flow = Flow::start(steady(1)).await;
    let job = r#"
name = "deciding"
[task.look]
run = ["sh", "-c", "report result '{\"big\": false}'"]
[task.compress]
when = "look.result.big"
run = ["sh", "-c", "echo compress >> MARKS"]
[task.store]
needs = ["compress"]
when = "!look.result.big"
run = ["sh", "-c", "echo store >> MARKS"]
"#;
    let run = flow.submit(job, "").await;
    let ended = flow.ends(&run, v1::RunState::Succeeded).await;
    assert_eq!(flow.marked(), ["store"]);
    assert_eq!(step(&ended, "compress").decided(), v1::Decision::PassOver);
    assert_eq!((counts(&ended, "compress").skipped, counts(&ended, "store").succeeded), (1, 1));
    let why = flow.ask(&["task", "why", &run, "compress"]);
    assert!(why.out.contains("passed over"), "{why:?}");

    // What cannot be found out fails: a condition before anything is placed, a command before anything is started.
    let job = r#"
name = "guessing"
[task.look]
run = ["sh", "-c", "report result '{\"big\": false}'"]
[task.undecided]
when = "look.result.small"
run = ["sh", "-c", "echo undecided >> MARKS"]
[task.unnamed]
run = ["sh", "-c", "echo unnamed >> MARKS", "${look.result.small}"]
"#;
    let run = flow.submit(job, "").await;
    let ended = flow.ends(&run, v1::RunState::Failed).await;
    assert_eq!(flow.marked(), ["store"], "nothing of it has run");
    let undecided = step(&ended, "undecided");
    assert_eq!(undecided.decided(), v1::Decision::Fail);
    assert!(undecided.decided_message.contains("small"), "{undecided:?}");
    let tries = attempts(&flow.client, &run).await;
    assert!(tries.iter().all(|attempt| attempt.task != "undecided"), "{tries:?}");
    let unnamed = tries.iter().find(|attempt| attempt.task == "unnamed").unwrap();
    assert_eq!(unnamed.outcome.clone().unwrap().outcome, Some(v1::outcome::Outcome::Error("BadReference".into())));
    assert!(unnamed.message.contains("look.result.small") && unnamed.exit.is_none(), "{unnamed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_once_for_each_element_of_a_result() {
    let flow = Flow::start(steady(3)).await;
    let job = r#"
name = "fanning"
[task.split]
run = ["sh", "-c", "report result '{\"parts\": [{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"c\"}], \"none\": []}'"]
[task.score]
each = "${split.result.parts}"
accept = { failed = 1 }
run = ["sh", "-c", '[ $0 != b ] || exit 1; report result "\"$0$1\""', "${each.name}", "${index}"]
[task.merge]
env = { SCORES = "${score.result}" }
run = ["sh", "-c", 'report result "$SCORES"']
[task.nothing]
each = "${split.result.none}"
run = ["sh", "-c", "echo nothing >> MARKS"]
[task.after]
needs = ["nothing"]
each = { from = 3, to = 5 }
run = ["sh", "-c", 'report result $0', "${each}"]
"#;
    let run = flow.submit(job, "").await;
    let ended = flow.ends(&run, v1::RunState::Succeeded).await;
    assert_eq!(flow.result(&run, "merge"), "[\"a0\",null,\"c2\"]");
    assert_eq!((step(&ended, "score").count, counts(&ended, "score").failed), (3, 1));
    assert_eq!(step(&ended, "nothing").decided(), v1::Decision::PassOver);
    assert_eq!((flow.result(&run, "after[0]"), flow.result(&run, "after[1]")), ("3".into(), "4".into()));
    assert!(flow.marked().is_empty());
    let events = flow.ask(&["run", "events", &run, "--task", "score"]);
    assert!(events.out.contains("runs, with 3 elements") && events.out.contains("score[2]"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_stands_in_for_what_failed_and_the_run_succeeds() {
    let flow = Flow::start(steady(1)).await;
    let job = r#"
name = "standing-in"
[task.ask]
run = ["sh", "-c", "exit 1"]
[task.guess]
on = { failed = ["ask"] }
run = ["sh", "-c", "report result 7"]
[task.use]
run = ["sh", "-c", "report result $0", "${ask.result}"]
[task.idle]
on = { failed = ["use"] }
run = ["sh", "-c", "echo idle >> MARKS"]
"#;
    let run = flow.submit(job, "").await;
    let ended = flow.ends(&run, v1::RunState::Succeeded).await;
    assert_eq!(flow.result(&run, "use"), "7");
    assert_eq!((counts(&ended, "ask").failed, counts(&ended, "guess").succeeded), (1, 1));
    assert_eq!(step(&ended, "idle").decided(), v1::Decision::PassOver);
    assert!(flow.marked().is_empty());
    let status = flow.ask(&["run", "status", &run]);
    assert!(status.out.contains("guess stands in for it") && status.out.contains("use did not fail"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_undone_in_reverse_order_and_the_end_knows_how_it_went() {
    let flow = Flow::start(steady(3)).await;
    let job = r#"
name = "undoing"
[task.a]
run = ["sh", "-c", "echo a >> MARKS; report result 1"]
undo = ["sh", "-c", "echo not a $0 >> MARKS", "${a.result}"]
[task.b]
needs = ["a"]
each = ["x"]
run = ["sh", "-c", "echo b >> MARKS"]
undo = ["sh", "-c", "echo not b $0 $1 >> MARKS", "${each}", "${a.result}"]
[task.c]
needs = ["b"]
run = ["sh", "-c", "echo c >> MARKS; [ -e MARKS.go ] || exit 1; sleep 600"]
undo = ["sh", "-c", "echo not c >> MARKS"]
[task.tidy]
finally = true
run = ["sh", "-c", "echo $0 >> MARKS", "${run.outcome}"]
"#;
    let run = flow.submit(job, "").await;
    let ended = flow.ends(&run, v1::RunState::Failed).await;
    assert_eq!(flow.marked(), ["a", "b", "c", "not b x 1", "not a 1", "failed"]);
    assert_eq!(counts(&ended, "c.undo"), v1::TaskCounts::default(), "what failed has nothing to take back");

    // The same when somebody cancels it.
    let go = flow.directory.path().join("marks.go");
    std::fs::write(&go, "").unwrap();
    let cancelled = |all: bool| {
        let flow = &flow;
        async move {
            std::fs::remove_file(flow.marks()).unwrap();
            let run = flow.submit(job, "").await;
            until("the last task to run", || async {
                let marked = flow.marked();
                if marked.last().is_some_and(|last| last == "c") { Ok(()) } else { Err(format!("{marked:?}")) }
            })
            .await;
            let arguments = ["run", "cancel", &run, "--all"];
            let said = flow.ask(&arguments[..if all { 4 } else { 3 }]);
            assert_eq!(said.code, 0, "{said:?}");
            flow.ends(&run, v1::RunState::Cancelled).await
        }
    };
    cancelled(false).await;
    assert_eq!(flow.marked(), ["a", "b", "c", "not b x 1", "not a 1", "cancelled"]);
    let given_up = cancelled(true).await;
    assert_eq!(flow.marked(), ["a", "b", "c"], "and nothing else");
    assert!(given_up.run.as_ref().unwrap().abandoned);
    assert_eq!(counts(&given_up, "tidy").cancelled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_does_what_it_says() {
    let flow = Flow::start(steady(1)).await;
    let helper = examples().join("report").display().to_string();
    let job = std::fs::read_to_string(examples().join("dataflow.toml")).unwrap();
    // As if the helper were in the PATH of the agents.
    let job = job.replace("quorate-report ", &format!("{helper}/quorate-report "));
    let job = job.replace("\"quorate-report\"", &format!("\"{helper}/quorate-report\""));
    let go = async |args: &str| {
        let request = v1::SubmitFlowRequest { spec: Some(spec(&job)), args: args.to_owned(), ..Default::default() };
        flow.client.submit_flow(request).await.expect("the job is accepted").run_id
    };
    let run = go("").await;
    let ended = flow.ends(&run, v1::RunState::Succeeded).await;
    assert_eq!(flow.result(&run, "total"), "{\"rows\": 800}");
    assert_eq!((step(&ended, "compress").decided(), counts(&ended, "count").failed), (v1::Decision::PassOver, 1));
    let logs = flow.ask(&["run", "logs", &run]);
    assert!(logs.out.contains("publishing 800 rows at 7 each"), "{logs:?}");
    assert!(logs.out.contains("the run of 2026-11-21 has succeeded"), "{logs:?}");
    let run = go("{\"broken\": true, \"rows_max\": 500}").await;
    let ended = flow.ends(&run, v1::RunState::Failed).await;
    assert_eq!(counts(&ended, "compress").succeeded, 1);
    let logs = flow.ask(&["run", "logs", &run, "publish.undo"]);
    assert_eq!(logs.out, format!("taking page-{run} down\n"), "{logs:?}");
}
