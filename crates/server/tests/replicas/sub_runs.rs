//! Runs within runs, as clients and agents see them.

use quorate_client::Client;
use quorate_proto::v1;

use crate::agent::{ended, report};
use crate::cluster::eventually;
use crate::flow::{cluster, ends, invalid, running, told};
use crate::jobs::{chain, run, task};

fn value(name: &str, json: &str) -> v1::Value {
    v1::Value { name: name.into(), json: json.into() }
}

/// A task that is a run of a job.
fn run_of(name: &str, job: &str, args: Vec<v1::Value>, needs: &[&str]) -> v1::TaskSpec {
    v1::TaskSpec {
        driver: v1::Driver::Process.into(),
        argv: Vec::new(),
        resources: None,
        needs: needs.iter().map(ToString::to_string).collect(),
        sub_run: Some(v1::SubRun { job: job.into(), version: None, args }),
        ..task(name)
    }
}

fn job(name: &str, tasks: Vec<v1::TaskSpec>, result: Vec<v1::Value>) -> v1::JobSpec {
    v1::JobSpec { tasks, result, ..chain(name, &[]) }
}

fn number() -> Vec<v1::Param> {
    vec![v1::Param { name: "n".into(), r#type: "integer".into(), default: Some("0".into()), ..Default::default() }]
}

/// A job that is told a number, and says what its task made of it.
fn leaf() -> v1::JobSpec {
    let result = vec![value("made", "\"${work.result.made}\"")];
    v1::JobSpec { params: number(), ..job("leaf", vec![running("work", &[], &["work", "${params.n}"])], result) }
}

/// A job with a run of the other one, which it tells a number that its first task has found.
fn middle() -> v1::JobSpec {
    let tasks =
        vec![running("find", &[], &["find"]), run_of("sub", "leaf", vec![value("n", "\"${find.result}\"")], &["find"])];
    job("middle", tasks, vec![value("list", "[\"${sub.result.made}\", \"${run.job}\"]")])
}

async fn child(client: &Client, id: &str) -> v1::ChildRun {
    eventually("a run within it has begun", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(id) }).await.unwrap();
        got.children.into_iter().next()
    })
    .await
}

async fn why(client: &Client, id: &str, name: &str) -> v1::ExplainTaskResponse {
    client.explain_task(v1::ExplainTaskRequest { run: run(id), task: name.into(), index: 0 }).await.unwrap()
}

#[tokio::test]
async fn results_go_up_through_two_levels_of_runs_within_runs() {
    let (_cluster, client, mut agent) = cluster().await;
    let missing = invalid(client.submit_flow(told(middle(), "")).await);
    assert_eq!(missing[0].0, "task.sub.run");
    assert!(missing[0].1.ends_with("/leaf does not exist: submit it first"), "{missing:?}");
    let first = client.submit_flow(told(leaf(), "")).await.unwrap().run_id;
    assert_eq!(agent.succeed("work", r#"{"made":0}"#).await.argv, ["work", "0"]);
    ends(&client, &first, v1::RunState::Succeeded).await;
    let second = client.submit_flow(told(middle(), "")).await.unwrap().run_id;
    agent.succeed("find", "4").await;
    agent.succeed("work", r#"{"made":"four"}"#).await;
    let got = ends(&client, &second, v1::RunState::Succeeded).await;
    assert_eq!(&got.run.unwrap().result[..], br#"{"list":["four","middle"]}"#);

    let top = job(
        "top",
        vec![run_of("sub", "middle", vec![], &[]), running("end", &["sub"], &["end", "${sub.result.list}"])],
        vec![],
    );
    let id = client.submit_flow(told(top, "")).await.unwrap().run_id;
    agent.succeed("find", "5").await;
    let below = child(&client, &id).await;
    assert_eq!((&*below.task, below.state()), ("sub", v1::RunState::Running));
    let said = why(&client, &id, "sub").await;
    assert_eq!(said.task.unwrap().sub_run, below.run_id);
    assert!(said.reason.unwrap().text.starts_with(&format!("it is run {} of middle version 1", below.run_id)));
    assert_eq!(agent.succeed("work", r#"{"made":{"x":[5]}}"#).await.argv, ["work", "5"]);
    assert_eq!(agent.succeed("end", "1").await.argv, ["end", r#"[{"x":[5]},"middle"]"#]);
    ends(&client, &id, v1::RunState::Succeeded).await;

    let got = client.get_run(v1::GetRunRequest { run: run(&below.run_id) }).await.unwrap().run.unwrap();
    let parent = got.parent.unwrap();
    assert_eq!((&*parent.run_id, &*parent.task, parent.index), (&*id, "sub", 0));
    let listed = client.list_runs(v1::ListRunsRequest::default()).await.unwrap().runs;
    assert_eq!(listed.iter().filter(|run| run.parent.is_some()).count(), 3);
    assert!(listed.iter().all(|run| run.result.is_empty()), "it may be large");
}

#[tokio::test]
async fn a_run_that_fails_is_followed_by_another_and_a_cancel_goes_down_to_its_tasks() {
    let (_cluster, client, mut agent) = cluster().await;
    let first = client.submit_flow(told(leaf(), "")).await.unwrap().run_id;
    agent.succeed("work", r#"{"made":0}"#).await;
    ends(&client, &first, v1::RunState::Succeeded).await;
    let retry = Some(v1::Retry { attempts: 2, first_ms: 1, factor_milli: 1_000, cap_ms: 1, ..Default::default() });
    let sub = v1::TaskSpec { retry, ..run_of("sub", "leaf", vec![value("n", "7")], &[]) };
    let top = job("top", vec![sub], vec![]);

    let id = client.submit_flow(told(top.clone(), "")).await.unwrap().run_id;
    let tried = child(&client, &id).await.run_id;
    agent.fail("work").await;
    agent.succeed("work", r#"{"made":1}"#).await;
    ends(&client, &id, v1::RunState::Succeeded).await;
    let again = child(&client, &id).await.run_id;
    assert_ne!(again, tried, "another run of it");
    ends(&client, &tried, v1::RunState::Failed).await;

    let id = client.submit_flow(told(top, "")).await.unwrap().run_id;
    let assignment = agent.next("work").await;
    agent.agent.report(report(&assignment, v1::AttemptPhase::Running)).await;
    let below = child(&client, &id).await.run_id;
    client.cancel_run(v1::CancelRunRequest { run: run(&id), request_id: String::new() }).await.unwrap();
    eventually("the run within it is being cancelled", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(&below) }).await.unwrap().run.unwrap();
        got.cancelling.then_some(())
    })
    .await;
    agent.agent.report(v1::AttemptReport { stopped: true, ..ended(&assignment) }).await;
    ends(&client, &below, v1::RunState::Cancelled).await;
    ends(&client, &id, v1::RunState::Cancelled).await;
}
