//! What must hold of room that is kept: for a task that waits for it or is on the move to it, on a node that takes work; and of a gang for all members or for none.

use std::collections::BTreeSet;

use crate::{CLAIMS_MAX, Claim, Feature, NodeStatus, RunId, State, StopReason, TaskState};

impl State {
    pub(super) fn check_claims(&self, broken: &mut Vec<String>) {
        for claim in self.claims() {
            let state = self.task(claim.task).map(|task| &task.state);
            if state != Some(&TaskState::Ready) && self.task_move(claim.task).is_none() {
                broken.push(format!("room is kept for task {:?}, which is {state:?}", claim.task));
            }
            let run = self.run(claim.task.run);
            if run.is_none_or(|run| run.paused.is_some()) {
                broken.push(format!("room is kept for task {:?}, whose run is paused or gone", claim.task));
            }
            let node = self.node(&claim.node);
            let takes_work =
                node.is_some_and(|node| node.epoch == claim.epoch && node.status == NodeStatus::Up && !node.is_out());
            if !takes_work {
                broken.push(format!("room is kept for task {:?} on {}, which takes no work", claim.task, claim.node));
            }
            if node.is_some_and(|node| self.is_set_apart(node, claim.task)) {
                broken
                    .push(format!("room is kept for task {:?} on {}, not of its reservation", claim.task, claim.node));
            }
            let longest = node.map_or(0, |node| node.lease.server_ms.saturating_add(node.lease.kill_ms));
            if claim.terms.until > self.meta.served.plus(longest) {
                broken.push(format!("room is kept for task {:?} for more than {longest} ms", claim.task));
            }
            if claim.terms.gpus.total_milli() != claim.terms.resources.gpu_milli {
                broken.push(format!("{:?} is kept for task {:?}", claim.terms, claim.task));
            }
        }
        let of_gang = |claim: &Claim| {
            let spec = self.run(claim.task.run).and_then(|run| run.spec.tasks.get(claim.task.step as usize));
            spec.filter(|spec| spec.gang.is_some()).map(|spec| (claim.task.run, claim.task.step, spec.count))
        };
        let gangs: BTreeSet<(RunId, u32, u32)> = self.claims().filter_map(of_gang).collect();
        for (run, step, count) in &gangs {
            let kept = self.claims_of_gang(*run, *step).count();
            if kept != *count as usize {
                broken.push(format!("room is kept for {kept} of the {count} members of gang {run}/{step}"));
            }
        }
        if !gangs.is_empty() && !self.has_feature(Feature::GangPreemption) {
            broken.push(format!("room is kept for gangs, and feature {} is not enabled", Feature::GangPreemption));
        }
        if self.claims_count() > CLAIMS_MAX {
            broken.push(format!("room is kept for {} tasks, CLAIMS_MAX is {CLAIMS_MAX}", self.claims_count()));
        }
        for attempt in self.attempts.values() {
            let is_preempted = attempt.stop == Some(StopReason::Preempted);
            if is_preempted != attempt.preempted.is_some() {
                broken.push(format!(
                    "attempt {:?} is stopped for {:?} by {:?}",
                    attempt.id, attempt.stop, attempt.preempted
                ));
            }
        }
        let is_set = self.settings.as_ref().is_some_and(|settings| settings.preemption.is_some_and(|set| set.is_on()));
        let was_used =
            self.attempts.values().any(|attempt| attempt.spared_until.is_some() || attempt.preempted.is_some())
                || self.tasks.values().any(|task| task.preemptions > 0)
                || self.runs.values().any(|run| run.spec.has_protected());
        let shares =
            self.settings.as_ref().is_some_and(|settings| settings.preemption.is_some_and(|set| set.says_share()))
                || self.attempts.values().any(|attempt| attempt.preempted.is_some_and(|by| by.share.is_some()));
        if shares && !self.has_feature(Feature::FairPreemption) {
            broken.push(format!("there are shares, and feature {} is not enabled", Feature::FairPreemption));
        }
        if (is_set || was_used || self.claims_count() > 0) && !self.has_feature(Feature::Preemption) {
            broken.push(format!("there is preemption, and feature {} is not enabled", Feature::Preemption));
        }
    }
}
