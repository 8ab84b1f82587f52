//! Runs whose tasks decide, stand in, take back and come last.

use quorate_proto::v1;

use super::{check, get_run, json, run};
use crate::render::canvas::Canvas;
use crate::render::control::RunAbandoned;
use crate::render::event::OfRun;
use crate::render::run::{Drawing, RunStatus};
use crate::render::{Paint, View as _};

fn step(task: &str, needs: &[&str], counts: v1::TaskCounts) -> v1::Step {
    let count = counts.waiting + counts.running + counts.succeeded + counts.failed + counts.skipped;
    let needs = needs.iter().map(|need| (*need).to_owned()).collect();
    v1::Step { task: task.into(), count, counts: Some(counts), needs, ..v1::Step::default() }
}

fn role(role: v1::role::Role) -> Option<v1::Role> {
    Some(v1::Role { role: Some(role) })
}

fn fallback(of: &str) -> Option<v1::Role> {
    role(v1::role::Role::Fallback(v1::Fallback { of: vec![of.into()] }))
}

/// A run with one step of every kind, and one for everything that can be said of one.
fn flow() -> v1::GetRunResponse {
    use v1::{Decision, TaskCounts as Counts};
    let succeeded = |succeeded| Counts { succeeded, ..Counts::default() };
    let skipped = Counts { skipped: 1, ..Counts::default() };
    let waiting = Counts { waiting: 1, ..Counts::default() };
    let failed = Counts { failed: 2, succeeded: 7, ..Counts::default() };
    let steps = vec![
        step("split", &[], succeeded(1)),
        v1::Step { accept_failed: 2, decided: Decision::Run.into(), ..step("score", &["split"], failed) },
        step("enrich", &["split"], Counts { failed: 1, ..Counts::default() }),
        v1::Step { role: fallback("enrich"), ..step("manual", &["split"], succeeded(1)) },
        v1::Step { role: fallback("score"), decided: Decision::PassOver.into(), ..step("redo", &[], skipped) },
        v1::Step {
            when: Some("split.result.big".into()),
            decided: Decision::PassOver.into(),
            ..step("compress", &["split"], skipped)
        },
        v1::Step {
            decided: Decision::Fail.into(),
            decided_message: "`split.result.files` is nothing".into(),
            ..step("copy", &["split"], Counts { failed: 1, ..Counts::default() })
        },
        v1::Step { open: true, ..step("spread", &["copy"], waiting) },
        v1::Step {
            role: role(v1::role::Role::Undo(v1::Undo { of: "score".into() })),
            ..step("score.undo", &[], Counts { running: 1, succeeded: 2, ..Counts::default() })
        },
        v1::Step {
            role: role(v1::role::Role::Undo(v1::Undo { of: "spread".into() })),
            ..step("spread.undo", &[], Counts::default())
        },
        v1::Step { role: role(v1::role::Role::Finally(v1::Finally {})), ..step("tidy", &[], waiting) },
    ];
    let args = "{\"day\":\"2026-11-21\",\"parts\":4}".into();
    v1::GetRunResponse { run: Some(v1::Run { args, ..run() }), steps, annotations: vec![], ..get_run() }
}

#[test]
fn run_status_of_a_flow() {
    let status = RunStatus::from(flow());
    check("run_status_flow", &status);
    let text = status.human(Paint::Never);
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("Told")).map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "Told       day=\"2026-11-21\", parts=4",
            "Started    2023-11-14T22:13:20Z",
            "",
            "TASK      COUNT  STATE                  NEEDS                   WHY",
            "split     1      succeeded",
            "score     9      7 succeeded, 2 failed  split                   2 may fail",
            "enrich    1      failed                 split                   manual stands in for it",
            "manual    1      succeeded              split; if enrich fails",
            "redo      1      passed over            if score fails          score did not fail",
            "compress  1      passed over            split                   not true, or nothing to do: split.result.big",
            "copy      1      failed                 split                   `split.result.files` is nothing",
            "spread    ?      waiting                copy",
            "",
            "UNDO         COUNT  STATE                   NEEDS",
            "score.undo   3      1 running, 2 succeeded",
            "spread.undo  0      -",
            "",
            "FINALLY  COUNT  STATE    NEEDS",
            "tidy     1      waiting",
        ],
        "\n{text}"
    );
}

#[test]
fn a_flow_is_drawn_phase_by_phase() {
    let mut status = RunStatus::from(flow());
    let canvas = Canvas { columns: 100, is_unicode: true };
    status.drawing = Some(Drawing { canvas, steps_max: 50 });
    let text = status.human(Paint::Never);
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.contains("split")).collect();
    assert_eq!(lines, DRAWN, "\n{text}");
}

const DRAWN: [&str; 15] = [
    "✓     split     succeeded",
    "├─✓   score     7 succeeded, 2 failed",
    "│ ⊘   redo      passed over",
    "├───✗ enrich    failed",
    "├───✓ manual    succeeded, instead of enrich",
    "├─⊘   compress  passed over",
    "✗     copy      failed",
    "○     spread    waiting",
    "",
    "undoes what was done, when the work has not succeeded:",
    "● ┌ score.undo   2/3: 1 running, 2 succeeded",
    "○ └ spread.undo  -",
    "",
    "at the end in any case:",
    "○ tidy  waiting",
];

#[test]
fn a_run_that_is_given_up_says_so() {
    let given_up = v1::Run { abandoned: true, cancelling: true, ..run() };
    let text = RunStatus::from(v1::GetRunResponse { run: Some(given_up), ..get_run() }).human(Paint::Never);
    assert!(text.contains("State      running (given up)"), "{text}");
    let response = v1::AbandonRunResponse { run_id: "0123456789abc".into(), ended_before: false, revision: 58 };
    check("run_abandoned", &RunAbandoned::from(response));
}

#[test]
fn what_is_decided_is_an_event() {
    use v1::run_event::Event;
    let of = OfRun::new(&run(), &flow().steps, 57);
    let decided = |decided: v1::Decision, elements, message: &str| {
        let (task, message) = ("score".into(), message.into());
        Event::Decided(v1::StepDecided { task, decided: decided.into(), message, elements })
    };
    let events = [
        decided(v1::Decision::Run, 9, ""),
        decided(v1::Decision::PassOver, 1, ""),
        decided(v1::Decision::Fail, 1, "no \u{1b}list"),
        Event::Rest(v1::RestEnded { task: "score".into(), first: 2, count: 7, state: v1::TaskState::Skipped.into() }),
        Event::Abandoned(v1::RunAbandoned {}),
    ];
    let events =
        events.map(|event| of.event(57, v1::RunEvent { at_ms: 1_700_000_000_000, event: Some(event) }).unwrap());
    let lines: Vec<String> = events.iter().map(|event| of.line(event, Paint::Never)[46..].trim().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "score          runs, with 9 elements",
            "score          passed over: there is nothing to do",
            "score          fails: no \u{fffd}list",
            "score          7 elements from [2] on skipped",
            "-              run given up: nothing of it is undone, and nothing comes at its end",
        ]
    );
    let [runs, .., rest, _] = &events;
    let (runs, rest) = (json(runs), json(rest));
    assert!(runs.contains("\"kind\":\"decided\",\"task\":\"score\",\"decided\":\"run\",\"elements\":9"), "{runs}");
    assert!(rest.contains("\"state\":\"skipped\",\"task\":\"score\",\"index\":2,\"elements\":7"), "{rest}");
}
