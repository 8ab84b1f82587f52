//! Looking at a cluster that decides nothing: without a quorum, and with a disk that has no room.

use quorate_tests::{options, quorate, start, submit};

const JOB: &str = "name = \"claims\"\n[task.t]\nrun = [\"true\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_shows_what_it_has_and_says_how_old_that_may_be() {
    let mut cluster = start(options(3)).await;
    let run = submit(&cluster.client(), JOB).await;
    cluster.wait_ready().await.unwrap();
    let survivor = vec![cluster.api_addresses()[2].clone()];
    let directory = tempfile::tempdir().unwrap();
    // From here on the survivor knows when it was up to date.
    let before = quorate(&survivor, directory.path(), &["run", "list"]);
    assert_eq!(before.code, 0, "{before:?}");
    cluster.kill9(0);
    cluster.kill9(1);
    let plain = quorate(&survivor, directory.path(), &["run", "list", "--deadline", "3s"]);
    assert_eq!(plain.code, 6, "{plain:?}");
    let stale = quorate(&survivor, directory.path(), &["run", "list", "--stale"]);
    assert_eq!(stale.code, 0, "{stale:?}");
    assert!(stale.out.contains(&run) && stale.err.contains("stale: revision"), "{stale:?}");
    let said = quorate(&survivor, directory.path(), &["run", "status", &run, "--stale", "--json"]);
    let json = said.json();
    assert!(json["stale"]["revision"].as_u64().is_some() && json["stale"]["age_ms"].as_u64().is_some(), "{said:?}");
    let young = quorate(&survivor, directory.path(), &["run", "list", "--max-stale", "1ms", "--deadline", "1s"]);
    assert_eq!(young.code, 6, "{young:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_below_its_reserve_refuses_new_work_and_says_so() {
    let mut options = options(1);
    // No disk has as much.
    options.disk_reserve = Some("900Ti".to_owned());
    let cluster = start(options).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("job.toml"), JOB).unwrap();
    let refused = quorate(cluster.api_addresses(), directory.path(), &["job", "run", "job.toml"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("server.disk_reserve"), "{refused:?}");
    let status = quorate(cluster.api_addresses(), directory.path(), &["replica", "status"]);
    assert!(status.code == 0 && status.out.contains("server.disk_reserve"), "{status:?}");
    let nodes = quorate(cluster.api_addresses(), directory.path(), &["node", "list"]);
    assert_eq!(nodes.code, 0, "nodes come and are seen: {nodes:?}");
}
