//! Tasks for which room is kept: they go where it is, before the queue is served, and nobody else does.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::{NodeName, Placement, Preempting, State, TaskId, TaskState};

use super::{PLACEMENTS_PER_PLAN_MAX, Pass, Plan};
use crate::controller::earlier;
use crate::explain::Check;
use crate::placement::admit;

impl Pass<'_> {
    /// Places those that fit by now, and finds those for which room was kept long enough. Costs nothing where there are none; there
    /// are at most [`quorate_state::CLAIMS_MAX`].
    pub(super) fn serve_claims(&mut self) {
        let view = self.view;
        let mut served: BTreeSet<&NodeName> = BTreeSet::new();
        for claim in view.claims() {
            if claim.terms.until <= self.now.served {
                self.expired.push(claim.task);
                continue;
            }
            self.wake_at = earlier(self.wake_at, claim.terms.until);
            let (Some(task), Some(run)) = (view.task(claim.task), view.run(claim.task.run)) else { continue };
            let Some(spec) = run.spec.tasks.get(claim.task.step as usize) else { continue };
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
            self.ledger.settle_claim(at, resources, &vacancy, gpus);
            served.insert(&claim.node);
        }
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
        self.preempted += plan.preemptions.iter().map(|preempting| preempting.victims.len() as u64).sum::<u64>();
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
    let priority = |task: TaskId| view.run(task.run).map_or(0, |run| run.priority());
    let of = |preempting: &Preempting| {
        let by = priority(preempting.task);
        let victims = preempting.victims.iter().map(|victim| priority(victim.task));
        victims.filter(|other| !policy.is_above(by, *other)).count() as u64
    };
    plan.preemptions.iter().map(of).sum()
}
