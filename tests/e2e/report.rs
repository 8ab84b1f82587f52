//! What a task says by itself: results, errors and progress, on their way through processes, the log and a change of
//! leader.

use std::path::Path;

use quorate_proto::v1;
use quorate_tests::{attempts, quorate, run_end, start, steady, submit, until};

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
