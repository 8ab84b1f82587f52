//! Own books of what namespaces hold beside their parts, change by change: by rows alone, and with another arithmetic than the
//! product's.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{
    Amounts, AttemptId, Change, Namespace, NodeName, NodeStatus, Resource, Resources, Run, RunId, TaskId, TaskState,
};

/// Parts that differ by less are equal: a thousandth of a millionth of the cluster.
const EPSILON: f64 = 1e-9;

#[derive(Default)]
pub(super) struct Books {
    namespaces: BTreeMap<Namespace, Terms>,
    /// What nodes have that are up.
    nodes: BTreeMap<NodeName, Resources>,
    runs: BTreeMap<RunId, std::sync::Arc<Run>>,
    /// Tasks that wait for a node.
    ready: BTreeSet<TaskId>,
    /// Tasks that are placed or run, with what they hold.
    placed: BTreeSet<TaskId>,
    /// Attempts that nobody has asked to stop.
    running: BTreeMap<AttemptId, Resources>,
    /// Tasks for which room is kept.
    kept: BTreeMap<TaskId, Resources>,
    /// Tasks for which it was until this step.
    came: BTreeSet<TaskId>,
}

#[derive(Clone, Debug, PartialEq)]
struct Terms {
    parent: Option<Namespace>,
    weight: u32,
    guaranteed: Amounts,
    has_maximum: bool,
}

/// Somebody's task or attempt, and what it takes.
#[derive(Clone, Debug)]
pub(super) struct Stake {
    pub(super) namespace: Namespace,
    pub(super) priority: u8,
    pub(super) resources: Resources,
}

/// A namespace with all below it, or what it has itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Side {
    namespace: Namespace,
    is_own: bool,
}

impl Books {
    /// Takes in a row. True if it is one after which shares may change hands once more.
    pub(super) fn take(&mut self, change: &Change) -> bool {
        match change {
            Change::Namespace(row) => {
                let share = &row.share;
                let has_maximum = share.maximum != Amounts::default();
                let (parent, weight, guaranteed) = (share.parent.clone(), share.weight, share.guaranteed);
                let terms = Terms { parent, weight, guaranteed, has_maximum };
                self.namespaces.insert(row.name.clone(), terms.clone()) != Some(terms)
            }
            Change::Node(node) => {
                let has = (node.status == NodeStatus::Up).then_some(node.capacity);
                let had = match has {
                    Some(has) => self.nodes.insert(node.name.clone(), has),
                    None => self.nodes.remove(&node.name),
                };
                had != has
            }
            Change::NodeGone(node) => self.nodes.remove(node).is_some(),
            Change::Run(run) => {
                let old = self.runs.insert(run.id, run.clone());
                let says = |run: &Run| (run.priority(), run.paused.is_some(), run.state.is_terminal(), run.cancelling);
                old.is_none_or(|old| says(&old) != says(run))
            }
            Change::Task(task) => {
                let (is_ready, is_placed) = match task.state {
                    TaskState::Ready => (true, false),
                    TaskState::Placed | TaskState::Running => (false, true),
                    TaskState::Waiting(_)
                    | TaskState::Succeeded
                    | TaskState::Failed(_)
                    | TaskState::Cancelled
                    | TaskState::Skipped => (false, false),
                };
                let had_room = self.kept.contains_key(&task.id) || self.came.contains(&task.id);
                let was = (self.ready.contains(&task.id), self.placed.contains(&task.id));
                set(&mut self.ready, task.id, is_ready);
                set(&mut self.placed, task.id, is_placed);
                // One that was stopped comes back, and one that had room made takes it.
                let is_expected = (is_ready && was.1) || (is_placed && had_room);
                was != (is_ready, is_placed) && !is_expected
            }
            Change::Attempt(attempt) => {
                if attempt.stop.is_none() && !attempt.state.is_terminal() {
                    self.running.insert(attempt.id, attempt.resources);
                } else {
                    self.running.remove(&attempt.id);
                }
                false
            }
            Change::Claim(claim) => {
                self.kept.insert(claim.task, claim.terms.resources);
                false
            }
            Change::ClaimGone(task) => {
                if self.kept.remove(task).is_some() {
                    self.came.insert(*task);
                }
                false
            }
            _ => false,
        }
    }

    /// A step is over. True if room was given up in it without being taken.
    pub(super) fn end_step(&mut self) -> bool {
        let came = std::mem::take(&mut self.came);
        came.iter().any(|task| self.ready.contains(task))
    }

    /// A run, as it is now.
    pub(super) fn run(&self, run: RunId) -> Option<&Run> {
        self.runs.get(&run).map(AsRef::as_ref)
    }

    /// Tasks that wait for a node.
    pub(super) fn ready(&self) -> impl Iterator<Item = TaskId> {
        self.ready.iter().copied()
    }

    /// Room is kept for a task.
    pub(super) fn has_room(&self, task: TaskId) -> bool {
        self.kept.contains_key(&task)
    }

    /// Somebody above a namespace, or it, may not hold more than so much.
    pub(super) fn is_limited(&self, namespace: &Namespace) -> bool {
        self.lineage(namespace).iter().any(|name| self.namespaces.get(name).is_some_and(|terms| terms.has_maximum))
    }

    /// Says why a task may not take the room of others: these are still counted, and the room of the task is not.
    pub(super) fn judge(&self, by: &Stake, from: &[Stake], gap: u8) -> Result<(), String> {
        let active = self.active();
        let levels: BTreeSet<u8> = from.iter().map(|stake| stake.priority).collect();
        for level in levels {
            let lost = || from.iter().filter(|stake| stake.priority >= level);
            let mut losses: BTreeMap<Side, Resources> = BTreeMap::new();
            let mut common = Vec::new();
            let mut mine = None;
            for stake in lost() {
                let Some((own, other, above)) = self.beside(&by.namespace, &stake.namespace) else {
                    return Err(format!("both are of namespace {}", by.namespace));
                };
                if mine.as_ref().is_some_and(|mine| *mine != own) {
                    return Err("the others stand at different heights".to_owned());
                }
                (mine, common) = (Some(own), above);
                let sum = losses.entry(other).or_default();
                *sum = sum.saturating_add(stake.resources);
            }
            let Some(mine) = mine else { continue };
            let held = self.held(&mine, level);
            let with = held.saturating_add(by.resources);
            let part = self.part(&mine, &active);
            let guaranteed = self.guaranteed(&mine);
            let within = covers(guaranteed, held, by.resources);
            let is_due = within || (self.has(held) < part - EPSILON && self.has(with) <= part + EPSILON);
            if !is_due {
                let (has, would) = (self.has(held), self.has(with));
                return Err(format!("{} has {has:.4} of {part:.4}, and would have {would:.4}", mine.namespace));
            }
            for (other, lost) in &losses {
                let left = self.held(other, level).saturating_sub(*lost);
                let keeps = self.part(other, &active) * (1.0 + f64::from(gap) / 100.0);
                let has = self.has(left);
                if !keeps_guarantee(self.guaranteed(other), left, *lost) {
                    return Err(format!("{} would be left with less than is guaranteed to it", other.namespace));
                }
                if !within && has < keeps - EPSILON {
                    return Err(format!("{} would be left with {has:.4}, and keeps {keeps:.4}", other.namespace));
                }
            }
            let all = lost().fold(Resources::ZERO, |sum, stake| sum.saturating_add(stake.resources));
            for above in common {
                let side = Side { namespace: above, is_own: false };
                let before = self.held(&side, level);
                let after = before.saturating_sub(all).saturating_add(by.resources);
                let net = before.saturating_sub(after);
                let is_short = self.has(after) < self.part(&side, &active) - EPSILON
                    || !keeps_guarantee(self.guaranteed(&side), after, net);
                if net != Resources::ZERO && is_short {
                    return Err(format!("{}, above both, would be left with less than its part", side.namespace));
                }
            }
        }
        Ok(())
    }

    /// The two that stand beside each other, and those above both.
    fn beside(&self, one: &Namespace, other: &Namespace) -> Option<(Side, Side, Vec<Namespace>)> {
        if one == other {
            return None;
        }
        let (ours, theirs) = (self.lineage(one), self.lineage(other));
        let common = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        let side = |line: &[Namespace], own: &Namespace| match line.get(common) {
            Some(below) => Side { namespace: below.clone(), is_own: false },
            None => Side { namespace: own.clone(), is_own: true },
        };
        Some((side(&ours, one), side(&theirs, other), ours[..common].to_vec()))
    }

    /// From above, itself last.
    fn lineage(&self, namespace: &Namespace) -> Vec<Namespace> {
        let mut line = vec![namespace.clone()];
        while let Some(parent) = self.namespaces.get(&line[line.len() - 1]).and_then(|terms| terms.parent.clone()) {
            line.push(parent);
        }
        line.reverse();
        line
    }

    /// Namespaces that have or want something themselves.
    fn active(&self) -> BTreeSet<Namespace> {
        let waits = self.ready.iter().filter(|task| {
            let run = self.run(task.run);
            run.is_some_and(|run| run.paused.is_none() && run.sub_run(task.step).is_none())
        });
        let holds = self.placed.iter().filter(|task| {
            let spec = self.run(task.run).and_then(|run| run.spec.tasks.get(task.step as usize));
            let others = spec.iter().flat_map(|spec| spec.alternatives.iter().map(|other| other.resources));
            let takes = spec.iter().map(|spec| spec.resources).chain(others).any(|takes| takes != Resources::ZERO);
            takes && spec.is_some_and(|spec| spec.sub_run.is_none())
        });
        let namespace = |task: &TaskId| self.run(task.run).map(|run| run.spec.namespace.clone());
        // Also what runs on nodes that were lost, of tasks that are to be placed again.
        let runs = self.running.iter().filter(|(_, has)| **has != Resources::ZERO).map(|(attempt, _)| &attempt.task);
        waits.chain(holds).chain(runs).filter_map(namespace).collect()
    }

    /// What its weight comes to, of the cluster.
    fn part(&self, side: &Side, active: &BTreeSet<Namespace>) -> f64 {
        let line = self.lineage(&side.namespace);
        let weight = |name: &Namespace| self.namespaces.get(name).map_or(100.0, |terms| f64::from(terms.weight));
        let lines: Vec<Vec<Namespace>> = active.iter().map(|name| self.lineage(name)).collect();
        let mut part = 1.0;
        for height in 0..line.len() + usize::from(side.is_own) {
            let above = &line[..height];
            let siblings: BTreeSet<Option<&Namespace>> =
                lines.iter().filter(|other| other.starts_with(above)).map(|other| other.get(height)).collect();
            // What one runs itself stands beside those below it.
            let all: f64 = siblings.iter().map(|sibling| sibling.map_or(100.0, weight)).sum();
            part *= line.get(height).map_or(100.0, weight) / all.max(1.0);
        }
        part
    }

    fn guaranteed(&self, side: &Side) -> Amounts {
        let terms = self.namespaces.get(&side.namespace).filter(|_| !side.is_own);
        terms.map_or(Amounts::default(), |terms| terms.guaranteed)
    }

    fn held(&self, side: &Side, least: u8) -> Resources {
        let running = self.running.iter().map(|(attempt, resources)| (attempt.task.run, *resources));
        let kept = self.kept.iter().map(|(task, resources)| (task.run, *resources));
        let of_side = |run: RunId| {
            self.run(run).is_some_and(|run| {
                let namespace = &run.spec.namespace;
                let is_below = || self.lineage(namespace).contains(&side.namespace);
                run.priority() >= least && if side.is_own { *namespace == side.namespace } else { is_below() }
            })
        };
        let all = running.chain(kept).filter(|(run, _)| of_side(*run));
        all.fold(Resources::ZERO, |sum, (_, held)| sum.saturating_add(held))
    }

    /// As a part of the cluster, of that resource of which it is most.
    fn has(&self, held: Resources) -> f64 {
        let all = self.nodes.values().fold(Resources::ZERO, |sum, has| sum.saturating_add(*has));
        let part = |resource: Resource| match (resource.of(held), resource.of(all)) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (held, all) => held as f64 / all as f64,
        };
        Resource::ALL.into_iter().map(part).fold(0.0, f64::max)
    }
}

fn set(tasks: &mut BTreeSet<TaskId>, task: TaskId, is_in: bool) {
    if is_in {
        tasks.insert(task);
    } else {
        tasks.remove(&task);
    }
}

/// What is asked for is guaranteed on top of what is held, all of it of which anything is.
fn covers(guaranteed: Amounts, held: Resources, asked: Resources) -> bool {
    let said = Resource::ALL.into_iter().filter(|resource| resource.of(asked) > 0);
    let mut said = said.filter_map(|resource| Some((resource, guaranteed.of(resource)?))).peekable();
    said.peek().is_some() && said.all(|(resource, least)| resource.of(held) + resource.of(asked) <= least)
}

fn keeps_guarantee(guaranteed: Amounts, left: Resources, lost: Resources) -> bool {
    let lost = Resource::ALL.into_iter().filter(|resource| resource.of(lost) > 0);
    lost.filter_map(|resource| Some((resource, guaranteed.of(resource)?)))
        .all(|(resource, least)| resource.of(left) >= least)
}
