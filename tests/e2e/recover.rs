//! The last survivor of a cluster goes on alone, but only when a person has named all that is lost.

use quorate_proto::v1;
use quorate_tests::{Ledger, quorate, run_end, start, steady, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_once_the_others_are_named_as_destroyed() {
    let mut cluster = start(steady(3)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let long = submit(&client, &format!("name = \"long\"\n[task.t]\nrun = {}\n", ledger.task("8"))).await;
    let mut runs = vec![];
    for number in 0..20 {
        runs.push(submit(&client, &format!("name = \"job-{number}\"\n[task.t]\nrun = [\"true\"]\n")).await);
    }
    until("the long one to run", || async {
        if ledger.lines("start").is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
    })
    .await;
    let leader = cluster.leader(|_| true).await.unwrap();
    let replicas = client.list_replicas(v1::ListReplicasRequest {}).await.unwrap();
    let survivor = leader.replica;
    let data = cluster.directory().join(format!("replica-{}", survivor + 1)).join("data");
    let data = data.to_str().unwrap();
    let lost: Vec<String> =
        replicas.replicas.iter().filter(|one| one.id != leader.id).map(|one| one.store_uuid.clone()).collect();
    let own = replicas.replicas.iter().find(|one| one.id == leader.id).unwrap().store_uuid.clone();
    let directory = tempfile::tempdir().unwrap();
    let recover = |more: &[&str]| {
        quorate(&[], directory.path(), &[&["server", "recover", "--data-dir", data, "--json"], more].concat())
    };

    let running = recover(&[]);
    assert!(running.code != 0 && running.err.contains("in use"), "{running:?}");
    for replica in 0..3 {
        cluster.kill9(replica);
    }
    let (first, second, yes) = (lost[0].as_str(), lost[1].as_str(), "--yes-they-are-destroyed");
    let none = recover(&[yes]);
    assert!(none.code == 4 && none.err.contains(first) && none.err.contains(second), "{none:?}");
    let one = recover(&["--lost", first, yes]);
    assert!(one.code == 4 && !one.err.contains(first) && one.err.contains(second), "{one:?}");
    let itself = recover(&["--lost", first, "--lost", second, "--lost", &own, yes]);
    assert!(itself.code == 4 && itself.err.contains(&own), "{itself:?}");
    let asked = recover(&["--lost", first, "--lost", second]);
    assert_eq!((asked.code, &asked.json()["cluster_id"]), (2, &serde_json::Value::Null), "{asked:?}");
    assert_eq!(asked.json()["source_cluster_id"], replicas.cluster_id.as_str());

    let done = recover(&["--lost", first, "--lost", second, yes]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_ne!(done.json()["cluster_id"], replicas.cluster_id.as_str());
    let twice = recover(&["--lost", first, "--lost", second, yes]);
    assert!(twice.code == 4 && twice.err.contains("only one"), "{twice:?}");

    cluster.restart(survivor).unwrap();
    for run in &runs {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded, "{run}");
    }
    assert_eq!(run_end(&client, &long).await.state(), v1::RunState::Succeeded);
    assert_eq!((ledger.lines("start").len(), ledger.lines("end").len()), (1, 1), "what ran went on");
    let new = submit(&client, "name = \"new\"\n[task.t]\nrun = [\"true\"]\n").await;
    assert_eq!(run_end(&client, &new).await.state(), v1::RunState::Succeeded);
    // One that was said to be destroyed is not taken in again.
    let other = (survivor + 1) % 3;
    cluster.restart(other).unwrap();
    let answer = client.list_replicas(v1::ListReplicasRequest {}).await.unwrap();
    assert_eq!(answer.replicas.len(), 1);
    assert_eq!(answer.cluster_id, done.json()["cluster_id"].as_str().unwrap());
}

#[test]
fn where_no_replica_is_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let said = quorate(&[], directory.path(), &["server", "recover", "--data-dir", "nothing"]);
    assert!(said.code == 3 && !directory.path().join("nothing").exists(), "{said:?}");
}
