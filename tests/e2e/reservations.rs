//! Reservations with real processes: a node is kept for its time, set aside then, and for everybody again when somebody ends it; nobody who
//! runs there is stopped, and every answer says how it stands.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{Ledger, attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_set_aside_for_its_time_and_what_runs_there_goes_on() {
    let agent = |node: &str| AgentOptions {
        node: node.to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("2".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: vec![],
    };
    let mut wanted = options(1);
    wanted.agents = vec![agent("m"), agent("n")];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    until("both nodes to be there", || async {
        let nodes = ask(&["node", "list", "--json"]).json();
        if nodes["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2) { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    let empty = ask(&["reservation", "list"]);
    assert!(empty.code == 0 && empty.out.contains("reservation create"), "{empty:?}");

    let job = |name: &str, more: &str| {
        format!(
            "name = \"{name}\"\n[task.t]\nrun = {}\nresources = {{ cpu = 1, memory = \"16Mi\" }}\n{more}\n",
            ledger.task_until(name)
        )
    };
    let stands = |run: String| {
        let client = &client;
        async move {
            until("it to run", || async {
                let all = attempts(client, &run).await;
                match all.iter().find(|attempt| attempt.state() == v1::AttemptState::Running) {
                    Some(attempt) => Ok(attempt.node.clone()),
                    None => Err(format!("{all:?}")),
                }
            })
            .await
        }
    };
    // On the node before anybody wanted it.
    let first = submit(&client, &job("first", "")).await;
    let node = stands(first.clone()).await;
    let other = if node == "n" { "m" } else { "n" };

    let unknown = ask(&["reservation", "create", "spring", "--node", "nowhere", "--for", "1h"]);
    assert!(unknown.code != 0 && unknown.err.contains("nowhere"), "{unknown:?}");
    let over =
        ask(&["reservation", "create", "spring", "--node", &node, "--for", "1h", "--begin", "2020-01-01T00:00:00Z"]);
    assert!(over.code != 0 && over.err.contains("is over"), "{over:?}");
    let made = ask(&["reservation", "create", "later", "--node", &node, "--begin", "1h", "--for", "1h"]);
    assert!(made.code == 0 && made.out.contains("in 1h00m for 1h00m"), "{made:?}");
    let shared = ask(&["reservation", "create", "spring", "--node", &node, "--begin", "90m", "--for", "1h"]);
    assert!(shared.code != 0 && shared.err.contains("later"), "{shared:?}");

    // It is kept until then: nothing without an end goes there.
    let endless = submit(&client, &job("endless", "")).await;
    assert_eq!(stands(endless.clone()).await, other);
    let short = submit(&client, &job("short", "place.reservation = \"spring\"\ntimeouts = { run = \"10m\" }")).await;
    let why = ask(&["task", "why", &short, "t"]).out;
    assert!(why.contains("it asks for reservation spring, and there is none"), "{why}");
    assert_eq!(ask(&["reservation", "end", "later"]).code, 0);

    // And set aside from now on.
    let made = ask(&["reservation", "create", "spring", "--node", &node, "--for", "1h"]);
    assert!(made.code == 0 && made.out.contains("1 node for namespace default, from now on for 1h00m"), "{made:?}");
    assert_eq!(stands(short.clone()).await, node, "who asks for it goes there");
    let listed = ask(&["node", "list"]).out;
    assert!(listed.contains("reserved for spring"), "{listed}");
    let second = submit(&client, &job("second", "")).await;
    assert_eq!(stands(second.clone()).await, other);
    let third = submit(&client, &job("third", "")).await;
    let why = until("it to wait", || async {
        let why = ask(&["task", "why", &third, "t"]).out;
        if why.contains("set aside for a reservation") { Ok(why) } else { Err(why) }
    })
    .await;
    assert!(why.contains("1 too full"), "{why}");
    let why_not = ask(&["node", "why-not", &node, "--run", &third, "--task", "t"]);
    assert!(why_not.out.contains("reservation spring"), "{why_not:?}");
    let shown = ask(&["reservation", "show", "spring", "--json"]).json();
    let on_it = &shown["nodes"][0];
    assert_eq!((&on_it["own_attempts"], &on_it["other_attempts"]), (&1.into(), &1.into()), "{shown}");

    // Everybody's again; nobody was ever stopped.
    let ended = ask(&["reservation", "end", "spring"]);
    assert!(ended.code == 0 && ended.out.contains("what runs on its nodes goes on"), "{ended:?}");
    for name in ["first", "endless", "short", "second", "third"] {
        ledger.open(name);
    }
    for run in [&first, &endless, &short, &second, &third] {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded, "{run}");
        assert_eq!(attempts(&client, run).await.len(), 1, "{run}");
    }
    let gone = ask(&["reservation", "end", "spring"]);
    assert!(gone.code != 0 && gone.err.contains("spring"), "{gone:?}");
}
