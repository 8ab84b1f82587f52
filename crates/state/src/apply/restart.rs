//! A second try of a run: what succeeded is kept, without rows, and the rest is run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_planted::Bug;

use super::flow;
use super::jobs::{self, Accepted};
use super::overlay::Overlay;
use crate::{
    Change, Decided, Event, Job, Principal, Rejection, Reply, Rest, Run, RunId, Step, TaskId, TaskName, TaskState,
    Violation,
};

/// What is asked for.
pub(super) struct Restart<'a> {
    /// The new run.
    pub(super) run: RunId,
    /// The one that is tried again.
    pub(super) of: RunId,
    /// Steps that are run again although they succeeded.
    pub(super) from: &'a [TaskName],
}

/// What becomes of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is done, and is not run again.
    Kept,
    /// What of it succeeded is kept; its needs are, so it would be run with the same.
    Partly,
    /// It is run again.
    Again,
}

pub(super) fn restart(
    overlay: &mut Overlay,
    item: u32,
    principal: &Principal,
    asked: &Restart<'_>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let Restart { run, of, from } = *asked;
    let old = overlay.run(of)?;
    if !old.state.is_terminal() {
        return Err(invalid("run", format!("run {of} has not ended: wait for its end, or cancel it")));
    }
    let (namespace, name) = (&old.spec.namespace, &old.spec.name);
    let job = overlay.state().job(namespace, name).cloned();
    let job = job.ok_or_else(|| Rejection::UnknownJob(namespace.clone(), name.clone()))?;
    old.spec.check(&settings).map_err(Rejection::Invalid)?;
    let again = named(&old, from)?;
    jobs::admit(overlay, run)?;
    let fates = fates(overlay, &old, &again);
    if fates.iter().zip(&old.spec.tasks).all(|(fate, task)| *fate == Fate::Kept || task.role.is_after()) {
        let message = format!("all of run {of} succeeded: say from which task on it is to be run again");
        return Err(invalid("from", message));
    }
    // The job's newest spec may be another one by now, and stays that.
    overlay.put(Change::Job(Arc::new(Job {
        latest_run: run,
        latest_ended: None,
        submitted_at: overlay.now(),
        submitted_revision: overlay.revision(),
        ..(*job).clone()
    })));
    let version = old.job_version;
    jobs::put_run(
        overlay,
        &Accepted {
            run,
            item,
            principal,
            spec: &old.spec,
            digest: old.spec_digest,
            version,
            args: &old.args,
            restart_of: Some(of),
            parent: None,
            priority_set: None,
            timeout_ms: None,
        },
    );
    let mut rows_left = jobs::ROWS_PER_SUBMIT_MAX;
    let rows_max = jobs::rows_per_step(overlay, &old.spec);
    for (step, fate) in (0_u32..).zip(fates) {
        match fate {
            Fate::Again => jobs::put_step(overlay, run, &old.spec, step, rows_max),
            Fate::Kept => put_kept(overlay, run, of, step),
            Fate::Partly => put_partly(overlay, run, &old, step, &mut rows_left)?,
        }
    }
    overlay.emit(Event::RunSubmitted { run, namespace: namespace.clone(), job: name.clone() });
    Ok(Reply::Submitted { run, version, revision: overlay.revision(), window_ms: settings.request_window_ms })
}

fn named(old: &Run, from: &[TaskName]) -> Result<BTreeSet<u32>, Rejection> {
    let positions: BTreeMap<&TaskName, u32> = old.spec.tasks.iter().map(|task| &task.name).zip(0..).collect();
    let mut steps = BTreeSet::new();
    for (number, name) in from.iter().enumerate() {
        match positions.get(name) {
            None => return Err(invalid(&format!("from[{number}]"), format!("no task is called {name:?}"))),
            Some(step) if old.graph.is_after(*step) => {
                let message = format!("{name:?} is not part of the work: it comes when that has ended, as ever");
                return Err(invalid(&format!("from[{number}]"), message));
            }
            Some(step) => drop(steps.insert(*step)),
        }
    }
    Ok(steps)
}

/// What becomes of each step. A step is kept as far as everything that it looks at is; in what order they are looked at makes
/// no difference, since one that is run again takes with it what waits for it.
fn fates(overlay: &Overlay, old: &Run, again: &BTreeSet<u32>) -> Vec<Fate> {
    let mut fates: Vec<Fate> = (0..old.graph.steps()).map(|step| alone(overlay, old, step, again)).collect();
    let mut open: Vec<u32> =
        (0_u32..).zip(&fates).filter(|(_, fate)| **fate != Fate::Kept).map(|(step, _)| step).collect();
    while let Some(step) = open.pop() {
        for other in old.graph.dependents(step).iter().chain(old.graph.fallbacks(step)) {
            let Some(fate) = fates.get_mut(*other as usize).filter(|fate| **fate != Fate::Again) else { continue };
            if *fate == Fate::Kept && quorate_planted::is(Bug::RestartKeepsWhatWaits) {
                continue;
            }
            *fate = Fate::Again;
            open.push(*other);
        }
    }
    fates
}

/// What becomes of a step if all that it looks at is kept.
fn alone(overlay: &Overlay, old: &Run, step: u32, again: &BTreeSet<u32>) -> Fate {
    let state = overlay.state();
    let is_undone = old.graph.undone_by(step).is_some_and(|undo| state.rows(old.id, undo) > 0);
    let is_planted = quorate_planted::is(Bug::RestartRunsAllAgain);
    if again.contains(&step) || old.graph.is_after(step) || is_undone || is_planted {
        return Fate::Again;
    }
    let counts = state.step_counts(old.id, step);
    // Failures that were accepted are accepted again.
    let accepted = old.spec.tasks.get(step as usize).map_or(0, |task| counts.failed.min(task.accept_failed));
    let is_done = counts.succeeded + accepted == state.elements(old.id, step);
    let is_gang = old.spec.tasks.get(step as usize).is_some_and(|task| task.gang.is_some());
    let decision = state.step(old.id, step).and_then(|row| row.decision.clone());
    match decision {
        Some(Decided::PassOver) => Fate::Kept,
        Some(Decided::Fail(_)) => Fate::Again,
        Some(Decided::Run) | None if is_done => Fate::Kept,
        // A gang succeeds whole, and begins whole.
        Some(Decided::Run) | None if counts.succeeded > 0 && !is_gang => Fate::Partly,
        Some(Decided::Run) | None => Fate::Again,
    }
}

fn put_kept(overlay: &mut Overlay, run: RunId, of: RunId, step: u32) {
    let decision = overlay.state().step(of, step).and_then(|row| row.decision.clone());
    let rest = if decision == Some(Decided::PassOver) { Rest::Skipped } else { Rest::Kept };
    let elements = overlay.state().elements(of, step);
    overlay.put(Change::Step(Arc::new(Step { run, step, decision, elements, rest, gang: None })));
}

/// Only those that did not succeed get rows.
fn put_partly(overlay: &mut Overlay, run: RunId, old: &Run, step: u32, rows_left: &mut u32) -> Result<(), Rejection> {
    let again: Vec<u32> = overlay
        .state()
        .elements_from(old.id, step, 0)
        .filter(|task| task.state != TaskState::Succeeded)
        .map(|task| task.id.index)
        .collect();
    *rows_left = u32::try_from(again.len()).ok().and_then(|rows| rows_left.checked_sub(rows)).ok_or({
        Rejection::LimitReached {
            limit: "ROWS_PER_SUBMIT_MAX",
            max: jobs::ROWS_PER_SUBMIT_MAX.into(),
            advice: "too many elements of one task did not succeed: restart from that task, which runs all of it again",
        }
    })?;
    let Some(spec) = old.spec.tasks.get(step as usize) else { return Ok(()) };
    let decision = overlay.state().step(old.id, step).and_then(|row| row.decision.clone());
    let state = jobs::first_state(spec);
    for index in again {
        flow::put_task(overlay, TaskId { run, step, index }, state.clone(), |_| {});
    }
    let elements = overlay.state().elements(old.id, step);
    overlay.put(Change::Step(Arc::new(Step { run, step, decision, elements, rest: Rest::Kept, gang: None })));
    Ok(())
}

fn invalid(field: &str, message: String) -> Rejection {
    Rejection::Invalid(vec![Violation { field: field.into(), message }])
}
