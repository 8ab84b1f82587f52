//! Preemption to fair share with real processes: who came first has all of it, until somebody comes who has less than its part.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{Ledger, attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_below_its_part_gets_room_from_one_above_its_own_and_keeps_it() {
    let mut wanted = options(1);
    wanted.agents = vec![AgentOptions {
        node: "n".to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("4".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: vec![],
    }];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    for namespace in ["early", "late"] {
        assert_eq!(ask(&["namespace", "create", namespace]).code, 0);
    }
    let job = |name: &str, namespace: &str, count: u32| {
        format!(
            "name = \"{name}\"\nnamespace = \"{namespace}\"\n[task.t]\ncount = {count}\nrun = {}\n\
             resources = {{ cpu = 1, memory = \"16Mi\" }}\n",
            ledger.task_until(name)
        )
    };
    // A new cluster begins with it; nobody is to be spared here for having been placed a moment ago.
    let set = ask(&["preemption", "set", "--spare", "0s", "--share-gap", "0", "--json"]).json();
    assert_eq!((&set["preemption"]["by_share"], &set["preemption"]["share_gap"]), (&true.into(), &0.into()), "{set}");

    let running = |run: String, many: usize| {
        let client = &client;
        async move {
            until("so many to run", || async {
                let all = attempts(client, &run).await;
                let runs = all.iter().filter(|attempt| attempt.state() == v1::AttemptState::Running).count();
                if runs == many { Ok(()) } else { Err(format!("{all:?}")) }
            })
            .await;
        }
    };
    let early = submit(&client, &job("early", "early", 4)).await;
    running(early.clone(), 4).await;
    let late = submit(&client, &job("late", "late", 4)).await;
    running(late.clone(), 2).await;
    running(early.clone(), 2).await;

    let stopped: Vec<v1::Attempt> = attempts(&client, &early).await;
    let stopped: Vec<&v1::Attempt> = stopped.iter().filter(|attempt| attempt.preempted_by.is_some()).collect();
    assert_eq!(stopped.len(), 2, "each has two of four, and nobody takes anything back: {stopped:?}");
    let by = stopped[0].preempted_by.clone().unwrap();
    let share = by.share.clone().unwrap();
    assert_eq!((&*by.run_id, &*share.namespace, &*share.from), (&*late, "late", "early"));
    assert_eq!((share.part_ppm, share.from_part_ppm, share.guaranteed), (500_000, 500_000, false));
    let listed = ask(&["run", "status", &early, "--attempts"]);
    let words = "of the cluster of the 50.0% that are its part, and early";
    assert!(listed.out.contains(words), "{}", listed.out);
    let told = ask(&["run", "events", &early]);
    assert!(told.out.contains(words), "{}{}", told.out, told.err);

    for name in ["early", "late"] {
        ledger.open(name);
    }
    for run in [&early, &late] {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded, "{run}");
    }
}
