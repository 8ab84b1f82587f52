//! The newest row under every key, as a disk would hold them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Annotation, AnnotationKey, Attempt, AttemptId, Change, Claim, Cluster, ClusterName, DedupKey, Feature, FeatureRow,
    Job, JobName, JoinToken, JoinTokenId, Meta, Move, Namespace, NamespaceRow, Node, NodeName, Rebalance, RequestRow,
    Reservation, ReservationName, Run, RunId, Scope, ScopeRow, Segment, Settings, State, Step, Task, TaskId,
    VersionRow,
};

/// All rows, by kind and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) meta: Meta,
    pub(crate) settings: Option<Arc<Settings>>,
    pub(crate) namespaces: BTreeMap<Namespace, Arc<NamespaceRow>>,
    pub(crate) clusters: BTreeMap<ClusterName, Arc<Cluster>>,
    pub(crate) scopes: BTreeMap<Scope, Arc<ScopeRow>>,
    pub(crate) nodes: BTreeMap<NodeName, Arc<Node>>,
    pub(crate) jobs: BTreeMap<(Namespace, JobName), Arc<Job>>,
    pub(crate) runs: BTreeMap<RunId, Arc<Run>>,
    pub(crate) annotations: BTreeMap<(RunId, AnnotationKey), Arc<Annotation>>,
    pub(crate) steps: BTreeMap<(RunId, u32), Arc<Step>>,
    pub(crate) tasks: BTreeMap<TaskId, Arc<Task>>,
    pub(crate) attempts: BTreeMap<AttemptId, Arc<Attempt>>,
    pub(crate) requests: BTreeMap<DedupKey, Arc<RequestRow>>,
    pub(crate) features: BTreeMap<Feature, FeatureRow>,
    pub(crate) join_tokens: BTreeMap<JoinTokenId, Arc<JoinToken>>,
    pub(crate) segments: BTreeMap<u32, Arc<Segment>>,
    pub(crate) leaving: BTreeMap<RunId, u32>,
    pub(crate) claims: BTreeMap<TaskId, Arc<Claim>>,
    pub(crate) rebalance: Option<Arc<Rebalance>>,
    pub(crate) moves: BTreeMap<TaskId, Arc<Move>>,
    pub(crate) reservations: BTreeMap<ReservationName, Arc<Reservation>>,
    pub(crate) versions: BTreeMap<(Namespace, JobName, u32), Arc<VersionRow>>,
}

impl Rows {
    /// Writes a row over the one under its key.
    pub(crate) fn write(&mut self, change: &Change) {
        match change {
            Change::Meta(meta) => self.meta = meta.clone(),
            Change::Settings(settings) => self.settings = Some(settings.clone()),
            Change::Namespace(row) => drop(self.namespaces.insert(row.name.clone(), row.clone())),
            Change::Cluster(cluster) => drop(self.clusters.insert(cluster.name.clone(), cluster.clone())),
            Change::Scope(row) => drop(self.scopes.insert(row.scope.clone(), row.clone())),
            Change::ScopeGone(scope) => drop(self.scopes.remove(scope)),
            Change::Node(node) => drop(self.nodes.insert(node.name.clone(), node.clone())),
            Change::NodeGone(name) => drop(self.nodes.remove(name)),
            Change::Job(job) => drop(self.jobs.insert((job.namespace.clone(), job.name.clone()), job.clone())),
            Change::Annotation(annotation) => {
                self.annotations.insert((annotation.run, annotation.key.clone()), annotation.clone());
            }
            Change::Run(run) => drop(self.runs.insert(run.id, run.clone())),
            Change::Step(step) => drop(self.steps.insert((step.run, step.step), step.clone())),
            Change::Task(task) => drop(self.tasks.insert(task.id, task.clone())),
            Change::Attempt(attempt) => drop(self.attempts.insert(attempt.id, attempt.clone())),
            Change::Request(row) => drop(self.requests.insert(row.key(), row.clone())),
            Change::Feature(row) => drop(self.features.insert(row.feature, *row)),
            Change::JoinToken(token) => drop(self.join_tokens.insert(token.id(), token.clone())),
            Change::JoinTokenGone(token) => drop(self.join_tokens.remove(token)),
            Change::RequestGone(key) => drop(self.requests.remove(key)),
            Change::Segment(segment) => drop(self.segments.insert(segment.number, segment.clone())),
            Change::SegmentGone(segment) => drop(self.segments.remove(segment)),
            Change::Archived(archived) => {
                let run = archived.run.id;
                self.runs.remove(&run);
                self.annotations.retain(|(of, _), _| *of != run);
                self.steps.retain(|(of, _), _| *of != run);
            }
            Change::Leaving(run, segment) => drop(self.leaving.insert(*run, *segment)),
            Change::TaskArchived(_, task) => drop(self.tasks.remove(&task.id)),
            Change::AttemptArchived(_, attempt) => drop(self.attempts.remove(&attempt.id)),
            Change::Left(run) => drop(self.leaving.remove(run)),
            Change::Version(row) => {
                self.versions.insert((row.namespace.clone(), row.job.clone(), row.version), row.clone());
            }
            Change::VersionGone(key) => drop(self.versions.remove(key)),
            Change::Claim(claim) => drop(self.claims.insert(claim.task, claim.clone())),
            Change::ClaimGone(task) => drop(self.claims.remove(task)),
            Change::Rebalance(row) => self.rebalance = Some(row.clone()),
            Change::Move(row) => drop(self.moves.insert(row.task, row.clone())),
            Change::MoveGone(task) => drop(self.moves.remove(task)),
            Change::Reservation(row) => drop(self.reservations.insert(row.name.clone(), row.clone())),
            Change::ReservationGone(name) => drop(self.reservations.remove(name)),
            // A run holds its spec; events are not rows of the state.
            Change::Spec(..) | Change::EventsBelow(_) => {}
        }
    }

    /// The state that a replica has after it read these rows, in the order of their keys.
    pub(crate) fn load(&self) -> State {
        let mut state = State::default();
        state.commit(&Change::Meta(self.meta.clone()));
        let settings = self.settings.iter().cloned().map(Change::Settings);
        let namespaces = self.namespaces.values().map(|row| Change::Namespace(row.clone()));
        let clusters = self.clusters.values().cloned().map(Change::Cluster);
        let nodes = self.nodes.values().cloned().map(Change::Node);
        let scopes = self.scopes.values().cloned().map(Change::Scope);
        let jobs = self.jobs.values().cloned().map(Change::Job);
        let runs = self.runs.values().cloned().map(Change::Run);
        let tasks = self.tasks.values().cloned().map(Change::Task);
        let steps = self.steps.values().cloned().map(Change::Step);
        let attempts = self.attempts.values().cloned().map(Change::Attempt);
        let annotations = self.annotations.values().cloned().map(Change::Annotation);
        let features = self.features.values().copied().map(Change::Feature);
        let join_tokens = self.join_tokens.values().cloned().map(Change::JoinToken);
        let requests = self.requests.values().cloned().map(Change::Request);
        let segments = self.segments.values().cloned().map(Change::Segment);
        let leaving = self.leaving.iter().map(|(run, segment)| Change::Leaving(*run, *segment));
        let versions = self.versions.values().cloned().map(Change::Version);
        let claims = self.claims.values().cloned().map(Change::Claim);
        let rebalance = self.rebalance.iter().cloned().map(Change::Rebalance);
        let moves = self.moves.values().cloned().map(Change::Move);
        let reservations = self.reservations.values().cloned().map(Change::Reservation);
        let objects = settings.chain(namespaces).chain(clusters).chain(nodes).chain(jobs).chain(join_tokens);
        for change in objects
            .chain(runs)
            .chain(steps)
            .chain(tasks)
            .chain(attempts)
            .chain(requests)
            .chain(annotations)
            .chain(features)
            .chain(segments)
            .chain(leaving)
            .chain(versions)
            .chain(scopes)
            .chain(claims)
            .chain(rebalance)
            .chain(moves)
            .chain(reservations)
        {
            state.commit(&change);
        }
        state
    }
}
