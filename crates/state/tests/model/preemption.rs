//! Attempts that are stopped to make room, and room that is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use quorate_state::{
    AttemptId, AttemptState, Choice, Command, Feature, GangPreempting, GangRoom, Node, NodeStatus, OnNodeLoss,
    Placement, Preempting, Preemption, Reply, Served, State, StopReason, TaskId, TaskState,
};

use crate::{World, name};

/// What a history says of preemption.
#[derive(Clone, Debug)]
pub(super) struct Policy(Preemption);

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let spare = prop_oneof![Just(0), 0..20_000_u64];
    let shares = (prop::bool::ANY, 0..110_u8);
    let all = (prop::bool::weighted(0.9), 0..30_u8, spare, 0..4_u32, shares);
    all.prop_map(|(by_priority, gap, spare_ms, times_max, (by_share, share_gap))| {
        Policy(Preemption { by_priority, gap, spare_ms, times_max, by_share, share_gap })
    })
}

impl World {
    pub(super) fn prefer(&mut self, Policy(policy): &Policy) {
        let has_feature = self.state.has_feature(Feature::Preemption)
            && (!policy.says_share() || self.state.has_feature(Feature::FairPreemption));
        let may = has_feature && policy.gap > 0 && policy.times_max > 0 && policy.share_gap <= 100;
        let result = self.run(None, Command::SetPreemption { preemption: *policy });
        assert_eq!(result.is_ok(), may, "{result:?}");
        let said = self.state.settings().unwrap().preemption;
        let shares = self.state.has_feature(Feature::FairShare);
        let said = said.map(|said| Preemption { by_share: said.by_share && shares, ..said });
        assert_eq!(self.state.preemption(), said.filter(|said| said.by_priority || said.by_share));
    }

    /// Tries it with what is on a node, mostly all that would have to go, whether or not it may.
    pub(super) fn preempt(&mut self, pick: usize, node: usize, victims: &[usize], stale: bool) {
        let ready: Vec<TaskId> = self.state.ready().map(|place| place.task).chain(self.aside()).collect();
        let node = name(&format!("node-{node}"));
        let (Some(task), Some(row)) = (ready.get(pick % ready.len().max(1)).copied(), self.state.node(&node).cloned())
        else {
            return;
        };
        let on: Vec<AttemptId> = self.state.attempts_on(&node).map(|attempt| attempt.id).collect();
        let victims: Vec<AttemptId> = victims.iter().filter_map(|at| on.get(at % on.len().max(1)).copied()).collect();
        let generation = self.state.task(task).unwrap().generation + u32::from(stale);
        // Most often one that it has, if it has several.
        let spec = &self.state.run(task.run).unwrap().spec.tasks[task.step as usize];
        let choice = spec.choices().nth(self.revision as usize % 3).unwrap_or_default();
        let asked =
            Preempting { task, generation, node: node.clone(), epoch: row.epoch, choice, victims: victims.clone() };
        let before = self.state.clone();
        let result = self.run(None, Command::PreemptAttempts(asked));
        if result.is_err() {
            assert!(self.state.claims().eq(before.claims()), "{result:?}");
            return;
        }
        assert!(!stale && before.has_feature(Feature::Preemption) && before.claim(task).is_none());
        let policy = before.preemption().unwrap();
        let run = before.run(task.run).unwrap();
        assert!(run.spec.tasks[task.step as usize].gang.is_none(), "a member of a gang is placed with the others");
        for victim in &victims {
            let (was, is) = (before.attempt(*victim).unwrap(), self.state.attempt(*victim).unwrap());
            let other = before.run(victim.task.run).unwrap();
            if is.stop.is_none() {
                // It was not needed.
                continue;
            }
            assert!(!before.is_leaving(was) && is.stop == Some(StopReason::Preempted));
            assert_eq!(is.preempted.map(|preempted| preempted.by), Some(task));
            let is_lower = policy.by_priority && other.priority() + policy.gap <= run.priority();
            let share = is.preempted.and_then(|preempted| preempted.share);
            assert_eq!(share.is_none(), is_lower, "{} by {}: {share:?}", other.priority(), run.priority());
            if let Some(share) = share {
                assert!(policy.by_share && other.priority() <= run.priority());
                assert!(other.spec.namespace != run.spec.namespace);
                assert!(share.guaranteed || share.had_ppm <= share.part_ppm, "{share:?}");
                assert!(share.guaranteed || share.from_had_ppm >= share.from_part_ppm, "{share:?}");
            }
            assert!(other.paused.is_none() && was.state != AttemptState::Unknown);
            let spec = &other.spec.tasks[victim.task.step as usize];
            assert!(spec.on_node_loss != OnNodeLoss::AtMostOnce && spec.preemptible && spec.gang.is_none());
            assert!(self.state.task(victim.task).unwrap().preemptions <= policy.times_max.max(3));
            assert!(was.spared_until.is_none_or(|until| until <= self.state.meta().served));
        }
        // It fits when all have gone, and nobody else does.
        let claim = self.state.claim(task).unwrap();
        assert_eq!(claim.node, node);
        let spec = run.spec.tasks[task.step as usize].chosen(choice).unwrap();
        assert_eq!((claim.terms.choice, claim.terms.resources), (choice, spec.resources));
        assert!(self.state.vacancy(&row, task, |attempt| self.state.is_leaving(attempt)).hold(&row, &spec).is_some());
        assert!(
            before.vacancy(&row, task, |attempt| before.is_leaving(attempt)).hold(&row, &spec).is_none(),
            "it had room without them"
        );
        self.place_elsewhere(task);
    }

    /// Tries it for a gang with all that is on some nodes, as many members to each, whether or not it may.
    pub(super) fn preempt_for_gang(&mut self, pick: usize, nodes: &[usize], stale: bool) {
        let gangs = self.gangs();
        let takes_work = |node: &&Arc<Node>| node.status == NodeStatus::Up && !node.is_out();
        let rows: Vec<Arc<Node>> = self.state.nodes().filter(takes_work).cloned().collect();
        let (Some((run, step)), false) = (gangs.get(pick % gangs.len().max(1)).copied(), rows.is_empty()) else {
            return;
        };
        // Most often it is more urgent than most.
        if !pick.is_multiple_of(4) && self.may_control(run) {
            self.set_priority(run, 100);
        }
        let before = self.state.clone();
        let generation = before.gang(run, step).map_or(0, |gang| gang.generation).wrapping_sub(u32::from(stale));
        let spec = before.run(run).unwrap().spec.tasks[step as usize].clone();
        let mut members: BTreeMap<usize, u32> = BTreeMap::new();
        for node in nodes.iter().cycle().take(spec.count as usize) {
            *members.entry(node % rows.len()).or_default() += 1;
        }
        let rooms = members.into_iter().map(|(at, members)| {
            let node = &rows[at];
            let on =
                before.attempts_on(&node.name).filter(|attempt| attempt.stop.is_none() && !attempt.state.is_terminal());
            let victims = on.map(|attempt| attempt.id).collect();
            GangRoom { node: node.name.clone(), epoch: node.epoch, members, victims }
        });
        let asked = GangPreempting { run, step, generation, nodes: rooms.collect() };
        let result = self.run(None, Command::PreemptForGang(asked.clone()));
        if result.is_err() {
            let stops = |state: &State| asked.victims().filter_map(|id| state.attempt(id)?.stop).collect::<Vec<_>>();
            assert!(self.state.claims().eq(before.claims()) && stops(&self.state) == stops(&before), "{result:?}");
            return;
        }
        assert!(
            !stale && before.has_feature(Feature::GangPreemption) && before.claims_of_gang(run, step).next().is_none()
        );
        let (policy, by) = (before.preemption().unwrap(), before.run(run).unwrap());
        let is_new = |id: &AttemptId| before.attempt(*id).unwrap().stop != self.state.attempt(*id).unwrap().stop;
        let stopped: Vec<AttemptId> = asked.victims().filter(is_new).collect();
        assert_eq!(result, Ok(Reply::Counted(u32::try_from(stopped.len()).unwrap())));
        assert!(!stopped.is_empty(), "it had room without them");
        for victim in stopped {
            let other = before.run(victim.task.run).unwrap();
            let spec = &other.spec.tasks[victim.task.step as usize];
            assert!(spec.on_node_loss != OnNodeLoss::AtMostOnce && spec.preemptible && spec.gang.is_none());
            let is_lower = policy.by_priority && other.priority() + policy.gap <= by.priority();
            assert!(is_lower || policy.by_share && other.priority() <= by.priority());
        }
        // All of it fits when they have gone.
        let kept: Vec<_> = self.state.claims_of_gang(run, step).map(|claim| claim.task.index).collect();
        assert_eq!(kept, (0..spec.count).collect::<Vec<_>>());
        for room in &asked.nodes {
            let row = self.state.node(&room.node).unwrap();
            let vacancy = self.state.vacancy_for_gang(row, (run, step), |attempt| self.state.is_leaving(attempt));
            assert!(vacancy.hold_all(row, &spec, room.members).is_some());
        }
        self.place_elsewhere(TaskId { run, step, index: 0 });
    }

    /// A task for which room is kept goes nowhere else.
    fn place_elsewhere(&mut self, task: TaskId) {
        let claim = self.state.claim(task).unwrap().clone();
        let other = self.state.nodes().find(|node| node.name != claim.node).cloned();
        let Some(other) = other else { return };
        let generation = self.state.task(task).unwrap().generation;
        let gpus = quorate_state::GpuHold::NONE;
        let placement =
            Placement { task, generation, node: other.name.clone(), epoch: other.epoch, gpus, choice: Choice::FIRST };
        self.run(None, Command::CommitPlan { placements: vec![placement] }).unwrap();
        assert_eq!(self.state.task(task).unwrap().state, TaskState::Ready);
    }

    pub(super) fn end_claims(&mut self) {
        let tasks: Vec<TaskId> = self.state.claims().map(|claim| claim.task).collect();
        let served = self.state.meta().served;
        let over = self.state.claims().filter(|claim| claim.terms.until <= served).count();
        let result = self.run(None, Command::EndClaims { tasks: tasks.clone() });
        if !self.state.has_feature(Feature::Preemption) {
            assert!(tasks.is_empty() && result.is_err());
            return;
        }
        assert_eq!(result, Ok(Reply::Counted(u32::try_from(over).unwrap())));
        assert!(self.state.claims().all(|claim| claim.terms.until > Served(served.0)));
    }
}
