//! Attempts that an earlier life of the data placed after the backup was taken: the agent has them,
//! the restored state does not. They are taken in as started, so that none is killed in silence or
//! placed a second time beside itself.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use crate::{
    Attempt, AttemptClaim, AttemptId, AttemptState, Change, Choice, Epoch, GpuHold, NodeName, Registration, Resources,
    Run, StopReason, Task, TaskState, Token, Usage,
};

/// Takes in what `arrival` claims and the state does not know, as far as its task is known and open.
/// What belongs to a run that was submitted after the backup cannot be taken in; its agent ends it.
pub(super) fn adopt(overlay: &mut Overlay, arrival: &Registration, epoch: Epoch) {
    let restored_at = overlay.state().meta().restored_at;
    if quorate_planted::is(Bug::RestoreIgnoresClaims) {
        return;
    }
    for claim in &arrival.attempts {
        // A token of this life names a placement of this life, which is known if it was made.
        if claim.token.0 < restored_at.0 && overlay.state().attempt(claim.attempt).is_none() {
            adopt_one(overlay, &arrival.node, *claim, epoch);
        }
    }
}

fn adopt_one(overlay: &mut Overlay, node: &NodeName, claim: AttemptClaim, epoch: Epoch) {
    let AttemptClaim { attempt: AttemptId { task, number }, token, gpus, choice } = claim;
    let state = overlay.state();
    let (Some(task), Some(run)) = (state.task(task).cloned(), state.run(task.run).cloned()) else { return };
    let spec = run.spec.tasks.get(task.id.step as usize);
    if run.sub_run(task.id.step).is_some() {
        // No agent was ever given it.
        return;
    }
    if spec.is_some_and(|spec| spec.gang.is_some()) {
        // Nobody knows whether all of them are there: its agent ends it, and the gang begins anew.
        return;
    }
    if spec.is_some_and(crate::TaskSpec::is_decided)
        && state.step(run.id, task.id.step).is_none_or(|step| step.decision.is_none())
    {
        // What it was for is not decided in this life: it is begun anew.
        return;
    }
    let newest = task.newest_attempt().and_then(|id| state.attempt(id)).map_or(Token(0), |attempt| attempt.token);
    let missing = u64::from(number.saturating_sub(task.attempts));
    // Tokens rise from one attempt to the next, so there is one for each that is missing.
    if task.state.is_terminal() || missing == 0 || token.0.saturating_sub(newest.0) < missing {
        return;
    }
    // An alternative that its job does not have here is none that this life could count with.
    let choice = if spec.is_some_and(|spec| spec.chosen(choice).is_some()) { choice } else { Choice::FIRST };
    for earlier in overlay.state().attempts_of(task.id).cloned().collect::<Vec<_>>() {
        if !earlier.state.is_terminal() {
            // The newest token wins, as when it was placed.
            overlay.move_attempt(&earlier, AttemptState::Lost, |_| {});
        }
    }
    for between in task.attempts.saturating_add(1)..number {
        let token = Token(token.0 - u64::from(number - between));
        let lost = Attempt {
            state: AttemptState::Lost,
            gone: true,
            ended_at: Some(overlay.now()),
            ..blank(overlay, &run, &task, node, (Choice::FIRST, GpuHold::NONE))
        };
        let id = AttemptId { task: task.id, number: between };
        overlay.put(Change::Attempt(Arc::new(Attempt { id, epoch, token, ..lost })));
    }
    let stop = run.is_ending(task.id.step).then_some(StopReason::Cancelled);
    let adopted =
        Attempt { id: claim.attempt, epoch, token, stop, ..blank(overlay, &run, &task, node, (choice, gpus)) };
    // Moved rather than put, so that watchers hear of it. Whether it runs is in the agent's next report.
    overlay.move_attempt(&adopted, AttemptState::Assigned, |_| {});
    let stays = spec.is_some_and(|spec| spec.on_region_loss.is_some());
    let home = overlay.state().node(node).map(|node| node.region.clone()).filter(|_| stays);
    overlay.move_task(&task, TaskState::Placed, |task| {
        (task.attempts, task.home, task.choice) = (number, home, choice);
    });
}

fn blank(overlay: &Overlay, run: &Run, task: &Task, node: &NodeName, (choice, gpus): (Choice, GpuHold)) -> Attempt {
    let spec = run.spec.tasks.get(task.id.step as usize);
    let resources = spec.map(|spec| spec.resources_of(choice)).unwrap_or_default();
    Attempt {
        id: AttemptId { task: task.id, number: 0 },
        node: node.clone(),
        epoch: Epoch(0),
        token: Token(0),
        state: AttemptState::Assigned,
        stop: None,
        gone: false,
        resources: Resources { gpu_milli: gpus.total_milli(), ..resources },
        gpus,
        choice,
        placed_at: overlay.now(),
        started_at: None,
        ended_at: None,
        run_deadline: None,
        unknown_deadline: None,
        exit: None,
        message: None,
        outcome: None,
        suspect: false,
        usage: Usage::default(),
        payloads: None,
        spared_until: None,
        preempted: None,
        moved: None,
    }
}
