//! Rules about other tasks: from a job file to which processes run beside which.

use std::collections::BTreeSet;

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_stay_apart_and_say_why_they_wait() {
    let mut wanted = options(1);
    let agent = |node: &str, cluster: &str| AgentOptions {
        node: node.to_owned(),
        region: "eu".to_owned(),
        cluster: cluster.to_owned(),
        cpu: Some("8".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: vec![],
    };
    wanted.agents = vec![agent("a", "eu-a"), agent("b", "eu-a"), agent("c", "eu-b")];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    let job = |name: &str, run: &str, count: u32, place: &str| {
        format!("name = \"{name}\"\n[task.t]\nrun = {run}\ncount = {count}\nplace = {{ {place} }}\n")
    };
    let nodes = |tries: &[v1::Attempt]| tries.iter().map(|one| one.node.clone()).collect::<BTreeSet<_>>();

    // One on each node, of a group that nobody of another job comes near.
    let sleeps = "[\"sleep\", \"600\"]";
    let service =
        submit(&client, &job("service", sleeps, 2, "group = \"db\", at_most = [{ per = \"cluster\" }]")).await;
    let tries = until("both to run", || async {
        let tries = attempts(&client, &service).await;
        if tries.len() == 2 { Ok(tries) } else { Err(format!("{tries:?}")) }
    })
    .await;
    let taken = nodes(&tries);
    assert!(taken.contains("c") && taken.len() == 2, "{taken:?}");
    let free = if taken.contains("a") { "b" } else { "a" };
    let wary = submit(&client, &job("wary", "[\"true\"]", 4, "apart = [{ from = \"db\", per = \"node\" }]")).await;
    run_end(&client, &wary).await;
    assert_eq!(nodes(&attempts(&client, &wary).await), BTreeSet::from([free.to_owned()]));

    // What finds no place says so, and begins when there is one.
    let place = "apart = [{ from = \"db\", per = \"region\" }]";
    let waits = submit(&client, &job("far", "[\"true\"]", 1, place)).await;
    until("the reason to be told", || async {
        let why = ask(&["task", "why", &waits, "t"]);
        if why.out.contains("3 too near to other tasks") { Ok(()) } else { Err(format!("{why:?}")) }
    })
    .await;
    let why_not = ask(&["node", "why-not", free, "--run", &waits, "--task", "t"]);
    assert!(why_not.out.contains("APART") && why_not.out.contains("no task of group db in its region"), "{why_not:?}");
    assert!(why_not.out.contains("2 in eu"), "{why_not:?}");
    let cancelled = ask(&["run", "cancel", &service]);
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    run_end(&client, &waits).await;
    assert_eq!(attempts(&client, &waits).await.len(), 1);
}
