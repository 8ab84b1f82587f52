//! Runs that decide, stand in, undo and end in any case, as clients and agents see them.

use quorate_client::{Client, Error};
use quorate_proto::v1::server_message::Message as Down;
use quorate_proto::{ApiError, v1};

use crate::agent::{Agent, ended, hello, report};
use crate::cluster::{Cluster, eventually};
use crate::jobs::{chain, run, submit, task};

/// An agent that takes up what it is given, one after the other.
pub(crate) struct Worker {
    pub(crate) agent: Agent,
    waiting: Vec<v1::Assignment>,
}

impl Worker {
    /// The next new assignment of a task.
    pub(crate) async fn next(&mut self, name: &str) -> v1::Assignment {
        loop {
            if let Some(found) = self.waiting.iter().position(|one| one.task == name && !one.stop) {
                return self.waiting.remove(found);
            }
            let more = self.agent.find(|message| match &message.message {
                Some(Down::Desired(set)) => Some(set.assignments.clone()),
                Some(Down::Delta(delta)) => Some(delta.set.clone()),
                _ => None,
            });
            self.waiting.extend(more.await);
        }
    }

    /// Takes the next attempt of a task to its end, with this result.
    pub(crate) async fn succeed(&mut self, name: &str, result: &str) -> v1::Assignment {
        let assignment = self.next(name).await;
        self.agent.report(report(&assignment, v1::AttemptPhase::Running)).await;
        let outcome = v1::Outcome { outcome: Some(v1::outcome::Outcome::Result(result.as_bytes().to_vec().into())) };
        self.agent.report(v1::AttemptReport { outcome: Some(outcome), ..ended(&assignment) }).await;
        assignment
    }

    pub(crate) async fn fail(&mut self, name: &str) {
        let assignment = self.next(name).await;
        self.agent.report(report(&assignment, v1::AttemptPhase::Running)).await;
        let exit = Some(v1::Exit { exit: Some(v1::exit::Exit::Code(1)) });
        self.agent.report(v1::AttemptReport { exit, ..ended(&assignment) }).await;
    }
}

/// A cluster of one with an agent, on which everything is enabled.
pub(crate) async fn cluster() -> (Cluster, Client, Worker) {
    let cluster = Cluster::start(1).await;
    let client = cluster.client();
    let agent = Agent::connect(&cluster.replicas[0].bound.agent, hello("n1", 1)).await.unwrap();
    eventually("all features are enabled", || async {
        let known = client.list_replicas(v1::ListReplicasRequest {}).await.ok()?.features;
        known.iter().all(|feature| feature.since_revision.is_some()).then_some(())
    })
    .await;
    (cluster, client, Worker { agent, waiting: Vec::new() })
}

fn flow(tasks: Vec<v1::TaskSpec>) -> v1::JobSpec {
    v1::JobSpec { tasks, ..chain("flow", &[]) }
}

pub(crate) fn told(spec: v1::JobSpec, args: &str) -> v1::SubmitFlowRequest {
    v1::SubmitFlowRequest { spec: Some(spec), args: args.into(), version: None, request_id: String::new() }
}

pub(crate) fn running(name: &str, needs: &[&str], argv: &[&str]) -> v1::TaskSpec {
    v1::TaskSpec {
        driver: v1::Driver::Process.into(),
        argv: argv.iter().map(ToString::to_string).collect(),
        needs: needs.iter().map(ToString::to_string).collect(),
        templated: argv.iter().any(|text| text.contains("${")),
        ..task(name)
    }
}

fn role(role: v1::role::Role) -> Option<v1::Role> {
    Some(v1::Role { role: Some(role) })
}

pub(crate) async fn ends(client: &Client, id: &str, state: v1::RunState) -> v1::GetRunResponse {
    eventually("the run ends", || async {
        let got = client.get_run(v1::GetRunRequest { run: run(id) }).await.unwrap();
        (got.run.as_ref()?.state() == state).then_some(got)
    })
    .await
}

pub(crate) fn invalid(refused: Result<v1::SubmitJobResponse, Error>) -> Vec<(String, String)> {
    match refused {
        Err(Error::Api(ApiError::Invalid(found))) => {
            found.into_iter().map(|found| (found.field, found.message)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_run_is_told_and_what_its_tasks_found_out_is_put_into_commands() {
    let (_cluster, client, mut agent) = cluster().await;
    let mut spec = flow(vec![
        running("split", &[], &["split", "${params.day}"]),
        v1::TaskSpec {
            each: Some(v1::Each { each: Some(v1::each::Each::Result("${split.result.parts}".into())) }),
            ..running("score", &["split"], &["score", "${each.name}", "${index}", "${split.result.of}"])
        },
        running("merge", &["score"], &["merge", "${score.result}"]),
    ]);
    spec.params = vec![v1::Param { name: "day".into(), r#type: "date".into(), ..Default::default() }];
    let id = client.submit_flow(told(spec, r#"{"day":"2026-02-28"}"#)).await.unwrap().run_id;
    let parts = r#"{"parts":[{"name":"a"},{"name":"b"}],"of":2.5}"#;
    assert_eq!(agent.succeed("split", parts).await.argv, ["split", "2026-02-28"]);
    assert_eq!(agent.succeed("score", "1").await.argv, ["score", "a", "0", "2.5"]);
    assert_eq!(agent.succeed("score", "{\"x\":1}").await.argv, ["score", "b", "1", "2.5"]);
    assert_eq!(agent.succeed("merge", "null").await.argv, ["merge", r#"[1,{"x":1}]"#]);
    let got = ends(&client, &id, v1::RunState::Succeeded).await;
    assert_eq!(got.run.unwrap().args, r#"{"day":"2026-02-28"}"#);
    let score = &got.steps[1];
    assert_eq!((score.count, score.decided()), (2, v1::Decision::Run));
}

#[tokio::test]
async fn a_condition_decides_and_says_why_it_cannot() {
    let (_cluster, client, mut agent) = cluster().await;
    let when = |spec: v1::TaskSpec, when: &str| v1::TaskSpec { when: Some(when.into()), ..spec };
    let spec = flow(vec![
        running("ask", &[], &["ask"]),
        when(running("yes", &["ask"], &["yes"]), "ask.result.go == 'yes'"),
        when(running("no", &["ask"], &["no"]), "ask.result.go == 'no'"),
        when(running("what", &["ask"], &["what"]), "ask.result.other > 1"),
        running("after", &["yes", "no"], &["after"]),
    ]);
    let id = client.submit_flow(told(spec, "")).await.unwrap().run_id;
    agent.succeed("ask", r#"{"go":"yes"}"#).await;
    agent.succeed("yes", "1").await;
    agent.succeed("after", "1").await;
    let got = ends(&client, &id, v1::RunState::Failed).await;
    let decided: Vec<_> = got.steps.iter().map(v1::Step::decided).collect();
    let (run, over, fail) = (v1::Decision::Run, v1::Decision::PassOver, v1::Decision::Fail);
    assert_eq!(decided, [v1::Decision::Unspecified, run, over, fail, v1::Decision::Unspecified]);
    assert!(got.steps[3].decided_message.contains("other"), "{}", got.steps[3].decided_message);
    let why = v1::ExplainTaskRequest { run: self::run(&id), task: "no".into(), index: 0 };
    let text = client.explain_task(why).await.unwrap().reason.unwrap().text;
    assert_eq!(text, "passed over, because this was not so: ask.result.go == 'no'");
}

#[tokio::test]
async fn a_reference_that_comes_to_nothing_is_a_flaw_and_nothing_is_started() {
    let (_cluster, client, mut agent) = cluster().await;
    let spec = flow(vec![running("a", &[], &["a"]), running("b", &["a"], &["b", "${a.result.path}"])]);
    client.submit_flow(told(spec, "")).await.unwrap();
    agent.succeed("a", r#"{"pat":1}"#).await;
    let flawed = agent.next("b").await;
    assert!(flawed.argv.is_empty(), "{flawed:?}");
    assert!(flawed.flaw().contains("a.result.path") || flawed.flaw().contains("path"), "{flawed:?}");
}

#[tokio::test]
async fn what_failed_is_stood_in_for_and_its_result_is_that_of_the_other() {
    let (_cluster, client, mut agent) = cluster().await;
    let fallback = role(v1::role::Role::Fallback(v1::Fallback { of: vec!["a".into()] }));
    let spec = flow(vec![
        running("a", &[], &["a"]),
        v1::TaskSpec { role: fallback, ..running("other", &[], &["other"]) },
        running("b", &["a"], &["b", "${a.result}"]),
    ]);
    let id = client.submit_flow(told(spec, "")).await.unwrap().run_id;
    agent.fail("a").await;
    agent.succeed("other", "\"by hand\"").await;
    assert_eq!(agent.succeed("b", "1").await.argv, ["b", "by hand"]);
    ends(&client, &id, v1::RunState::Succeeded).await;
}

/// Two tasks of which the first can be undone, and one that comes at the end in any case.
fn saga() -> v1::JobSpec {
    let undo = role(v1::role::Role::Undo(v1::Undo { of: "book".into() }));
    let finally = role(v1::role::Role::Finally(v1::Finally {}));
    flow(vec![
        running("book", &[], &["book"]),
        v1::TaskSpec { role: undo, ..running("book.undo", &[], &["cancel", "${book.result.id}"]) },
        running("pay", &["book"], &["pay"]),
        v1::TaskSpec { role: finally, ..running("tell", &[], &["tell", "${run.outcome}", "${run.id}"]) },
    ])
}

#[tokio::test]
async fn what_was_done_is_undone_with_what_it_left_and_the_end_comes_in_any_case() {
    let (_cluster, client, mut agent) = cluster().await;
    let id = client.submit_flow(told(saga(), "")).await.unwrap().run_id;
    agent.succeed("book", r#"{"id":"B-7"}"#).await;
    agent.fail("pay").await;
    assert_eq!(agent.succeed("book.undo", "1").await.argv, ["cancel", "B-7"]);
    assert_eq!(agent.succeed("tell", "1").await.argv, ["tell", "failed", &id]);
    ends(&client, &id, v1::RunState::Failed).await;
}

#[tokio::test]
async fn a_run_that_is_given_up_undoes_nothing() {
    let (_cluster, client, mut agent) = cluster().await;
    let id = client.submit_flow(told(saga(), "")).await.unwrap().run_id;
    agent.succeed("book", r#"{"id":"B-7"}"#).await;
    let pay = agent.next("pay").await;
    let abandon = v1::AbandonRunRequest { run: run(&id), request_id: "once".into() };
    let answer = client.abandon_run(abandon.clone()).await.unwrap();
    assert_eq!(answer, client.abandon_run(abandon).await.unwrap(), "the same request is carried out once");
    agent.agent.report(v1::AttemptReport { exit: None, stopped: true, ..ended(&pay) }).await;
    let got = ends(&client, &id, v1::RunState::Cancelled).await;
    assert!(got.run.unwrap().abandoned);
    assert_eq!(got.steps[1].counts.unwrap_or_default(), v1::TaskCounts::default(), "nothing was undone");
}

#[tokio::test]
async fn what_a_job_may_not_say_is_refused_with_its_place() {
    let (_cluster, client, _agent) = cluster().await;
    let with = |argv: &str| flow(vec![running("a", &[], &["a", argv]), running("b", &[], &["b"])]);
    for (spec, args, field, word) in [
        (with("${HOME}"), "", "task.a.run[1]", "HOME"),
        (with("${b.result}"), "", "task.a.run[1]", "needs"),
        (with("${params.day}"), "", "task.a.run[1]", "day"),
        (flow(vec![v1::TaskSpec { when: Some("1 +".into()), ..task("a") }]), "", "task.a.when", ""),
        (with("x"), "{\"day\":1}", "args", "day"),
        (with("x"), "[", "args", ""),
    ] {
        let found = invalid(client.submit_flow(told(spec, args)).await);
        assert!(found[0].0.starts_with(field) && found[0].1.contains(word), "{field}: {found:?}");
    }
    let mut spec = with("x");
    spec.params = vec![v1::Param { name: "n".into(), r#type: "integer".into(), ..Default::default() }];
    let found = invalid(client.submit_job(submit(spec, "")).await);
    assert!(found[0].1.contains("SubmitFlow"), "a way that older servers know does not take it: {found:?}");
}

#[tokio::test]
async fn elements_that_nothing_has_happened_to_are_listed_like_others() {
    let (_cluster, client, _agent) = cluster().await;
    let wide = v1::TaskSpec { count: 12_000, ..task("wide") };
    let id = client.submit_job(submit(flow(vec![task("first"), wide]), "")).await.unwrap().run_id;
    let (mut seen, mut page_token) = (0, String::new());
    loop {
        let request = v1::ListTasksRequest { run: run(&id), task: "wide".into(), page_size: 1_000, page_token };
        let page = client.list_tasks(request).await.unwrap();
        for task in &page.tasks {
            assert_eq!((task.index, task.count), (seen, 12_000));
            seen += 1;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 12_000);
    let why = v1::ExplainTaskRequest { run: run(&id), task: "wide".into(), index: 11_999 };
    let text = client.explain_task(why).await.unwrap().reason.unwrap().text;
    assert!(text.contains("when it is its turn"), "{text}");
    client.cancel_run(v1::CancelRunRequest { run: run(&id), request_id: String::new() }).await.unwrap();
}

#[tokio::test]
async fn a_run_that_failed_is_tried_again_with_what_it_found_out() {
    let (_cluster, client, mut agent) = cluster().await;
    let spec = flow(vec![running("a", &[], &["a"]), running("b", &["a"], &["b", "${a.result.n}"])]);
    let id = client.submit_flow(told(spec, "")).await.unwrap().run_id;
    agent.succeed("a", "{\"n\":7}").await;
    agent.fail("b").await;
    ends(&client, &id, v1::RunState::Failed).await;
    let request = v1::RestartRunRequest { run: run(&id), from: vec![], request_id: "once".into() };
    let again = client.restart_run(request.clone()).await.unwrap();
    assert_eq!(again, client.restart_run(request).await.unwrap(), "the same request is carried out once");
    assert_eq!(agent.succeed("b", "1").await.argv, ["b", "7"]);
    let got = ends(&client, &again.run_id, v1::RunState::Succeeded).await;
    assert_eq!((got.run.unwrap().restart_of, got.steps[0].kept), (id, 1));
    let request = v1::ListTasksRequest { run: run(&again.run_id), ..v1::ListTasksRequest::default() };
    let tasks = client.list_tasks(request).await.unwrap().tasks;
    let said: Vec<_> = tasks.iter().map(|task| (&*task.task, task.state(), task.attempts)).collect();
    assert_eq!(said, [("a", v1::TaskState::Succeeded, 0), ("b", v1::TaskState::Succeeded, 1)]);
}
