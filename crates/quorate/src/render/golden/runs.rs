//! What has happened to runs, and how it is drawn.

use quorate_proto::v1;

use super::{attempt, check, get_run, json, run};
use crate::render::canvas::Canvas;
use crate::render::event::{OfRun, RunEvent, RunEventList};
use crate::render::run::{Drawing, RunStatus};
use crate::render::timeline::{History, RunTimeline};
use crate::render::{Paint, View as _};

const BEGAN: u64 = 1_700_000_000_000;
const CANVAS: Canvas = Canvas { columns: 100, is_unicode: true };

fn event(after_ms: u64, event: v1::run_event::Event) -> v1::RunEvent {
    v1::RunEvent { at_ms: BEGAN + after_ms, event: Some(event) }
}

fn run_moved(after_ms: u64, state: v1::RunState, cancelling: bool) -> v1::RunEvent {
    event(after_ms, v1::run_event::Event::Run(v1::RunMoved { state: state.into(), cancelling }))
}

fn task_moved(after_ms: u64, index: u32, state: v1::TaskState, reason: &str) -> v1::RunEvent {
    let task = v1::Task {
        task: "score".into(),
        index,
        state: state.into(),
        reason: reason.into(),
        count: 6,
        ..v1::Task::default()
    };
    event(after_ms, v1::run_event::Event::Task(task))
}

fn attempt_moved(after_ms: u64, index: u32, number: u32, state: v1::AttemptState) -> v1::RunEvent {
    let attempt = v1::Attempt {
        run_id: "0123456789abc".into(),
        task: "score".into(),
        index,
        number,
        node: format!("eu-a-{number}"),
        token: 40 + u64::from(number),
        state: state.into(),
        ..v1::Attempt::default()
    };
    event(after_ms, v1::run_event::Event::Attempt(attempt))
}

/// A task whose first node falls silent and whose second attempt fails.
fn events() -> Vec<v1::RunEvent> {
    use v1::{AttemptState as A, RunState as R, TaskState as T};
    let mut failed = attempt_moved(9_000, 3, 2, A::Failed);
    if let Some(v1::run_event::Event::Attempt(failed)) = &mut failed.event {
        failed.exit = Some(v1::Exit { exit: Some(v1::exit::Exit::Code(3)) });
        failed.message = "no \u{1b}such file".into();
        failed.outcome = Some(v1::Outcome { outcome: Some(v1::outcome::Outcome::Error("BadInput".into())) });
    }
    vec![
        run_moved(0, R::Pending, false),
        task_moved(100, 3, T::Ready, ""),
        attempt_moved(250, 3, 1, A::Assigned),
        task_moved(250, 3, T::Placed, ""),
        run_moved(250, R::Running, false),
        attempt_moved(300, 3, 1, A::Starting),
        attempt_moved(400, 3, 1, A::Running),
        task_moved(400, 3, T::Running, ""),
        attempt_moved(4_000, 3, 1, A::Unknown),
        task_moved(4_000, 3, T::Ready, ""),
        attempt_moved(5_000, 3, 1, A::Lost),
        attempt_moved(5_000, 3, 2, A::Assigned),
        task_moved(5_000, 3, T::Placed, ""),
        attempt_moved(5_100, 3, 2, A::Running),
        failed,
        task_moved(9_000, 3, T::Waiting, "BACKOFF"),
        event(9_500, v1::run_event::Event::Annotated(v1::RunAnnotated { key: "ticket".into() })),
        event(9_510, v1::run_event::Event::Paused(v1::RunPaused { by: "user:ann".into() })),
        event(9_520, v1::run_event::Event::PrioritySet(v1::RunPrioritySet { priority: 90, by: "user:ann".into() })),
        event(9_530, v1::run_event::Event::Resumed(v1::RunResumed { by: "user:bob".into() })),
        run_moved(9_600, R::Running, true),
        task_moved(9_700, 3, T::Cancelled, ""),
        run_moved(9_800, R::Cancelled, true),
    ]
}

fn of_run() -> OfRun {
    let response = get_run();
    OfRun::new(&run(), &response.steps, response.revision)
}

fn told(of: &OfRun) -> Vec<RunEvent> {
    (41..).zip(events()).filter_map(|(revision, event)| of.event(revision, event)).collect()
}

#[test]
fn run_event_list() {
    let of = of_run();
    let events = told(&of);
    check("run_event", &events[14]);
    let list = RunEventList { run: run().into(), events, kept_from: 12, complete: true, revision: 57, of };
    check("run_event_list", &list);
    let text = list.human(Paint::Never);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "TIME                         AFTER  REVISION  TASK      EVENT");
    assert_eq!(
        lines[1],
        "2023-11-14T22:13:20.000Z      +0ms        41  -         run submitted by anonymous-local, version 3 of claims-nightly"
    );
    let ends: Vec<&str> = lines[2..].iter().map(|line| line[46..].trim()).collect();
    assert_eq!(
        ends,
        [
            "score[3]  ready: in the queue",
            "score[3]  attempt 1 placed on eu-a-1, token 41",
            "score[3]  placed",
            "-         run started: its first task is placed",
            "score[3]  attempt 1 starting on eu-a-1",
            "score[3]  attempt 1 running on eu-a-1",
            "score[3]  running",
            "score[3]  attempt 1 unknown: the lease of eu-a-1 is over",
            "score[3]  ready: in the queue",
            "score[3]  attempt 1 lost with eu-a-1",
            "score[3]  attempt 2 placed on eu-a-2, token 42",
            "score[3]  placed",
            "score[3]  attempt 2 running on eu-a-2",
            "score[3]  attempt 2 failed on eu-a-2, exit code 3: BadInput: no \u{fffd}such file",
            "score[3]  waiting before its next try",
            "-         annotation ticket set",
            "-         run paused by user:ann",
            "-         run given priority 90 by user:ann",
            "-         run resumed by user:bob",
            "-         run is to be cancelled",
            "score[3]  cancelled",
            "-         run ended: cancelled",
        ]
    );
}

#[test]
fn a_run_that_took_longer_than_its_timeout_says_so() {
    use v1::RunState as R;
    for (timed_out, texts) in [
        (false, ["run is to be cancelled", "run ended: failed"]),
        (true, ["run took longer than its job's timeout: it is to be cancelled", "run ended: failed (timed out)"]),
    ] {
        let of = OfRun::new(&v1::Run { timed_out, ..run() }, &[], 57);
        let moves = [run_moved(0, R::Running, true), run_moved(0, R::Failed, true)];
        let said = moves.map(|moved| of.event(57, moved).unwrap().human(Paint::Never));
        assert_eq!(said, texts);
    }
}

#[test]
fn a_task_that_failed_for_good_says_what_may_be_the_reason() {
    let failed = of_run().event(57, task_moved(0, 3, v1::TaskState::Failed, "FAILED")).unwrap();
    let text = "failed for good: no try is left, or its end is one of retry.never";
    assert_eq!(failed.human(Paint::Never), text);
}

#[test]
fn an_event_of_a_later_version_is_left_out() {
    assert!(of_run().event(41, v1::RunEvent { at_ms: BEGAN, event: None }).is_none());
}

fn history() -> History {
    let of = |index: u32, number: u32, [placed, started, ended]: [u64; 3], state: v1::AttemptState| v1::Attempt {
        number,
        node: format!("eu-a-{number}"),
        placed_at_ms: BEGAN + placed,
        started_at_ms: Some(BEGAN + started).filter(|at| *at > BEGAN),
        ended_at_ms: Some(BEGAN + ended).filter(|at| *at > BEGAN),
        exit: None,
        ..attempt(index, state)
    };
    let mut failed = of(3, 2, [5_000, 5_100, 9_000], v1::AttemptState::Failed);
    failed.exit = Some(v1::Exit { exit: Some(v1::exit::Exit::Code(3)) });
    let attempts = vec![
        of(0, 1, [200, 300, 2_000], v1::AttemptState::Succeeded),
        of(1, 1, [200, 300, 1_000], v1::AttemptState::Succeeded),
        of(2, 1, [8_000, 0, 0], v1::AttemptState::Assigned),
        of(3, 1, [250, 400, 5_000], v1::AttemptState::Lost),
        failed,
    ];
    let mut events = events();
    events.truncate(16);
    events.push(task_moved(9_200, 4, v1::TaskState::Ready, ""));
    let steps = get_run().steps.split_off(1);
    History { run: run(), steps, attempts, events, has_gaps: false, revision: 57, now_ms: BEGAN + 10_000 }
}

#[test]
fn run_timeline() {
    let timeline = RunTimeline::new(history(), 40, CANVAS);
    check("run_timeline", &timeline);
    let expected = "\
Run 0123456789abc of acme/claims-nightly version 3: running after 10.0s

TASK         NODE    0s         2s          4s         6s          8s            STATE, TOOK
score[3]     eu-a-1  ·░█████████████████████??????                               lost 4.7s
score[3] #2  eu-a-2                         ······████████████████████████       failed 4.0s, exit 3
score[0]     eu-a-1   ███████████                                                succeeded 1.8s
score[1]     eu-a-1   █████                                                      succeeded 800ms
score[2]     eu-a-1                                                ░░░░░░░░░░░░  assigned 2.0s
score[4]     -                                                            ·····  queued 800ms

· queued   ░ placed, starting   █ running   ? node unknown";
    let text = timeline.human(Paint::Never);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn a_timeline_shows_what_went_wrong_and_what_took_longest() {
    let timeline = RunTimeline::new(history(), 3, CANVAS);
    let text = timeline.human(Paint::Never);
    let rows: Vec<&str> = text.lines().skip(3).filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(rows[..3], ["score[3]", "score[3] #2", "score[2]"], "{text}");
    assert!(text.contains("and 3 more attempts: 1 queued, 2 succeeded (--limit shows more)"), "{text}");
    let newest = RunTimeline::new(history(), 1, CANVAS).human(Paint::Never);
    assert!(newest.contains("score[3] #2") && !newest.contains("score[3]  "), "{newest}");
    let gaps = History { has_gaps: true, ..history() };
    assert!(RunTimeline::new(gaps, 40, CANVAS).human(Paint::Never).contains("is not known of all"));
}

#[test]
fn what_needs_nothing_is_queued_from_the_submit_on() {
    let of_split = |history: History| {
        let steps = get_run().steps.drain(..1).collect();
        let attempts = vec![v1::Attempt { task: "split".into(), ..attempt(0, v1::AttemptState::Running) }];
        let events = attempts.iter().map(|attempt| {
            let attempt = v1::Attempt { state: v1::AttemptState::Assigned.into(), ..attempt.clone() };
            event(200, v1::run_event::Event::Attempt(attempt))
        });
        json(&RunTimeline::new(History { events: events.collect(), steps, attempts, ..history }, 40, CANVAS))
    };
    let whole = of_split(history());
    assert!(whole.contains(&format!("\"queued_at_ms\":{BEGAN},\"placed_at_ms\"")), "{whole}");
    let gaps = of_split(History { has_gaps: true, ..history() });
    assert!(gaps.contains("\"queued_at_ms\":null"), "{gaps}");
}

#[test]
fn a_graph_takes_the_place_of_the_table_and_is_the_same_as_json() {
    let mut status = RunStatus::from(get_run());
    let (table, object) = (status.human(Paint::Never), json(&status));
    status.drawing = Some(Drawing { canvas: CANVAS, steps_max: 50 });
    let drawn = status.human(Paint::Never);
    let graph = "\n✓ split  succeeded\n● score  4/6: 2 waiting, 1 running, 4 succeeded\n\nANNOTATION";
    assert!(drawn.contains(graph), "{drawn}");
    assert_eq!((table.lines().next(), object), (drawn.lines().next(), json(&status)));
}
