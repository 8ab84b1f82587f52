//! A replica that was away for three snapshots catches up under load, from a snapshot, and then
//! carries the cluster with the one beside it.

use quorate_proto::v1;
use quorate_tests::{options, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_absent_for_three_snapshots_catches_up_under_load() {
    let mut cluster = start(options(3)).await;
    let client = cluster.client();
    let leader = cluster.leader(|_| true).await.unwrap();
    let away = (leader.replica + 1) % 3;
    cluster.kill9(away);
    let submit_some = async |from: usize, to: usize| {
        let mut runs = Vec::new();
        for number in from..to {
            runs.push(submit(&client, &format!("name = \"job-{number}\"\n[task.t]\nrun = [\"true\"]\n")).await);
        }
        runs
    };
    // Each job is several entries; a snapshot is taken, and the log cut, after every 50.
    let mut runs = submit_some(0, 80).await;
    cluster.restart(away).unwrap();
    runs.extend(submit_some(80, 120).await);
    cluster.wait_ready().await.unwrap();
    let address = cluster.api_addresses()[away].clone();
    until("the absent replica to have everything", || async {
        let replicas =
            client.list_replicas(v1::ListReplicasRequest {}).await.map_err(|error| error.to_string())?.replicas;
        let leader = replicas.iter().find(|replica| replica.leader).and_then(|replica| replica.matched_index);
        let absent =
            replicas.iter().find(|replica| replica.api_address == address).and_then(|replica| replica.matched_index);
        if leader.is_some() && leader == absent { Ok(()) } else { Err(format!("{absent:?} of {leader:?}")) }
    })
    .await;
    // Now it must carry the quorum: the leader dies.
    let leader = cluster.leader(|_| true).await.unwrap();
    cluster.kill9(leader.replica);
    for run in &runs {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded);
    }
}
