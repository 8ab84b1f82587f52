//! The newest row under every key, as a disk would hold them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::{
    Annotation, AnnotationKey, Attempt, AttemptId, Change, Cluster, ClusterName, DedupKey, Feature, FeatureRow, Job,
    JobName, JoinToken, JoinTokenId, Meta, Millis, Namespace, Node, NodeName, RequestRow, Run, RunId, Settings, State,
    Step, Task, TaskId,
};

/// All rows, by kind and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) meta: Meta,
    pub(crate) settings: Option<Arc<Settings>>,
    pub(crate) namespaces: BTreeMap<Namespace, Millis>,
    pub(crate) clusters: BTreeMap<ClusterName, Arc<Cluster>>,
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
}

impl Rows {
    /// Writes a row over the one under its key.
    pub(crate) fn write(&mut self, change: &Change) {
        match change {
            Change::Meta(meta) => self.meta = meta.clone(),
            Change::Settings(settings) => self.settings = Some(settings.clone()),
            Change::Namespace(name, at) => drop(self.namespaces.insert(name.clone(), *at)),
            Change::Cluster(cluster) => drop(self.clusters.insert(cluster.name.clone(), cluster.clone())),
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
            // A run holds its spec; events are not rows of the state.
            Change::Spec(..) | Change::EventsBelow(_) => {}
        }
    }

    /// The state that a replica has after it read these rows, in the order of their keys.
    pub(crate) fn load(&self) -> State {
        let mut state = State::default();
        state.commit(&Change::Meta(self.meta.clone()));
        let settings = self.settings.iter().cloned().map(Change::Settings);
        let namespaces = self.namespaces.iter().map(|(name, at)| Change::Namespace(name.clone(), *at));
        let clusters = self.clusters.values().cloned().map(Change::Cluster);
        let nodes = self.nodes.values().cloned().map(Change::Node);
        let jobs = self.jobs.values().cloned().map(Change::Job);
        let runs = self.runs.values().cloned().map(Change::Run);
        let tasks = self.tasks.values().cloned().map(Change::Task);
        let steps = self.steps.values().cloned().map(Change::Step);
        let attempts = self.attempts.values().cloned().map(Change::Attempt);
        let annotations = self.annotations.values().cloned().map(Change::Annotation);
        let features = self.features.values().copied().map(Change::Feature);
        let join_tokens = self.join_tokens.values().cloned().map(Change::JoinToken);
        let requests = self.requests.values().cloned().map(Change::Request);
        let objects = settings.chain(namespaces).chain(clusters).chain(nodes).chain(jobs).chain(join_tokens);
        for change in objects
            .chain(runs)
            .chain(steps)
            .chain(tasks)
            .chain(attempts)
            .chain(requests)
            .chain(annotations)
            .chain(features)
        {
            state.commit(&change);
        }
        state
    }
}
