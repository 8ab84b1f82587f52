//! Nodes that keep tasks away and tasks that prefer nodes: from the words of agents and job files to where processes run.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_taints_and_prices_decide_where_tasks_go() {
    let mut wanted = options(1);
    let agent = |node: &str, flags: &[&str]| AgentOptions {
        node: node.to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("8".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    wanted.agents = vec![
        agent("dear", &["--price=3.2"]),
        agent("fair", &["--price=0.4", "--labels=disk=hdd"]),
        agent("spot", &["--price=0.05", "--taints=spot=yes"]),
        agent("own", &["--pool=team"]),
    ];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    // An agent that came before the feature was enabled is asked to come again.
    until("the nodes to say what they are", || async {
        let list = ask(&["node", "list"]);
        let is_known = ["3.2", "0.4", "0.05", "spot=yes", "team"].iter().all(|word| list.out.contains(word));
        if is_known { Ok(()) } else { Err(list.out) }
    })
    .await;
    let job =
        |name: &str, place: &str| format!("name = \"{name}\"\n[task.t]\nrun = [\"true\"]\nplace = {{ {place} }}\n");
    // Where each may go, and would rather.
    for (name, place, nodes) in [
        ("cheap", "cheap = 10", &["fair", "dear"][..]),
        ("stands-it", "cheap = 10, tolerate = { spot = \"*\" }", &["spot", "fair", "dear"]),
        ("of-the-team", "pools = [\"team\"]", &["own"]),
        ("by-words", "where = 'node.labels.disk == \"hdd\" && node.price < 100000'", &["fair"]),
        ("by-what-is-not-said", "where = 'has(node.price) && !has(node.labels.disk)'", &["dear"]),
        ("fastidious", "cheap = 10, prefer = [{ label = \"disk=hdd\", weight = -50 }]", &["dear", "fair"]),
    ] {
        // A node comes last until it has renewed its lease for the second time.
        until("a task to go where it would rather", || async {
            let run = submit(&client, &job(name, place)).await;
            run_end(&client, &run).await;
            let tries: Vec<v1::Attempt> = attempts(&client, &run).await;
            let node = tries.first().map(|one| one.node.as_str()).unwrap_or_default();
            assert!(nodes.contains(&node), "{name}: {tries:?}");
            if node == nodes[0] { Ok(()) } else { Err(format!("{name} went to {node}")) }
        })
        .await;
    }

    let run = submit(&client, &job("homeless", "pools = [\"none-has-it\"]")).await;
    until("the reason to be told", || async {
        let why = ask(&["task", "why", &run, "t"]);
        if why.out.contains("4 in other pools") { Ok(()) } else { Err(format!("{why:?}")) }
    })
    .await;
    let why_not = ask(&["node", "why-not", "own", "--run", &run, "--task", "t"]);
    assert!(why_not.out.contains("POOL") && why_not.out.contains("team"), "{why_not:?}");

    // Neither has a label that decides it; the others are out of the question for another reason.
    let run = submit(&client, &job("picky", "where = 'node.labels.disk == \"ssd\"'")).await;
    until("the condition to be told", || async {
        let why = ask(&["task", "why", &run, "t"]);
        if why.out.contains("2 for which its place.where does not hold") { Ok(()) } else { Err(format!("{why:?}")) }
    })
    .await;
    let why_not = ask(&["node", "why-not", "dear", "--run", &run, "--task", "t"]);
    assert!(why_not.out.contains("WHERE") && why_not.out.contains("it has no label \"disk\""), "{why_not:?}");
    let file = directory.path().join("wrong.toml");
    std::fs::write(&file, job("wrong", "where = 'node.gpu > 1'")).unwrap();
    let refused = ask(&["job", "run", file.to_str().unwrap()]);
    assert!(refused.code != 0 && refused.err.contains("a node has no field \"gpu\""), "{refused:?}");
    let status = ask(&["node", "status", "spot"]);
    assert!(status.out.contains("spot=yes: it takes what tolerates them"), "{status:?}");
    let wrong = ask(&["agent", "--price=cheap"]);
    assert!(wrong.err.contains("is not a price for an hour"), "{wrong:?}");
}
