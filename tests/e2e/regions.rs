//! What is foretold of the loss of a region is what becomes of it.

use std::collections::BTreeMap;

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, run_end, start, submit, until};

const JOB: &str = r#"
name = "spread"
[task.free]
run = ["sleep", "1000"]
count = 2
resources = { cpu = "100m", memory = "1Mi" }
[task.bound]
run = ["sleep", "1000"]
place = { regions = ["eu"] }
resources = { cpu = "100m", memory = "1Mi" }
[task.once]
run = ["sleep", "1000"]
on_node_loss = "at_most_once"
resources = { cpu = "100m", memory = "1Mi" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_a_region_comes_to_what_was_foretold() {
    let mut wanted = options(1);
    let agent = |node: &str, region: &str| AgentOptions {
        node: node.to_owned(),
        region: region.to_owned(),
        cluster: format!("{region}-a"),
        cpu: Some("2".to_owned()),
        memory: Some("1Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: Vec::new(),
    };
    wanted.agents = vec![agent("eu-1", "eu"), agent("us-1", "us")];
    let mut cluster = start(wanted).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let addresses = cluster.api_addresses().to_vec();
    let ask = |arguments: &[&str]| quorate(&addresses, directory.path(), arguments);
    let cordoned = |cordoned| {
        client.cordon_node(v1::CordonNodeRequest { node: "us-1".to_owned(), cordoned, request_id: String::new() })
    };
    until("the node to be cordoned", || async { cordoned(true).await.map_err(|error| error.to_string()) }).await;
    let run = submit(&client, JOB).await;
    let running = |wanted: [(&'static str, usize); 2]| {
        let (client, run) = (&client, &run);
        async move {
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            for one in attempts(client, run).await {
                if one.state() == v1::AttemptState::Running {
                    *found.entry(one.node).or_default() += 1;
                }
            }
            let all = wanted.iter().all(|(node, count)| found.get(*node).copied().unwrap_or_default() == *count);
            if all { Ok(()) } else { Err(format!("{found:?}")) }
        }
    };
    until("all to run in one region", || running([("eu-1", 4), ("us-1", 0)])).await;
    cordoned(false).await.unwrap();

    let regions = ask(&["region", "list", "--json"]).json();
    let names: Vec<_> = regions["regions"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"eu") && names.contains(&"us"), "{regions}");
    let before = ask(&["run", "status", &run, "--json"]).json();
    let foretold = ask(&["region", "whatif", "eu", "--json"]).json();
    let counts = ["tasks", "moved", "waiting", "kept", "failed"].map(|count| foretold[count].as_u64().unwrap());
    assert_eq!(counts, [4, 2, 1, 1, 0], "{foretold}");
    assert_eq!(foretold["is_whole"], true, "{foretold}");
    let text = ask(&["region", "whatif", "eu"]).out;
    assert!(text.contains("2 us/us-a") && text.contains("in other regions"), "{text}");
    let same = |scope: &str, name: &str| ask(&[scope, "whatif", name, "--json"]).json()["moved"].as_u64();
    assert_eq!((same("cluster", "eu-a"), same("node", "eu-1")), (Some(2), Some(2)));
    let unknown = ask(&["region", "whatif", "asia"]);
    assert!(unknown.code != 0 && unknown.err.contains("asia"), "{unknown:?}");
    // It was only asked.
    assert_eq!(ask(&["run", "status", &run, "--json"]).json()["run"], before["run"]);

    cluster.kill9_agent(0);
    until("what can move to have moved", || running([("us-1", 2), ("us-1", 2)])).await;
    let why = ask(&["task", "why", &run, "bound"]).out;
    assert!(why.contains("in other regions"), "{why}");
}

/// How many attempts run on the nodes of each region, once it is as wanted.
async fn running_in(client: &quorate_client::Client, run: &str, wanted: [usize; 2]) {
    until("attempts to run where they should", || async {
        let mut found = [0, 0];
        for one in attempts(client, run).await.iter().filter(|one| one.state() == v1::AttemptState::Running) {
            found[usize::from(one.region != "eu")] += 1;
        }
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_drained_with_all_that_comes_to_it_and_given_back_without_what_was_out_by_itself() {
    let mut cluster = start(options(1)).await;
    let client = cluster.client();
    let directory = tempfile::tempdir().unwrap();
    let addresses = cluster.api_addresses().to_vec();
    let ask = |arguments: &[&str]| quorate(&addresses, directory.path(), arguments);
    until("the feature to be enabled", || async {
        let cordon = ask(&["cluster", "cordon", "eu-b"]);
        if cordon.code == 0 { Ok(()) } else { Err(cordon.err) }
    })
    .await;
    assert!(ask(&["cluster", "list"]).out.contains("cordoned"));
    assert_eq!(ask(&["cluster", "uncordon", "eu-b"]).code, 0);
    // One of them by itself, and one that is away when its region is drained.
    assert_eq!(ask(&["node", "cordon", "node-2"]).code, 0);
    let place = "place = { clusters = [\"eu-a\", \"us-a\"], spread = \"cluster\" }";
    let run =
        submit(&client, &format!("name = \"moved\"\n[task.t]\ncount = 4\n{place}\nrun = [\"sleep\", \"600\"]\n")).await;
    running_in(&client, &run, [2, 2]).await;
    cluster.kill9_agent(1);

    let drained = ask(&["region", "drain", "eu", "--reason", "power", "--wait"]);
    assert!(drained.code == 0 && drained.out.contains("No node of region eu takes anything new"), "{drained:?}");
    running_in(&client, &run, [0, 4]).await;
    cluster.restart_agent(1).unwrap();
    until("the node to be back", || async {
        let status = ask(&["node", "status", "node-2", "--json"]).json();
        if status["heard_ms_ago"].is_u64() && status["status"] == "up" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let list = ask(&["node", "list"]).out;
    assert!(list.contains("up, cordoned, region drained") && list.contains("up, region drained"), "{list}");
    let status = ask(&["node", "status", "node-1"]).out;
    assert!(status.contains("its region ") && status.contains("power"), "{status}");
    assert!(ask(&["region", "list"]).out.contains("drained"));
    let bound = submit(&client, "name = \"bound\"\n[task.t]\nplace = { regions = [\"eu\"] }\nrun = [\"true\"]\n").await;
    let why = ask(&["task", "why", &bound, "t"]).out;
    assert!(why.contains("2 draining"), "{why}");

    let unknown = ask(&["region", "drain", "eu-a"]);
    assert!(unknown.code == 3 && unknown.err.contains("eu-a"), "{unknown:?}");
    assert_eq!(ask(&["region", "undrain", "eu"]).code, 0);
    assert_eq!(run_end(&client, &bound).await.state(), v1::RunState::Succeeded);
    let status = ask(&["node", "status", "node-2", "--json"]).json();
    assert!(status["cordoned"] == true && status["region_withdrawal"].is_null(), "{status}");
    assert_eq!(attempts(&client, &bound).await[0].node, "node-1");
}
