//! Preemption with real processes: what is urgent takes the room of what is not, which runs again later.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{Ledger, attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_urgent_takes_the_room_of_others_and_these_run_again_when_it_has_ended() {
    let mut wanted = options(1);
    wanted.agents = vec![AgentOptions {
        node: "n".to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("2".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: vec![],
    }];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    let job = |name: &str, priority: u8, count: u32, more: &str| {
        format!(
            "name = \"{name}\"\npriority = {priority}\n[task.t]\ncount = {count}\n{more}\nrun = {}\n\
             resources = {{ cpu = 1, memory = \"16Mi\" }}\n",
            ledger.task_until(name)
        )
    };
    // A new cluster begins with it; nobody is to be spared here for having been placed a moment ago.
    let set = ask(&["preemption", "set", "--spare", "0s", "--json"]).json();
    assert_eq!((&set["preemption"]["by_priority"], &set["preemption"]["gap"]), (&true.into(), &10.into()), "{set}");
    let wrong = ask(&["preemption", "set", "--gap", "0"]);
    assert!(wrong.code != 0 && wrong.err.contains("must be from 1 to 100"), "{}", wrong.err);

    let low = submit(&client, &job("low", 20, 1, "")).await;
    let kept = submit(&client, &job("kept", 20, 1, "preemptible = false")).await;
    let running = |run: String| {
        let client = &client;
        async move {
            until("it to run", || async {
                let all = attempts(client, &run).await;
                let runs = all.last().is_some_and(|attempt| attempt.state() == v1::AttemptState::Running);
                if runs { Ok(()) } else { Err(format!("{all:?}")) }
            })
            .await;
        }
    };
    running(low.clone()).await;
    running(kept.clone()).await;
    // Not more urgent by the gap: it waits.
    let middle = submit(&client, &job("middle", 29, 1, "")).await;
    let urgent = submit(&client, &job("urgent", 90, 1, "")).await;
    running(urgent.clone()).await;

    let victims = attempts(&client, &low).await;
    assert_eq!(victims.len(), 1, "{victims:?}");
    assert_eq!(victims[0].state(), v1::AttemptState::Preempted);
    let by = victims[0].preempted_by.clone().unwrap();
    assert_eq!((&*by.run_id, &*by.task, by.priority), (&*urgent, "t", 90));
    let listed = ask(&["run", "status", &low, "--attempts"]);
    assert!(listed.out.contains(&format!("stopped to make room for {urgent}/t[0], priority 90")), "{}", listed.out);
    let told = ask(&["run", "events", &low]);
    assert!(told.out.contains("is to be stopped to make room for t[0] of run"), "{}{}", told.out, told.err);
    assert_eq!(attempts(&client, &kept).await.len(), 1, "it is not preemptible");
    assert!(attempts(&client, &middle).await.is_empty());

    // All of it comes to its end, one after the other where there is room for one.
    for name in ["urgent", "middle", "low", "kept"] {
        ledger.open(name);
    }
    for run in [&urgent, &middle, &low, &kept] {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded, "{run}");
    }
    let tries = attempts(&client, &low).await;
    assert_eq!(tries.len(), 2, "{tries:?}");
    let request = v1::ListTasksRequest { run: quorate_tests::run_ref(&low), page_size: 10, ..Default::default() };
    let tasks = client.list_tasks(request).await.unwrap().tasks;
    assert_eq!((tasks[0].tries, tasks[0].losses), (0, 0), "it has burnt nothing: {tasks:?}");
}
