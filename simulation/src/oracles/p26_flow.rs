//! P26: a run does what its job says of its flow, whoever leads and whatever fails. What a step's condition and its
//! elements come to is decided once, as the recorded results have it, before anything of it becomes ready. A fallback runs
//! when something that it stands in for has failed, and then only. What succeeded is undone once when the work ends without
//! success, the last first, and what comes at the end in any case comes after that; a cancel ends neither, and nothing of a
//! run that is given up is placed any more. Commands are told what their references come to.
//!
//! Stands for workflows that go on with half of what they were to do: a fan-out that grows when a leader changes, a handler
//! that is lost with the cancel that it is there for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptState, BAD_REFERENCE, Change, Command, Decided, Each, Entry, FailReason, Item, Outcome, Reply,
    Rest, Revision, Role, Run, RunId, RunState, State, Step as Row, StopReason, Task, TaskId, TaskState, Wait, apply,
};

use super::flow::{Flow, Standing, comes_after, has_flow};
use super::history::{attempt_name, attempts, placed, task_name};
use super::service::answered;
use super::values::{Sight, Wanted};
use super::{Known, Oracle, Verdict};
use crate::executor::words_of;
use crate::facts::{Execution, Fact, Happening};
use crate::ledger::Step;

/// Follows what succeeded, and what was given up.
#[derive(Default)]
pub(crate) struct Flows {
    /// At which revision elements succeeded, of steps that can be undone.
    succeeded: BTreeMap<TaskId, Revision>,
    /// Since which revision runs are given up.
    abandoned: BTreeMap<RunId, Revision>,
    /// The newest.
    state: State,
}

impl Oracle for Flows {
    fn id(&self) -> &'static str {
        "P26"
    }

    fn fact(&mut self, _: Duration, fact: &Fact, _: &Known<'_>) -> Verdict {
        match fact {
            Fact::Execution(execution) if execution.what == Happening::Started => self.on_started(execution),
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        self.state = step.after.clone();
        // Rows as they are in the middle of the step.
        let (mut tasks, mut rows) = (BTreeMap::new(), BTreeMap::new());
        for change in &step.changes {
            match change {
                Change::Run(run) => self.on_run(run, step)?,
                Change::Step(row) => {
                    let before = rows.insert((row.run, row.step), row).or_else(|| step.before.step(row.run, row.step));
                    on_row(before, row, step)?;
                }
                Change::Task(task) => {
                    let before = tasks.insert(task.id, task).or_else(|| step.before.task(task.id));
                    self.on_task(before, task, step)?;
                }
                _ => {}
            }
        }
        for attempt in placed(step) {
            // What shares an entry with the word may come before it.
            let run = attempt.id.task.run;
            if let Some(since) = self.abandoned.get(&run).filter(|since| **since < step.revision) {
                let name = attempt_name(attempt.id);
                return Err(format!("{name} was placed, its run had been given up at revision {since}"));
            }
        }
        attempts(step).try_for_each(|attempt| on_attempt(attempt, step))?;
        answered(step).try_for_each(|(item, reply)| match (&item.command, reply) {
            (Command::DecideStep { .. }, Ok(Reply::Counted(1))) => said_again(item, step),
            _ => Ok(()),
        })
    }
}

impl Flows {
    fn on_run(&mut self, run: &Arc<Run>, step: &Step) -> Verdict {
        let before = step.before.run(run.id);
        if run.abandoned {
            self.abandoned.entry(run.id).or_insert(step.revision);
        } else if before.is_some_and(|before| before.abandoned) {
            return Err(format!("run {} had been given up, and is not any more", run.id));
        }
        let ends = run.state.is_terminal() && before.is_some_and(|before| !before.state.is_terminal());
        if ends && has_flow(run) { check_end(&Flow::of(&step.after, run)) } else { Ok(()) }
    }

    fn on_task(&mut self, before: Option<&Arc<Task>>, task: &Task, step: &Step) -> Verdict {
        let Some(run) = step.after.run(task.id.run).filter(|run| has_flow(run)) else { return Ok(()) };
        let (flow, name) = (Flow::of(&step.after, run), task_name(task.id));
        if let Some(before) = before.filter(|before| before.state.is_terminal()) {
            return Err(format!("{name} had ended as {:?}, and is {:?}", before.state, task.state));
        }
        if task.state == TaskState::Succeeded && flow.undone_by(task.id.step).is_some() {
            self.succeeded.insert(task.id, step.revision);
        }
        let undone = flow.undoes(task.id.step).map(|step| TaskId { step, ..task.id });
        let succeeded_at = self.succeeded.get(&undone.unwrap_or(task.id)).copied();
        if task.succeeded_at != succeeded_at {
            return Err(format!("{name} goes by {:?}, the success was at {succeeded_at:?}", task.succeeded_at));
        }
        let waited = before.is_none_or(|before| before.state == TaskState::Waiting(Wait::Needs));
        match &task.state {
            TaskState::Ready | TaskState::Placed | TaskState::Running if waited => self.check_begin(&flow, task.id),
            TaskState::Skipped => check_skipped(&flow, task.id),
            TaskState::Cancelled if flow.comes_after(task.id.step) && !run.abandoned => {
                Err(format!("{name} was cancelled, and comes after the work of a run that was not given up"))
            }
            TaskState::Failed(FailReason::Undecidable)
                if !matches!(flow.decision(task.id.step), Some(Decided::Fail(_))) =>
            {
                Err(format!("{name} could not be decided; what was decided is {:?}", flow.decision(task.id.step)))
            }
            TaskState::Waiting(_)
            | TaskState::Ready
            | TaskState::Placed
            | TaskState::Running
            | TaskState::Succeeded
            | TaskState::Failed(_)
            | TaskState::Cancelled => Ok(()),
        }
    }

    /// It enters the queue for the first time.
    fn check_begin(&self, flow: &Flow<'_>, task: TaskId) -> Verdict {
        let Some(spec) = flow.spec(task.step) else { return Ok(()) };
        let name = task_name(task);
        let decision = flow.decision(task.step);
        if is_decided(flow, task.step) && decision != Some(&Decided::Run) {
            return Err(format!("{name} became ready, what was decided of its step is {decision:?}"));
        }
        for need in flow.needs(task.step) {
            let (standing, tally) = (flow.standing(need), flow.tally(need));
            if standing != Standing::Done {
                return Err(format!("{name} became ready, step {need}, which it needs, is {standing:?}: {tally:?}"));
            }
        }
        match &spec.role {
            Role::Work => Ok(()),
            Role::Fallback { .. } => {
                let targets = flow.targets(task.step);
                let ended = targets.iter().all(|target| flow.has_ended(*target));
                if ended && targets.iter().any(|target| flow.has_failed(*target)) {
                    return Ok(());
                }
                Err(format!(
                    "{name} became ready, of {targets:?}, which it stands in for, none had failed when all ended"
                ))
            }
            Role::Undo { .. } => self.check_turn(flow, task),
            Role::Finally => {
                let is_open = |undone: &TaskId| !flow.undo_of(*undone).is_some_and(|undo| has_ended(flow, undo));
                let undoable = if must_undo(flow) { flow.undoable() } else { vec![] };
                if flow.has_open_work() {
                    Err(format!("{name} became ready before the work had ended"))
                } else if let Some(open) = undoable.iter().find(|undone| is_open(undone)) {
                    Err(format!("{name} became ready before {} was undone", task_name(*open)))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// What succeeded later has been undone, and nothing that succeeded earlier is.
    fn check_turn(&self, flow: &Flow<'_>, undo: TaskId) -> Verdict {
        let name = task_name(undo);
        let undone = flow.undoes(undo.step).map(|step| TaskId { step, ..undo });
        let Some((undone, own)) = undone.and_then(|undone| Some((undone, *self.succeeded.get(&undone)?))) else {
            return Err(format!("{name} undoes what has not succeeded"));
        };
        if !must_undo(flow) {
            let (outcome, abandoned) = (flow.work_outcome(), flow.run.abandoned);
            let open = flow.has_open_work();
            return Err(format!(
                "{name} has nothing to undo: the work is {outcome:?}, open {open}, given up {abandoned}"
            ));
        }
        for other in flow.undoable() {
            let (Some(at), Some(turn)) = (self.succeeded.get(&other), flow.undo_of(other)) else { continue };
            let (other, undone) = (task_name(other), task_name(undone));
            if *at > own && !has_ended(flow, turn) {
                return Err(format!("{undone} of {own} is undone while {other} of {at}, which is later, is not yet"));
            }
            if *at < own && flow.state.task(turn).is_some() {
                return Err(format!("{undone} of {own} is undone after {other} of {at}, which is earlier"));
            }
        }
        Ok(())
    }

    /// Its command says what its references come to.
    fn on_started(&self, execution: &Execution) -> Verdict {
        let task = execution.attempt.task;
        let Some(run) = self.state.run(task.run) else { return Ok(()) };
        let flow = Flow::of(&self.state, run);
        let Some(spec) = flow.spec(task.step).filter(|spec| spec.templated) else { return Ok(()) };
        let Some(words) = words_of(&spec.argv) else { return Ok(()) };
        let (name, told) = (attempt_name(execution.attempt), execution.words.as_deref());
        match Sight::of_task(&flow, task).put_into(words) {
            Ok(wanted) if told == Some(&*wanted) => Ok(()),
            Ok(wanted) => Err(format!("{name} was told {told:?}, {words:?} comes to {wanted:?}")),
            Err(flaw) => Err(format!("{name} was told {told:?}, {words:?} comes to nothing: {flaw}")),
        }
    }
}

/// True of a step of which something must be decided before it runs.
fn is_decided(flow: &Flow<'_>, step: u32) -> bool {
    flow.spec(step).is_some_and(|spec| spec.when.is_some() || matches!(spec.each, Some(Each::Result(_))))
}

fn has_ended(flow: &Flow<'_>, task: TaskId) -> bool {
    flow.state.task(task).is_some_and(|task| task.state.is_terminal())
}

/// The work has ended without success, and nobody gave it up.
fn must_undo(flow: &Flow<'_>) -> bool {
    !flow.has_open_work() && flow.work_outcome() != RunState::Succeeded && !flow.run.abandoned
}

fn check_skipped(flow: &Flow<'_>, task: TaskId) -> Verdict {
    let step = task.step;
    let lacks = flow.needs(step).into_iter().any(|need| flow.standing(need) == Standing::Broken);
    let targets = flow.targets(step);
    let none_failed = targets.iter().all(|target| flow.has_ended(*target) && !flow.has_failed(*target));
    if flow.is_passed_over(step) || lacks || (!targets.is_empty() && none_failed) {
        return Ok(());
    }
    Err(format!(
        "{} was skipped, which stands in for {targets:?}, and nothing that it needs is broken",
        task_name(task)
    ))
}

/// What is known of a step changes.
fn on_row(before: Option<&Arc<Row>>, row: &Row, step: &Step) -> Verdict {
    let name = format!("step {} of run {}", row.step, row.run);
    let Some(run) = step.after.run(row.run) else { return Err(format!("{name} is of no run")) };
    let (flow, earlier) = (Flow::of(&step.after, run), Flow::of(&step.before, run));
    let Some(spec) = flow.spec(row.step) else { return Err(format!("{name} is in no job")) };
    if let Some(of) = run.restart_of.filter(|_| step.before.run(row.run).is_none()) {
        // A second try begins with what was decided in the first, where it does not decide afresh.
        let first = step.before.step(of, row.step);
        let known = first.map_or((None, spec.count), |first| (first.decision.as_ref(), first.elements));
        let is_afresh = row.decision.is_none() && row.elements == spec.count && row.rest == Rest::Waiting;
        if (row.decision.as_ref(), row.elements) == known || is_afresh {
            return Ok(());
        }
        let now = (&row.decision, row.elements);
        return Err(format!("{name} begins with {now:?}, in run {of}, of which it is a second try, it had {known:?}"));
    }
    let known = before.map_or(spec.count, |before| before.elements);
    let decided = match (before.and_then(|before| before.decision.as_ref()), &row.decision) {
        (Some(before), now) if now.as_ref() != Some(before) => {
            return Err(format!("{name} was decided {before:?}, and is {now:?}"));
        }
        (None, Some(decided)) => decided,
        (Some(_), _) | (None, None) if row.elements != known => {
            return Err(format!("{name} had {known} elements, and has {}", row.elements));
        }
        (Some(_), _) | (None, None) => return Ok(()),
    };
    let targets = flow.targets(row.step);
    let is_whole = |target: &u32| flow.has_ended(*target) && flow.by_itself(*target) != Standing::Broken;
    let has_nothing_to_do = !targets.is_empty() && targets.iter().all(is_whole);
    if *decided == Decided::PassOver && has_nothing_to_do && row.elements == known {
        return Ok(());
    }
    if !is_decided(&flow, row.step) {
        return Err(format!("{name} was decided {decided:?}, which nobody asked"));
    }
    if let Some(need) = flow.needs(row.step).into_iter().find(|need| flow.standing(*need) != Standing::Done) {
        return Err(format!("{name} was decided {decided:?} while step {need}, which it needs, is not done"));
    }
    let others: u64 =
        flow.steps().filter(|other| *other != row.step).map(|other| u64::from(flow.tally(other).elements)).sum();
    let most = step.before.settings().map_or(0, |settings| u64::from(settings.tasks_per_run_max));
    let sight = Sight::of_step(&earlier, row.step);
    let wanted = sight.wanted();
    let is_right = match (decided, &wanted) {
        (Decided::Fail(_), _) if sight.is_much() => row.elements == known,
        (Decided::Run, Wanted::Runs(count)) => row.elements == count.unwrap_or(known),
        (Decided::PassOver, Wanted::PassedOver) | (Decided::Fail(_), Wanted::Fails(_)) => row.elements == known,
        (Decided::Fail(_), Wanted::Runs(Some(count))) => others + u64::from(*count) > most,
        (Decided::Run | Decided::PassOver | Decided::Fail(_), _) => false,
    };
    if is_right {
        return Ok(());
    }
    Err(format!("{name} was decided {decided:?} with {} elements, what it says comes to {wanted:?}", row.elements))
}

/// What comes after the work is asked to end only where all is given up; and there was no command only where there is none.
fn on_attempt(attempt: &Attempt, step: &Step) -> Verdict {
    let (name, task) = (attempt_name(attempt.id), attempt.id.task);
    let Some(run) = step.after.run(task.run).filter(|run| has_flow(run)) else { return Ok(()) };
    let before = step.before.attempt(attempt.id);
    let is_cancelled = attempt.stop == Some(StopReason::Cancelled);
    let was_cancelled = before.is_some_and(|before| before.stop == Some(StopReason::Cancelled));
    // A copy that comes back with its node, of a task that has ended without it, is asked to end for that.
    let is_late = step.after.task(task).is_some_and(|task| task.state.is_terminal());
    if is_cancelled && !was_cancelled && !is_late && comes_after(run, task.step) && !run.abandoned {
        return Err(format!("{name} was asked to end, and comes after the work of a run that was not given up"));
    }
    let is_new = attempt.state == AttemptState::Failed && before.is_none_or(|before| before.state != attempt.state);
    let by_reference =
        matches!(attempt.outcome.as_deref(), Some(Outcome::Error(error)) if error.as_str() == BAD_REFERENCE);
    let flow = Flow::of(&step.after, run);
    let is_templated = flow.spec(task.step).is_some_and(|spec| spec.templated);
    if !is_new || !by_reference || attempt.exit.is_some() || !is_templated {
        return Ok(());
    }
    let bytes_max = step.after.settings().map_or(0, |settings| u64::from(settings.argv_bytes_max));
    let sight = Sight::of_task(&flow, task);
    if sight.has_command(bytes_max) && !sight.is_much() {
        return Err(format!("{name} failed for want of a command ({:?}), and there is one", attempt.message));
    }
    Ok(())
}

/// What was decided holds, whatever is said of it later. No leader says it twice, for it looks first; so the state itself is
/// asked what would come of it.
fn said_again(item: &Item, step: &Step) -> Verdict {
    let Some(stamp) = step.entry.as_ref().map(|entry| entry.stamp) else { return Ok(()) };
    let entry = Entry { stamp, items: vec![item.clone()] };
    let again = apply(&step.after, Revision(step.revision.0 + 1), &entry);
    let changes = again.changes.iter().find(|change| matches!(change, Change::Step(_) | Change::Task(_)));
    changes.map_or(Ok(()), |change| {
        Err(format!(
            "{:?} of revision {} is carried out twice when it is said twice: {change:?}",
            item.command, step.revision
        ))
    })
}

/// A run ends as its steps did: with all undone that had to be, and with all that comes in any case.
fn check_end(flow: &Flow<'_>) -> Verdict {
    let run = flow.run;
    let undoes = must_undo(flow);
    for step in flow.steps() {
        let (Some(spec), tally) = (flow.spec(step), flow.tally(step)) else { continue };
        let what = format!("run {} ended as {:?}, step {step} ({})", run.id, run.state, spec.name);
        if tally.open > 0 {
            return Err(format!("{what} has not: {tally:?}"));
        }
        let has_run = tally.succeeded + tally.failed == tally.elements;
        let lacks = flow.needs(step).into_iter().any(|need| flow.standing(need) == Standing::Broken);
        let is_excused = run.abandoned || flow.is_passed_over(step) || lacks;
        if spec.role == Role::Finally && !has_run && !is_excused {
            return Err(format!("{what} did not run: {tally:?}"));
        }
        let Some(undone) = flow.undoes(step) else { continue };
        let undoable = flow.state.tasks_of_step(run.id, undone).filter(|task| task.state == TaskState::Succeeded);
        let succeeded = u32::try_from(undoable.count()).unwrap_or(u32::MAX);
        let is_right =
            if undoes { tally.elements == succeeded && has_run } else { tally.elements == 0 || run.abandoned };
        if !is_right {
            return Err(format!(
                "{what} has undone {tally:?} of the {succeeded} that had succeeded; it had to: {undoes}"
            ));
        }
    }
    let outcome = flow.outcome();
    // What must be said of a run that ended well, and cannot be, fails it: P29.
    let is_unsaid = run.flaw.is_some() && (run.state, outcome) == (RunState::Failed, RunState::Succeeded);
    if run.state == outcome || is_unsaid {
        Ok(())
    } else {
        Err(format!("run {} ended as {:?}, by its steps {outcome:?}", run.id, run.state))
    }
}
