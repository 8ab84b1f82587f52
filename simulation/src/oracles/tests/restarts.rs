//! Runs that are tried a second time.

use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    Change, Command, Digest, RequestId, RequestKey, Rest, Run, RunId, RunState, Step, Task, TaskId, TaskSpec, TaskState,
};

use super::flow::{Story, fallback, finally, undo};
use super::{caught, holds};
use crate::facts::{Fact, Happening, Operation, Outcome, Request};
use crate::oracles::hand::task;
use crate::oracles::{Verdict, c9_at_most_once, p27_restarts};

/// The run is tried once more, under this id.
fn restart(story: &mut Story, run: u64, from: &[&str]) {
    let from = from.iter().map(|name| name.parse().unwrap()).collect();
    let of = std::mem::replace(&mut story.run, RunId(run));
    story.hand.commit(Command::RestartRun { run: story.run, of, from });
}

fn several(spec: TaskSpec, count: u32) -> TaskSpec {
    TaskSpec { count, ..spec }
}

fn judge(story: &Story) -> Verdict {
    story.hand.judge(p27_restarts::Restarts::default())
}

#[test]
fn a_second_try_runs_what_did_not_succeed_and_what_waits_for_it_and_a_third_as_well() {
    let tasks = || {
        vec![
            task("a", &[]),
            several(task("b", &["a"]), 2),
            task("c", &["b"]),
            fallback("f", "c"),
            task("d", &["a"]),
            finally("z"),
        ]
    };
    for (fails, from, second, third) in [
        (&["c", "f"][..], &[][..], &["c", "f", "z"][..], &["c", "z"][..]),
        (&["c", "f"], &["d"], &["c", "d", "f", "z"], &["c", "z"]),
        (&["c", "f"], &["b"], &["b", "b", "c", "f", "z"], &["c", "z"]),
        (&["b"], &[], &["b", "b", "z"], &["b", "b", "c", "z"]),
    ] {
        let mut story = Story::new(tasks());
        story.drive(fails);
        assert_eq!(story.state(), RunState::Failed);
        restart(&mut story, 1_000, from);
        let mut ran = story.drive(fails);
        ran.sort_unstable();
        assert_eq!(ran, second);
        restart(&mut story, 1_001, &[]);
        let mut ran = story.drive(&[]);
        ran.sort_unstable();
        assert_eq!((ran, story.state()), (third.iter().map(|name| (*name).to_owned()).collect(), RunState::Succeeded));
        assert_eq!(judge(&story), Ok(()));
        holds(&story.hand);
    }
}

#[test]
fn what_was_undone_is_done_again() {
    let mut story = Story::new(vec![task("a", &[]), undo("a"), task("b", &[]), task("c", &["a", "b"])]);
    assert_eq!(story.drive(&["c"]), ["a", "b", "c", "a-undo"]);
    restart(&mut story, 1_000, &[]);
    assert_eq!(story.drive(&[]), ["a", "c"]);
    holds(&story.hand);
}

/// Of three elements of a step one fails.
fn partly() -> Story {
    let mut story = Story::new(vec![several(task("a", &[]), 3), task("b", &["a"])]);
    story.execute(&[]);
    story.execute(&["a"]);
    story.drive(&[]);
    story
}

#[test]
fn p27_what_is_run_again_although_it_succeeded_is_caught() {
    let mut story = partly();
    restart(&mut story, 1_000, &[]);
    let kept = TaskId { index: 2, ..story.task(0) };
    assert_eq!(judge(&story), Ok(()));
    story.hand.forge(vec![Change::Task(Task::new(kept, TaskState::Ready).into())]);
    caught(judge(&story), "had succeeded in the try before, and is Ready");

    let mut story = partly();
    let first = story.task(0);
    restart(&mut story, 1_000, &[]);
    let attempt = story.hand.state.task(first).unwrap().newest_attempt().unwrap();
    story.hand.executor(attempt, Happening::Started);
    assert_eq!(judge(&story), Ok(()), "that is the try before");

    // As if all of it had been named.
    let mut story = partly();
    let of = story.run;
    restart(&mut story, 1_000, &["a"]);
    assert_eq!(judge(&story), Ok(()));
    let run = story.run;
    story.hand.twist(|step| {
        let items = &mut step.entry.as_mut().unwrap().items;
        items[0].command = Command::RestartRun { run, of, from: vec![] };
    });
    caught(judge(&story), "to begin as Partly({0, 2}), and nothing of it is kept");
}

#[test]
fn p27_what_is_kept_although_it_is_to_run_is_caught() {
    // As if nothing had been named.
    let mut story = partly();
    let of = story.run;
    restart(&mut story, 1_000, &[]);
    let run = story.run;
    story.hand.twist(|step| {
        let items = &mut step.entry.as_mut().unwrap().items;
        items[0].command = Command::RestartRun { run, of, from: vec!["a".parse().unwrap()] };
    });
    caught(judge(&story), "to begin as Again, and some of it is kept");

    // One element more is kept than had succeeded.
    let mut story = partly();
    restart(&mut story, 1_000, &[]);
    let run = story.run;
    let state = story.hand.state.clone();
    story.hand.twist(|step| {
        let row = (**state.step(run, 0).unwrap()).clone();
        step.after.commit(&Change::Step(Arc::new(Step { rest: Rest::Waiting, ..row })));
    });
    caught(judge(&story), "the rest is Waiting");
}

#[test]
fn p27_a_second_try_of_what_has_not_ended_or_that_nobody_asked_for_is_caught() {
    let mut story = partly();
    let first = story.hand.state.run(story.run).unwrap().clone();
    let forged = Run { id: RunId(1_000), restart_of: Some(story.run), ..(*first).clone() };
    story.hand.forge(vec![Change::Run(forged.into())]);
    caught(judge(&story), "nobody asked for");

    let mut story = partly();
    restart(&mut story, 1_000, &[]);
    story.hand.twist(|step| {
        let open = Run { state: RunState::Running, ..(*first).clone() };
        step.after.commit(&Change::Run(open.into()));
    });
    caught(judge(&story), "begins while that is Running");

    let mut story = partly();
    restart(&mut story, 1_000, &[]);
    let run = story.run;
    story.hand.twist(|step| {
        let row = (**step.after.run(run).unwrap()).clone();
        step.after.commit(&Change::Run(Run { args: "{}".into(), ..row }.into()));
    });
    caught(judge(&story), "told something else");
}

#[test]
fn c9_a_request_that_makes_two_tries_or_that_was_refused_and_makes_one_is_caught() {
    let asked = |story: &mut Story, id: &str| {
        let key = RequestKey { id: RequestId(id.into()), namespace: None, digest: Digest([1; 32]) };
        story.hand.twist(|step| step.entry.as_mut().unwrap().items[0].request = Some(key));
    };
    let judge = |story: &Story| story.hand.judge(c9_at_most_once::AtMostOnce::default());
    for (second, is_right) in [("other", true), ("one", false)] {
        let mut story = partly();
        restart(&mut story, 1_000, &[]);
        asked(&mut story, "one");
        story.drive(&["a"]);
        restart(&mut story, 1_001, &[]);
        asked(&mut story, second);
        if is_right {
            assert_eq!(judge(&story), Ok(()), "that is another try, and no second submit");
        } else {
            caught(judge(&story), "was carried out twice");
        }
    }
    let mut story = partly();
    restart(&mut story, 1_000, &[]);
    asked(&mut story, "one");
    let refused = |id: &str| Operation {
        session: 0,
        called: Duration::ZERO,
        request: Request::Restart { request_id: id.into(), job: "a".into(), run: "1".into(), from: vec![] },
        outcome: Outcome::Refused("it has not ended".into()),
    };
    story.hand.fact(Fact::Operation(refused("other").into()));
    assert_eq!(judge(&story), Ok(()));
    story.hand.fact(Fact::Operation(refused("one").into()));
    caught(judge(&story), "was refused whenever it was sent");
}
