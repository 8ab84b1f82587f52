//! What a task says by itself: results, errors and progress, on their way through processes, the log and a change of
//! leader.

use std::path::Path;

use quorate_proto::v1;
use quorate_tests::{attempts, quorate, run_end, spec, start, steady, submit, until};

/// The helper of the example.
fn helper() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/report/quorate-report").display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_reports_what_it_does_and_what_came_out_of_it() {
    let cluster = start(steady(3)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |at: usize, arguments: &[&str]| quorate(&cluster.api_addresses()[at..=at], directory.path(), arguments);
    until("results to be kept", || async {
        let list = ask(0, &["replica", "list"]);
        if list.out.contains("task-outcomes") && !list.out.contains("not enabled") { Ok(()) } else { Err(list.out) }
    })
    .await;
    let (report, go) = (helper(), directory.path().join("go"));
    let count = format!(
        "{report} progress 0.4 'part 2 of 5'; while ! [ -e {} ]; do sleep 0.05; done; \
         {report} result '{{\\\"total\\\" : 10}}'",
        go.display()
    );
    let check = format!("{report} error BadInput 'nothing to count'");
    let beat = "beat=0; while [ $beat -lt 24 ]; do touch $QUORATE_REPORT; sleep 0.5; beat=$((beat+1)); done";
    let job = format!(
        "name = \"report\"\n[retry.input]\nattempts = 3\nfirst = \"10ms\"\nnever = [\"BadInput\"]\n\
         [task.count]\nrun = [\"sh\", \"-c\", \"{count}\"]\n\
         [task.check]\nretry = \"input\"\nrun = [\"sh\", \"-c\", \"{check}\"]\n\
         [task.hang]\ntimeouts = {{ silent = \"1s\" }}\nrun = [\"sh\", \"-c\", \"{report} progress 0.1; sleep 600\"]\n\
         [task.beat]\ntimeouts = {{ silent = \"10s\" }}\nrun = [\"sh\", \"-c\", \"{beat}\"]\n"
    );
    let run = submit(&client, &job).await;
    until("progress to be heard of", || async {
        let list = ask(1, &["run", "status", &run, "--attempts"]);
        if list.out.contains("40% part 2 of 5") { Ok(()) } else { Err(list.out) }
    })
    .await;
    let whys = [("count", "count of run"), ("count", "its newest attempt is "), ("count[1]", "does not exist")];
    for (task, why) in whys {
        let none = ask(0, &["task", "result", &run, task]);
        assert!(none.code == 3 && none.err.contains(why), "{none:?}");
    }
    std::fs::write(&go, "").unwrap();
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Failed);

    let tries = attempts(&client, &run).await;
    let of = |task: &str| tries.iter().filter(|attempt| attempt.task == task).collect::<Vec<_>>();
    let checked = of("check");
    assert_eq!(checked.len(), 1, "bad input is not tried again: {checked:?}");
    assert_eq!(checked[0].outcome.clone().unwrap().outcome, Some(v1::outcome::Outcome::Error("BadInput".into())));
    assert_eq!(checked[0].message, "nothing to count");
    let (hung, beat) = (of("hang"), of("beat"));
    assert_eq!((hung.len(), hung[0].state()), (1, v1::AttemptState::TimedOut), "{hung:?}");
    assert_eq!(hung[0].message, "stopped: it said nothing for 1 s");
    assert_eq!((beat.len(), beat[0].state()), (1, v1::AttemptState::Succeeded), "{beat:?}");
    let events = ask(0, &["run", "events", &run, "--task", "hang"]);
    assert!(events.out.contains("it said nothing for too long"), "{events:?}");
    for at in 0..3 {
        let result = ask(at, &["task", "result", &run, "count"]);
        assert_eq!((result.code, result.out.trim()), (0, "{\"total\" : 10}"), "{result:?}");
    }
    let result = ask(0, &["task", "result", &run, "count", "--json"]).json();
    assert_eq!(result["result"]["total"], 10, "{result}");
}

/// Writes a file where all nodes can reach it, and reports it; the next ones are told where it is, and what was said of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_leaves_a_file_and_the_next_one_reads_it() {
    let cluster = start(steady(3)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |at: usize, arguments: &[&str]| quorate(&cluster.api_addresses()[at..=at], directory.path(), arguments);
    until("payloads to be kept", || async {
        let list = ask(0, &["replica", "list"]);
        if list.out.contains("payload-refs") && !list.out.contains("not enabled") { Ok(()) } else { Err(list.out) }
    })
    .await;
    let report = helper();
    let model = directory.path().join("a model.bin");
    let job = format!(
        r#"
name = "payload"
[task.train]
run = ["sh", "-c", "printf 'the model' >'{model}'; {report} payload model '{model}'; {report} payload store s3://bucket/key"]
[task.read]
when = "train.payload.model.size == 9 && !has(train.payload.store.size)"
run = ["sh", "-c", """
path=$(printf '%s' "$0" | sed -e 's,^file://,,' -e 's,%20, ,g')
[ "$1" = "sha256:$(sha256sum <"$path" | cut -d' ' -f1)" ] || exit 7
{report} result "\\"$(cat "$path")\\""
""", "${{train.payload.model}}", "${{train.payload.model.digest}}"]
[task.each]
each = "${{train.payload}}"
run = ["sh", "-c", '{report} result "\"$0 $1\""', "${{each.name}}", "${{each.uri}}"]
[task.typo]
run = ["true", "${{train.payload.modle}}"]
[task.own]
run = ["sh", "-c", "touch here; {report} payload here here"]
"#,
        model = model.display()
    );
    let request = v1::SubmitFlowRequest { spec: Some(spec(&job)), ..Default::default() };
    let run = client.submit_flow(request).await.expect("the job is accepted").run_id;
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Failed, "of two that are wrong");
    let tries = attempts(&client, &run).await;
    let state = |task: &str| {
        let of: Vec<_> = tries.iter().filter(|attempt| attempt.task == task).collect();
        assert_eq!(of.len(), if task == "each" { 2 } else { 1 }, "{of:?}");
        (of[0].state(), of[0].message.clone())
    };
    let (typo, why) = state("typo");
    assert!(typo == v1::AttemptState::Failed && why.contains("it left \"model\", \"store\"; did you mean"), "{why}");
    assert_eq!(state("own").0, v1::AttemptState::Failed, "what lies in its own directory goes with it");
    assert_eq!(state("each").0, v1::AttemptState::Succeeded);
    for at in 0..3 {
        let read = ask(at, &["task", "result", &run, "read"]);
        assert_eq!((read.code, read.out.trim()), (0, "\"the model\""), "{read:?}");
    }
    let second = ask(0, &["task", "result", &run, "each[1]"]);
    assert_eq!(second.out.trim(), "\"store s3://bucket/key\"", "{second:?}");
    let left = ask(1, &["task", "result", &run, "train"]);
    assert!(left.code == 0 && left.out.contains("s3://bucket/key") && left.out.contains("a%20model.bin"), "{left:?}");
    let left = ask(1, &["task", "result", &run, "train", "--json"]).json();
    let payloads = left["payloads"].as_array().unwrap();
    assert_eq!((payloads.len(), &payloads[0]["name"], &payloads[0]["size"]), (2, &"model".into(), &9.into()), "{left}");
    assert!(left.get("result").is_none() && payloads[1]["digest"].is_null(), "{left}");
    let list = ask(2, &["run", "status", &run, "--attempts", "--json"]).json();
    let train = list["attempts"].as_array().unwrap().iter().find(|attempt| attempt["task"] == "train").unwrap();
    assert_eq!(train["payloads"], left["payloads"], "{list}");

    // A second run reads what the first one left.
    let again = ask(0, &["run", "restart", &run, "--from", "read", "--json"]).json();
    let again = again["run_id"].as_str().unwrap().to_owned();
    run_end(&client, &again).await;
    let read = ask(2, &["task", "result", &again, "read"]);
    assert_eq!((read.code, read.out.trim()), (0, "\"the model\""), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_too_large_is_told_where_it_belongs() {
    let cluster = start(steady(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    until("payloads to be kept", || async {
        let list = quorate(cluster.api_addresses(), directory.path(), &["replica", "list"]);
        if list.out.contains("payload-refs") && !list.out.contains("not enabled") { Ok(()) } else { Err(list.out) }
    })
    .await;
    let job = format!(
        "name = \"large\"\n[task.large]\nrun = [\"sh\", \"-c\", \"printf '%9000d' 1 | tr ' ' 1 | {} result -\"]\n",
        helper()
    );
    let run = submit(&client, &job).await;
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Failed);
    let message = attempts(&client, &run).await.remove(0).message;
    assert!(message.contains("result_bytes_max") && message.contains("report it with `payload`"), "{message}");
}
