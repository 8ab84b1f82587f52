//! Indexes derived from the tables: every question that a controller asks often, answered without
//! a scan. They are functions of the tables alone; `check.rs` recomputes them to prove it.

mod asked;
mod claims;
mod crowds;
mod finished;
mod priorities;
mod regions;
mod steps;
mod tenants;
mod touched;

pub use asked::GpuShape;
pub use touched::{TOUCHES_KEPT, Touch, TouchMark};

use asked::Asked;
pub(crate) use claims::{Claims, Taken};
pub(crate) use crowds::Crowds;
use finished::Finished;
pub(crate) use priorities::HeldPriorities;
use regions::Regions;
pub(crate) use steps::Steps;
pub(crate) use tenants::Tenants;
use touched::Touched;

use std::ops::Bound;
use std::sync::Arc;

use quorate_planted::Bug;
use rpds::{RedBlackTreeMapSync as Map, RedBlackTreeSetSync as Set};

use crate::dedup::DedupKey;
use crate::ready::Ready;
use crate::{
    ArchivedStep, Attempt, AttemptId, AttemptState, Claim, GpuUse, JobName, JobVersion, Namespace, NamespaceRow, Node,
    NodeName, RegionName, RequestRow, Resources, Revision, Run, RunId, Served, Step, StepCounts, Task, TaskState,
    Timer, Wait,
};

/// The indexes. Equal tables give equal indexes, whatever the order of the changes that led there; `touched` says which those
/// were, and is no index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    ready: Ready,
    nodes: Map<NodeName, NodeUse>,
    draining: Set<NodeName>,
    steps: Steps,
    unfinished: Set<RunId>,
    submitted: Set<(Revision, u32, RunId)>,
    jobs: Map<(Namespace, JobName), JobRuns>,
    timers: Set<(Served, Timer)>,
    request_expiry: Set<(Served, DedupKey)>,
    /// Ready tasks that are runs of other jobs: no node is looked for.
    starts: Ready,
    finished: Finished,
    asked: Asked,
    touched: Touched,
    tenants: Tenants,
    claims: Claims,
    held_priorities: HeldPriorities,
    regions: Regions,
    crowds: Crowds,
}

/// The runs of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct JobRuns {
    unfinished: u32,
    /// By version, in the order of submits.
    versions: Map<u32, Set<(Revision, u32, RunId)>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NodeUse {
    used: Resources,
    gpus: GpuUse,
    attempts: Set<AttemptId>,
}

/// What is not free of a node: held by everything not confirmed gone, or kept for somebody.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Of everything.
    pub used: Resources,
    /// Of each of its GPUs.
    pub gpus: &'a GpuUse,
    /// How many attempts that is.
    pub attempts: u64,
}

impl Index {
    /// Names of the indexes in which `self` and `other` differ.
    pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
        [
            ("ready", self.ready == other.ready),
            ("nodes", self.nodes == other.nodes),
            ("draining", self.draining == other.draining),
            ("unfinished", self.unfinished == other.unfinished),
            ("submitted", self.submitted == other.submitted),
            ("jobs", self.jobs == other.jobs),
            ("timers", self.timers == other.timers),
            ("request_expiry", self.request_expiry == other.request_expiry),
            ("starts", self.starts == other.starts),
            ("finished", self.finished == other.finished),
            ("asked", self.asked == other.asked),
            ("tenants", self.tenants == other.tenants),
            ("claims", self.claims == other.claims),
            ("held_priorities", self.held_priorities == other.held_priorities),
            ("regions", self.regions == other.regions),
            ("crowds", self.crowds == other.crowds),
        ]
        .into_iter()
        .filter_map(|(name, equal)| (!equal).then_some(name))
        .chain(self.steps.differences(&other.steps))
        .collect()
    }

    /// `parent` is the run of the task that the run is, if it is one, as far as that has been seen.
    pub(crate) fn on_run(&mut self, parent: Option<&Run>, old: Option<&Run>, new: &Run) {
        if old.is_none() {
            self.submitted.insert_mut((new.submitted_revision, new.submitted_item, new.id));
        }
        self.count_job(old, new);
        self.finished.on_run(old, new);
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
        self.steps.on_run(old, new);
        if let Some(old) = old {
            let Self { ready, steps, starts, .. } = self;
            self.held_priorities.on_run(old, new, || steps.run_counts(new.id));
            let is_ready = |step: &u32| steps.counts(new.id, *step).ready > 0;
            ready.move_run(old, new, (0..new.graph.steps()).filter(is_ready));
            if new.spec.has_sub_runs() {
                starts.move_run(old, new, (0..new.graph.steps()).filter(is_ready));
            }
        }
        if let Some(task) = new.parent {
            self.steps.on_sub_run(parent, task, old, new);
        }
    }

    /// One that has ended, and leaves the tables.
    pub(crate) fn on_run_gone(&mut self, run: &Run) {
        let place = (run.submitted_revision, run.submitted_item, run.id);
        self.submitted.remove_mut(&place);
        self.unfinished.remove_mut(&run.id);
        self.steps.on_run_gone(run);
        self.finished.on_run_gone(run);
        let key = (run.spec.namespace.clone(), run.spec.name.clone());
        let Some(mut runs) = self.jobs.get(&key).cloned() else { return };
        let mut of_version = runs.versions.get(&run.job_version).cloned().unwrap_or_default();
        of_version.remove_mut(&place);
        if of_version.is_empty() {
            runs.versions.remove_mut(&run.job_version);
        } else {
            runs.versions.insert_mut(run.job_version, of_version);
        }
        if runs == JobRuns::default() {
            self.jobs.remove_mut(&key);
        } else {
            self.jobs.insert_mut(key, runs);
        }
    }

    /// Counters of a run that was archived, as if all its tasks were here.
    pub(crate) fn show_archived(&mut self, run: RunId, steps: &[ArchivedStep]) {
        self.steps.show_archived(run, steps);
    }

    pub(crate) fn on_step(&mut self, run: &Run, new: &Step) {
        self.steps.on_step(run, new);
    }

    /// A step that is a gang, or was none before.
    pub(crate) fn on_gang(&mut self, old: Option<&Step>, new: &Step) {
        let (was, is) = (old.and_then(gang_timer), gang_timer(new));
        if was != is {
            was.iter().for_each(|timer| {
                self.timers.remove_mut(timer);
            });
            is.into_iter().for_each(|timer| self.timers.insert_mut(timer));
        }
    }

    pub(crate) fn on_task(&mut self, run: &Run, old: Option<&Task>, new: &Task) {
        if let Some(old) = old {
            if old.state == TaskState::Ready {
                self.queue_of(run, old.id.step).remove(run, old);
            }
            if let Some(timer) = task_timer(old) {
                self.timers.remove_mut(&timer);
            }
        }
        if new.state == TaskState::Ready {
            self.queue_of(run, new.id.step).insert(run, new);
        }
        if let Some(timer) = task_timer(new) {
            self.timers.insert_mut(timer);
        }
        self.steps.on_task(run, old, new);
        let (was, is) = (old.is_some_and(|old| !old.state.is_terminal()), !new.state.is_terminal());
        if was != is
            && let Some(shape) = run.spec.tasks.get(new.id.step as usize).and_then(GpuShape::of)
        {
            self.asked.on_task(shape, is);
        }
        self.tenants.on_task(run, old, new);
        self.held_priorities.on_task(run, old, new);
    }

    pub(crate) fn on_namespace(&mut self, old: Option<&NamespaceRow>, new: &NamespaceRow) {
        self.tenants.on_namespace(old, new);
    }

    pub(crate) fn on_claim(&mut self, old: Option<&Claim>, new: Option<&Claim>) {
        for node in old.into_iter().chain(new).map(|claim| &claim.node) {
            self.touched.add(node, Touch::Load);
        }
        self.claims.on_claim(old, new);
    }

    /// What is not free of a node on which room is kept, after something there has changed.
    pub(crate) fn refresh_claims(&mut self, node: &NodeName, attempts: &Map<AttemptId, Arc<Attempt>>) {
        if self.claims.has(node) {
            let Self { claims, nodes, .. } = self;
            let on = nodes.get(node).into_iter().flat_map(|node| node.attempts.iter());
            claims.refresh(node, on.filter_map(|attempt| attempts.get(attempt)).map(AsRef::as_ref));
            self.touched.add(node, Touch::Load);
        }
    }

    /// The same of all nodes.
    pub(crate) fn refresh_all_claims(&mut self, attempts: &Map<AttemptId, Arc<Attempt>>) {
        let nodes: Vec<NodeName> = self.claims.nodes().cloned().collect();
        nodes.iter().for_each(|node| self.refresh_claims(node, attempts));
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    pub(crate) fn held_priorities(&self) -> &HeldPriorities {
        &self.held_priorities
    }

    pub(crate) fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// A task, whether or not its run is in memory: it holds the run that it is.
    pub(crate) fn on_task_of_run(&mut self, old: Option<&Task>, new: Option<&Task>) {
        self.finished.on_task(old, new);
    }

    pub(crate) fn on_attempt(&mut self, run: Option<&Run>, old: Option<&Attempt>, new: &Attempt) {
        self.finished.on_attempt(old, new);
        let held = old.filter(|old| old.holds_resources());
        let holds = new.holds_resources();
        if held.is_some() != holds {
            self.touched.add(&new.node, Touch::Load);
            if let Some(run) = run {
                self.crowds.on_attempt(run, new, holds);
            }
            let mut node = self.nodes.get(&new.node).cloned().unwrap_or_default();
            if holds {
                node.used = node.used.checked_add(new.resources).unwrap_or(node.used);
                node.gpus.take(new.gpus);
                node.attempts.insert_mut(new.id);
            } else if !(quorate_planted::is(Bug::RoomLeaks)
                && run.is_some_and(|run| run.graph.is_after(new.id.task.step)))
            {
                node.used = node.used.saturating_sub(new.resources);
                if !quorate_planted::is(Bug::DevicesKept) {
                    node.gpus.give_back(new.gpus);
                }
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
            self.steps.on_unstopped(run, new.id.task, is);
            if let Some(run) = run {
                self.tenants.on_unstopped(&run.spec.namespace, run.priority(), new.resources, is);
            }
        }
    }

    /// A run has another priority, and so has what its attempts have.
    pub(crate) fn on_priority<'a>(&mut self, old: &Run, new: &Run, attempts: impl Iterator<Item = &'a Attempt>) {
        let unstopped = attempts.filter(|attempt| is_unstopped(attempt)).map(|attempt| attempt.resources);
        let held = unstopped.fold(Resources::ZERO, Resources::saturating_add);
        self.tenants.on_unstopped(&new.spec.namespace, old.priority(), held, false);
        self.tenants.on_unstopped(&new.spec.namespace, new.priority(), held, true);
    }

    pub(crate) fn on_node(&mut self, name: &NodeName, old: Option<&Node>, new: Option<&Node>) {
        self.touched.add(name, Touch::Row);
        self.regions.on_node(old, new);
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

    pub(crate) fn oldest_submitted(&self) -> Option<Revision> {
        self.submitted.first().map(|(revision, ..)| *revision)
    }

    pub(crate) fn finished(&self) -> &Finished {
        &self.finished
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
        versions.filter_map(|(version, runs)| {
            let (_, _, first_run) = *runs.first()?;
            Some(JobVersion { version: *version, first_run, runs: u32::try_from(runs.size()).unwrap_or(u32::MAX) })
        })
    }

    pub(crate) fn job_version(&self, namespace: &Namespace, job: &JobName, version: u32) -> Option<JobVersion> {
        let found = self.job_versions(namespace, job, version.checked_add(1)).next();
        found.filter(|found| found.version == version)
    }

    pub(crate) fn unfinished_count(&self) -> usize {
        self.unfinished.size()
    }

    pub(crate) fn region_lost(&self, region: &RegionName) -> Option<Served> {
        self.regions.lost(region)
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

    pub(crate) fn gpus_used_on(&self, node: &NodeName) -> Option<&GpuUse> {
        self.nodes.get(node).map(|node| &node.gpus)
    }

    pub(crate) fn load_on(&self, node: &NodeName) -> Load<'_> {
        let none = Load { used: Resources::ZERO, gpus: GpuUse::none(), attempts: 0 };
        let held = self.nodes.get(node).map_or(none, |node| Load {
            used: node.used,
            gpus: &node.gpus,
            attempts: node.attempts.size() as u64,
        });
        match self.claims.taken_on(node) {
            None => held,
            Some(taken) => Load { used: taken.resources, gpus: &taken.gpus, ..held },
        }
    }

    pub(crate) fn crowds(&self) -> &Crowds {
        &self.crowds
    }

    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(crate) fn touched(&self) -> &Touched {
        &self.touched
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    pub(crate) fn starts(&self) -> &Ready {
        &self.starts
    }

    /// Where ready tasks of a step stand.
    fn queue_of(&mut self, run: &Run, step: u32) -> &mut Ready {
        if run.sub_run(step).is_some() { &mut self.starts } else { &mut self.ready }
    }

    pub(crate) fn steps(&self) -> &Steps {
        &self.steps
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
            let mut of_version = runs.versions.get(&new.job_version).cloned().unwrap_or_default();
            of_version.insert_mut(place);
            runs.versions.insert_mut(new.job_version, of_version);
        }
        self.jobs.insert_mut(key, runs);
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

fn gang_timer(step: &Step) -> Option<(Served, Timer)> {
    let gang = step.gang?;
    gang.start_due
        .map(|due| (due, Timer::GangStart { run: step.run, step: step.step, generation: gang.generation, due }))
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
