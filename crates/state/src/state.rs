//! The tables, their one mutator, and how they are read.
//!
//! Tables are persistent maps: a clone of the whole state costs a few reference counts, which is
//! what makes a leader's view, an overlay in `apply` and a rollback of a refused item cheap.

use std::ops::Bound;
use std::sync::Arc;

use quorate_planted::Bug;
use rpds::RedBlackTreeMapSync as Map;

use crate::archive::Archive;
use crate::dedup::DedupKey;
use crate::index::Index;
use crate::{
    Annotation, AnnotationKey, ArchivedRun, Attempt, AttemptId, Claim, Cluster, ClusterId, ClusterName, Digest,
    Feature, FeatureRow, GpuUse, Job, JobName, JoinToken, JoinTokenId, Line, Millis, Move, Namespace, NamespaceRow,
    Node, NodeName, NodeStatus, Rebalance, RequestRow, Reservation, ReservationName, Resources, Revision, Room, Run,
    RunId, Scope, ScopeRow, Segment, Served, Settings, Step, StepCounts, Task, TaskId, VersionRow,
};

/// What the cluster knows. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) meta: Meta,
    pub(crate) settings: Option<Arc<Settings>>,
    pub(crate) namespaces: Map<Namespace, Arc<NamespaceRow>>,
    pub(crate) jobs: Map<(Namespace, JobName), Arc<Job>>,
    pub(crate) runs: Map<RunId, Arc<Run>>,
    pub(crate) annotations: Map<RunId, Map<AnnotationKey, Arc<Annotation>>>,
    pub(crate) steps: Map<(RunId, u32), Arc<Step>>,
    pub(crate) tasks: Map<TaskId, Arc<Task>>,
    pub(crate) attempts: Map<AttemptId, Arc<Attempt>>,
    pub(crate) nodes: Map<NodeName, Arc<Node>>,
    pub(crate) clusters: Map<ClusterName, Arc<Cluster>>,
    pub(crate) scopes: Map<Scope, Arc<ScopeRow>>,
    pub(crate) requests: Map<DedupKey, Arc<RequestRow>>,
    pub(crate) features: Map<Feature, FeatureRow>,
    pub(crate) join_tokens: Map<JoinTokenId, Arc<JoinToken>>,
    pub(crate) archive: Archive,
    pub(crate) claims: Map<TaskId, Arc<Claim>>,
    pub(crate) rebalance: Option<Arc<Rebalance>>,
    pub(crate) moves: Map<TaskId, Arc<Move>>,
    pub(crate) reservations: Map<ReservationName, Arc<Reservation>>,
    pub(crate) index: Index,
}

/// The one row about the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Identity of the data; zero before `Bootstrap`.
    pub cluster: ClusterId,
    /// Life of the data, raised by a restore.
    pub incarnation: u64,
    /// The last entry applied.
    pub revision: Revision,
    /// Wall time in the log.
    pub now: Millis,
    /// Led time in the log.
    pub served: Served,
    /// The term of the last stamp.
    pub term: u64,
    /// How far that term's clock had come.
    pub elapsed_ms: u64,
    /// Event rows below this are forgotten.
    pub events_from: Revision,
    /// Where this life of the data began, when it came from a backup or one survivor; zero in the
    /// first. What is older may have gone on without a trace here: see `restored.rs`.
    pub restored_at: Revision,
    /// No `fenced` task is placed before: copies of the life before may run until then.
    pub fenced_until: Served,
    /// Segments of the archive below this are forgotten.
    pub segments_from: u32,
}

/// A row that was written or removed. Applying the same changes to the same state gives the same
/// state; the encoded changes are what replicas compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The one row about the whole.
    Meta(Meta),
    /// The settings.
    Settings(Arc<Settings>),
    /// A namespace.
    Namespace(Arc<NamespaceRow>),
    /// A job.
    Job(Arc<Job>),
    /// A run. Its spec is a row of its own ([`Change::Spec`]), written once.
    Run(Arc<Run>),
    /// The spec of a run, written just before the run's first row.
    Spec(RunId, Digest, Arc<crate::JobSpec>),
    /// A word left at a run.
    Annotation(Arc<Annotation>),
    /// What is known of a step beyond its tasks.
    Step(Arc<Step>),
    /// A task.
    Task(Arc<Task>),
    /// An attempt.
    Attempt(Arc<Attempt>),
    /// A node.
    Node(Arc<Node>),
    /// A node, forgotten.
    NodeGone(NodeName),
    /// A cluster.
    Cluster(Arc<Cluster>),
    /// A cluster or a region that takes nothing new.
    Scope(Arc<ScopeRow>),
    /// A cluster or a region that takes work again.
    ScopeGone(Scope),
    /// A request id.
    Request(Arc<RequestRow>),
    /// A request id, forgotten.
    RequestGone(DedupKey),
    /// Event rows below this revision, forgotten.
    EventsBelow(Revision),
    /// A feature that is enabled.
    Feature(FeatureRow),
    /// A join token.
    JoinToken(Arc<JoinToken>),
    /// A join token, gone.
    JoinTokenGone(JoinTokenId),
    /// A segment of the archive.
    Segment(Arc<Segment>),
    /// A segment and all that is in it, forgotten.
    SegmentGone(u32),
    /// A run that goes into the archive, with what stands beside it: its row, spec, steps and annotations.
    Archived(Arc<ArchivedRun>),
    /// A run of which tasks are to follow into that segment.
    Leaving(RunId, u32),
    /// A task that follows its run into that segment.
    TaskArchived(u32, Arc<Task>),
    /// An attempt that does.
    AttemptArchived(u32, Arc<Attempt>),
    /// A run all of whose tasks have followed.
    Left(RunId),
    /// A version of a job, kept beyond its runs.
    Version(Arc<VersionRow>),
    /// A version of a job of which nothing is kept any more.
    VersionGone((Namespace, JobName, u32)),
    /// Room that is kept for a task.
    Claim(Arc<Claim>),
    /// No room is kept for a task any more.
    ClaimGone(TaskId),
    /// The rebalance that goes on, or the last one.
    Rebalance(Arc<Rebalance>),
    /// A task that is on the move.
    Move(Arc<Move>),
    /// A task that is not any more.
    MoveGone(TaskId),
    /// A reservation.
    Reservation(Arc<Reservation>),
    /// A reservation, over.
    ReservationGone(ReservationName),
}

/// A task's place in the queue: priority (highest first), submit order, step, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyKey {
    /// 100 - priority, so that the natural order is the queue's.
    pub priority_inverse: u8,
    /// When its run was submitted.
    pub submitted: Revision,
    /// Which of that entry's items it was.
    pub item: u32,
    /// The task.
    pub task: TaskId,
}

impl ReadyKey {
    /// The place of a task of `run`, whether or not it stands there now.
    pub fn of(run: &Run, task: TaskId) -> Self {
        let priority = if quorate_planted::is(Bug::PriorityIgnored) {
            0
        } else if quorate_planted::is(Bug::PriorityKept) {
            run.spec.priority
        } else {
            run.priority()
        };
        Self {
            priority_inverse: 100_u8.saturating_sub(priority),
            submitted: run.submitted_revision,
            item: run.submitted_item,
            task,
        }
    }
}

impl State {
    /// Applies one change: the only way a table or an index changes, in `apply` and when rows are
    /// loaded from disk (in key order, or any order that puts a run before its steps and tasks).
    pub fn commit(&mut self, change: &Change) {
        match change {
            Change::Meta(meta) => self.meta = meta.clone(),
            Change::Settings(settings) => self.settings = Some(settings.clone()),
            Change::Namespace(row) => {
                let old = self.namespaces.get(&row.name).cloned();
                self.index.on_namespace(old.as_deref(), row);
                self.namespaces.insert_mut(row.name.clone(), row.clone());
            }
            Change::Job(job) => self.jobs.insert_mut((job.namespace.clone(), job.name.clone()), job.clone()),
            // Pinned inside the run; a row of its own only on disk.
            Change::Spec(..) => {}
            Change::Run(run) => {
                let old = self.runs.get(&run.id).cloned();
                let parent = run.parent.and_then(|task| self.runs.get(&task.run).cloned());
                self.index.on_run(parent.as_deref(), old.as_deref(), run);
                if let Some(old) = old.filter(|old| old.priority() != run.priority()) {
                    let attempts: Vec<Arc<Attempt>> = self.attempts_of_run(run.id).cloned().collect();
                    self.index.on_priority(&old, run, attempts.iter().map(AsRef::as_ref));
                }
                self.runs.insert_mut(run.id, run.clone());
            }
            Change::Annotation(annotation) => {
                if let Some(of_run) = self.annotations.get_mut(&annotation.run) {
                    of_run.insert_mut(annotation.key.clone(), annotation.clone());
                } else {
                    let first = Map::default().insert(annotation.key.clone(), annotation.clone());
                    self.annotations.insert_mut(annotation.run, first);
                }
            }
            Change::Step(step) => {
                if let Some(run) = self.runs.get(&step.run).cloned() {
                    self.index.on_step(&run, step);
                }
                if step.gang.is_some() {
                    let old = self.steps.get(&(step.run, step.step)).cloned();
                    self.index.on_gang(old.as_deref(), step);
                }
                self.steps.insert_mut((step.run, step.step), step.clone());
            }
            Change::Task(task) => {
                let old = self.tasks.get(&task.id).cloned();
                self.index.on_task_of_run(old.as_deref(), Some(task));
                if let Some(run) = self.runs.get(&task.id.run).cloned() {
                    self.index.on_task(&run, old.as_deref(), task);
                }
                self.tasks.insert_mut(task.id, task.clone());
            }
            Change::Attempt(attempt) => {
                let old = self.attempts.get(&attempt.id).cloned();
                let run = self.runs.get(&attempt.id.task.run).cloned();
                self.index.on_attempt(run.as_deref(), old.as_deref(), attempt);
                self.attempts.insert_mut(attempt.id, attempt.clone());
                self.index.refresh_claims(&attempt.node, &self.attempts);
            }
            Change::Node(node) => self.put_node(node),
            Change::NodeGone(node) => {
                let old = self.nodes.get(node).cloned();
                self.index.on_node(node, old.as_deref(), None);
                self.nodes.remove_mut(node);
            }
            Change::Cluster(cluster) => self.clusters.insert_mut(cluster.name.clone(), cluster.clone()),
            Change::Scope(row) => {
                self.scopes.insert_mut(row.scope.clone(), row.clone());
                self.tell_nodes_of(&row.scope);
            }
            Change::ScopeGone(scope) => {
                self.scopes.remove_mut(scope);
                self.tell_nodes_of(scope);
            }
            Change::Request(row) => {
                let key = row.key();
                let old = self.requests.get(&key).cloned();
                self.index.on_request(old.as_deref(), Some(row));
                self.requests.insert_mut(key, row.clone());
            }
            Change::RequestGone(key) => {
                let old = self.requests.get(key).cloned();
                self.index.on_request(old.as_deref(), None);
                self.requests.remove_mut(key);
            }
            // Event rows live on disk only; `Meta` carries their bounds.
            Change::EventsBelow(_) => {}
            Change::Feature(row) => self.features.insert_mut(row.feature, *row),
            Change::JoinToken(token) => self.join_tokens.insert_mut(token.id(), token.clone()),
            Change::JoinTokenGone(token) => {
                self.join_tokens.remove_mut(token);
            }
            Change::Segment(segment) => self.archive.segments.insert_mut(segment.number, segment.clone()),
            Change::SegmentGone(segment) => {
                self.archive.segments.remove_mut(segment);
            }
            Change::Archived(archived) => {
                let run = &archived.run;
                self.index.on_run_gone(run);
                self.runs.remove_mut(&run.id);
                self.annotations.remove_mut(&run.id);
                for row in &archived.rows {
                    self.steps.remove_mut(&(row.run, row.step));
                }
            }
            Change::Leaving(run, segment) => self.archive.leaving.insert_mut(*run, *segment),
            Change::TaskArchived(_, task) => {
                self.index.on_task_of_run(Some(task), None);
                self.tasks.remove_mut(&task.id);
            }
            Change::AttemptArchived(_, attempt) => {
                self.attempts.remove_mut(&attempt.id);
            }
            Change::Left(run) => {
                self.archive.leaving.remove_mut(run);
            }
            Change::Version(row) => {
                let key = (row.namespace.clone(), row.job.clone(), row.version);
                self.archive.versions.insert_mut(key, row.clone());
            }
            Change::VersionGone(key) => {
                self.archive.versions.remove_mut(key);
            }
            Change::Claim(claim) => self.put_claim(claim.task, Some(claim)),
            Change::ClaimGone(task) => self.put_claim(*task, None),
            Change::Rebalance(row) => self.rebalance = Some(row.clone()),
            Change::Move(row) => self.moves.insert_mut(row.task, row.clone()),
            Change::MoveGone(task) => {
                self.moves.remove_mut(task);
            }
            Change::Reservation(row) => self.put_reservation(&row.name, Some(row)),
            Change::ReservationGone(name) => self.put_reservation(name, None),
        }
    }

    /// The row about the whole.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The last entry applied.
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// The settings; none before `Bootstrap`.
    pub fn settings(&self) -> Option<&Settings> {
        self.settings.as_deref()
    }

    /// A job by name.
    pub fn job(&self, namespace: &Namespace, name: &JobName) -> Option<&Arc<Job>> {
        self.job_ever(namespace, name).filter(|job| !job.deleted)
    }

    /// A job by name, also when it was deleted.
    pub fn job_ever(&self, namespace: &Namespace, name: &JobName) -> Option<&Arc<Job>> {
        self.jobs.get(&(namespace.clone(), name.clone()))
    }

    /// How many runs of a job have not ended.
    pub fn job_unfinished(&self, namespace: &Namespace, name: &JobName) -> u32 {
        self.index.job_unfinished(namespace, name)
    }

    /// All jobs, also those that were deleted, by namespace and name.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// Jobs behind the place of a name (all, when none), by namespace and name.
    pub fn jobs_after(&self, after: Option<(Namespace, JobName)>) -> impl Iterator<Item = &Arc<Job>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.jobs.range((start, Bound::Unbounded)).map(|(_, job)| job)
    }

    /// A run.
    pub fn run(&self, run: RunId) -> Option<&Arc<Run>> {
        self.runs.get(&run)
    }

    /// Runs whose ids lie from `first` to `last`, by id: those that a prefix of an id can mean.
    pub fn runs_between(&self, first: RunId, last: RunId) -> impl Iterator<Item = &Arc<Run>> {
        self.runs.range(first..=last).map(|(_, run)| run)
    }

    /// Runs submitted before `before` (all, when none), the newest first.
    pub fn runs_newest_first(&self, before: Option<Revision>) -> impl Iterator<Item = &Arc<Run>> {
        self.index.runs_newest_first(before).filter_map(|run| self.runs.get(&run))
    }

    /// Runs that are not terminal, by id.
    pub fn unfinished_runs(&self) -> impl Iterator<Item = RunId> {
        self.index.unfinished_runs()
    }

    /// The run that lies at `at` on the way from the first id of a run that is not terminal (0) to the
    /// last (2^64); none when there is no such run. Each is found by some `at`.
    pub fn unfinished_run_at(&self, at: u64) -> Option<RunId> {
        self.index.unfinished_run_at(at)
    }

    /// What was left at a run, by key.
    pub fn annotations_of(&self, run: RunId) -> impl Iterator<Item = &Arc<Annotation>> {
        self.annotations.get(&run).into_iter().flat_map(|of_run| of_run.values())
    }

    /// What was left at a run under a key.
    pub fn annotation(&self, run: RunId, key: &AnnotationKey) -> Option<&Arc<Annotation>> {
        self.annotations.get(&run).and_then(|of_run| of_run.get(key))
    }

    /// How many annotations a run has.
    pub fn annotations_count(&self, run: RunId) -> usize {
        self.annotations.get(&run).map_or(0, Map::size)
    }

    /// A task.
    pub fn task(&self, task: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&task)
    }

    /// The tasks of a run, by step and index.
    pub fn tasks_of(&self, run: RunId) -> impl Iterator<Item = &Arc<Task>> {
        let from = TaskId { run, step: 0, index: 0 };
        let to = TaskId { run, step: u32::MAX, index: u32::MAX };
        self.tasks.range(from..=to).map(|(_, task)| task)
    }

    /// The tasks of one step of a run, by index.
    pub fn tasks_of_step(&self, run: RunId, step: u32) -> impl Iterator<Item = &Arc<Task>> {
        let from = TaskId { run, step, index: 0 };
        let to = TaskId { run, step, index: u32::MAX };
        self.tasks.range(from..=to).map(|(_, task)| task)
    }

    /// An attempt.
    pub fn attempt(&self, attempt: AttemptId) -> Option<&Arc<Attempt>> {
        self.attempts.get(&attempt)
    }

    /// The attempts of a task, oldest first.
    pub fn attempts_of(&self, task: TaskId) -> impl Iterator<Item = &Arc<Attempt>> {
        let from = AttemptId { task, number: 0 };
        let to = AttemptId { task, number: u32::MAX };
        self.attempts.range(from..=to).map(|(_, attempt)| attempt)
    }

    /// The attempts of a run, by task and number.
    pub fn attempts_of_run(&self, run: RunId) -> impl Iterator<Item = &Arc<Attempt>> {
        let from = AttemptId { task: TaskId { run, step: 0, index: 0 }, number: 0 };
        let to = AttemptId { task: TaskId { run, step: u32::MAX, index: u32::MAX }, number: u32::MAX };
        self.attempts.range(from..=to).map(|(_, attempt)| attempt)
    }

    /// The same after one of them (all, when none).
    pub fn attempts_of_run_after(&self, run: RunId, after: Option<AttemptId>) -> impl Iterator<Item = &Arc<Attempt>> {
        let first = AttemptId { task: TaskId { run, step: 0, index: 0 }, number: 0 };
        let last = AttemptId { task: TaskId { run, step: u32::MAX, index: u32::MAX }, number: u32::MAX };
        let start = after.map_or(Bound::Included(first), Bound::Excluded);
        self.attempts.range((start, Bound::Included(last))).map(|(_, attempt)| attempt)
    }

    /// The attempts on a node that are not confirmed gone, by id.
    pub fn attempts_on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a Arc<Attempt>> {
        self.index.attempts_on(node).filter_map(|attempt| self.attempts.get(&attempt))
    }

    /// How many attempts on a node are not confirmed gone.
    pub fn attempts_count_on(&self, node: &NodeName) -> usize {
        self.index.attempts_count_on(node)
    }

    /// A node.
    pub fn node(&self, node: &NodeName) -> Option<&Arc<Node>> {
        self.nodes.get(node)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The instant from which on nothing runs on a lost node that must not run twice: one kill bound after its lease
    /// ended, and not before what another journal of it had is over. None while its lease is live.
    pub fn ended_on(&self, node: &Node) -> Option<Served> {
        let NodeStatus::Lost { at } = node.status else { return None };
        let earlier = self.attempts_on(&node.name).filter(|attempt| attempt.epoch != node.epoch);
        earlier.filter_map(|attempt| attempt.unknown_deadline).chain([at.plus(node.lease.kill_ms)]).max()
    }

    /// Nodes whose work is moved off, by name.
    pub fn draining(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.index.draining().filter_map(|node| self.nodes.get(node))
    }

    /// What is taken on a node, by everything not confirmed gone.
    pub fn used_on(&self, node: &NodeName) -> Resources {
        self.index.used_on(node)
    }

    /// What is taken of each GPU of a node, by everything not confirmed gone.
    pub fn gpus_used_on(&self, node: &NodeName) -> &GpuUse {
        let gpus = self.index.gpus_used_on(node).filter(|_| !quorate_planted::is(Bug::DevicesUnchecked));
        gpus.unwrap_or(GpuUse::none())
    }

    /// What is free on a node: neither taken nor kept for somebody.
    pub fn free_on(&self, node: &Node) -> Resources {
        self.room_on(node).free
    }

    /// The same, with what is free of each of its GPUs.
    pub fn room_on(&self, node: &Node) -> Room<'_> {
        let is_unchecked = quorate_planted::is(Bug::DevicesUnchecked);
        match self.index.claims().taken_on(&node.name).filter(|_| !is_unchecked) {
            None => Room {
                free: node.capacity.saturating_sub(self.used_on(&node.name)),
                gpus: self.gpus_used_on(&node.name),
            },
            Some(taken) => Room { free: node.capacity.saturating_sub(taken.resources), gpus: &taken.gpus },
        }
    }

    /// A cluster.
    pub fn cluster(&self, cluster: &ClusterName) -> Option<&Arc<Cluster>> {
        self.clusters.get(cluster)
    }

    /// All clusters, by name.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    /// A remembered request.
    pub fn request(&self, key: &DedupKey) -> Option<&Arc<RequestRow>> {
        self.requests.get(key)
    }

    /// The queue, first come first.
    pub fn ready(&self) -> impl Iterator<Item = ReadyKey> {
        self.index.ready().places()
    }

    /// The queue, a line for each shape that somebody of a namespace has in it. Those of equal shape are neighbours, by
    /// namespace.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.index.ready().lines()
    }

    /// The ready tasks of a step of `run`, by index, those of one home after those of another. Those of a run that is paused are not in the queue, and are here, as are
    /// those that are runs of other jobs.
    pub fn ready_of_step(&self, run: &Run, step: u32) -> impl Iterator<Item = TaskId> {
        let is_run = run.sub_run(step).is_some();
        let queue = if is_run { self.index.starts() } else { self.index.ready() };
        queue.of_step(run, step)
    }

    /// How many tasks are in the queue.
    pub fn ready_count(&self) -> usize {
        self.index.ready().count()
    }

    /// Where the tasks of a step stand.
    pub fn step_counts(&self, run: RunId, step: u32) -> StepCounts {
        self.index.steps().counts(run, step)
    }

    /// Where the tasks of a run stand.
    pub fn run_counts(&self, run: RunId) -> StepCounts {
        self.index.steps().run_counts(run)
    }

    /// How many runs are not terminal.
    pub fn unfinished_count(&self) -> usize {
        self.index.unfinished_count()
    }

    /// Steps whose waiting tasks can move on; what the workflow controller works off.
    pub fn steps_to_advance(&self) -> impl Iterator<Item = (RunId, u32)> {
        self.index.steps().to_advance()
    }

    /// Runs that are not terminal though all their tasks are.
    pub fn runs_to_finish(&self) -> impl Iterator<Item = RunId> {
        self.index.steps().to_finish()
    }

    /// Timers, the next due first.
    pub fn timers(&self) -> impl Iterator<Item = crate::Timer> {
        self.index.timers()
    }

    /// How many rows there are of each kind that people ask about.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        [
            ("namespaces", self.namespaces.size()),
            ("clusters", self.clusters.size()),
            ("nodes", self.nodes.size()),
            ("jobs", self.jobs.size()),
            ("runs", self.runs.size()),
            ("tasks", self.tasks.size()),
            ("attempts", self.attempts.size()),
            ("requests", self.requests.size()),
            ("claims", self.claims.size()),
            ("moves", self.moves.size()),
            ("reservations", self.reservations.size()),
        ]
        .map(|(kind, rows)| (kind, rows as u64))
        .into()
    }
}
