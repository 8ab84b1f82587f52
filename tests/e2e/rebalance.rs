//! Rebalancing with real processes: on request what runs on the fullest node goes where there is room, within the budget, and no more.

use quorate_bench::local::AgentOptions;
use quorate_proto::v1;
use quorate_tests::{Ledger, attempts, options, quorate, run_end, start, submit, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_where_there_is_room_when_somebody_asks_for_it_and_stays_where_it_is_until_then() {
    let agent = |node: &str| AgentOptions {
        node: node.to_owned(),
        region: "eu".to_owned(),
        cluster: "eu-a".to_owned(),
        cpu: Some("4".to_owned()),
        memory: Some("4Gi".to_owned()),
        gpus: Some("none".to_owned()),
        flags: vec![],
    };
    let mut wanted = options(1);
    wanted.agents = vec![agent("n"), agent("m")];
    let cluster = start(wanted).await;
    let client = cluster.client();
    let ledger = Ledger::new();
    let directory = tempfile::tempdir().unwrap();
    let ask = |arguments: &[&str]| quorate(cluster.api_addresses(), directory.path(), arguments);
    let never = ask(&["rebalance", "status"]);
    assert!(never.out.contains("Nothing was ever rebalanced"), "{}{}", never.out, never.err);
    // What was placed a moment ago may be moved here.
    assert_eq!(ask(&["preemption", "set", "--spare", "0s"]).code, 0);

    let job = |name: &str, count: u32, more: &str| {
        format!(
            "name = \"{name}\"\n[task.t]\ncount = {count}\n{more}\nrun = {}\nresources = {{ cpu = 1, memory = \"16Mi\" }}\n",
            ledger.task_until(name)
        )
    };
    let kept = submit(&client, &job("kept", 1, "preemptible = false")).await;
    let packed = submit(&client, &job("packed", 3, "")).await;
    let running = |run: String, count: usize| {
        let client = &client;
        async move {
            until("all to run", || async {
                let all = attempts(client, &run).await;
                let runs = all.iter().filter(|attempt| attempt.state() == v1::AttemptState::Running).count();
                if runs == count { Ok(all) } else { Err(format!("{all:?}")) }
            })
            .await
        }
    };
    let first = running(kept.clone(), 1).await[0].node.clone();
    let all = running(packed.clone(), 3).await;
    assert!(all.iter().all(|attempt| attempt.node == first), "they are packed: {all:?}");

    // The other node may still be about to register.
    let plan = until("two to have a better place", || async {
        let plan = ask(&["rebalance", "plan", "--json"]).json();
        if plan["moves"].as_array().unwrap().len() == 2 { Ok(plan) } else { Err(plan.to_string()) }
    })
    .await;
    assert_eq!((&plan["fullest_before"], &plan["fullest_after"]), (&1_000_000.into(), &500_000.into()), "{plan}");
    let text = ask(&["rebalance", "plan"]).out;
    assert!(text.contains("2 tasks would be moved (spread, each within its region)"), "{text}");
    assert!(text.contains("1 are not preemptible, by their jobs"), "{text}");
    assert_eq!(attempts(&client, &packed).await.len(), 3, "a plan changes nothing");

    let wrong = ask(&["rebalance", "start", "--at-once", "0"]);
    assert!(wrong.code != 0 && wrong.err.contains("must be from 1 to 100"), "{}", wrong.err);
    // Of three elements one at a time, and two at all.
    let started = ask(&["rebalance", "start", "--max-moves", "5", "--json"]).json();
    assert_eq!(
        (&started["rebalance"]["number"], &started["rebalance"]["ended"]),
        (&1.into(), &serde_json::Value::Null)
    );
    let ended = until("it to be over", || async {
        let status = ask(&["rebalance", "status", "--json"]).json();
        if status["rebalance"]["ended"].is_null() { Err(status.to_string()) } else { Ok(status) }
    })
    .await;
    let row = &ended["rebalance"];
    assert_eq!((&row["ended"], &row["begun"], &row["arrived"]), (&"done".into(), &2.into(), &2.into()), "{ended}");

    let tries = running(packed.clone(), 3).await;
    let moved: Vec<&v1::Attempt> = tries.iter().filter(|attempt| attempt.moved_to.is_some()).collect();
    assert_eq!(moved.len(), 2, "{tries:?}");
    for attempt in &moved {
        assert_eq!((attempt.state(), &attempt.node), (v1::AttemptState::Preempted, &first));
        let next = tries.iter().find(|next| next.index == attempt.index && next.number == attempt.number + 1).unwrap();
        assert_eq!(next.node, attempt.moved_to.clone().unwrap().node, "where room was kept for it");
    }
    assert_eq!(attempts(&client, &kept).await.len(), 1);
    let name = format!("t[{}]", moved[0].index);
    let why = ask(&["task", "why", &packed, &name]).out;
    assert!(why.contains(&format!("(moved from {first} by rebalance 1)")), "{why}");
    let told = ask(&["run", "events", &packed]).out;
    assert!(told.contains("by rebalance 1"), "{told}");
    let shown = ask(&["rebalance", "status"]).out;
    assert!(shown.contains("no move is left that is worth its while"), "{shown}");

    ledger.open("packed");
    ledger.open("kept");
    for run in [&packed, &kept] {
        assert_eq!(run_end(&client, run).await.state(), v1::RunState::Succeeded, "{run}");
    }
    let request = v1::ListTasksRequest { run: quorate_tests::run_ref(&packed), page_size: 10, ..Default::default() };
    let tasks = client.list_tasks(request).await.unwrap().tasks;
    assert!(tasks.iter().all(|task| (task.tries, task.losses) == (0, 0)), "nobody has burnt anything: {tasks:?}");
}
