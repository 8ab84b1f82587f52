//! Room for namespaces that have less than their part, from those that have more.
//!
//! Looked at are the first tasks of each namespace and shape that fits nowhere: the fair order knows what somebody has held before,
//! which does not count here, so that the first of a shape may be of a namespace that has enough.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use quorate_state::{
    Attempt, AttemptId, CLAIMS_MAX, Choice, Parts, Preempting, Preemption, ReadyKey, Resources, Run, Stake, State,
    TaskId, TaskSpec,
};

use super::{Expected, Pass, Search};
use crate::Budget;

/// Tasks for which one plan makes room to even out shares; `apply` works out the parts of all namespaces for each of them.
pub const SHARES_PER_PLAN_MAX: usize = 16;

/// Tasks that one plan looks at for that.
const LOOKS_PER_PLAN_MAX: usize = 64;

/// What namespaces hold, with what this plan gives and takes.
pub(super) struct Shares<'a> {
    parts: Parts<'a>,
    policy: Preemption,
}

/// What a task would take from namespaces.
pub(super) struct Exchange<'p, 'a> {
    shares: &'p Shares<'a>,
    by: Stake<'a>,
    from: Vec<Stake<'a>>,
}

/// What waits of a namespace, of one shape.
struct Waiting<'a> {
    places: Box<dyn Iterator<Item = ReadyKey> + 'a>,
    head: Option<(&'a Run, &'a TaskSpec, TaskId)>,
    /// The nodes that this plan keeps for the shape, if that is for one of this namespace.
    own_nodes: Vec<usize>,
}

impl<'a> Shares<'a> {
    /// What a task takes from namespaces, or all of a gang; nothing so far.
    pub(super) fn exchange<'p>(&'p self, run: &'a Run, spec: &TaskSpec) -> Exchange<'p, 'a> {
        Exchange { shares: self, by: stake(run, spec.taken_at_once(Choice::FIRST)), from: Vec::new() }
    }
}

impl<'a> Exchange<'_, 'a> {
    /// Takes the room of an attempt as well, if it may be with all those before: for its priority, or for what namespaces have.
    pub(super) fn add(&mut self, view: &'a State, attempt: &Attempt, steps: &mut Budget) -> bool {
        let Some(run) = view.run(attempt.id.task.run) else { return false };
        if self.shares.policy.is_above(self.by.priority, run.priority()) {
            return true;
        }
        steps.take(1 + self.from.len());
        self.from.push(stake(run, attempt.resources));
        let may = self.shares.parts.judge(self.by, &self.from, self.shares.policy.share_gap).is_ok();
        if !may {
            self.from.pop();
        }
        may
    }
}

impl<'a> Pass<'a> {
    /// Of those that are as urgent or less, of namespaces that have more than their part. Costs nothing where there is one namespace.
    pub(super) fn preempt_to_share(&mut self, policy: &Preemption, search: &mut Search, steps: &mut Budget) {
        if self.view.namespaces().nth(1).is_none() {
            return;
        }
        let mut shares = Shares { parts: Parts::of(self.view), policy: *policy };
        if !shares.parts.are_several() {
            return;
        }
        let mut served: BTreeSet<TaskId> = BTreeSet::new();
        self.note_given(&mut shares.parts, &mut served);
        let mut waiting = self.waiting(&served);
        let mut found = 0;
        for _ in 0..LOOKS_PER_PLAN_MAX {
            if found >= SHARES_PER_PLAN_MAX || self.claims_with(1) > CLAIMS_MAX {
                return;
            }
            let Some(next) = neediest(&mut waiting, &shares.parts, steps) else { return };
            let Some((run, spec, task)) = next.head else { continue };
            search.own_nodes.clone_from(&next.own_nodes);
            if let Some(gang) = &spec.gang {
                // The next gang of the shape is looked for by the next plan.
                next.head = None;
                if !self.preempt_for_gang((run, task, spec, gang), search, Some(&shares), steps) {
                    continue;
                }
                shares.parts.give(stake(run, spec.taken_at_once(Choice::FIRST)));
                if let Some(preempting) = self.gang_preemptions.last() {
                    take_all(self.view, preempting.victims(), &mut shares.parts);
                }
                found += 1;
                continue;
            }
            let ways = self.ways(run, spec, task);
            let best = match ways.is_empty() {
                true => None,
                false => search.best(self, (run, task), &ways, Some(&shares), steps),
            };
            // Nobody can go for it, or room comes free for it anyway, which is not known to be its own. Those behind it are equal to
            // it, or less urgent.
            let Some((_, Some(preempting))) = best else {
                next.head = None;
                continue;
            };
            next.go_on(self, &served);
            shares.parts.give(stake(run, spec.resources_of(preempting.choice)));
            take_all(self.view, preempting.victims.iter().copied(), &mut shares.parts);
            self.preemptions.push(preempting);
            found += 1;
        }
    }

    /// Adds what this plan has given, and takes away whom it stops.
    fn note_given(&self, parts: &mut Parts<'_>, served: &mut BTreeSet<TaskId>) {
        let view = self.view;
        let in_gangs = self.gangs.iter().flat_map(|gang| &gang.placements);
        let placed = self.placements.iter().chain(in_gangs).map(|placement| (placement.task, placement.choice));
        let made = self.preemptions.iter().map(|preempting: &Preempting| (preempting.task, preempting.choice));
        for preempting in &self.gang_preemptions {
            let run = view.run(preempting.run);
            if let Some((run, spec)) = run.and_then(|run| Some((run, run.spec.tasks.get(preempting.step as usize)?))) {
                served.insert(TaskId { run: preempting.run, step: preempting.step, index: 0 });
                parts.give(stake(run, spec.taken_at_once(Choice::FIRST)));
            }
            take_all(view, preempting.victims(), parts);
        }
        for (task, choice) in placed.chain(made) {
            served.insert(task);
            let run = view.run(task.run).filter(|_| view.claim(task).is_none());
            if let Some((run, spec)) = run.and_then(|run| Some((run, run.spec.tasks.get(task.step as usize)?))) {
                parts.give(stake(run, spec.resources_of(choice)));
            }
        }
        self.preemptions.iter().for_each(|preempting| take_all(view, preempting.victims.iter().copied(), parts));
        served.extend(view.claims().map(|claim| claim.task));
    }

    /// What waits of the shapes that fit nowhere, by namespace.
    fn waiting(&self, served: &BTreeSet<TaskId>) -> Vec<Waiting<'a>> {
        let view = self.view;
        let mut firsts: Vec<(usize, TaskId, Option<&Expected>)> = self.waits.shapes_without_room().collect();
        firsts.sort_unstable_by_key(|(shape, ..)| *shape);
        let mut waiting = Vec::new();
        let (mut shape, mut last) = (0, None);
        for line in view.lines() {
            if last.is_some_and(|last| last != line.shape()) {
                shape += 1;
            }
            last = Some(line.shape());
            let of_shape = firsts.partition_point(|(other, ..)| *other < shape);
            let own = firsts.iter().skip(of_shape).take_while(|(other, ..)| *other == shape);
            let own: Vec<&(usize, TaskId, Option<&Expected>)> = own.collect();
            if own.is_empty() {
                continue;
            }
            let is_of_line =
                |task: TaskId| view.run(task.run).is_some_and(|run| run.spec.namespace == *line.namespace());
            let kept = own.iter().find(|(_, first, _)| is_of_line(*first)).and_then(|(_, _, expected)| *expected);
            let own_nodes = self.nodes_of(kept);
            let mut of_line = Waiting { places: Box::new(line.places()), head: None, own_nodes };
            of_line.go_on(self, served);
            waiting.push(of_line);
        }
        waiting
    }
}

impl<'a> Waiting<'a> {
    /// The next task that may have others stopped, or the first of a gang all of which waits: with rules about nobody, and without a
    /// place.
    fn go_on(&mut self, pass: &Pass<'a>, served: &BTreeSet<TaskId>) {
        let view: &'a State = pass.view;
        let places = self.places.by_ref().map(|place| place.task).take(LOOKS_PER_PLAN_MAX);
        self.head = places.filter(|task| !served.contains(task)).find_map(|task| {
            let run: &'a Run = view.run(task.run).filter(|run| !run.is_ending(task.step))?;
            let spec = run.spec.tasks.get(task.step as usize)?;
            let is_whole = || view.step_counts(run.id, task.step).ready == spec.count;
            let is_one = spec.gang.is_none() || (task.index == 0 && is_whole());
            let is_open = is_one && spec.place.company.is_empty() && view.held(run, spec, pass.now.served).is_none();
            let is_open = is_open && view.unreserved(run, spec).is_none();
            is_open.then_some((run, spec, task))
        });
    }
}

/// Whose turn it is: of the most urgent, who has least for its part. Nobody who could take nothing from anybody.
fn neediest<'w, 'a>(
    waiting: &'w mut Vec<Waiting<'a>>,
    parts: &Parts<'a>,
    steps: &mut Budget,
) -> Option<&'w mut Waiting<'a>> {
    steps.take(waiting.len());
    if steps.is_spent() {
        return None;
    }
    let may_ask = |run: &'a Run, spec: &TaskSpec| {
        spec.choices().any(|choice| parts.may_ask(stake(run, spec.taken_at_once(choice))))
    };
    waiting.retain(|of| of.head.is_some_and(|(run, spec, _)| may_ask(run, spec)));
    waiting.iter_mut().min_by_key(|of| {
        let head = of.head.map(|(run, spec, task)| {
            // What it would rather have says whose turn it is.
            let by = stake(run, spec.taken_at_once(Choice::FIRST));
            (Reverse(by.priority), parts.need(by), ReadyKey::of(run, task))
        });
        (head.is_none(), head)
    })
}

/// Takes away what those have that are stopped.
fn take_all(view: &State, victims: impl Iterator<Item = AttemptId>, parts: &mut Parts<'_>) {
    for attempt in victims.filter_map(|victim| view.attempt(victim)) {
        if let Some(run) = view.run(attempt.id.task.run) {
            parts.take(stake(run, attempt.resources));
        }
    }
}

/// What somebody of a run has, or asks for.
fn stake(run: &Run, resources: Resources) -> Stake<'_> {
    Stake { namespace: &run.spec.namespace, priority: run.priority(), resources }
}
