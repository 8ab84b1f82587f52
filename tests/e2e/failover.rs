//! The leader may die: killed five times during one run, the run succeeds, no job that was accepted is
//! lost, and nothing that succeeded runs again.

use std::collections::BTreeSet;

use quorate_proto::v1;
use quorate_tests::{Ledger, attempts, get_run, run_end, start, steady, submit, until};

const KILLS: usize = 5;
const LAYERS: usize = 12;
const WIDTH: usize = 5;

/// Layers of tasks, each of which needs all of the one before.
fn layered(ledger: &Ledger) -> String {
    let mut job = String::from("name = \"layered\"\n[task.layer-0]\n");
    job += &format!(
        "count = {WIDTH}\nrun = {}\nresources = {{ cpu = \"100m\", memory = \"16Mi\" }}\n",
        ledger.task("0.4")
    );
    for layer in 1..LAYERS {
        job += &format!("[task.layer-{layer}]\nneeds = [\"layer-{}\"]\ncount = {WIDTH}\n", layer - 1);
        job += &format!("run = {}\nresources = {{ cpu = \"100m\", memory = \"16Mi\" }}\n", ledger.task("0.4"));
    }
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_the_leader_being_killed_five_times() {
    let mut cluster = start(steady(3)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let run = submit(&client, &layered(&ledger)).await;
    let mut accepted = BTreeSet::from([run.clone()]);
    let mut dead = None;
    for kill in 1..=KILLS {
        let progress = u32::try_from(kill * LAYERS * WIDTH / (KILLS + 2)).unwrap();
        until("progress", || async {
            let counts = get_run(&client, &run).await?.counts.unwrap_or_default();
            if counts.succeeded >= progress { Ok(()) } else { Err(format!("{counts:?}")) }
        })
        .await;
        let leader = cluster.leader(|_| true).await.unwrap();
        cluster.kill9(leader.replica);
        if let Some(dead) = dead.replace(leader.replica) {
            cluster.restart(dead).unwrap();
        }
        // Accepted right after the kill, by whoever leads now.
        let job = format!("name = \"side-{kill}\"\n[task.t]\nrun = [\"true\"]\n");
        accepted.insert(submit(&client, &job).await);
        let next = cluster.leader(|next| next.term > leader.term).await.unwrap();
        assert_ne!(next.replica, leader.replica);
        if let Some(dead) = dead.take() {
            cluster.restart(dead).unwrap();
        }
    }
    assert_eq!(run_end(&client, &run).await.state(), v1::RunState::Succeeded);
    for run in &accepted {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded);
    }
    let (starts, ends) = (ledger.lines("start"), ledger.lines("end"));
    let unique: BTreeSet<&String> = starts.iter().collect();
    assert_eq!(unique.len(), starts.len(), "an attempt started twice");
    let finished: BTreeSet<String> = ends.iter().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
    assert_eq!(finished.len(), LAYERS * WIDTH);
    // No node was lost, so nothing had a reason to run again.
    assert_eq!(ends.len(), LAYERS * WIDTH, "a task that succeeded ran again");
    assert_eq!(attempts(&client, &run).await.len(), LAYERS * WIDTH);
    cluster.wait_ready().await.unwrap();
}
