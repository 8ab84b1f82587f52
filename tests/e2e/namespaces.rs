//! Namespaces with a maximum, from the command line to processes: what waits says whose quota it waits for, and goes on
//! when there is room.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{options, quorate, run_end, start, submit, until};

/// A job of so many tasks of a core each, which run until they are cancelled.
fn job(name: &str, namespace: &str, count: u32) -> String {
    format!(
        "name = \"{name}\"\nnamespace = \"{namespace}\"\n[task.t]\nrun = [\"sleep\", \"1000\"]\ncount = {count}\n\
         resources = {{ cpu = 1, memory = \"16Mi\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_of_namespaces_keeps_to_its_maximum_and_says_whom_that_holds_up() {
    let mut wanted = options(1);
    wanted.agents = vec![AgentOptions {
        node: "n".to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("6".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: Vec::new(),
    }];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    // Until the feature is enabled, the refusal names it.
    until("the first namespace with a share", || async {
        let made = ask(&["namespace", "create", "research", "--maximum", "cpu=4", "--guarantee", "cpu=1"]);
        if made.code == 0 { Ok(()) } else { Err(format!("{}{}", made.out, made.err)) }
    })
    .await;
    for (name, weight) in [("vision", "100"), ("speech", "300")] {
        let made = ask(&["namespace", "create", name, "--parent", "research", "--weight", weight]);
        assert_eq!(made.code, 0, "{}", made.err);
    }
    let wrong = ask(&["namespace", "set", "vision", "--guarantee", "cpu=2"]);
    assert!(wrong.code != 0 && wrong.err.contains("guarantee more to it, or less to them"), "{}", wrong.err);
    let circle = ask(&["namespace", "set", "research", "--parent", "vision"]);
    assert!(circle.code != 0 && circle.err.contains("choose another parent"), "{}", circle.err);

    // Both have more to run than they may together.
    let runs = [submit(&client, &job("one", "vision", 8)).await, submit(&client, &job("two", "speech", 8)).await];
    let shown = |name: &'static str| ask(&["namespace", "show", name, "--json"]).json()["namespace"].clone();
    until("all that is allowed to run", || async {
        let used = shown("research")["used"]["cpu_milli"].as_u64().unwrap();
        if used == 4_000 { Ok(()) } else { Err(ask(&["namespace", "list"]).out) }
    })
    .await;
    let research = shown("research");
    assert_eq!((&research["waiting"], &research["borrowed"]["cpu_milli"]), (&12.into(), &3_000.into()), "{research}");
    let why = ask(&["task", "why", "vision/one", "t[7]"]);
    assert!(why.out.contains("quota of namespace research: 4 of 4 cpu in use"), "{}{}", why.out, why.err);

    // Without a maximum more comes in, as much as there is room for.
    assert_eq!(ask(&["namespace", "set", "research", "--maximum", "none"]).code, 0);
    until("the whole node to be taken", || async {
        let used = shown("research")["used"]["cpu_milli"].as_u64().unwrap();
        if used == 6_000 { Ok(()) } else { Err(ask(&["namespace", "list"]).out) }
    })
    .await;
    let list = ask(&["namespace", "list"]).out;
    assert!(list.contains("research") && list.contains("100.0%"), "{list}");
    for run in &runs {
        assert_eq!(ask(&["run", "cancel", run]).code, 0);
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Cancelled);
    }
    let fairness = ask(&["namespace", "fairness", "--half-life", "0s", "--json"]).json();
    assert_eq!(fairness["fairness"]["half_life_ms"], 0, "{fairness}");
    assert_eq!(fairness["fairness"]["overdue_ms"], 14_400_000, "{fairness}");
}
