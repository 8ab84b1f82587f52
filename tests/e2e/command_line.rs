//! The binary as a user meets it: data on standard output, words on standard error, exit codes.

use quorate_tests::{options, quorate, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_from_file_to_logs() {
    let cluster = start(options(1)).await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);

    write(
        "hello.toml",
        "name = \"hello\"\n[task.greet]\ncount = 2\nrun = [\"sh\", \"-c\", \"echo hello $QUORATE_TASK_INDEX; echo oops >&2\"]\n",
    );
    assert_eq!(ask(&["job", "validate", "hello.toml"]).code, 0);
    let plan = ask(&["job", "plan", "hello.toml", "--json"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.json()["schema"].is_string(), "{plan:?}");
    let ran = ask(&["job", "run", "hello.toml", "--wait"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let logs = ask(&["run", "logs", "hello", "greet[1]"]);
    assert_eq!((logs.code, logs.out.as_str()), (0, "hello 1\n"), "{logs:?}");
    let status = ask(&["run", "status", "hello", "--json"]);
    assert_eq!(status.json()["run"]["state"], "succeeded", "{status:?}");

    write("bad.toml", "name = \"bad\"\n[task.t]\nrun = [\"false\"]\n");
    let failed = ask(&["job", "run", "bad.toml", "--wait"]);
    assert_eq!(failed.code, 20, "{failed:?}");

    write("slow.toml", "name = \"slow\"\n[task.t]\nrun = [\"sleep\", \"600\"]\n");
    assert_eq!(ask(&["job", "run", "slow.toml"]).code, 0);
    assert_eq!(ask(&["run", "wait", "slow", "--timeout", "300ms"]).code, 7);
    assert_eq!(ask(&["run", "cancel", "slow"]).code, 0);
    let cancelled = ask(&["run", "wait", "slow", "--timeout", "30s"]);
    assert_eq!(cancelled.code, 21, "{cancelled:?}");

    let told = ask(&["run", "events", "hello", "--json"]);
    let told = (told.code, told.json());
    let last = told.1["events"].as_array().and_then(|events| events.last()).cloned().unwrap_or_default();
    assert_eq!((told.0, &last["text"], &told.1["complete"]), (0, &"run ended: succeeded".into(), &true.into()));
    let followed = ask(&["run", "events", "hello", "--task", "greet[1]", "-f"]);
    assert_eq!(followed.code, 0, "{followed:?}");
    assert!(followed.out.lines().last().is_some_and(|line| line.ends_with("greet[1]  succeeded")), "{followed:?}");
    let drawn = ask(&["run", "timeline", "hello"]);
    assert_eq!((drawn.code, drawn.out.matches("succeeded").count()), (0, 3), "{drawn:?}");
    assert!(drawn.out.contains("greet[0]  node-") && drawn.out.is_ascii(), "{drawn:?}");
    let graph = ask(&["run", "show", "hello", "--graph"]);
    assert!(graph.code == 0 && graph.out.ends_with("# greet  2 succeeded\n"), "{graph:?}");
    let listed = ask(&["run", "list", "--state", "failed", "--since", "1h", "-l", "nobody", "--json"]);
    assert_eq!(listed.json()["runs"].as_array().map(Vec::len), Some(0), "{listed:?}");
    let listed = ask(&["run", "list", "--state", "failed", "--since", "1h", "--json"]);
    assert_eq!(listed.json()["runs"][0]["job"], "bad", "{listed:?}");

    for listing in [
        ["run", "list"],
        ["job", "list"],
        ["node", "list"],
        ["cluster", "list"],
        ["replica", "list"],
        ["namespace", "list"],
    ] {
        let said = ask(&[listing[0], listing[1], "--json"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.json()["schema"].is_string(), "{said:?}");
        assert!(said.err.is_empty(), "{said:?}");
        assert_eq!(ask(&listing).code, 0);
    }
    assert_eq!(ask(&["run", "status", "nothing-like-it"]).code, 3);
    assert_eq!(ask(&["run", "nonsense"]).code, 2);
}

#[test]
fn nobody_there_is_exit_code_six() {
    let directory = tempfile::tempdir().unwrap();
    let said = quorate(&["127.0.0.1:1".to_owned()], directory.path(), &["run", "list", "--deadline", "500ms"]);
    assert_eq!(said.code, 6, "{said:?}");
}
