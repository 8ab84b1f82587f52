//! Tasks and gangs for which room is kept: they go where it is, before the queue is served, and nobody else does.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{AttemptId, Choice, NodeName, Placement, Resources, RunId, State, TaskId, TaskState};

use super::{PLACEMENTS_PER_PLAN_MAX, Pass, PlacedGang, Plan, victims};
use crate::controller::earlier;
use crate::explain::Check;
use crate::placement::admit;

impl<'a> Pass<'a> {
    /// Places those that fit by now, and finds those for which room was kept long enough. Costs nothing where there are none; there
    /// are at most [`quorate_state::CLAIMS_MAX`].
    pub(super) fn serve_claims(&mut self) {
        let view = self.view;
        let (mut served, mut gangs): (BTreeSet<&'a NodeName>, BTreeSet<(RunId, u32)>) = Default::default();
        for claim in view.claims() {
            if claim.terms.until <= self.now.served {
                self.expired.push(claim.task);
                continue;
            }
            self.wake_at = earlier(self.wake_at, claim.terms.until);
            let (Some(task), Some(run)) = (view.task(claim.task), view.run(claim.task.run)) else { continue };
            let Some(spec) = run.spec.tasks.get(claim.task.step as usize) else { continue };
            if spec.gang.is_some() {
                gangs.insert((claim.task.run, claim.task.step));
                continue;
            }
            let is_open = task.state == TaskState::Ready && !run.is_ending(claim.task.step) && run.paused.is_none();
            let may = is_open && view.held(run, spec, self.now.served).is_none();
            let may = may && view.unreserved(run, spec).is_none();
            // Of what is vacant for the others there, the view does not say any more.
            let is_served = served.contains(&claim.node);
            if !may || is_served || self.placements.len() >= PLACEMENTS_PER_PLAN_MAX {
                continue;
            }
            let Some(at) = self.ledger.find(&claim.node) else { continue };
            let Some(account) = self.ledger.account(at) else { continue };
            // Its region may be back since, or lost.
            if !view.bound(task.home.as_ref(), spec, self.now.served).allows(&account.node.region) {
                continue;
            }
            let vacancy = view.vacancy(&account.node, claim.task, |_| false);
            // What it would rather have than what the room was made for is open to it as well.
            let choices = spec.choices().take_while(|choice| *choice <= claim.terms.choice);
            let found = choices.filter_map(|choice| Some((choice, spec.chosen(choice)?))).find_map(|(choice, spec)| {
                let over = view.over_quota_beside(claim.task, &run.spec.namespace, spec.resources, &[]);
                let verdict: Result<(), Check> = admit(&account.node, account.presence, vacancy.room(), &spec);
                let gpus =
                    verdict.ok().filter(|()| over.is_none()).and_then(|()| vacancy.hold(&account.node, &spec))?;
                Some((choice, gpus, spec.resources))
            });
            let Some((choice, gpus, resources)) = found else { continue };
            let (node, epoch) = (account.node.name.clone(), account.node.epoch);
            self.placements.push(Placement { task: task.id, generation: task.generation, node, epoch, gpus, choice });
            self.ledger.settle_claims(at, resources, &vacancy, &[gpus]);
            served.insert(&claim.node);
        }
        for gang in gangs {
            self.serve_claims_of(gang, &mut served);
        }
    }

    /// Places a gang where room is kept for it, if all of it fits by now.
    fn serve_claims_of(&mut self, (run_id, step): (RunId, u32), served: &mut BTreeSet<&'a NodeName>) {
        let view = self.view;
        let Some(run) = view.run(run_id).filter(|run| !run.is_ending(step) && run.paused.is_none()) else { return };
        let Some(spec) = run.spec.tasks.get(step as usize) else { return };
        let members = spec.count as usize;
        let mut on: BTreeMap<&NodeName, Vec<TaskId>> = BTreeMap::new();
        for claim in view.claims_of_gang(run_id, step) {
            on.entry(&claim.node).or_default().push(claim.task);
        }
        let is_whole = on.values().map(Vec::len).sum::<usize>() == members
            && view.step_counts(run_id, step).ready as usize == members;
        let is_over = view.claims_of_gang(run_id, step).any(|claim| claim.terms.until <= self.now.served);
        let may = is_whole && !is_over && view.held(run, spec, self.now.served).is_none();
        let is_full = self.placements.len() + self.in_gangs + members > PLACEMENTS_PER_PLAN_MAX;
        let first = TaskId { run: run_id, step, index: 0 };
        // What is kept for the others of it counts as theirs.
        let over = || view.over_quota_beside(first, &run.spec.namespace, spec.resources, &[]);
        if !may || is_full || on.keys().any(|node| served.contains(node)) || over().is_some() {
            return;
        }
        let mut rooms = Vec::with_capacity(on.len());
        for (name, own) in &on {
            let Some(at) = self.ledger.find(name) else { return };
            let Some(account) = self.ledger.account(at) else { return };
            let home = own.first().and_then(|task| view.task(*task)).and_then(|task| task.home.as_ref());
            let vacancy = view.vacancy_for_gang(&account.node, (run_id, step), |_| false);
            let is_open = view.bound(home, spec, self.now.served).allows(&account.node.region)
                && admit(&account.node, account.presence, vacancy.room(), spec).is_ok();
            let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
            let held = vacancy.clone().hold_all(&account.node, spec, count).filter(|_| is_open);
            let Some(gpus) = held else { return };
            rooms.push((at, account.node.name.clone(), account.node.epoch, vacancy, gpus, own));
        }
        let mut placements = Vec::with_capacity(members);
        for (at, node, epoch, vacancy, gpus, own) in rooms {
            let takes = own.iter().fold(Resources::ZERO, |sum, _| sum.saturating_add(spec.resources));
            self.ledger.settle_claims(at, takes, &vacancy, &gpus);
            for (id, gpus) in own.iter().zip(gpus) {
                let generation = view.task(*id).map_or(0, |task| task.generation);
                let (node, choice) = (node.clone(), Choice::FIRST);
                placements.push(Placement { task: *id, generation, node, epoch, gpus, choice });
            }
        }
        placements.sort_unstable_by_key(|placement| placement.task);
        served.extend(on.keys());
        let generation = view.gang(run_id, step).map_or(0, |gang| gang.generation);
        self.in_gangs += placements.len();
        self.gangs.push(PlacedGang { run: run_id, step, generation, placements });
    }
}

/// How many attempts were asked to stop for others, and what came of the room, since this leader leads.
///
/// **Invariant:** it never decides: a new leader counts from nothing.
#[derive(Debug, Default)]
pub(super) struct ClaimCounts {
    /// Tasks for which room was kept at the last step, with the attempts that they had had.
    open: BTreeMap<TaskId, u32>,
    preempted: u64,
    /// Those of them that were for what namespaces had.
    preempted_to_share: u64,
    used: u64,
    let_go: u64,
}

impl ClaimCounts {
    /// Takes in a plan that was made of `view`.
    pub(super) fn take(&mut self, view: &State, plan: &Plan) {
        self.preempted += victims(&plan.preemptions, &plan.gang_preemptions).count() as u64;
        self.preempted_to_share += to_share(view, plan);
        if self.open.is_empty() && view.claims_count() == 0 {
            return;
        }
        let attempts = |task: TaskId| view.task(task).map_or(0, |task| task.attempts);
        for (task, had) in std::mem::take(&mut self.open).into_iter().filter(|(task, _)| view.claim(*task).is_none()) {
            let count = if attempts(task) > had { &mut self.used } else { &mut self.let_go };
            *count += 1;
        }
        self.open.extend(view.claims().map(|claim| (claim.task, attempts(claim.task))));
    }

    /// For metrics; all since this leader leads.
    pub(super) fn counts(&self) -> [(&'static str, u64); 4] {
        let Self { open: _, preempted, preempted_to_share, used, let_go } = self;
        [
            ("attempts_preempted", *preempted),
            ("attempts_preempted_to_share", *preempted_to_share),
            ("claims_used", *used),
            ("claims_let_go", *let_go),
        ]
    }
}

/// How many attempts a plan stops for what namespaces have: those that are not less urgent by the gap.
fn to_share(view: &State, plan: &Plan) -> u64 {
    let Some(policy) = view.preemption().filter(|policy| policy.by_share) else { return 0 };
    let priority = |run: RunId| view.run(run).map_or(0, |run| run.priority());
    let is_shared = |by: RunId, victim: AttemptId| !policy.is_above(priority(by), priority(victim.task.run));
    let of = |by: RunId, victims: &mut dyn Iterator<Item = AttemptId>| {
        victims.filter(|victim| is_shared(by, *victim)).count() as u64
    };
    let single = plan.preemptions.iter().map(|made| of(made.task.run, &mut made.victims.iter().copied()));
    let for_gangs = plan.gang_preemptions.iter().map(|made| of(made.run, &mut made.victims()));
    single.chain(for_gangs).sum()
}
