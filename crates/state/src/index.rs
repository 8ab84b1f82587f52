//! Indexes derived from the tables: every question that a controller asks often, answered without
//! a scan. They are functions of the tables alone; `check.rs` recomputes them to prove it.

use quorate_planted::Bug;
use std::ops::Bound;

use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::dedup::DedupKey;
use crate::progress::StepProgress;
use crate::ready::Ready;
use crate::{
    Attempt, AttemptId, AttemptState, JobName, JobVersion, Namespace, Node, NodeName, RequestRow, Resources, Revision,
    Run, RunId, Served, StepCounts, StepVerdict, Task, TaskState, Timer, Wait,
};

/// The indexes. Equal tables give equal indexes, whatever the order of the changes that led there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    ready: Ready,
    nodes: Map<NodeName, NodeUse>,
    draining: Set<NodeName>,
    steps: Map<(RunId, u32), StepProgress>,
    runs: Map<RunId, StepCounts>,
    advance: Set<(RunId, u32)>,
    finish: Set<RunId>,
    unfinished: Set<RunId>,
    submitted: Set<(Revision, u32, RunId)>,
    jobs: Map<(Namespace, JobName), JobRuns>,
    timers: Set<(Served, Timer)>,
    request_expiry: Set<(Served, DedupKey)>,
}

/// The runs of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct JobRuns {
    unfinished: u32,
    /// By version: the first run in the order of submits, and how many there are.
    versions: Map<u32, ((Revision, u32, RunId), u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NodeUse {
    used: Resources,
    attempts: Set<AttemptId>,
}

impl Index {
    /// Names of the indexes in which `self` and `other` differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            ("ready", self.ready == other.ready),
            ("nodes", self.nodes == other.nodes),
            ("draining", self.draining == other.draining),
            ("steps", self.steps == other.steps),
            ("runs", self.runs == other.runs),
            ("advance", self.advance == other.advance),
            ("finish", self.finish == other.finish),
            ("unfinished", self.unfinished == other.unfinished),
            ("submitted", self.submitted == other.submitted),
            ("jobs", self.jobs == other.jobs),
            ("timers", self.timers == other.timers),
            ("request_expiry", self.request_expiry == other.request_expiry),
        ]
        .into_iter()
        .filter_map(|(name, equal)| (!equal).then_some(name))
        .collect()
    }

    pub(crate) fn on_run(&mut self, old: Option<&Run>, new: &Run) {
        if old.is_none() {
            self.submitted.insert_mut((new.submitted_revision, new.submitted_item, new.id));
            for step in 0..new.graph.steps() {
                let progress = StepProgress::new(new.graph.needs(step).len());
                self.steps.insert_mut((new.id, step), progress);
            }
        }
        self.count_job(old, new);
        if new.state.is_terminal() {
            self.unfinished.remove_mut(&new.id);
        } else {
            self.unfinished.insert_mut(new.id);
        }
        let (old_timer, new_timer) = (old.and_then(run_timer), run_timer(new));
        if old_timer != new_timer {
            old_timer.iter().for_each(|timer| {
                self.timers.remove_mut(timer);
            });
            new_timer.into_iter().for_each(|timer| self.timers.insert_mut(timer));
        }
        let changes_verdicts = old.is_some_and(|old| old.cancelling != new.cancelling || old.state != new.state);
        if changes_verdicts {
            for step in 0..new.graph.steps() {
                self.refresh_step(new, step);
            }
        }
        if let Some(old) = old {
            let Self { ready, steps, .. } = self;
            let is_ready = |step: &u32| steps.get(&(new.id, *step)).is_some_and(|progress| progress.counts.ready > 0);
            ready.move_run(old, new, (0..new.graph.steps()).filter(is_ready));
        }
        self.refresh_finish(new);
    }

    pub(crate) fn on_task(&mut self, run: &Run, old: Option<&Task>, new: &Task) {
        let step = new.id.step;
        let mut progress = self.step(new.id.run, step);
        let (was_done, was_broken) = (progress.is_done(run, step), progress.is_broken());
        let mut counts = self.run_counts(new.id.run);
        if let Some(old) = old {
            progress.count(&old.state, |count| *count = count.saturating_sub(1));
            count(&mut counts, &old.state, |count| *count = count.saturating_sub(1));
            if old.state == TaskState::Ready {
                self.ready.remove(run, old.id);
            }
            if let Some(timer) = task_timer(old) {
                self.timers.remove_mut(&timer);
            }
        }
        progress.count(&new.state, |count| *count = count.saturating_add(1));
        count(&mut counts, &new.state, |count| *count = count.saturating_add(1));
        if new.state == TaskState::Ready {
            self.ready.insert(run, new.id);
        }
        if let Some(timer) = task_timer(new) {
            self.timers.insert_mut(timer);
        }
        let (is_done, is_broken) = (progress.is_done(run, step), progress.is_broken());
        self.steps.insert_mut((new.id.run, step), progress);
        self.runs.insert_mut(new.id.run, counts);
        self.refresh_step(run, step);
        if (was_done, was_broken) != (is_done, is_broken) {
            for dependent in run.graph.dependents(step) {
                let mut progress = self.step(run.id, *dependent);
                progress.on_need((was_done, was_broken), (is_done, is_broken));
                self.steps.insert_mut((run.id, *dependent), progress);
                self.refresh_step(run, *dependent);
            }
        }
        self.refresh_finish(run);
    }

    pub(crate) fn on_attempt(&mut self, run: Option<&Run>, old: Option<&Attempt>, new: &Attempt) {
        let held = old.filter(|old| old.holds_resources());
        let holds = new.holds_resources();
        if held.is_some() != holds {
            let mut node = self.nodes.get(&new.node).cloned().unwrap_or_default();
            if holds {
                node.used = node.used.checked_add(new.resources).unwrap_or(node.used);
                node.attempts.insert_mut(new.id);
            } else {
                node.used = node.used.saturating_sub(new.resources);
                node.attempts.remove_mut(&new.id);
            }
            if node.attempts.is_empty() {
                self.nodes.remove_mut(&new.node);
            } else {
                self.nodes.insert_mut(new.node.clone(), node);
            }
        }
        let old_timer = old.and_then(attempt_timer);
        let new_timer = attempt_timer(new);
        if old_timer != new_timer {
            old_timer.iter().for_each(|timer| {
                self.timers.remove_mut(timer);
            });
            new_timer.into_iter().for_each(|timer| self.timers.insert_mut(timer));
        }
        let (was, is) = (old.is_some_and(is_unstopped), is_unstopped(new));
        if was != is {
            let (id, step) = (new.id.task.run, new.id.task.step);
            let mut progress = self.step(id, step);
            progress.on_unstopped(is);
            self.steps.insert_mut((id, step), progress);
            if let Some(run) = run {
                self.refresh_step(run, step);
            }
        }
    }

    pub(crate) fn on_node(&mut self, name: &NodeName, new: Option<&Node>) {
        match (new.is_some_and(|node| node.drain().is_some()), self.draining.contains(name)) {
            (true, false) => self.draining.insert_mut(name.clone()),
            (false, true) => {
                self.draining.remove_mut(name);
            }
            (true, true) | (false, false) => {}
        }
    }

    pub(crate) fn on_request(&mut self, old: Option<&RequestRow>, new: Option<&RequestRow>) {
        if let Some(old) = old {
            self.request_expiry.remove_mut(&(old.expires_at, old.key()));
        }
        if let Some(new) = new {
            self.request_expiry.insert_mut((new.expires_at, new.key()));
        }
    }

    pub(crate) fn runs_newest_first(&self, before: Option<Revision>) -> impl Iterator<Item = RunId> {
        let end = before.map_or((Revision(u64::MAX), u32::MAX, RunId(u64::MAX)), |before| (before, 0, RunId(0)));
        self.submitted.range(..end).rev().map(|(_, _, run)| *run)
    }

    pub(crate) fn unfinished_runs(&self) -> impl Iterator<Item = RunId> {
        self.unfinished.iter().copied()
    }

    pub(crate) fn unfinished_run_at(&self, at: u64) -> Option<RunId> {
        let (RunId(first), RunId(last)) = (*self.unfinished.first()?, *self.unfinished.last()?);
        let span = u128::from(last.saturating_sub(first)) + 1;
        let offset = u64::try_from((span * u128::from(at)) >> 64).unwrap_or(u64::MAX);
        self.unfinished.range(RunId(first.saturating_add(offset))..).next().copied()
    }

    pub(crate) fn job_unfinished(&self, namespace: &Namespace, job: &JobName) -> u32 {
        self.jobs.get(&(namespace.clone(), job.clone())).map_or(0, |runs| runs.unfinished)
    }

    pub(crate) fn job_versions(
        &self,
        namespace: &Namespace,
        job: &JobName,
        before: Option<u32>,
    ) -> impl Iterator<Item = JobVersion> {
        let runs = self.jobs.get(&(namespace.clone(), job.clone()));
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let versions = runs.into_iter().flat_map(move |runs| runs.versions.range((Bound::Unbounded, end)).rev());
        versions.map(|(version, ((_, _, first_run), runs))| JobVersion {
            version: *version,
            first_run: *first_run,
            runs: *runs,
        })
    }

    pub(crate) fn unfinished_count(&self) -> usize {
        self.unfinished.size()
    }

    pub(crate) fn draining(&self) -> impl Iterator<Item = &NodeName> {
        self.draining.iter()
    }

    pub(crate) fn attempts_on(&self, node: &NodeName) -> impl Iterator<Item = AttemptId> {
        self.nodes.get(node).into_iter().flat_map(|node| node.attempts.iter().copied())
    }

    pub(crate) fn attempts_count_on(&self, node: &NodeName) -> usize {
        self.nodes.get(node).map_or(0, |node| node.attempts.size())
    }

    pub(crate) fn used_on(&self, node: &NodeName) -> Resources {
        self.nodes.get(node).map_or(Resources::ZERO, |node| node.used)
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    pub(crate) fn step_counts(&self, run: RunId, step: u32) -> StepCounts {
        self.step(run, step).counts
    }

    pub(crate) fn run_counts(&self, run: RunId) -> StepCounts {
        self.runs.get(&run).copied().unwrap_or_default()
    }

    pub(crate) fn step(&self, run: RunId, step: u32) -> StepProgress {
        self.steps.get(&(run, step)).copied().unwrap_or_default()
    }

    pub(crate) fn steps_to_advance(&self) -> impl Iterator<Item = (RunId, u32)> {
        self.advance.iter().copied()
    }

    pub(crate) fn runs_to_finish(&self) -> impl Iterator<Item = RunId> {
        self.finish.iter().copied()
    }

    pub(crate) fn timers(&self) -> impl Iterator<Item = Timer> {
        self.timers.iter().map(|(_, timer)| *timer)
    }

    pub(crate) fn requests_expired(&self, served: Served) -> impl Iterator<Item = &DedupKey> {
        self.request_expiry.iter().take_while(move |(expires_at, _)| *expires_at <= served).map(|(_, key)| key)
    }

    fn count_job(&mut self, old: Option<&Run>, new: &Run) {
        let (was, is) = (old.is_some_and(|old| !old.state.is_terminal()), !new.state.is_terminal());
        if old.is_some() && was == is {
            return;
        }
        let key = (new.spec.namespace.clone(), new.spec.name.clone());
        let mut runs = self.jobs.get(&key).cloned().unwrap_or_default();
        runs.unfinished = runs.unfinished.saturating_sub(u32::from(was)).saturating_add(u32::from(is));
        if old.is_none() {
            let place = (new.submitted_revision, new.submitted_item, new.id);
            let (first, count) = runs.versions.get(&new.job_version).copied().unwrap_or((place, 0));
            runs.versions.insert_mut(new.job_version, (first.min(place), count.saturating_add(1)));
        }
        self.jobs.insert_mut(key, runs);
    }

    /// A step is worth the workflow controller's while when its tasks can move on.
    fn refresh_step(&mut self, run: &Run, step: u32) {
        let progress = self.step(run.id, step);
        let due = !run.state.is_terminal()
            && match progress.verdict(run) {
                StepVerdict::Wait => false,
                StepVerdict::Release | StepVerdict::Skip => progress.on_needs > 0,
                StepVerdict::Cancel => progress.cancellable() > 0,
            };
        let key = (run.id, step);
        match (due, self.advance.contains(&key)) {
            (true, false) => self.advance.insert_mut(key),
            (false, true) => {
                self.advance.remove_mut(&key);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn refresh_finish(&mut self, run: &Run) {
        let counts = self.run_counts(run.id);
        let due = !run.state.is_terminal() && counts.unfinished() == 0 && counts.total() > 0;
        match (due, self.finish.contains(&run.id)) {
            (true, false) => self.finish.insert_mut(run.id),
            (false, true) => {
                self.finish.remove_mut(&run.id);
            }
            (true, true) | (false, false) => {}
        }
    }
}

fn task_timer(task: &Task) -> Option<(Served, Timer)> {
    match task.state {
        TaskState::Waiting(Wait::Fence { until: Served::NEVER }) => None,
        TaskState::Waiting(Wait::Backoff { until } | Wait::Fence { until }) => {
            Some((until, Timer::TaskWait { task: task.id, generation: task.generation, due: until }))
        }
        TaskState::Ready => task.queue_deadline.map(|due| (due, Timer::QueueTimeout { task: task.id, due })),
        TaskState::Waiting(Wait::Needs | Wait::Quarantine)
        | TaskState::Placed
        | TaskState::Running
        | TaskState::Succeeded
        | TaskState::Failed(_)
        | TaskState::Cancelled
        | TaskState::Skipped => None,
    }
}

fn run_timer(run: &Run) -> Option<(Served, Timer)> {
    let goes_on = !run.state.is_terminal() && !run.cancelling;
    run.deadline.filter(|_| goes_on).map(|due| (due, Timer::RunDeadline { run: run.id, due }))
}

fn attempt_timer(attempt: &Attempt) -> Option<(Served, Timer)> {
    match attempt.state {
        AttemptState::Starting | AttemptState::Running
            if attempt.stop.is_none() || quorate_planted::is(Bug::TimeoutFiresTwice) =>
        {
            attempt.run_deadline.map(|due| (due, Timer::RunTimeout { attempt: attempt.id, due }))
        }
        AttemptState::Unknown
        | AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Lost
        | AttemptState::Cancelled
        | AttemptState::Preempted
        | AttemptState::TimedOut
            if !attempt.gone =>
        {
            attempt.unknown_deadline.map(|due| (due, Timer::UnknownTooLong { attempt: attempt.id, due }))
        }
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Running
        | AttemptState::Stopping
        | AttemptState::Unknown
        | AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Lost
        | AttemptState::Cancelled
        | AttemptState::Preempted
        | AttemptState::TimedOut => None,
    }
}

/// Live, and nobody has asked it to stop.
fn is_unstopped(attempt: &Attempt) -> bool {
    !attempt.state.is_terminal() && attempt.stop.is_none()
}

/// Applies `by` to the counters that a task in `state` belongs to.
pub(crate) fn count(counts: &mut StepCounts, state: &TaskState, by: impl Fn(&mut u32)) {
    if *state == TaskState::Waiting(Wait::Quarantine) {
        by(&mut counts.quarantined);
    }
    by(match state {
        TaskState::Waiting(_) => &mut counts.waiting,
        TaskState::Ready => &mut counts.ready,
        TaskState::Placed => &mut counts.placed,
        TaskState::Running => &mut counts.running,
        TaskState::Succeeded => &mut counts.succeeded,
        TaskState::Failed(_) => &mut counts.failed,
        TaskState::Cancelled => &mut counts.cancelled,
        TaskState::Skipped => &mut counts.skipped,
    });
}
