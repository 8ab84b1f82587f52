//! The JSON of every command, from fixed wire messages, byte for byte.
//!
//! A difference is a change of the interface: an added field is fine within a schema's version, a
//! field that went or means something else raises it. `QUORATE_BLESS=1` writes the files anew.

mod flow;
mod jobs;
mod namespaces;
mod nodes;
mod preemption;
mod rebalance;
mod reservation;
mod retention;
mod runs;
mod tasks;
mod within;

use quorate_proto::v1;
use serde_json::Value;

use super::attempt::AttemptList;
use super::cert::Certificate;
use super::control::{RunPaused, RunPrioritySet, RunResumed, RunsCancelled};
use super::demo::{Demonstration, Takeover};
use super::job::{JobImported, JobList, JobPlan, JobSubmitted, JobValidated, Violation};
use super::node::ClusterList;
use super::replica::{ReplicaChanged, ReplicaList, ReplicaStatusList};
use super::run::{LogLine, Logs, RunAnnotated, RunCancelled, RunList, RunStatus};
use super::snapshot::{ServerRecovered, SnapshotInspected, SnapshotRestored, SnapshotSaved};
use super::{Paint, View};
use tasks::{no_node_fits, pause};

/// Compares a view's JSON with the file of its name, and renders it for people without and with colours.
fn check<T: View>(name: &str, view: &T) {
    let path = format!("{}/src/render/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = json(view) + "\n";
    if std::env::var_os("QUORATE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{path} differs");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], T::SCHEMA);
    let schema = T::SCHEMA.strip_prefix("quorate.v1.").unwrap();
    assert!(schema.rsplit_once('/').is_some_and(|(_, version)| version.parse::<u32>().is_ok()), "{schema}");
    let plain = view.human(Paint::Never);
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let _ = view.human(Paint::Always);
}

fn json<T: View>(view: &T) -> String {
    super::json(view, None)
}

fn run() -> v1::Run {
    v1::Run {
        id: "0123456789abc".into(),
        namespace: "acme".into(),
        job: "claims-nightly".into(),
        version: 3,
        state: v1::RunState::Running.into(),
        timed_out: false,
        cancelling: false,
        submitted_at_ms: 1_700_000_000_000,
        started_at_ms: Some(1_700_000_000_250),
        ended_at_ms: None,
        submitted_revision: 41,
        counts: Some(counts()),
        principal: "anonymous-local".into(),
        priority: 60,
        labels: labels(),
        paused: None,
        abandoned: false,
        restart_of: String::new(),
        args: String::new(),
        parent: None,
        result: Default::default(),
        flaw: String::new(),
    }
}

fn labels() -> Vec<v1::Label> {
    vec![v1::Label { key: "team".into(), value: "risk".into() }]
}

fn counts() -> v1::TaskCounts {
    v1::TaskCounts { waiting: 2, running: 1, succeeded: 4, ..v1::TaskCounts::default() }
}

fn get_run() -> v1::GetRunResponse {
    let step = |task: &str, count, counts, needs: &[&str]| v1::Step {
        task: task.into(),
        count,
        counts: Some(counts),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        ..v1::Step::default()
    };
    let one = v1::TaskCounts { succeeded: 1, ..v1::TaskCounts::default() };
    v1::GetRunResponse {
        run: Some(run()),
        steps: vec![step("split", 1, one, &[]), step("score", 6, counts(), &["split"])],
        revision: 57,
        annotations: vec![v1::Annotation {
            key: "ticket".into(),
            value: "OPS-7".into(),
            at_ms: 1_700_000_000_300,
            principal: "anonymous-local".into(),
        }],
        children: Vec::new(),
    }
}

fn attempt(index: u32, state: v1::AttemptState) -> v1::Attempt {
    v1::Attempt {
        run_id: "0123456789abc".into(),
        task: "score".into(),
        index,
        number: 1,
        node: "eu-a-1".into(),
        cluster: "eu-a".into(),
        region: "eu".into(),
        token: 44,
        state: state.into(),
        placed_at_ms: 1_700_000_000_200,
        started_at_ms: Some(1_700_000_000_250),
        ended_at_ms: Some(1_700_000_001_750),
        exit: Some(v1::Exit { exit: Some(v1::exit::Exit::Code(0)) }),
        message: String::new(),
        usage: Some(v1::UsageSummary {
            cpu_us: 1_250_000,
            memory_peak_bytes: 9 << 20,
            read_bytes: 4096,
            written_bytes: 512,
        }),
        outcome: None,
        result_bytes: 0,
        payloads: Vec::new(),
        preempted_by: None,
        moved_to: None,
        want: None,
    }
}

fn live() -> v1::LiveUsage {
    v1::LiveUsage {
        cpu_us: 3_500_000,
        cpu_milli: Some(850),
        memory_bytes: 12 << 20,
        memory_peak_bytes: 20 << 20,
        read_bytes: 0,
        written_bytes: 4096,
        age_ms: 2_100,
    }
}

fn usage_sum() -> v1::UsageSum {
    v1::UsageSum {
        attempts: 1,
        cpu_us: 3_500_000,
        cpu_milli: 850,
        memory_bytes: 12 << 20,
        read_bytes: 0,
        written_bytes: 4096,
        age_ms: 2_100,
    }
}

fn resources(cpu_milli: u64, memory_bytes: u64) -> Option<v1::Resources> {
    Some(v1::Resources { cpu_milli, memory_bytes, gpu_milli: 0 })
}

#[test]
fn run_list() {
    check(
        "run_list",
        &RunList { runs: vec![run().into()], revision: 57, more: true, next_page_token: Some("313233".into()) },
    );
}

#[test]
fn run_status() {
    let mut status = RunStatus::from(get_run());
    status.take(vec![v1::StepUsage { task: "score".into(), usage: Some(usage_sum()) }]);
    let start = Some(v1::ExpectedStart { node: "n2".into(), within_ms: 103_000, others: 0 });
    status.expect(vec![v1::TaskExpectedStart { task: "score".into(), index: 3, start }]);
    check("run_status", &status);
}

#[test]
fn run_paused() {
    let mut paused = get_run();
    paused.run = paused.run.map(|run| v1::Run { paused: Some(pause("the disk\nis full")), ..run });
    let text = RunStatus::from(paused).human(Paint::Never);
    let lines: Vec<&str> = text.lines().skip(1).take(3).collect();
    let since = "Paused     since 2023-11-14T22:13:20Z by anonymous-local: the disk is full";
    assert_eq!(lines, ["State      running (paused)", since, "Priority   60"]);
    check("run_paused", &RunPaused { run_id: "0123456789abc".into(), revision: 58 });
    check("run_resumed", &RunResumed { run_id: "0123456789abc".into(), revision: 59 });
    let run_ids = vec!["0123456789abc".into()];
    check("runs_cancelled", &RunsCancelled { dry_run: false, run_ids, cancelled: 1 });
    check("run_priority_set", &RunPrioritySet { run_id: "0123456789abc".into(), priority: 90, revision: 60 });
}

#[test]
fn attempt_list() {
    let mut killed = attempt(1, v1::AttemptState::Failed);
    killed.exit = Some(v1::Exit { exit: Some(v1::exit::Exit::Signal(9)) });
    killed.message = "out of memory".into();
    let mut placed = attempt(2, v1::AttemptState::Assigned);
    (placed.started_at_ms, placed.ended_at_ms, placed.exit, placed.usage) = (None, None, None, None);
    let mut runs = attempt(3, v1::AttemptState::Running);
    (runs.ended_at_ms, runs.exit, runs.usage) = (None, None, Some(v1::UsageSummary::default()));
    let outcome = v1::outcome::Outcome::Result(b"{\"parts\": [1, 2.0]}".as_slice().into());
    let mut succeeded = attempt(0, v1::AttemptState::Succeeded);
    (succeeded.outcome, succeeded.result_bytes) = (Some(v1::Outcome { outcome: Some(outcome) }), 19);
    killed.outcome = Some(v1::Outcome { outcome: Some(v1::outcome::Outcome::Error("BadInput".into())) });
    let attempts = [succeeded, killed, placed, runs];
    let attempts = attempts.into_iter().map(Into::into).collect();
    let mut list = AttemptList { run: run().into(), attempts, revision: 57, of_usage: false };
    let progress = v1::Progress {
        done_milli: Some(425),
        words: "counting".into(),
        metrics: vec![v1::Metric { name: "rows".into(), value: 12.5 }],
    };
    let of = |index| v1::AttemptUsage {
        task: "score".into(),
        index,
        number: 1,
        node: "eu-a-1".into(),
        usage: Some(live()),
        progress: Some(progress.clone()),
    };
    list.take(vec![of(0), of(3)]);
    check("attempt_list", &list);
    let none = AttemptList { run: run().into(), attempts: Vec::new(), revision: 57, of_usage: false };
    assert!(none.human(Paint::Never).starts_with("No attempts: nothing of it was ever placed."));
    let text = list.human(Paint::Never);
    let remarks: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert!(remarks[2].ends_with("BadInput: out of memory"), "{text}");
    assert!(remarks[4].ends_with("42% counting"), "{text}");
    list.of_usage = true;
    let text = list.human(Paint::Never);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let ended = "score[0] 1 succeeded eu-a-1 1.2s - - 9Mi 4Ki 512B at its end";
    assert_eq!(rows[1].join(" "), ended, "what it uses no more does not count");
    assert_eq!(rows[3].join(" "), "score[2] 1 assigned eu-a-1 - - - - - - -");
    assert_eq!(rows[4].join(" "), "score[3] 1 running eu-a-1 3.5s 850m 12Mi 20Mi 0B 4Ki 2.1s ago");
}

#[test]
fn run_cancelled() {
    let response = v1::CancelRunResponse { run_id: "0123456789abc".into(), ended_before: false, revision: 58 };
    check("run_cancelled", &RunCancelled::from(response));
}

#[test]
fn run_annotated() {
    let keys = vec!["ticket".to_owned(), "owner".to_owned()];
    check("run_annotated", &RunAnnotated { run_id: "0123456789abc".into(), keys, revision: 59 });
}

#[test]
fn logs() {
    let logs = Logs {
        run_id: "0123456789abc".into(),
        task: "split".into(),
        index: 0,
        attempt: Some(1),
        lossy: false,
        stdout: "12 parts\n".into(),
        stderr: String::new(),
    };
    check("logs", &logs);
}

#[test]
fn log_line() {
    let line = LogLine {
        run_id: "0123456789abc",
        task: "split",
        index: 2,
        attempt: 1,
        stream: "stdout",
        offset: 9,
        lossy: false,
        text: "12 parts\n",
    };
    check("log_line", &line);
}

#[test]
fn job_submitted() {
    let response = v1::SubmitJobResponse {
        run_id: "0123456789abc".into(),
        version: 3,
        revision: 41,
        request_window_ms: 3_600_000,
    };
    check("job_submitted", &JobSubmitted::new("acme", "claims-nightly", "r-1", response));
}

#[test]
fn job_plan() {
    let reason = no_node_fits();
    let response = v1::PlanJobResponse {
        revision: 57,
        version: 4,
        current_version: 3,
        changes: vec!["~ task.score.resources.cpu: 2 -> 64".into()],
        tasks: vec![
            v1::PlannedTask { task: "split".into(), count: 1, fits_empty: 8, fits_now: 7, reason: None },
            v1::PlannedTask { task: "score".into(), count: 6, fits_empty: 0, fits_now: 0, reason: Some(reason) },
        ],
        task_count: 7,
    };
    check("job_plan", &JobPlan::from(response));
}

#[test]
fn job_validated() {
    let violation = Violation {
        line: Some(4),
        column: Some(1),
        field: "task.split.ned".into(),
        message: "unknown key, did you mean 'needs'?".into(),
    };
    assert_eq!(violation.line_of("job.toml"), "job.toml:4:1: task.split.ned: unknown key, did you mean 'needs'?");
    let validated =
        JobValidated { file: "job.toml".into(), valid: false, job: None, task_count: 0, violations: vec![violation] };
    check("job_validated", &validated);
}

#[test]
fn job_list() {
    let job = v1::JobSummary {
        namespace: "acme".into(),
        name: "claims-nightly".into(),
        version: 3,
        latest_run_id: "0123456789abc".into(),
        latest_run_state: v1::RunState::Failed.into(),
        submitted_at_ms: 1_700_000_000_000,
        task_count: 7,
        labels: labels(),
    };
    check("job_list", &JobList { jobs: vec![job.into()], revision: 57, more: false, next_page_token: None });
}

#[test]
fn job_imported() {
    let imported = JobImported {
        job: "default/flow".into(),
        task_count: 1,
        unmapped: vec!["1 recorded commands are replaced".into()],
        toml: "name = \"flow\"\n".into(),
    };
    check("job_imported", &imported);
}

#[test]
fn cluster_list() {
    let cluster = v1::ClusterSummary {
        name: "eu-a".into(),
        region: "eu".into(),
        nodes_up: 1,
        nodes_lost: 1,
        capacity: resources(8000, 16 << 30),
        used: resources(2500, 3 << 29),
        attempts: 3,
        withdrawal: None,
        region_withdrawal: None,
    };
    check("cluster_list", &ClusterList { clusters: vec![cluster.into()], revision: 57 });
}

#[test]
fn replica_list() {
    let replica = |id: u64, leader| v1::ReplicaSummary {
        id,
        region: "eu".into(),
        raft_address: format!("127.0.0.1:{id}3"),
        api_address: format!("127.0.0.1:{id}1"),
        agent_address: format!("127.0.0.1:{id}2"),
        store_uuid: format!("{id:032x}"),
        leader,
        voter: true,
        matched_index: leader.then_some(57),
        silent_ms: (!leader).then_some(40),
    };
    let feature = |name: &str, since_revision, why: &str| v1::FeatureSummary {
        name: name.into(),
        since_revision,
        waits_for: why.into(),
    };
    let response = v1::ListReplicasResponse {
        replicas: vec![replica(1, true), replica(2, false)],
        term: 4,
        revision: 57,
        cluster_id: "0000000000000000000000000000002a".into(),
        features: vec![feature("old", Some(3), ""), feature("new", None, "replica 2 lacks it")],
    };
    let said = ReplicaList::from(response.clone()).human(Paint::Never);
    assert!(said.ends_with("Feature old: enabled since revision 3\nFeature new: not enabled: replica 2 lacks it\n"));
    check("replica_list", &ReplicaList::from(response));
}

#[test]
fn replica_status() {
    let peer = v1::PeerStatus {
        id: 2,
        voter: true,
        raft_address: "127.0.0.1:23".into(),
        api_address: "127.0.0.1:21".into(),
        round_trip_us: Some(310),
        unreachable: String::new(),
    };
    let answer = v1::GetReplicaStatusResponse {
        cluster_id: "0000000000000000000000000000002a".into(),
        replica: 1,
        store_uuid: format!("{:032x}", 1),
        version: "0.1.0".into(),
        role: v1::ReplicaRole::Leader.into(),
        term: 4,
        leader: Some(1),
        quorum: true,
        summary: "replica 1 leads; it reaches 2 of 2 voters".into(),
        last_index: Some(58),
        committed_index: Some(57),
        applied_index: Some(57),
        snapshot_index: None,
        revision: 57,
        peers: vec![peer],
        warnings: vec!["its disk is slow: a sync takes 412 ms, see docs/operations/metrics.md".into()],
        disk_free_bytes: Some(300 << 20),
        disk_reserve_bytes: 512 << 20,
        disk_is_low: true,
    };
    let answers = [("127.0.0.1:11".into(), Ok(answer)), ("127.0.0.1:21".into(), Err("connection refused".into()))];
    check("replica_status", &ReplicaStatusList::new(answers.into()));
}

#[test]
fn replica_changed() {
    check("replica_changed", &ReplicaChanged::removed(2));
}

#[test]
fn bench_log() {
    use quorate_bench::log::{Detail, Row, Spread};

    use super::bench::{BenchLog, BenchLogRow};

    let spread = |median: f64| Spread { median, min: median / 2.0, max: median * 2.0 };
    let detail = |ops: f64| Detail {
        ops_per_s: spread(ops),
        p50_us: spread(4_000.0),
        p99_us: spread(9_500.0),
        cpu_us_per_op: spread(120.0),
        ops_per_entry: Some(spread(16.5)),
        syncs_per_entry: Some(spread(0.5)),
    };
    let row = Row {
        bench: "log",
        api: quorate_bench::log::Api::Unary,
        concurrency: 64,
        rounds: 3,
        quorate: 9_000.0,
        etcd: Some(6_000.0),
        ratio: Some(1.5),
        quorate_detail: detail(9_000.0),
        etcd_detail: Some(detail(6_000.0)),
    };
    let text = BenchLog { rows: vec![row.clone()] }.human(Paint::Never);
    assert!(text.contains("9000") && text.contains("64 callers: 1.50"), "{text}");
    // The build and the machine's cores are in it: only the rest can be the same everywhere.
    let value: Value = serde_json::from_str(&json(&BenchLogRow::from(row.clone()))).unwrap();
    assert_eq!(value["schema"], BenchLogRow::SCHEMA);
    assert_eq!((&value["bench"], &value["concurrency"]), (&"log".into(), &64.into()));
    for (key, expected) in [("quorate", 9_000.0), ("etcd", 6_000.0), ("ratio", 1.5)] {
        assert_eq!(value[key], expected, "{key}");
    }
    assert_eq!(value["etcd_detail"]["p99_us"]["median"], 9_500.0);
    let alone = Row { etcd: None, ratio: None, etcd_detail: None, ..row };
    let value: Value = serde_json::from_str(&json(&BenchLogRow::from(alone))).unwrap();
    assert!(value.get("etcd").is_none() && value.get("ratio").is_none(), "{value}");
}

fn demonstration(attempts: Vec<v1::Attempt>) -> Demonstration {
    let mut ended = run();
    ended.state = v1::RunState::Succeeded.into();
    ended.ended_at_ms = Some(1_700_000_002_000);
    ended.counts = Some(v1::TaskCounts { succeeded: 2, ..v1::TaskCounts::default() });
    let clock = quorate_seams::BootInstant::from_millis;
    let mut takeover = Takeover::begun(1, 4, 1_700_000_000_900, clock(1000));
    takeover.led_by(2, 5, clock(1700));
    takeover.first_placement_ms = Some(810);
    Demonstration::new(ended, attempts, Some(takeover), None)
}

#[test]
fn demo() {
    let shown = demonstration(vec![attempt(0, v1::AttemptState::Succeeded), attempt(1, v1::AttemptState::Succeeded)]);
    assert!(shown.complaints().is_empty(), "{:?}", shown.complaints());
    check("demo", &shown);
    let text = shown.human(Paint::Never);
    assert!(text.contains("leader (replica 1) killed") && text.contains("after 700 ms"), "{text}");
}

#[test]
fn a_demo_in_which_a_task_ran_twice_or_not_at_all_has_failed() {
    let twice = attempt(0, v1::AttemptState::Succeeded);
    let shown = demonstration(vec![twice.clone(), twice]);
    assert!(shown.complaints().iter().any(|complaint| complaint.contains("more than once")));
    let shown = demonstration(vec![attempt(0, v1::AttemptState::Succeeded)]);
    assert!(!shown.complaints().is_empty());
}

#[test]
fn text_of_others_cannot_steer_a_terminal() {
    let mut evil = attempt(0, v1::AttemptState::Failed);
    evil.message = "\u{1b}[2Jgone\u{7}".into();
    let list = AttemptList { run: run().into(), attempts: vec![evil.into()], revision: 1, of_usage: false };
    let text = list.human(Paint::Never);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
}

#[test]
fn snapshots() {
    use quorate_proto::backup::{Chain, Written, v1 as pb};
    use quorate_raft::{Identity, NewLife, Recovery, Summary};
    use quorate_state::{Revision, Uuid};
    let file = std::path::Path::new("backup");
    let cluster = Uuid(7);
    let header = pb::Header {
        format: 1,
        cluster: cluster.0.to_be_bytes().to_vec().into(),
        incarnation: 1,
        revision: 57,
        taken_at_ms: 1_700_000_000_000,
        replica: 2,
        ..pb::Header::default()
    };
    let end = pb::End { state_rows: 12, event_rows: 1 };
    let digest = Chain::default().with(b"x");
    check("snapshot_saved", &SnapshotSaved::new(file, &Written { header, end, digest, bytes: 4096 }));

    let summary = Summary {
        format: 1,
        version: "0.1.0".into(),
        cluster,
        incarnation: 1,
        base: 0,
        revision: Revision(57),
        taken_at_ms: 1_700_000_000_000,
        replica: 2,
        history: "05".repeat(32),
        digest: digest.hex(),
        bytes: 4096,
        counts: vec![("jobs", 3), ("runs", 4), ("events", 1)],
    };
    check("snapshot_inspected", &SnapshotInspected::new(file, &summary));
    let life = NewLife {
        identity: Identity { cluster: Uuid(8), replica: 1, store: Uuid(9) },
        incarnation: 1_700_000_100,
        base: Revision(1_700_000_100 << 20),
    };
    check("snapshot_restored", &SnapshotRestored::new(std::path::Path::new("data"), &summary, life));
    let asked = Recovery {
        cluster,
        replica: 1,
        revision: Revision(57),
        unconfirmed: 1,
        lost: vec![Uuid(10), Uuid(11)],
        life: None,
    };
    let data = std::path::Path::new("data");
    check("server_recovered", &ServerRecovered::new(data, &Recovery { life: Some(life), ..asked.clone() }));
    check("server_recovery", &ServerRecovered::new(data, &asked));
}

#[test]
fn certificate() {
    let issued =
        quorate_tls::Issued { cert: "c/user-alice.pem".into(), key: "c/user-alice.key".into(), expires: 1_700_000_000 };
    check("certificate", &Certificate::new(Some("user:alice".into()), issued));
}
