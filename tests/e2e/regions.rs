//! What is foretold of the loss of a region is what becomes of it.

use std::collections::BTreeMap;

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, start, submit, until};

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
