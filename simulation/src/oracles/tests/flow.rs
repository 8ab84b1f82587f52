//! Runs that decide what of them runs, stand in for what failed, and take back what they did.

use std::sync::Arc;

use quorate_state::{
    Attempt, AttemptId, AttemptPhase, AttemptReport, AttemptState, BAD_REFERENCE, Change, Command, Decided, Each, Exit,
    Feature, GpuHold, OnFailure, Outcome, Rest, Role, Run, RunId, RunState, Step, Task, TaskId, TaskSpec, TaskState,
    Usage,
};

use super::{caught, forge, forge_task, holds, row};
use crate::facts::{Execution, Fact, Happening};
use crate::oracles::hand::{Hand, task};
use crate::oracles::{Verdict, p26_flow};

/// What comes out of every task.
const RESULT: &str = r#"{"go":true,"n":2,"list":[5,6]}"#;

pub(super) fn undo(of: &str) -> TaskSpec {
    TaskSpec { role: Role::Undo { of: of.parse().unwrap() }, ..task(&format!("{of}-undo"), &[]) }
}

pub(super) fn fallback(name: &str, of: &str) -> TaskSpec {
    TaskSpec { role: Role::Fallback { of: vec![of.parse().unwrap()] }, ..task(name, &[]) }
}

pub(super) fn finally(name: &str) -> TaskSpec {
    TaskSpec { role: Role::Finally, ..task(name, &[]) }
}

fn when(spec: TaskSpec, condition: &str) -> TaskSpec {
    TaskSpec { when: Some(condition.into()), ..spec }
}

fn each(spec: TaskSpec, reference: &str) -> TaskSpec {
    TaskSpec { each: Some(Each::Result(reference.into())), ..spec }
}

/// A run of a job.
pub(super) struct Story {
    pub(super) hand: Hand,
    pub(super) run: RunId,
}

impl Story {
    pub(super) fn new(tasks: Vec<TaskSpec>) -> Self {
        let mut hand = Hand::new(1);
        Feature::ALL.into_iter().for_each(|feature| hand.commit(Command::EnableFeature { feature, term: 1 }));
        hand.pass(60_000);
        let run = hand.submit(OnFailure::Finish, tasks);
        Self { hand, run }
    }

    pub(super) fn task(&self, step: u32) -> TaskId {
        TaskId { run: self.run, step, index: 0 }
    }

    fn name(&self, step: u32) -> String {
        self.hand.state.run(self.run).unwrap().spec.tasks[step as usize].name.to_string()
    }

    /// All that the workflow controller would do now.
    pub(super) fn control(&mut self) -> bool {
        let state = &self.hand.state;
        let decide = |(run, step): (RunId, u32)| {
            let quorate_flow::Decision { decided, elements, .. } =
                quorate_flow::decide(state, state.run(run).unwrap(), step);
            Command::DecideStep { run, step, decided, elements }
        };
        let finish = state.runs_to_finish().map(|run| Command::FinishRun { run });
        let undo = state.runs_to_undo().map(|run| Command::UndoNext { run, limit: 10 });
        let advance = state.steps_to_advance().map(|(run, step)| Command::AdvanceStep { run, step, limit: 10 });
        let commands: Vec<Command> =
            finish.chain(undo).chain(state.steps_to_decide().map(decide)).chain(advance).collect();
        let acts = !commands.is_empty();
        commands.into_iter().for_each(|command| self.hand.commit(command));
        acts
    }

    /// The first of the queue runs to its end; its step.
    pub(super) fn execute(&mut self, fails: &[&str]) -> Option<u32> {
        let next = self.hand.state.ready().next()?.task;
        let attempt = self.hand.place(next, "n1");
        self.hand.runs(attempt);
        let code = i32::from(fails.contains(&&*self.name(next.step)));
        self.end(attempt, code);
        Some(next.step)
    }

    fn end(&mut self, attempt: AttemptId, code: i32) {
        self.hand.executor(attempt, Happening::Ended { exit: Some(Exit::Code(code)) });
        let row = row(&self.hand, attempt);
        let report = AttemptReport {
            attempt,
            token: row.token,
            phase: AttemptPhase::Ended,
            gone: true,
            exit: Some(Exit::Code(code)),
            message: None,
            usage: Usage::default(),
            stopped: row.stop.is_some(),
            outcome: (code == 0).then(|| Arc::new(Outcome::Result(RESULT.as_bytes().into()))),
            silent: false,
            payloads: None,
        };
        let (node, epoch) = (row.node.clone(), self.hand.node(row.node.as_str()).epoch);
        self.hand.commit(Command::ReportAttempts { node, epoch, reports: vec![report] });
    }

    /// All that can run does; its names, in order.
    pub(super) fn drive(&mut self, fails: &[&str]) -> Vec<String> {
        let mut ran = vec![];
        loop {
            while self.control() {}
            let Some(step) = self.execute(fails) else { return ran };
            ran.push(self.name(step));
        }
    }

    fn cancel(&mut self) {
        self.hand.commit(Command::CancelRun { run: self.run });
    }

    fn judge(&self) -> Verdict {
        self.hand.judge(p26_flow::Flows::default())
    }

    pub(super) fn state(&self) -> RunState {
        self.hand.state.run(self.run).unwrap().state
    }
}

/// One that decides, one that stands in, one that undoes, one that comes in any case.
fn all_of_it() -> Vec<TaskSpec> {
    vec![
        task("a", &[]),
        when(task("b", &["a"]), "a.result.n > 3"),
        each(task("c", &["a", "b"]), "${a.result.list}"),
        fallback("f", "c"),
        task("d", &["c"]),
        undo("a"),
        undo("c"),
        finally("z"),
    ]
}

#[test]
fn a_flow_that_goes_as_it_should_violates_nothing() {
    for (fails, ran, ended) in [
        (&[][..], &["a", "c", "c", "d", "z"][..], RunState::Succeeded),
        (&["c"], &["a", "c", "c", "f", "d", "z"], RunState::Succeeded),
        (&["c", "f"], &["a", "c", "c", "f", "a-undo", "z"], RunState::Failed),
        (&["d"], &["a", "c", "c", "d", "c-undo", "c-undo", "a-undo", "z"], RunState::Failed),
        (&["d", "c-undo", "z"], &["a", "c", "c", "d", "c-undo", "c-undo", "a-undo", "z"], RunState::Failed),
    ] {
        let mut story = Story::new(all_of_it());
        assert_eq!(story.drive(fails), ran);
        assert_eq!(story.state(), ended, "{fails:?}");
        holds(&story.hand);
    }
}

#[test]
fn what_comes_after_a_cancel_violates_nothing_until_all_is_given_up() {
    for (gives_up, ran) in [(false, &["a-undo", "z"][..]), (true, &[])] {
        let mut story = Story::new(all_of_it());
        assert_eq!(story.execute(&[]), Some(0));
        story.cancel();
        if gives_up {
            while story.control() {}
            story.hand.commit(Command::AbandonRun { run: story.run });
        }
        assert_eq!(story.drive(&[]), ran);
        assert_eq!(story.state(), RunState::Cancelled);
        holds(&story.hand);
    }
}

#[test]
fn p26_a_decision_that_is_not_what_the_condition_says_or_changes_is_caught() {
    let decided = |decided: Decided| {
        let mut story = Story::new(vec![task("a", &[]), when(task("b", &["a"]), "a.result.go")]);
        story.execute(&[]);
        story.hand.commit(Command::DecideStep { run: story.run, step: 1, decided, elements: None });
        story
    };
    assert_eq!(decided(Decided::Run).judge(), Ok(()));
    caught(decided(Decided::PassOver).judge(), "what it says comes to Runs(None)");
    caught(decided(Decided::Fail("why".into())).judge(), "what it says comes to Runs(None)");
    let mut story = decided(Decided::Run);
    let row = (**story.hand.state.step(story.run, 1).unwrap()).clone();
    let other = Step { decision: Some(Decided::PassOver), ..row.clone() };
    story.hand.forge(vec![Change::Step(other.into())]);
    caught(story.judge(), "was decided Run, and is");
    let mut story = decided(Decided::Run);
    story.hand.forge(vec![Change::Step(Step { elements: 2, ..row }.into())]);
    caught(story.judge(), "had 1 elements, and has 2");
    let mut story = Story::new(vec![task("a", &[]), when(task("b", &[]), "params.x > 1"), finally("z")]);
    let unasked =
        Step { run: story.run, step: 0, decision: Some(Decided::Run), elements: 1, rest: Rest::Waiting, gang: None };
    story.hand.forge(vec![Change::Step(unasked.into())]);
    caught(story.judge(), "which nobody asked");
}

#[test]
fn p26_a_fan_out_of_another_size_is_caught() {
    let mut story = Story::new(vec![task("a", &[]), each(task("b", &["a"]), "${a.result.list}")]);
    story.execute(&[]);
    story.hand.commit(Command::DecideStep { run: story.run, step: 1, decided: Decided::Run, elements: Some(3) });
    caught(story.judge(), "with 3 elements, what it says comes to Runs(Some(2))");
}

#[test]
fn p26_what_becomes_ready_too_soon_is_caught() {
    let ready = |tasks: Vec<TaskSpec>, step: u32, words: &str| {
        let mut story = Story::new(tasks);
        let task = story.task(step);
        forge_task(&mut story.hand, task, TaskState::Ready);
        caught(story.judge(), words);
    };
    ready(vec![task("a", &[]), when(task("b", &[]), "params.x > 1")], 1, "what was decided of its step is None");
    ready(vec![task("a", &[]), task("b", &["a"]), finally("z")], 1, "which it needs, is Open");
    ready(vec![task("a", &[]), fallback("f", "a")], 1, "none had failed when all ended");
    ready(vec![task("a", &[]), finally("z")], 1, "before the work had ended");
}

#[test]
fn p26_a_fallback_that_is_lost_is_caught() {
    let mut story = Story::new(vec![task("a", &[]), fallback("f", "a")]);
    story.execute(&["a"]);
    let fallback = story.task(1);
    forge_task(&mut story.hand, fallback, TaskState::Skipped);
    caught(story.judge(), "was skipped, which stands in for");
}

/// Two tasks that can be undone, and one after them.
fn saga() -> Vec<TaskSpec> {
    vec![task("a", &[]), task("b", &["a"]), task("c", &["b"]), undo("a"), undo("b"), finally("z")]
}

/// Its work has failed.
fn failed() -> Story {
    let mut story = Story::new(saga());
    for _ in 0..3 {
        story.execute(&["c"]);
        let advance = |step| Command::AdvanceStep { run: story.run, step, limit: 10 };
        [advance(1), advance(2)].into_iter().for_each(|command| story.hand.commit(command));
    }
    assert_eq!(story.judge(), Ok(()));
    story
}

fn begins(story: &mut Story, step: u32, succeeded: u32) {
    let succeeded_at = story.hand.state.task(story.task(succeeded)).unwrap().succeeded_at;
    let row = Task { succeeded_at, ..Task::new(story.task(step), TaskState::Ready) };
    story.hand.forge(vec![Change::Task(row.into())]);
}

#[test]
fn p26_what_is_undone_out_of_turn_twice_or_not_at_all_is_caught() {
    let mut story = failed();
    begins(&mut story, 3, 0);
    caught(story.judge(), "is undone while");

    let mut story = failed();
    begins(&mut story, 4, 0);
    caught(story.judge(), "the success was at");

    let mut story = failed();
    assert_eq!(story.drive(&[]), ["b-undo", "a-undo", "z"]);
    begins(&mut story, 3, 0);
    caught(story.judge(), "had ended as Succeeded, and is Ready");

    let mut story = failed();
    let last = story.task(5);
    forge_task(&mut story.hand, last, TaskState::Ready);
    caught(story.judge(), "was undone");

    let mut story = Story::new(saga());
    story.execute(&[]);
    begins(&mut story, 3, 0);
    caught(story.judge(), "has nothing to undo");
}

#[test]
fn p26_an_end_that_leaves_something_out_is_caught() {
    let ends = |story: &mut Story, state: RunState| {
        let row = (**story.hand.state.run(story.run).unwrap()).clone();
        story.hand.forge(vec![Change::Run(Run { state, ..row }.into())]);
    };
    let mut story = failed();
    ends(&mut story, RunState::Failed);
    caught(story.judge(), "has undone");
    let mut story = Story::new(vec![task("a", &[]), finally("z")]);
    story.execute(&[]);
    ends(&mut story, RunState::Succeeded);
    caught(story.judge(), "(z) has not");
    let mut story = Story::new(vec![task("a", &[]), finally("z")]);
    story.execute(&["a"]);
    while story.control() {}
    story.execute(&[]);
    ends(&mut story, RunState::Succeeded);
    caught(story.judge(), "by its steps Failed");
}

#[test]
fn p26_a_cancel_that_ends_what_comes_after_the_work_is_caught() {
    let mut story = Story::new(vec![task("a", &[]), finally("z")]);
    story.cancel();
    let last = story.task(1);
    forge_task(&mut story.hand, last, TaskState::Cancelled);
    caught(story.judge(), "of a run that was not given up");
}

#[test]
fn p26_what_is_placed_of_a_run_that_is_given_up_is_caught() {
    let mut story = Story::new(vec![task("a", &[]), task("b", &[]), finally("z")]);
    let (first, second) = (story.task(0), story.task(1));
    let one = story.hand.place(first, "n1");
    story.hand.commit(Command::AbandonRun { run: story.run });
    let late = Attempt { id: AttemptId { task: second, number: 1 }, ..row(&story.hand, one) };
    forge(&mut story.hand, late);
    caught(story.judge(), "its run had been given up");
}

#[test]
fn p26_a_command_that_says_something_else_and_none_where_there_is_one_are_caught() {
    let templated = |words: &str| TaskSpec {
        argv: vec!["simulated".into(), format!("words/{words}")],
        templated: true,
        ..task("b", &["a"])
    };
    let started = |words: &str, told: &str| {
        let mut story = Story::new(vec![task("a", &[]), templated(words)]);
        story.execute(&[]);
        while story.control() {}
        let second = story.task(1);
        let attempt = story.hand.place(second, "n1");
        let Attempt { node, token, .. } = row(&story.hand, attempt);
        let (promise, words) = (task("b", &[]).on_node_loss, Some(Arc::from(told)));
        let what = Happening::Started;
        story.hand.fact(Fact::Execution(Execution { node, attempt, token, promise, words, gpus: GpuHold::NONE, what }));
        (story, attempt)
    };
    assert_eq!(started("n=${a.result.n}", "n=2").0.judge(), Ok(()));
    caught(started("n=${a.result.n}", "n=3").0.judge(), "comes to \"n=2\"");
    caught(started("n=${a.result.x}", "n=2").0.judge(), "comes to nothing");
    let (mut story, attempt) = started("n=${a.result.n}", "n=2");
    let error = Outcome::Error(BAD_REFERENCE.parse().unwrap());
    let none = Attempt { state: AttemptState::Failed, outcome: Some(Arc::new(error)), ..row(&story.hand, attempt) };
    forge(&mut story.hand, none);
    caught(story.judge(), "and there is one");
}
