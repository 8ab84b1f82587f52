//! P11, of what is preempted: nobody is stopped for a task but who is less urgent by the gap, may be stopped, and was not placed a
//! short time ago or stopped too often; no more than are needed for it to fit; and never round in a circle. The room that is kept for it
//! goes to nobody else, it goes nowhere else, and once it waits no longer, or the time for it is over, nothing is kept. For a gang all of
//! that holds on each node, and room is made for all members or for none.
//!
//! Stands for tasks that stop each other by turns, and for room that was made for one and taken by another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_state::{
    Attempt, AttemptId, AttemptState, Change, Command, Event, GangPreempting, Node, NodeName, OnNodeLoss, Preempting,
    Preemption, Resources, Run, RunId, Served, State, StopReason, Task, TaskId, TaskState, Wait,
};

use super::history::{Takes, attempt_name, attempts, placed, spec_of, takes, task_name};
use super::service::answered;
use super::{Known, Oracle, Verdict};
use crate::ledger::Step;

/// Room whose time is over is let go of within this, of served time that entries have seen.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Follows who was stopped for whom, and what room is kept.
#[derive(Default)]
pub(crate) struct Preemptions {
    /// When attempts were placed, in served time, under what was said then.
    placed: BTreeMap<AttemptId, (Served, Option<Preemption>)>,
    /// Stopped for these tasks.
    stopped: BTreeMap<AttemptId, TaskId>,
    /// Tasks with those that were stopped for them.
    circle: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// Runs to which somebody gave another priority.
    controlled: BTreeSet<RunId>,
    kept: BTreeMap<TaskId, Kept>,
}

/// Room that is kept for a task.
struct Kept {
    node: NodeName,
    resources: Resources,
    until: Served,
    /// When that was first seen to be over. Where nobody led, much of it may have passed at once.
    overdue: Option<(Duration, Served)>,
}

impl Oracle for Preemptions {
    fn id(&self) -> &'static str {
        "P11"
    }

    fn step(&mut self, step: &Step, _: &Known<'_>) -> Verdict {
        for row in &step.events {
            if let Event::RunPrioritySet { run, .. } = &row.event {
                self.controlled.insert(*run);
            }
        }
        for attempt in placed(step) {
            self.on_placed(attempt, step)?;
        }
        for (item, reply) in answered(step) {
            match (&item.command, reply) {
                (Command::PreemptAttempts(asked), Ok(_)) => self.on_preempted(asked, step)?,
                (Command::PreemptForGang(asked), Ok(_)) => self.on_preempted_for_gang(asked, step)?,
                _ => {}
            }
        }
        self.on_moved(step);
        self.check_stops(step)?;
        self.check_kept(step)
    }
}

impl Preemptions {
    fn on_placed(&mut self, attempt: &Attempt, step: &Step) -> Verdict {
        let task = attempt.id.task;
        let policy = step.after.settings().and_then(|settings| settings.preemption).filter(Preemption::is_on);
        self.placed.insert(attempt.id, (step.after.meta().served, policy));
        if let Some(kept) = self.kept.remove(&task)
            && kept.node != attempt.node
        {
            let (name, node) = (attempt_name(attempt.id), &attempt.node);
            return Err(format!("{name} was placed on {node}, while room was kept for it on {}", kept.node));
        }
        let Some(node) = step.after.node(&attempt.node) else { return Ok(()) };
        // What stays there and what is kept for others is as much as the node has, at most.
        let kept = self.kept.iter().filter(|(other, kept)| kept.node == node.name && waits(&step.after, **other));
        let kept = kept.map(|(_, kept)| kept.resources).fold(Resources::ZERO, Resources::saturating_add);
        if kept == Resources::ZERO {
            return Ok(());
        }
        let stays = step.after.attempts_on(&node.name).filter(|other| !is_leaving(&step.after, other));
        let all = stays.map(|other| other.resources).fold(kept, Resources::saturating_add);
        let takes = attempt.resources;
        let is_over = |has: u64, all: u64, takes: u64| takes > 0 && all > has;
        let has = node.capacity;
        if is_over(has.cpu_milli, all.cpu_milli, takes.cpu_milli)
            || is_over(has.memory_bytes, all.memory_bytes, takes.memory_bytes)
        {
            return Err(format!(
                "{} was placed on {} into room that is kept for others",
                attempt_name(attempt.id),
                node.name
            ));
        }
        Ok(())
    }

    fn on_preempted(&mut self, asked: &Preempting, step: &Step) -> Verdict {
        let after = &step.after;
        let who = task_name(asked.task);
        let (Some(spec), Some(node)) = (spec_of(after, asked.task), after.node(&asked.node)) else {
            return Err(format!("{who} preempts, and is not known"));
        };
        if spec.gang.is_some() {
            return Err(format!("{who} preempts, and is a member of a gang"));
        }
        let victims = self.on_stopped(asked.task, &asked.victims, step)?;
        let Some(Takes { resources, .. }) = takes(spec, asked.choice) else {
            return Err(format!("{who} preempts for an alternative that it does not have"));
        };
        self.check_need((asked.task, &victims), resources, node, step)?;
        self.keep(asked.task, node, resources, step)
    }

    /// The same on each node for the members that go there, the first to the first.
    fn on_preempted_for_gang(&mut self, asked: &GangPreempting, step: &Step) -> Verdict {
        let after = &step.after;
        let first = TaskId { run: asked.run, step: asked.step, index: 0 };
        let who = task_name(first);
        let Some(spec) = spec_of(after, first).filter(|spec| spec.gang.is_some()) else {
            return Err(format!("{who} preempts for a gang, and is none"));
        };
        let resources = spec.resources;
        let is_kept = |change: &&Change| matches!(change, Change::Claim(claim) if (claim.task.run, claim.task.step) == (asked.run, asked.step));
        let kept = step.changes.iter().filter(is_kept).count();
        if kept != spec.count as usize || asked.members() != kept {
            return Err(format!("attempts are to end for {who}, and room is kept for {kept} of {}", spec.count));
        }
        let mut index = 0;
        for room in &asked.nodes {
            let Some(node) = after.node(&room.node) else {
                return Err(format!("{who} preempts on {}, which is not known", room.node));
            };
            let victims = self.on_stopped(first, &room.victims, step)?;
            let together = (0..room.members).fold(Resources::ZERO, |sum, _| sum.saturating_add(resources));
            self.check_need((first, &victims), together, node, step)?;
            for _ in 0..room.members {
                self.keep(TaskId { index, ..first }, node, resources, step)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// Those of the victims that were stopped, each of whom may be for this task.
    fn on_stopped(&mut self, task: TaskId, victims: &[AttemptId], step: &Step) -> Result<Vec<AttemptId>, String> {
        let after = &step.after;
        let who = task_name(task);
        let Some(run) = after.run(task.run) else { return Err(format!("{who} preempts, and is not known")) };
        let policy = after.settings().and_then(|settings| settings.preemption).filter(Preemption::is_on);
        let Some(policy) = policy else { return Err(format!("{who} preempts, and nobody said that it may")) };
        // A run may get another priority, or be paused, in the same entry: who stopped what knew one of the two.
        let before = |run: &Run| step.before.run(run.id).map_or(run.spec.priority, |run| run.priority());
        let is_paused =
            |run: &Run| run.paused.is_some() && step.before.run(run.id).is_some_and(|earlier| earlier.paused.is_some());
        let is_stopped = |victim: &&AttemptId| {
            let stop =
                |state: &State| state.attempt(**victim).is_some_and(|row| row.stop == Some(StopReason::Preempted));
            stop(after) && !stop(&step.before)
        };
        let victims: Vec<AttemptId> = victims.iter().filter(is_stopped).copied().collect();
        for victim in &victims {
            let name = attempt_name(*victim);
            let Some(other) = after.run(victim.task.run) else { return Err(format!("{name} is not known")) };
            let its = other.priority().min(before(other));
            let ours = run.priority().max(before(run));
            let is_lower = policy.by_priority && u32::from(its) + u32::from(policy.gap) <= u32::from(ours);
            // What decides then is `p11_shares`.
            let may_share = policy.by_share && its <= ours;
            if !is_lower && !may_share {
                return Err(format!(
                    "{name} of priority {its} is to end for {who} of {ours}, the gap is {}",
                    policy.gap
                ));
            }
            let spared = spec_of(after, victim.task).is_none_or(|spec| {
                let is_promised = spec.on_node_loss == OnNodeLoss::AtMostOnce || !spec.preemptible;
                is_promised || spec.gang.is_some() || is_paused(other)
            });
            if spared {
                return Err(format!("{name} is to end for {who}, and is started once, protected, of a gang or paused"));
            }
            self.check_time(*victim, step)?;
            let theirs = self.circle.get(&victim.task).is_some_and(|theirs| theirs.contains(&task));
            let is_controlled = [victim.task.run, task.run].iter().any(|run| self.controlled.contains(run));
            if theirs && !is_controlled && !may_share {
                return Err(format!("{name} is to end for {who}, which ended for {}", task_name(victim.task)));
            }
            self.circle.entry(task).or_default().insert(victim.task);
            self.stopped.insert(*victim, task);
        }
        Ok(victims)
    }

    fn keep(&mut self, task: TaskId, node: &Node, resources: Resources, step: &Step) -> Verdict {
        let served = step.after.meta().served;
        let until = served.plus(node.lease.server_ms + node.lease.kill_ms);
        let kept = Kept { node: node.name.clone(), resources, until, overdue: None };
        if self.kept.insert(task, kept).is_some_and(|earlier| earlier.until > served) {
            return Err(format!("attempts are stopped for {}, for which room is kept already", task_name(task)));
        }
        Ok(())
    }

    /// Room is kept for those that a rebalance moves, too.
    fn on_moved(&mut self, step: &Step) {
        for attempt in
            attempts(step).filter(|attempt| step.before.attempt(attempt.id).is_none_or(|row| row.moved.is_none()))
        {
            let Some(moved) = &attempt.moved else { continue };
            let Some(node) = step.after.node(&moved.to).or_else(|| step.before.node(&moved.to)) else { continue };
            let until = step.after.meta().served.plus(node.lease.server_ms + node.lease.kill_ms);
            let kept = Kept { node: moved.to.clone(), resources: attempt.resources, until, overdue: None };
            self.kept.insert(attempt.id.task, kept);
        }
    }

    /// It was spared for so long after it was placed, and for ever after so many times.
    fn check_time(&self, victim: AttemptId, step: &Step) -> Verdict {
        let Some((at, Some(policy))) = self.placed.get(&victim) else { return Ok(()) };
        let earlier = step.before.attempts_of(victim.task).filter(|earlier| earlier.id.number < victim.number);
        let times = earlier
            .filter(|earlier| earlier.state == AttemptState::Preempted && self.stopped.contains_key(&earlier.id))
            .count();
        let spared = policy.spare_ms << times.min(32);
        let served = step.after.meta().served;
        if times >= policy.times_max as usize || served < at.plus(spared) {
            let name = attempt_name(victim);
            return Err(format!("{name} is to end for another at {served:?}, placed at {at:?}, after {times} times"));
        }
        Ok(())
    }

    /// By processors and memory alone it would not fit before they are gone, and not with any of them.
    fn check_need(
        &self,
        (task, victims): (TaskId, &[AttemptId]),
        takes: Resources,
        node: &Node,
        step: &Step,
    ) -> Verdict {
        let before = &step.before;
        if takes.gpu_milli > 0 || victims.is_empty() {
            return Ok(());
        }
        let kept = self.kept.iter().filter(|(other, kept)| kept.node == node.name && waits(before, **other));
        let kept = kept.map(|(_, kept)| kept.resources).fold(Resources::ZERO, Resources::saturating_add);
        let stays = before.attempts_on(&node.name).filter(|other| {
            let is_asked = self.stopped.contains_key(&other.id);
            !is_leaving(before, other) && !is_asked
        });
        // What the same entry has placed there came before.
        let new = placed(step).into_iter().filter(|other| other.node == node.name).map(|other| other.resources);
        let held = stays.map(|other| other.resources).chain(new).fold(kept, Resources::saturating_add);
        let fits = |held: Resources| takes.fits(node.capacity.saturating_sub(held));
        for left_out in victims {
            let more = before.attempt(*left_out).map_or(Resources::ZERO, |attempt| attempt.resources);
            if fits(held.saturating_add(more)) {
                return Err(format!(
                    "{} is to end for {}, which has room on {} without that",
                    attempt_name(*left_out),
                    task_name(task),
                    node.name
                ));
            }
        }
        Ok(())
    }

    /// Nobody is asked to end to make room but by the command for it.
    fn check_stops(&self, step: &Step) -> Verdict {
        if step.entry.is_none() {
            return Ok(());
        }
        let made = attempts(step)
            .find(|attempt| attempt.stop == Some(StopReason::Preempted) && !self.stopped.contains_key(&attempt.id));
        made.map_or(Ok(()), |attempt| {
            Err(format!("{} is to end to make room that nobody asked for", attempt_name(attempt.id)))
        })
    }

    /// What is kept is what was asked for, for who waits, on a node that takes work, and no longer than that may last.
    fn check_kept(&mut self, step: &Step) -> Verdict {
        let served = step.after.meta().served;
        for claim in step.held.claims() {
            let name = task_name(claim.task);
            let Some(kept) = self.kept.get_mut(&claim.task).filter(|kept| kept.node == claim.node) else {
                return Err(format!("room is kept for {name} that nobody asked for"));
            };
            let node = step.after.node(&claim.node);
            if !waits(&step.after, claim.task) || node.is_none_or(|node| node.is_out()) {
                return Err(format!("room is kept on {} for {name}, which does not wait for it", claim.node));
            }
            if served <= kept.until {
                continue;
            }
            let (at, since) = *kept.overdue.get_or_insert((step.at, served));
            let within_ms = u64::try_from(ENDS_WITHIN.as_millis()).unwrap_or(u64::MAX);
            if step.at > at + ENDS_WITHIN && served > since.plus(within_ms) {
                return Err(format!("room is kept on {} for {name} at {served:?}, until {:?}", claim.node, kept.until));
            }
        }
        // Let go of by a command, or because it does not wait any more.
        let gone = step.changes.iter().filter_map(|change| match change {
            Change::ClaimGone(task) => Some(*task),
            _ => None,
        });
        for task in gone {
            if step.held.claim(task).is_none() {
                self.kept.remove(&task);
            }
        }
        Ok(())
    }
}

fn waits(state: &State, task: TaskId) -> bool {
    let is_moved = |task: &Task| {
        let newest = task.newest_attempt().and_then(|newest| state.attempt(newest));
        let is_on_the_way =
            matches!(task.state, TaskState::Placed | TaskState::Running | TaskState::Waiting(Wait::Fence { .. }));
        is_on_the_way && newest.is_some_and(|newest| newest.moved.is_some())
    };
    state.task(task).is_some_and(|task| task.state == TaskState::Ready || is_moved(task))
        && state.run(task.run).is_some_and(|run| run.paused.is_none())
}

fn is_leaving(state: &State, attempt: &Attempt) -> bool {
    let run = state.run(attempt.id.task.run);
    attempt.stop.is_some()
        || attempt.state.is_terminal()
        || run.is_none_or(|run| super::flow::is_to_end(run, attempt.id.task.step))
}
