//! Every replica may die at once: after the restart each accepted job is there, and a run goes on.

use std::collections::BTreeSet;

use quorate_proto::v1;
use quorate_tests::{Ledger, get_run, run_end, start, steady, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_jobs_survive_the_death_of_all_replicas_at_once() {
    let mut cluster = start(steady(3)).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let job = format!(
        "name = \"long\"\n[task.a]\ncount = 4\nrun = {}\n[task.b]\nneeds = [\"a\"]\nrun = {}\n",
        ledger.task("3"),
        ledger.task("0.1")
    );
    let long = submit(&client, &job).await;
    let mut accepted = BTreeSet::from([long.clone()]);
    for number in 0..120 {
        accepted.insert(submit(&client, &format!("name = \"job-{number}\"\n[task.t]\nrun = [\"true\"]\n")).await);
    }
    until("all of a to run", || async {
        let counts = get_run(&client, &long).await?.counts.unwrap_or_default();
        if counts.running >= 4 || counts.succeeded > 0 { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    for replica in 0..3 {
        cluster.kill9(replica);
    }
    for replica in 0..3 {
        cluster.restart(replica).unwrap();
    }
    for run in &accepted {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded, "{run}");
    }
    assert_eq!(ledger.lines("end").len(), 5, "a task that ran through the outage ran again");
    cluster.wait_ready().await.unwrap();
}
