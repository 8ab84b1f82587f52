//! A task that may take one of several things, from the job file to the environment of its process.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_takes_the_first_alternative_that_there_is_room_for_and_is_told_which() {
    let mut wanted = options(1);
    wanted.agents = vec![AgentOptions {
        node: "plain".to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("4".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: Vec::new(),
    }];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    // There is no GPU, room for 3 cores once, and then for 1.
    let job = r#"name = "score"
[task.a]
run   = ["sh", "-c", 'echo "[$QUORATE_WANT]"; sleep 1000']
count = 3
want  = [{ cpu = 1, gpu = 1 }, { cpu = 3 }, { cpu = 1 }]
"#;
    let run = submit(&client, job).await;
    until("two to run", || async {
        let tries = attempts(&client, &run).await;
        let running = tries.iter().filter(|one| one.state() == v1::AttemptState::Running).count();
        if running == 2 { Ok(()) } else { Err(format!("{tries:?}")) }
    })
    .await;
    let taken: Vec<Option<u32>> = attempts(&client, &run).await.into_iter().map(|one| one.want).collect();
    assert_eq!(taken, [Some(1), Some(2)]);
    until("each to say what it was told", || async {
        let (first, second) = (ask(&["run", "logs", &run, "a[0]"]), ask(&["run", "logs", &run, "a[1]"]));
        let is_told = first.out.contains("[1]") && second.out.contains("[2]");
        if is_told { Ok(()) } else { Err(format!("{first:?} {second:?}")) }
    })
    .await;
    let node = ask(&["node", "status", "plain", "--json"]).json();
    assert_eq!(node["used_cpu_milli"].as_u64(), Some(4_000), "{node}");
    // The third waits, and it is said why of each alternative.
    until("what waits to say why", || async {
        let why = ask(&["task", "why", &run, "a[2]"]);
        let says = ["there is room for none of its alternatives", "want[0]: ", "want[1]: ", "want[2]: "];
        if says.iter().all(|words| why.out.contains(words)) { Ok(()) } else { Err(format!("{why:?}")) }
    })
    .await;
    let why = ask(&["task", "why", &run, "a[2]", "--json"]).json();
    let kinds: Vec<_> =
        why["reason"]["alternatives"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["no_node_fits"; 3], "{why}");

    assert_eq!(ask(&["run", "cancel", &run]).code, 0);
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Cancelled);
    // One that nobody could ever be given is refused, with what is wrong.
    let file = directory.path().join("upside-down.toml");
    std::fs::write(&file, "name = \"x\"\n[task.a]\nrun = [\"true\"]\nwant = [{ cpu = 1 }, { cpu = 2 }]\n").unwrap();
    let refused = ask(&["job", "run", file.to_str().unwrap()]);
    assert!(refused.code != 0 && refused.err.contains("is never taken"), "{refused:?}");
}
