//! Runs within runs, and what of them may be archived.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    ArchivedRun, AttemptId, Change, Command, Entry, Feature, Item, JobSpec, OnFailure, Principal, Reply, Resources,
    Retry, Run, RunId, RunResult, RunState, Stamp, SubRun, SubRunStart, TaskId, TaskSpec, TaskState,
};

use super::{caught, forge_task, holds};
use crate::oracles::hand::{Hand, task};
use crate::oracles::{Verdict, p28_archive, p29_sub_runs};

/// A job that runs another one, and then a task.
struct Story {
    hand: Hand,
    whole: RunId,
    /// The newest run of the part.
    part: RunId,
}

impl Story {
    /// A run of the whole, which may try its part so often.
    fn new(attempts: u32) -> Self {
        let mut hand = Hand::new(1);
        Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
        hand.pass(60_000);
        let result = BTreeMap::from([("job".to_owned(), "\"${run.job}\"".to_owned())]);
        let part = hand.submit_spec(JobSpec { result, tasks: vec![task("a", &[])], ..hand.bare_spec() });
        hand.commit(Command::CancelRun { run: part });
        hand.advance(part);
        let job = hand.state.run(part).unwrap().spec.name.clone();
        let retry = Retry { attempts, jitter_milli: 0, ..Retry::default() };
        let s = TaskSpec {
            argv: vec![],
            resources: Resources::ZERO,
            retry,
            sub_run: Some(SubRun { job, version: None, args: BTreeMap::new() }),
            ..task("s", &[])
        };
        let whole = hand.submit(OnFailure::Finish, vec![s, task("c", &["s"])]);
        Self { hand, whole, part }
    }

    fn task(&self) -> TaskId {
        TaskId { run: self.whole, step: 0, index: 0 }
    }

    fn start(&self, run: u64) -> Command {
        let (task, generation) = (self.task(), self.hand.state.task(self.task()).unwrap().generation);
        let start = SubRunStart { task, generation, run: RunId(run), version: 1, args: "".into() };
        Command::StartSubRun(Box::new(start))
    }

    /// A run of the part begins.
    fn begin(&mut self, run: u64) {
        self.hand.commit(self.start(run));
        self.part = RunId(run);
    }

    fn execute(&mut self, task: TaskId, code: i32) -> AttemptId {
        let attempt = self.hand.place(task, "n1");
        self.hand.runs(attempt);
        self.hand.ends(attempt, code);
        attempt
    }

    /// The part comes to its end.
    fn end(&mut self, code: i32) {
        self.execute(TaskId { run: self.part, step: 0, index: 0 }, code);
        if code == 0 {
            let name = self.hand.state.run(self.part).unwrap().spec.name.clone();
            self.conclude(&format!("{{\"job\":\"{name}\"}}"));
        } else {
            self.hand.advance(self.part);
        }
    }

    fn conclude(&mut self, result: &str) {
        let result = RunResult::Value(result.as_bytes().into());
        self.hand.commit(Command::ConcludeRun { run: self.part, result });
    }

    fn row(&self, run: RunId) -> Run {
        (**self.hand.state.run(run).unwrap()).clone()
    }

    fn judge(&self) -> Verdict {
        self.hand.judge(p29_sub_runs::SubRuns::default())
    }

    /// Rows that would follow from a command, as if it had been carried out.
    fn forge_as(&mut self, command: Command, changes: Vec<Change>) {
        self.hand.forge(changes);
        self.hand.twist(|step| {
            let item = Item { principal: Principal::controller(), request: None, command };
            step.entry = Some(Entry { stamp: Stamp::default(), items: vec![item] });
            step.replies = vec![Ok(Reply::Counted(1))];
        });
    }
}

#[test]
fn a_run_within_a_run_that_fails_and_succeeds_then_violates_nothing() {
    let mut story = Story::new(2);
    story.begin(1_000);
    story.end(1);
    story.hand.pass(60_000);
    story.hand.fire();
    story.begin(1_001);
    story.end(0);
    story.hand.advance(story.whole);
    story.execute(TaskId { step: 1, ..story.task() }, 0);
    story.hand.advance(story.whole);
    assert_eq!(story.row(story.whole).state, RunState::Succeeded);
    holds(&story.hand);
}

#[test]
fn a_cancel_that_goes_down_and_one_from_within_violate_nothing() {
    let mut story = Story::new(2);
    story.begin(1_000);
    story.hand.commit(Command::CancelRun { run: story.whole });
    story.hand.advance(story.whole);
    story.hand.advance(story.part);
    story.hand.advance(story.whole);
    assert_eq!(story.row(story.whole).state, RunState::Cancelled);
    holds(&story.hand);

    let mut story = Story::new(2);
    story.begin(1_000);
    story.hand.commit(Command::CancelRun { run: story.part });
    story.hand.advance(story.part);
    story.hand.advance(story.whole);
    assert_eq!(story.row(story.whole).state, RunState::Failed);
    holds(&story.hand);
}

#[test]
fn p29_a_run_that_nobody_began_or_that_is_begun_beside_another_is_caught() {
    let mut story = Story::new(2);
    story.begin(1_000);
    let second = Run { id: RunId(1_001), ..story.row(story.part) };
    story.hand.forge(vec![Change::Run(Arc::new(second.clone()))]);
    caught(story.judge(), "by nobody's word");

    let mut story = Story::new(2);
    story.begin(1_000);
    let start = story.start(1_001);
    story.forge_as(start, vec![Change::Run(Arc::new(second))]);
    caught(story.judge(), "for which");
}

#[test]
fn p29_a_run_that_is_told_something_else_or_of_another_version_is_caught() {
    for (words, spoil) in [
        ("told", (|run: &mut Run| run.args = "{\"x\":1}".into()) as fn(&mut Run)),
        ("of version 7", |run| run.job_version = 7),
        ("with priority 99", |run| run.priority_set = Some(99)),
    ] {
        let mut story = Story::new(2);
        story.begin(1_000);
        story.hand.twist(|step| {
            for change in &mut step.changes {
                if let Change::Run(run) = change
                    && run.parent.is_some()
                {
                    spoil(Arc::make_mut(run));
                }
            }
        });
        caught(story.judge(), words);
    }
}

#[test]
fn p29_an_end_that_does_not_settle_the_task_or_the_other_way_round_is_caught() {
    let mut story = Story::new(2);
    story.begin(1_000);
    let row = story.row(story.part);
    story.hand.forge(vec![Change::Run(Arc::new(Run { state: RunState::Failed, ..row }))]);
    caught(story.judge(), "ended as Failed, and");

    let mut story = Story::new(2);
    story.begin(1_000);
    let task = story.task();
    forge_task(&mut story.hand, task, TaskState::Succeeded);
    caught(story.judge(), "is Succeeded, may be tried 2 times");
}

#[test]
fn p29_one_try_too_many_is_caught() {
    let mut story = Story::new(1);
    story.begin(1_000);
    story.end(1);
    assert_eq!(story.judge(), Ok(()));
    let second = Run { id: RunId(1_001), ..story.row(story.part) };
    let start = story.start(1_001);
    story.forge_as(start, vec![Change::Run(Arc::new(second))]);
    caught(story.judge(), "which may be tried 1 times");
}

#[test]
fn p29_a_run_that_ends_before_its_part_is_caught() {
    let mut story = Story::new(1);
    story.begin(1_000);
    let row = story.row(story.whole);
    story.hand.forge(vec![Change::Run(Arc::new(Run { state: RunState::Failed, ..row }))]);
    caught(story.judge(), "and the run that");
}

#[test]
fn p29_what_comes_out_of_a_run_is_what_its_job_says() {
    for (result, is_right) in [(None, true), (Some("{\"job\":\"another\"}"), false)] {
        let mut story = Story::new(1);
        story.begin(1_000);
        story.execute(TaskId { run: story.part, step: 0, index: 0 }, 0);
        let name = story.row(story.part).spec.name.to_string();
        story.conclude(&result.map_or(format!("{{\"job\":\"{name}\"}}"), str::to_owned));
        if is_right {
            assert_eq!(story.judge(), Ok(()));
        } else {
            caught(story.judge(), "what its job says comes to");
        }
    }
}

#[test]
fn p29_a_part_that_goes_on_after_the_cancel_of_the_whole_is_caught() {
    let mut story = Story::new(1);
    story.begin(1_000);
    story.hand.commit(Command::CancelRun { run: story.whole });
    for _ in 0..40 {
        story.hand.pass(1_000);
        story.hand.commit(Command::FireTimers { timers: vec![] });
    }
    caught(story.judge(), "is to end since");
}

#[test]
fn p28_a_run_that_something_holds_in_memory_is_not_archived() {
    let archived = |story: &mut Story, run: RunId| {
        let (run, archived_at) = (Arc::new(story.row(run)), story.hand.state.meta().now);
        let archived = ArchivedRun { segment: 1, run, steps: vec![], rows: vec![], annotations: vec![], archived_at };
        story.hand.forge(vec![]);
        story.hand.twist(|step| step.changes = vec![Change::Archived(Arc::new(archived))]);
        story.hand.judge(p28_archive::Archives::default())
    };
    let mut story = Story::new(1);
    let first = story.part;
    story.begin(1_000);
    story.end(0);
    let part = story.part;
    caught(archived(&mut story, part), "which it is");

    let mut story = Story::new(1);
    let whole = story.whole;
    caught(archived(&mut story, whole), "is archived while it is");

    // A second try of it is there.
    let mut story = Story::new(1);
    story.hand.commit(Command::RestartRun { run: RunId(1_000), of: first, from: vec![] });
    caught(archived(&mut story, first), "which is a second try of it");
}
