//! Runs within runs.

use quorate_proto::v1;

use super::{check, get_run, run};
use crate::render::run::{RunList, RunStatus};
use crate::render::task::{TaskResult, TaskWhy};
use crate::render::{Paint, View as _};

/// A run within another, that has a result and runs within itself.
fn family() -> v1::GetRunResponse {
    let parent = v1::ParentTask { run_id: "a123456789abc".into(), task: "train".into(), index: 2 };
    let run = v1::Run { parent: Some(parent), result: r#"{"model":"m-7","rows":[1,2]}"#.into(), ..run() };
    let child = |index, run_id: &str, state: v1::RunState, cancelling| v1::ChildRun {
        task: "score".into(),
        index,
        run_id: run_id.into(),
        state: state.into(),
        cancelling,
    };
    let children = vec![
        child(0, "b123456789abc", v1::RunState::Succeeded, false),
        child(1, "c123456789abc", v1::RunState::Running, true),
    ];
    let mut response = v1::GetRunResponse { run: Some(run), children, ..get_run() };
    response.steps[1].sub_run = "score-one@3".into();
    response
}

#[test]
fn run_status_within() {
    let status = RunStatus::from(family());
    check("run_status_within", &status);
    let text = status.human(Paint::Never);
    for line in [
        "Within     a123456789abc train[2]",
        "Result     model=\"m-7\", rows=[1,2]",
        "score[0]  b123456789abc  succeeded",
        "score[1]  c123456789abc  running (cancelling)",
    ] {
        assert!(text.lines().any(|found| found.trim_end() == line), "{line}\n{text}");
    }
    assert!(text.contains("score (job://score-one@3)"), "{text}");
}

#[test]
fn a_run_from_which_nothing_came_says_why() {
    let run = v1::Run { flaw: "result.model: `train.result` has no model".into(), ..run() };
    let text = RunStatus::from(v1::GetRunResponse { run: Some(run), ..get_run() }).human(Paint::Never);
    assert!(text.contains("No result  result.model: `train.result` has no model\n"), "{text}");
}

#[test]
fn a_list_says_within_what_a_run_stands_where_one_does() {
    let list = |runs: Vec<v1::Run>| RunList {
        runs: runs.into_iter().map(Into::into).collect(),
        revision: 57,
        more: false,
        next_page_token: None,
    };
    assert!(!list(vec![run()]).human(Paint::Never).contains("WITHIN"));
    let text = list(vec![run(), family().run.unwrap()]).human(Paint::Never);
    assert!(text.contains("WITHIN") && text.contains("a123456789abc train[2]"), "{text}");
}

#[test]
fn what_a_task_that_is_a_run_waits_for_and_has_is_known_by_that() {
    let task = v1::Task { task: "score".into(), count: 1, sub_run: "b123456789abc".into(), ..v1::Task::default() };
    let reason = v1::wait_reason::Reason::RunsFull(v1::RunsFull { max: 9 });
    let reason = Some(v1::WaitReason { text: "there is no room".into(), reason: Some(reason) });
    let response = v1::ExplainTaskResponse {
        task: Some(task.clone()),
        reason,
        revision: 57,
        ..v1::ExplainTaskResponse::default()
    };
    let json = serde_json::to_value(TaskWhy::new("0123456789abc", response)).unwrap();
    assert_eq!((&json["sub_run"], &json["reason"]["max"]), (&"b123456789abc".into(), &9.into()));
    let of_run = TaskResult::of_run("0123456789abc", task.clone(), &family().run.unwrap()).unwrap();
    assert_eq!(of_run.human(Paint::Never), r#"{"model":"m-7","rows":[1,2]}"#);
    assert!(TaskResult::of_run("0123456789abc", task, &run()).is_none());
}
