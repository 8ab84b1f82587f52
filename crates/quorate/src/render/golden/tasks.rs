//! What is said of single tasks.

use quorate_proto::v1;

use super::{attempt, check};
use crate::render::task::{TaskReleased, TaskResult, TaskWhy};
use crate::render::why_not::WhyNot;
use crate::render::{Paint, View as _, task};

#[test]
fn task_result() {
    let outcome = v1::outcome::Outcome::Result(b"{\"parts\": [1, 2.0]}".as_slice().into());
    let mut succeeded = attempt(0, v1::AttemptState::Succeeded);
    assert!(TaskResult::new(&succeeded).is_none());
    succeeded.outcome = Some(v1::Outcome { outcome: Some(outcome) });
    let result = TaskResult::new(&succeeded).unwrap();
    assert_eq!(result.human(Paint::Never), "{\"parts\": [1, 2.0]}");
    check("task_result", &result);
}

#[test]
fn task_result_with_payloads() {
    let model = v1::PayloadRef {
        name: "model".into(),
        uri: "s3://bucket/key".into(),
        size: Some(3 << 20),
        digest: vec![0xab; 32].into(),
        digest_kind: v1::PayloadDigestKind::Blake3.into(),
    };
    let log = v1::PayloadRef { name: "log".into(), uri: "file:///a\u{1b}".into(), ..<_>::default() };
    let mut succeeded = attempt(0, v1::AttemptState::Succeeded);
    succeeded.payloads = vec![log, model];
    let alone = TaskResult::new(&succeeded).unwrap().human(Paint::Never);
    assert!(alone.starts_with("PAYLOAD") && !alone.contains('\u{1b}'), "{alone}");
    let outcome = v1::outcome::Outcome::Result(b"7".as_slice().into());
    succeeded.outcome = Some(v1::Outcome { outcome: Some(outcome) });
    let result = TaskResult::new(&succeeded).unwrap();
    let lines: Vec<String> = result.human(Paint::Never).lines().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(lines[..3], ["7", "", "PAYLOAD  SIZE  URI              DIGEST"]);
    assert_eq!(lines[4], format!("model    3Mi   s3://bucket/key  blake3:{}", "ab".repeat(32)));
    check("task_result_payloads", &result);
}

#[test]
fn task_released() {
    let released = |released| TaskReleased { run_id: "0123456789abc".into(), task: "score".into(), index: 2, released };
    assert_eq!(released(false).human(Paint::Never), "score[2] of run 0123456789abc is not in quarantine");
    check("task_released", &released(true));
}

#[test]
fn task_why() {
    let task = v1::Task {
        task: "score".into(),
        index: 2,
        state: v1::TaskState::Ready.into(),
        attempts: 1,
        tries: 1,
        losses: 0,
        reason: String::new(),
        count: 6,
        ..v1::Task::default()
    };
    let response = v1::ExplainTaskResponse {
        task: Some(task),
        reason: Some(no_node_fits()),
        revision: 57,
        candidates: vec![v1::Candidate {
            node: "eu-a-2".into(),
            terms: vec![v1::ScoreTerm { name: "near".into(), value_milli: 31_250 }],
        }],
        misses: vec![v1::NearestMiss { node: "eu-a-1".into(), check: "FULL".into(), ..v1::NearestMiss::default() }],
    };
    check("task_why", &TaskWhy::new("0123456789abc", response));
}

#[test]
fn task_why_of_alternatives() {
    let task = v1::Task { task: "score".into(), state: v1::TaskState::Ready.into(), count: 1, ..v1::Task::default() };
    let over = v1::OverQuota {
        namespace: "acme".into(),
        resource: "cpu".into(),
        used: 60_000,
        maximum: 64_000,
        asked: 16_000,
    };
    let over = v1::WaitReason {
        text: "namespace acme would hold too much".into(),
        reason: Some(v1::wait_reason::Reason::OverQuota(over)),
    };
    let none = v1::NoAlternative { each: vec![no_node_fits(), over], expected: None };
    let reason = v1::WaitReason {
        text: "want[0]: no node is large enough; want[1]: namespace acme would hold too much".into(),
        reason: Some(v1::wait_reason::Reason::NoAlternative(none)),
    };
    let response = v1::ExplainTaskResponse {
        task: Some(task),
        reason: Some(reason),
        revision: 57,
        candidates: vec![],
        misses: vec![],
    };
    let why = TaskWhy::new("0123456789abc", response);
    let lines: Vec<String> = why.human(Paint::Never).lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "score of run 0123456789abc is ready: there is room for none of its alternatives");
    assert_eq!(lines[1..], ["  want[0]: no node is large enough", "  want[1]: namespace acme would hold too much"]);
    check("task_why_of_alternatives", &why);
}

#[test]
fn node_why_not() {
    let task = v1::Task { task: "score".into(), state: v1::TaskState::Ready.into(), count: 1, ..v1::Task::default() };
    let full = v1::NodeCheck {
        check: "FULL".into(),
        wanted: "2000m cpu, 300m gpu of one device".into(),
        found: "500m cpu, 0m gpu of one device free".into(),
        missing_cpu_milli: 1_500,
        missing_memory_bytes: 0,
        missing_gpu_milli: 300,
    };
    let labels = v1::NodeCheck {
        check: "LABELS".into(),
        wanted: "disk=ssd".into(),
        found: "no label disk".into(),
        ..v1::NodeCheck::default()
    };
    let answer = v1::ExplainPlacementResponse {
        task: Some(task),
        reason: Some(v1::WaitReason { text: "about to be placed on node n2".into(), reason: None }),
        failed: vec![labels, full],
        has_copy: false,
        elsewhere: "n2".into(),
        text: "the node fails 2 checks: LABELS, FULL".into(),
        revision: 57,
    };
    let view = WhyNot::new("0123456789abc", "n1", answer);
    check("node_why_not", &view);
    let expected = "\
score of run 0123456789abc on node n1: the node fails 2 checks: LABELS, FULL

CHECK   WANTED                             FOUND                                SHORT OF
LABELS  disk=ssd                           no label disk
FULL    2000m cpu, 300m gpu of one device  500m cpu, 0m gpu of one device free  1500m cpu, 300m gpu

wherever: it is ready: about to be placed on node n2";
    assert_eq!(view.human(Paint::Never), expected);
}

#[test]
fn every_reason_has_a_kind() {
    use v1::wait_reason::Reason;
    let node = || "n1".to_owned();
    for reason in [
        Reason::NotWaiting(v1::NotWaiting {}),
        Reason::Needs(v1::NeedsUnmet { tasks: vec!["a".into()] }),
        Reason::Backoff(v1::Backoff { remaining_ms: 5 }),
        Reason::Fence(v1::FenceWait { node: node(), remaining_ms: 5 }),
        Reason::Queued(v1::Queued { position: 2 }),
        Reason::Cancelling(v1::Cancelling {}),
        Reason::FitsNow(v1::FitsNow { node: node() }),
        Reason::Unknown(v1::Unknown { node: node(), remaining_ms: 5 }),
        Reason::Held(v1::Held {}),
        Reason::Quarantined(v1::Quarantined { nodes: vec![node()] }),
        Reason::Paused(pause("the disk is full")),
        Reason::SubRunDue(v1::SubRunDue {}),
        Reason::RunsFull(v1::RunsFull { max: 9 }),
        Reason::RoomClaimed(v1::RoomClaimed {
            node: node(),
            others: 2,
            victims: vec![v1::Victim::default()],
            remaining_ms: 5,
        }),
        Reason::OverQuota(v1::OverQuota { namespace: "a".into(), ..v1::OverQuota::default() }),
        Reason::NotReserved(v1::NotReserved {
            reservation: "spring".into(),
            flaw: v1::ReservationFlaw::NotBegun.into(),
            remaining_ms: Some(9),
        }),
        Reason::RegionLost(v1::RegionLost { region: "eu".into(), lost_ms: Some(9), remaining_ms: None }),
        Reason::Gang(v1::GangWait { members: 8, ready: 8, fits: 3, ..v1::GangWait::default() }),
    ] {
        let wire = v1::WaitReason { text: "so it is".into(), reason: Some(reason) };
        let json = serde_json::to_value(task::Reason::from(wire.clone())).unwrap();
        assert!(json["kind"].as_str().is_some_and(|kind| kind != "unspecified"), "{wire:?}");
        assert_eq!(json["text"], "so it is");
    }
}

#[test]
fn a_pause_is_said_once_and_on_one_line() {
    let reason = Some(v1::wait_reason::Reason::Paused(pause("the disk\nis\u{1b}full")));
    let reason = Some(v1::WaitReason { text: "its run is paused".into(), reason });
    let task = v1::Task { task: "score".into(), state: v1::TaskState::Ready.into(), count: 1, ..v1::Task::default() };
    let response =
        v1::ExplainTaskResponse { task: Some(task), reason, revision: 57, ..v1::ExplainTaskResponse::default() };
    let expected = "\
score of run 0123456789abc is ready: its run is paused
  paused since 2023-11-14T22:13:20Z by anonymous-local: the disk is full
";
    assert_eq!(TaskWhy::new("0123456789abc", response).human(Paint::Never), expected);
}

pub(super) fn pause(reason: &str) -> v1::Pause {
    v1::Pause { by: "anonymous-local".into(), at_ms: 1_700_000_000_400, reason: reason.into() }
}

pub(super) fn no_node_fits() -> v1::WaitReason {
    let none = v1::NoNodeFits {
        checks: vec![v1::FailedCheck { check: "TOO_SMALL".into(), nodes: 4 }],
        nearest: Some(v1::NearestMiss {
            missing_gpu_milli: 0,
            node: "eu-a-1".into(),
            check: "TOO_SMALL".into(),
            missing_cpu_milli: 56_000,
            missing_memory_bytes: 0,
        }),
        never: true,
        expected: Some(v1::ExpectedStart { node: "n2".into(), within_ms: 103_000, others: 0 }),
        bound_regions: vec!["eu".into()],
    };
    v1::WaitReason { text: "no node is large enough".into(), reason: Some(v1::wait_reason::Reason::NoNodeFits(none)) }
}
