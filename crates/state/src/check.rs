//! What must hold of every state: checked by tests and simulations after every entry.

use std::collections::BTreeMap;
use std::sync::Arc;

mod claims;
mod company;
mod gangs;
mod namespaces;
mod rebalance;
mod reservations;
mod sub_runs;

use crate::index::Index;
use crate::{
    Attempt, AttemptState, Choice, Feature, GPU_MILLI, GpuHold, GpuUse, JoinTerms, Line, Node, NodeAdmission, NodeName,
    Offer, Outcome, Resources, Run, State, StopReason, TaskState, Token, Wait,
};

impl State {
    /// Every property of the state that does not hold, in words; empty when all is well. Its cost is
    /// that of a scan of the whole state.
    pub fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        self.check_index(&mut broken);
        self.check_capacity(&mut broken);
        self.check_tasks(&mut broken);
        self.check_attempts(&mut broken);
        self.check_annotations(&mut broken);
        self.check_runs(&mut broken);
        self.check_sub_runs(&mut broken);
        self.check_gangs(&mut broken);
        self.check_company(&mut broken);
        self.check_features(&mut broken);
        self.check_admission(&mut broken);
        self.check_archive(&mut broken);
        self.check_namespaces(&mut broken);
        self.check_claims(&mut broken);
        self.check_rebalance(&mut broken);
        self.check_reservations(&mut broken);
        broken
    }

    /// P4: the incremental indexes are those recomputed from scratch.
    fn check_index(&self, broken: &mut Vec<String>) {
        let mut fresh = Index::default();
        for run in self.runs.values() {
            let parent = run.parent.and_then(|task| self.runs.get(&task.run));
            fresh.on_run(parent.map(|parent| &**parent), None, run);
        }
        for task in self.tasks.values() {
            fresh.on_task_of_run(None, Some(task));
            match self.runs.get(&task.id.run) {
                Some(run) => fresh.on_task(run, None, task),
                // Its run is in the archive, and it follows.
                None if self.archive.leaving.contains_key(&task.id.run) => {}
                None => broken.push(format!("task {:?} has no run", task.id)),
            }
        }
        for row in self.namespaces.values() {
            fresh.on_namespace(None, row);
        }
        for step in self.steps.values() {
            match self.runs.get(&step.run) {
                Some(run) => {
                    fresh.on_step(run, step);
                    fresh.on_gang(None, step);
                }
                None => broken.push(format!("step {} of run {} has no run", step.step, step.run)),
            }
        }
        for attempt in self.attempts.values() {
            fresh.on_attempt(self.runs.get(&attempt.id.task.run).map(|run| &**run), None, attempt);
        }
        for node in self.nodes.values() {
            fresh.on_node(&node.name, None, Some(node));
            if node.around != self.around(node) {
                broken.push(format!("node {} does not say what is said of its cluster and its region", node.name));
            }
        }
        for claim in self.claims.values() {
            fresh.on_claim(None, Some(claim));
        }
        fresh.refresh_all_claims(&self.attempts);
        for row in self.requests.values() {
            fresh.on_request(None, Some(row));
        }
        for difference in fresh.differences(&self.index) {
            broken.push(format!("the index {difference} is not what the tables say"));
        }
        let queue: Vec<_> = self.ready().collect();
        let lines = self.lines().map(Line::len).sum::<usize>();
        if !queue.is_sorted() || queue.len() != self.ready_count() || lines != self.ready_count() {
            broken.push(format!(
                "the queue of {} tasks has {} places, {lines} in lines",
                self.ready_count(),
                queue.len()
            ));
        }
    }

    /// P3: no node is over-committed. A node that came back smaller is the one exception, and it
    /// takes nothing new. What an earlier lease left there is held up to some instant.
    fn check_capacity(&self, broken: &mut Vec<String>) {
        let mut sums: BTreeMap<&NodeName, Resources> = BTreeMap::new();
        let mut gpus: BTreeMap<&NodeName, GpuUse> = BTreeMap::new();
        for attempt in self.attempts.values().filter(|attempt| !attempt.gone) {
            if attempt.gpus.total_milli() != attempt.resources.gpu_milli {
                let (held, taken) = (attempt.gpus, attempt.resources.gpu_milli);
                broken.push(format!("{:?} takes {taken}m gpu and holds {held:?}", attempt.id));
            }
            gpus.entry(&attempt.node).or_default().take(attempt.gpus);
            let used = sums.entry(&attempt.node).or_default();
            match used.checked_add(attempt.resources) {
                Some(sum) => *used = sum,
                None => broken.push(format!("the sum of what node {} holds overflows", attempt.node)),
            }
        }
        for node in sums.keys().filter(|node| !self.nodes.contains_key(**node)) {
            broken.push(format!("something is held on node {node}, which does not exist"));
        }
        for node in self.nodes.values() {
            let used = sums.get(&node.name).copied().unwrap_or_default();
            if used != self.used_on(&node.name) {
                broken.push(format!("node {} uses {used:?}, its index says {:?}", node.name, self.used_on(&node.name)));
            }
            let gpus = gpus.get(&node.name).unwrap_or(GpuUse::none());
            if gpus != self.index.gpus_used_on(&node.name).unwrap_or(GpuUse::none()) {
                broken.push(format!("the GPUs of node {} are taken as {gpus:?}, its index says otherwise", node.name));
            }
            if node.capacity.gpu_milli != node.gpus.len() as u64 * GPU_MILLI {
                broken.push(format!("node {} has {} GPUs and {:?}", node.name, node.gpus.len(), node.capacity));
            }
            let placed_at_this_size = self
                .attempts_on(&node.name)
                // Nothing is placed under a lease in the entry that grants it: no plan can name its epoch.
                .any(|attempt| attempt.epoch == node.epoch && attempt.token > Token(node.epoch.0));
            for attempt in self.attempts_on(&node.name).filter(|attempt| attempt.epoch != node.epoch) {
                if !attempt.state.is_terminal() || attempt.unknown_deadline.is_none() {
                    broken.push(format!("{:?} is held for ever by a lease that is over", attempt.id));
                }
            }
            if placed_at_this_size && (!used.fits(node.capacity) || gpus.is_overcommitted()) {
                broken.push(format!("node {} is over-committed: {used:?} of {:?}, {gpus:?}", node.name, node.capacity));
            }
        }
    }

    /// P2a and the relation between a task and its newest attempt.
    fn check_tasks(&self, broken: &mut Vec<String>) {
        for task in self.tasks.values() {
            let attempts: Vec<_> = self.attempts_of(task.id).collect();
            if attempts.len() != task.attempts as usize {
                broken.push(format!("task {:?} counts {} attempts, {} exist", task.id, task.attempts, attempts.len()));
            }
            let live = attempts
                .iter()
                .filter(|attempt| !attempt.state.is_terminal() && attempt.state != AttemptState::Unknown);
            if live.count() > 1 {
                broken.push(format!("task {:?} has two live attempts", task.id));
            }
            let newest = attempts.last().map(|attempt| attempt.state);
            let expects_live = match task.state {
                TaskState::Placed | TaskState::Running => true,
                TaskState::Waiting(_)
                | TaskState::Ready
                | TaskState::Succeeded
                | TaskState::Failed(_)
                | TaskState::Cancelled
                | TaskState::Skipped => false,
            };
            let is_member = self.gang(task.id.run, task.id.step).is_some();
            let is_run = self.runs.get(&task.id.run).is_some_and(|run| run.sub_run(task.id.step).is_some());
            if is_run {
                // `check_sub_runs` looks at it.
                continue;
            }
            // `check_gangs` looks at members.
            if expects_live && !is_member && newest.is_none_or(AttemptState::is_terminal) {
                broken.push(format!("task {:?} is {:?} without a live attempt", task.id, task.state));
            }
            let goes_on = matches!(task.state, TaskState::Ready | TaskState::Waiting(Wait::Quarantine));
            let is_quarantined = task.state == TaskState::Waiting(Wait::Quarantine);
            let cancelling = self.runs.get(&task.id.run).is_some_and(|run| run.is_ending(task.id.step));
            if goes_on && !cancelling && is_quarantined != self.is_suspected(task.id) {
                let nodes = self.suspect_nodes(task.id);
                broken.push(format!("task {:?} is {:?}, and {nodes:?} speak against it", task.id, task.state));
            }
            let choice = attempts.last().map_or(Choice::FIRST, |attempt| attempt.choice);
            if task.choice != choice {
                broken.push(format!("task {:?} takes {:?}, its newest attempt {choice:?}", task.id, task.choice));
            }
            let spec = self.runs.get(&task.id.run).and_then(|run| run.spec.tasks.get(task.id.step as usize));
            if spec.is_some_and(|spec| spec.chosen(choice).is_none()) {
                broken.push(format!("task {:?} takes {choice:?}, which it does not have", task.id));
            }
            let has_home = spec.is_some_and(|spec| spec.on_region_loss.is_some()) && task.attempts > 0;
            if has_home != task.home.is_some() {
                broken.push(format!("task {:?} has {} attempts and the home {:?}", task.id, task.attempts, task.home));
            }
            if task.queue_deadline.is_some() && task.state != TaskState::Ready {
                broken.push(format!("task {:?} is {:?} and has a deadline in the queue", task.id, task.state));
            }
            if task.state == TaskState::Succeeded && newest != Some(AttemptState::Succeeded) {
                broken.push(format!("task {:?} succeeded, its newest attempt is {newest:?}", task.id));
            }
        }
    }

    /// P1: tokens rise from attempt to attempt.
    fn check_attempts(&self, broken: &mut Vec<String>) {
        let mut newest: BTreeMap<_, Token> = BTreeMap::new();
        for attempt in self.attempts.values() {
            if newest.get(&attempt.id.task).is_some_and(|before| attempt.token <= *before) {
                broken.push(format!("attempt {:?} has a token that does not rise", attempt.id));
            }
            newest.insert(attempt.id.task, attempt.token);
            let has_result = matches!(attempt.outcome.as_deref(), Some(Outcome::Result(_)));
            let has_error = matches!(attempt.outcome.as_deref(), Some(Outcome::Error(_)));
            let succeeded = attempt.state == AttemptState::Succeeded;
            if has_result && !succeeded || has_error && (succeeded || !attempt.state.is_terminal()) {
                broken.push(format!("attempt {:?} is {:?} with {:?}", attempt.id, attempt.state, attempt.outcome));
            }
            if let Some(payloads) = attempt.payloads.as_deref().filter(|payloads| !succeeded || payloads.is_empty()) {
                broken.push(format!("attempt {:?} is {:?} with {payloads:?}", attempt.id, attempt.state));
            }
            if attempt.state.is_terminal() != attempt.ended_at.is_some() {
                broken.push(format!(
                    "attempt {:?} is {:?} and ended at {:?}",
                    attempt.id, attempt.state, attempt.ended_at
                ));
            }
        }
    }

    /// Nothing is left at a run that does not exist, and no run has more of it than it may.
    fn check_annotations(&self, broken: &mut Vec<String>) {
        let max = self.settings.as_ref().map_or(0, |settings| settings.annotations_per_run_max as usize);
        for (run, of_run) in &self.annotations {
            if !self.runs.contains_key(run) {
                broken.push(format!("run {run} has annotations, and does not exist"));
            }
            if of_run.size() > max {
                broken.push(format!("run {run} has {} annotations, {max} are allowed", of_run.size()));
            }
        }
    }

    /// No token admits more nodes than it may, and nodes are what theirs demands.
    fn check_admission(&self, broken: &mut Vec<String>) {
        for token in self.join_tokens.values().filter(|token| token.uses > token.uses_max) {
            broken.push(format!("join token {} admitted {} of {} nodes", token.id(), token.uses, token.uses_max));
        }
        for node in self.nodes.values() {
            let Some(admission) = &node.admission else { continue };
            let JoinTerms { region, cluster, labels } = &*admission.terms;
            let is_in_place = region.as_ref().is_none_or(|region| *region == node.region)
                && cluster.as_ref().is_none_or(|cluster| *cluster == node.cluster);
            if !is_in_place || labels.iter().any(|(key, value)| node.labels.get(key) != Some(value)) {
                broken.push(format!("node {} is not what its join token demands", node.name));
            }
        }
    }

    /// What is archived lies in a segment that there is, and what follows it into one is at its end.
    fn check_archive(&self, broken: &mut Vec<String>) {
        let archive = &self.archive;
        for (run, segment) in &archive.leaving {
            if self.runs.contains_key(run) || !archive.segments.contains_key(segment) {
                broken.push(format!("run {run} leaves for segment {segment}, and is there, or that is not"));
            }
            if self.attempts_of_run(*run).any(|attempt| !attempt.gone) {
                broken.push(format!("run {run} is archived, and something of it holds room on a node"));
            }
            if self.tasks_of(*run).any(|task| !task.state.is_terminal()) {
                broken.push(format!("run {run} is archived with a task that has not ended"));
            }
        }
        if let Some(number) = archive.segments.keys().find(|number| **number < self.meta.segments_from) {
            broken.push(format!("segment {number} is there, and those below {} are not", self.meta.segments_from));
        }
        let is_used = archive.segments.size() > 0 || archive.versions.size() > 0 || self.retention().is_some();
        if is_used && !self.has_feature(Feature::RunArchive) {
            broken.push(format!("runs are archived, and feature {} is not enabled", Feature::RunArchive));
        }
    }

    /// Nothing is there that a feature would have to allow first.
    fn check_features(&self, broken: &mut Vec<String>) {
        for row in self.features.values().filter(|row| row.revision > self.meta.revision) {
            broken.push(format!("feature {} is enabled at {}, which has not come", row.feature, row.revision));
        }
        let cordoned = self.nodes.values().find(|node| node.cordoned);
        if let Some(node) = cordoned.filter(|_| !self.has_feature(Feature::NodeCordon)) {
            broken.push(format!("node {} is cordoned, and feature {} is not enabled", node.name, Feature::NodeCordon));
        }
        let mut was_withdrawn = false;
        for node in self.nodes.values().filter(|node| node.withdrawal.is_some()) {
            was_withdrawn = true;
            if !node.cordoned {
                broken.push(format!("node {} is withdrawn, and takes work", node.name));
            }
        }
        let stays = self.runs.values().find(|run| run.spec.knows_regions());
        if let Some(run) = stays.filter(|_| !self.has_feature(Feature::RegionLoss)) {
            let feature = Feature::RegionLoss;
            broken.push(format!("run {} says what it does without its region, and {feature} is not enabled", run.id));
        }
        for row in self.scopes.values() {
            if !self.has_scope(&row.scope) {
                broken.push(format!("{} is withdrawn, and does not exist", row.scope));
            }
            if !self.has_feature(Feature::RegionPolicy) {
                let feature = Feature::RegionPolicy;
                broken.push(format!("{} is withdrawn, and feature {feature} is not enabled", row.scope));
            }
        }
        let demands = |run: &Run| run.spec.tasks.iter().any(|task| !task.place.labels.is_empty());
        if let Some(run) = self.runs.values().find(|run| demands(run) && !self.has_feature(Feature::PlaceLabels)) {
            broken.push(format!("run {} demands labels, and feature {} is not enabled", run.id, Feature::PlaceLabels));
        }
        let is_set = self.settings.as_ref().is_some_and(|settings| settings.node_admission != NodeAdmission::default());
        let is_admitted = self.nodes.values().any(|node| node.admission.is_some());
        if (is_set || is_admitted || self.join_tokens.size() > 0) && !self.has_feature(Feature::JoinTokens) {
            broken.push(format!("there are join tokens, and feature {} is not enabled", Feature::JoinTokens));
        }
        let is_maintained = |node: &Node| node.own_drain().is_some_and(|drain| drain.ends.is_some());
        if self.nodes.values().any(|node| is_maintained(node)) && !self.has_feature(Feature::NodeMaintenance) {
            broken.push(format!("a drain has an end, and feature {} is not enabled", Feature::NodeMaintenance));
        }
        if let Some(run) =
            self.runs.values().find(|run| run.spec.knows_outcomes() && !self.has_feature(Feature::TaskOutcomes))
        {
            let feature = Feature::TaskOutcomes;
            broken.push(format!("run {} knows outcomes, and feature {feature} is not enabled", run.id));
        }
        let has_outcome = self.attempts.values().any(|attempt| attempt.outcome.is_some());
        let has_limit = self
            .settings
            .as_ref()
            .is_some_and(|settings| settings.result_bytes_max > 0 || settings.suspect_nodes_max > 0);
        let is_suspect = self.attempts.values().any(|attempt| attempt.suspect);
        let was_silent = self.attempts.values().any(|attempt| attempt.stop == Some(StopReason::Silent));
        let has_outcome = has_outcome || is_suspect || was_silent;
        if (has_outcome || has_limit) && !self.has_feature(Feature::TaskOutcomes) {
            broken.push(format!("outcomes are kept, and feature {} is not enabled", Feature::TaskOutcomes));
        }
        let has_gpus = self.nodes.values().any(|node| !node.gpus.is_empty())
            || self.runs.values().any(|run| run.spec.has_gpus())
            || self.attempts.values().any(|attempt| attempt.gpus != GpuHold::NONE);
        if has_gpus && !self.has_feature(Feature::Gpus) {
            broken.push(format!("there are GPUs, and feature {} is not enabled", Feature::Gpus));
        }
        let has_alternatives = self.runs.values().any(|run| run.spec.has_alternatives())
            || self.attempts.values().any(|attempt| attempt.choice != Choice::FIRST);
        if has_alternatives && !self.has_feature(Feature::ResourceAlternatives) {
            let feature = Feature::ResourceAlternatives;
            broken.push(format!("tasks have alternatives, and feature {feature} is not enabled"));
        }
        let is_plain = |node: &Arc<Node>| *node.offer == Offer::default();
        let has_constraints =
            !self.nodes.values().all(is_plain) || self.runs.values().any(|run| run.spec.has_constraints());
        if has_constraints && !self.has_feature(Feature::PlaceConstraints) {
            let feature = Feature::PlaceConstraints;
            broken.push(format!("nodes or tasks have constraints, and feature {feature} is not enabled"));
        }
        let reads = self.runs.values().find(|run| run.spec.has_data());
        if let Some(run) = reads.filter(|_| !self.has_feature(Feature::DataLocality)) {
            let feature = Feature::DataLocality;
            broken.push(format!("run {} says where its data lies, and feature {feature} is not enabled", run.id));
        }
        let choosy = self.runs.values().find(|run| run.spec.says_where());
        if let Some(run) = choosy.filter(|_| !self.has_feature(Feature::PlaceWhere)) {
            let feature = Feature::PlaceWhere;
            broken.push(format!("run {} says what must hold of its nodes, and {feature} is not enabled", run.id));
        }
        for node in self.nodes.values() {
            broken.extend(node.offer.violations().iter().map(|flaw| format!("node {}: {}", node.name, flaw.message)));
        }
        let has_payloads = self.attempts.values().any(|attempt| attempt.payloads.is_some());
        if has_payloads && !self.has_feature(Feature::PayloadRefs) {
            broken.push(format!("payloads are kept, and feature {} is not enabled", Feature::PayloadRefs));
        }
        // A run within another has the priority of that.
        let is_controlled =
            |run: &&Arc<Run>| run.paused.is_some() || (run.priority_set.is_some() && run.parent.is_none());
        if let Some(run) = self.runs.values().find(is_controlled).filter(|_| !self.has_feature(Feature::RunControl)) {
            let feature = Feature::RunControl;
            broken.push(format!("run {} is paused or has a priority, and feature {feature} is not enabled", run.id));
        }
        let deleted = self.jobs.values().find(|job| job.deleted);
        if let Some(job) = deleted.filter(|_| !self.has_feature(Feature::RunControl)) {
            broken.push(format!("job {} is deleted, and feature {} is not enabled", job.name, Feature::RunControl));
        }
        let flows = self.runs.values().find(|run| run.spec.is_flow() || run.abandoned || !run.args.is_empty());
        if let Some(run) = flows.filter(|_| !self.has_feature(Feature::TaskFlow)) {
            broken.push(format!("run {} has a flow, and feature {} is not enabled", run.id, Feature::TaskFlow));
        }
        if let Some(step) = self.steps.values().next().filter(|_| !self.has_feature(Feature::TaskFlow)) {
            let feature = Feature::TaskFlow;
            broken.push(format!("step {} of {} has a row, and feature {feature} is not enabled", step.step, step.run));
        }
        self.check_sub_run_feature(broken);
        let was_drained = self.attempts.values().any(|attempt| attempt.stop == Some(StopReason::Drained));
        if (was_drained || was_withdrawn) && !self.has_feature(Feature::NodeDrain) {
            broken.push(format!("something was drained, and feature {} is not enabled", Feature::NodeDrain));
        }
    }

    /// A terminal run has terminal tasks; every run has the tasks of its spec; P7: what ran had its needs.
    fn check_runs(&self, broken: &mut Vec<String>) {
        for run in self.runs.values() {
            let counts = self.run_counts(run.id);
            let elements = |step: u32| match run.graph.undoes(step) {
                Some(_) => self.rows(run.id, step),
                None => self.elements(run.id, step),
            };
            let expected: u32 = (0..run.graph.steps()).map(elements).sum();
            if counts.total() != expected {
                broken.push(format!("run {} has {} tasks, its spec {expected}", run.id, counts.total()));
            }
            if run.state.is_terminal() && run.paused.is_some() {
                broken.push(format!("run {} is {:?} and paused", run.id, run.state));
            }
            if run.state.is_terminal() && counts.unfinished() > 0 {
                broken.push(format!("run {} is {:?} with unfinished tasks", run.id, run.state));
            }
            for step in 0..run.graph.steps() {
                // What an earlier life placed had its needs there.
                let is_of_this_life = |attempt: &Attempt| attempt.token.0 >= self.meta.restored_at.0;
                let mut tasks = self.tasks_of_step(run.id, step);
                let ran = tasks.any(|task| {
                    task.sub_run.is_some() || self.attempts_of(task.id).any(|attempt| is_of_this_life(attempt))
                });
                let unmet = run.graph.needs(step).iter().find(|need| {
                    let accepted = run.spec.tasks.get(**need as usize).map_or(0, |task| task.accept_failed);
                    let counts = self.step_counts(run.id, **need);
                    let is_done = counts.succeeded + counts.failed.min(accepted) == self.elements(run.id, **need);
                    let stands_in = !run.graph.fallbacks(**need).is_empty() && self.is_done(run, **need);
                    let is_excused = self.is_passed_over(run.id, **need) || stands_in;
                    !is_done && !is_excused
                });
                if let (true, Some(need)) = (ran, unmet) {
                    broken.push(format!("step {step} of run {} ran before step {need} succeeded", run.id));
                }
            }
        }
    }
}
