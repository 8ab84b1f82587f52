//! A disk that is nearly full: new work is refused, everything else goes on.

use quorate_client::Error;
use quorate_proto::{ApiError, v1};
use quorate_state::Settings;

use crate::agent::{Agent, hello};
use crate::cluster::{Cluster, eventually, network};
use crate::disk::MemoryDisk;
use crate::jobs::{chain, run, submit};

#[tokio::test]
async fn below_the_reserve_submits_are_refused_and_cancels_and_reports_go_on() {
    let disk = MemoryDisk::default();
    let room = disk.room();
    room.set(2 << 30);
    let cluster = Cluster::start_on(disk, &Settings::default(), network()).await;
    let (client, replica) = (cluster.client(), &cluster.replicas[0].bound);
    let running = client.submit_job(submit(chain("running", &["one"]), "")).await.unwrap();
    let mut agent = Agent::connect(&replica.agent, hello("n1", 1)).await.unwrap();
    let assignment = agent.assignment().await;
    let waiting = client.submit_job(submit(chain("waiting", &["one", "two"]), "")).await.unwrap();

    room.set(1 << 20);
    eventually("submits are refused", || async {
        let refused = client.submit_job(submit(chain("late", &["one"]), "")).await.err()?;
        assert!(refused.to_string().contains("server.disk_reserve"), "{refused}");
        assert!(matches!(refused, Error::Api(ApiError::Limit { .. })), "{refused:?}");
        Some(())
    })
    .await;
    let word = v1::AnnotateRunRequest {
        run: run(&running.run_id),
        key: "a".into(),
        value: "b".into(),
        request_id: String::new(),
    };
    assert!(matches!(client.annotate_run(word).await, Err(Error::Api(ApiError::Limit { .. }))));
    let cancel = v1::CancelRunRequest { run: run(&waiting.run_id), request_id: String::new() };
    assert!(!client.cancel_run(cancel).await.unwrap().ended_before);
    agent.finish(&assignment).await;
    let ended = || async {
        let got = client.get_run(v1::GetRunRequest { run: run(&running.run_id) }).await.ok()?.run?;
        (got.state() == v1::RunState::Succeeded).then_some(())
    };
    eventually("what was running ends", ended).await;
    let status = cluster.client_of(0).replica_status(v1::GetReplicaStatusRequest {}).await.unwrap();
    assert_eq!((status.disk_free_bytes, status.disk_is_low), (Some(1 << 20), true));

    room.set(2 << 30);
    eventually("submits are taken again", || async {
        client.submit_job(submit(chain("late", &["one"]), "")).await.ok()
    })
    .await;
}

#[tokio::test]
async fn who_does_not_lead_sends_new_work_to_the_leader_however_little_room_it_has_itself() {
    let mut cluster = Cluster::start(1).await;
    let disk = MemoryDisk::default();
    disk.room().set(1 << 20);
    let follower = cluster.add_learner_on(disk).await;
    let client = cluster.client_of(follower);
    client.submit_job(submit(chain("elsewhere", &["one"]), "")).await.unwrap();
}
