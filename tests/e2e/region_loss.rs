//! What stays with its region, what goes elsewhere, and what comes of both when the region is back.

use std::collections::BTreeMap;

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{attempts, options, quorate, spec, start, until};

const JOB: &str = r#"
name = "homes"
on_region_loss = "stay"
[task.stays]
run = ["sleep", "1000"]
resources = { cpu = "100m", memory = "1Mi" }
[task.moves]
run = ["sleep", "1000"]
on_region_loss = { move_after = "0s", spill = ["asia", "us"] }
resources = { cpu = "100m", memory = "1Mi" }
[task.later]
run = ["sleep", "1000"]
on_region_loss = { move_after = "1h" }
resources = { cpu = "100m", memory = "1Mi" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stays_waits_for_its_region_and_who_moves_does_not_come_back() {
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
    let said = |arguments: &[&str]| {
        let said = ask(arguments);
        if said.code == 0 { Ok(()) } else { Err(format!("{said:?}")) }
    };
    until("the node to be cordoned", || async { said(&["node", "cordon", "us-1"]) }).await;
    let request = || v1::SubmitJobRequest { spec: Some(spec(JOB)), ..Default::default() };
    let run = until("the feature to be enabled", || async {
        client.submit_job(request()).await.map_err(|error| error.to_string())
    })
    .await
    .run_id;
    // The node of each task that runs.
    let running = |wanted: &'static [(&'static str, &'static str)]| {
        let (client, run) = (&client, &run);
        async move {
            let all = attempts(client, run).await;
            let up = all.into_iter().filter(|one| one.state() == v1::AttemptState::Running);
            let found: BTreeMap<String, String> = up.map(|one| (one.task, one.node)).collect();
            let wanted = wanted.iter().map(|(task, node)| ((*task).to_owned(), (*node).to_owned())).collect();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        }
    };
    until("all to run in one region", || running(&[("stays", "eu-1"), ("moves", "eu-1"), ("later", "eu-1")])).await;
    said(&["node", "uncordon", "us-1"]).unwrap();

    let foretold = ask(&["region", "whatif", "eu", "--json"]).json();
    let counts = ["tasks", "moved", "waiting", "staying"].map(|count| foretold[count].as_u64().unwrap());
    assert_eq!(counts, [3, 1, 2, 2], "{foretold}");

    cluster.kill9_agent(0);
    until("what may go to have gone", || running(&[("moves", "us-1")])).await;
    let why = |task: &str| ask(&["task", "why", &run, task, "--json"]).json()["reason"].clone();
    let stays = why("stays");
    assert_eq!((&stays["kind"], &stays["region"]), (&"region_lost".into(), &"eu".into()), "{stays}");
    assert!(stays["remaining_ms"].is_null(), "{stays}");
    let later = why("later");
    assert!(later["remaining_ms"].as_u64().is_some_and(|ms| (3_000_000..3_600_000).contains(&ms)), "{later}");
    let not = ask(&["node", "why-not", "us-1", "--run", &run, "--task", "stays"]);
    assert!(not.out.contains("REGION"), "{not:?}");

    // Somebody knows that it takes longer.
    until("the region to be drained", || async { said(&["region", "drain", "eu"]) }).await;
    until("what would go later to have gone", || running(&[("moves", "us-1"), ("later", "us-1")])).await;
    said(&["region", "undrain", "eu"]).unwrap();
    assert_eq!(why("stays")["kind"], "region_lost");

    cluster.restart_agent(0).unwrap();
    until("what stays to run again", || running(&[("stays", "eu-1"), ("moves", "us-1"), ("later", "us-1")])).await;
    // Nothing was placed anywhere else meanwhile.
    let all = attempts(&client, &run).await;
    assert!(all.iter().all(|one| one.task != "stays" || one.node == "eu-1"), "{all:?}");
}
