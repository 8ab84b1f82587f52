//! Placing tasks: a plan is a proposal, and each placement is checked again on the state as it is.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::sub_runs;
use crate::{
    Attempt, AttemptId, AttemptState, Census, Change, Event, GpuWant, Held, Infeasible, OnNodeLoss, Placement,
    PlacementOutcome, Rejection, Reply, Room, TaskState, Token, Usage, Vacancy, feasible,
};

pub(super) fn commit_plan(overlay: &mut Overlay, placements: &[Placement]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut census = Census::of_state();
    let outcomes = placements
        .iter()
        .map(|placement| match place(overlay, placement, &mut census, false) {
            Ok(token) => PlacementOutcome::Placed(token),
            Err(rejection) => PlacementOutcome::Refused(Box::new(rejection)),
        })
        .collect();
    Ok(Reply::PlanCommitted(outcomes))
}

/// Checks everything first and changes things last, so that a refusal leaves nothing behind. `as_member` of a gang, all of
/// which is placed now. `census` knows all that this command has placed before.
pub(super) fn place(
    overlay: &mut Overlay,
    placement: &Placement,
    census: &mut Census,
    as_member: bool,
) -> Result<Token, Rejection> {
    let state = overlay.state();
    let task = state.task(placement.task).cloned().ok_or(Rejection::Stale("the task does not exist"))?;
    if task.state != TaskState::Ready || task.generation != placement.generation {
        return Err(Rejection::Stale("the task has moved"));
    }
    let run = state.run(placement.task.run).cloned().ok_or(Rejection::Stale("the run does not exist"))?;
    if (run.is_ending(task.id.step) && !quorate_planted::is(Bug::PlacedAfterCancel)) || run.state.is_terminal() {
        return Err(Rejection::Stale("the run is ending"));
    }
    if run.paused.is_some() && !quorate_planted::is(Bug::PauseIgnored) {
        return Err(Rejection::Stale("the run is paused"));
    }
    let node = state.node(&placement.node).cloned().ok_or(Rejection::Stale("the node does not exist"))?;
    if node.epoch != placement.epoch {
        return Err(Rejection::Stale("the node has a new lease"));
    }
    let spec = run.spec.tasks.get(task.id.step as usize);
    let spec = spec.ok_or_else(|| Rejection::Invariant(format!("task {:?} has no spec", task.id)))?;
    if spec.sub_run.is_some() {
        return Err(Rejection::Stale("the task is a run of another job, which no node holds"));
    }
    if spec.gang.is_some() != as_member {
        return Err(Rejection::Stale("a gang is placed whole"));
    }
    let best = spec.resources;
    let spec = &*spec.chosen(placement.choice).ok_or(Rejection::Stale("the task has no such alternative"))?;
    match state.held(&run, spec, overlay.served()) {
        Some(Held::Fenced { .. }) => return Err(Rejection::Stale("copies of an earlier life may still run")),
        Some(Held::Once) => return Err(Rejection::Stale("an earlier life may have started the task")),
        None => {}
    }
    if let Some(why) = state.unreserved(&run, spec) {
        return Err(Rejection::Stale(why.why()));
    }
    if !state.bound(task.home.as_ref(), spec, overlay.served()).allows(&node.region) {
        return Err(Rejection::Infeasible(Infeasible::Region));
    }
    if let Some(over) = state.over_quota_beside(task.id, &run.spec.namespace, spec.resources, &[]) {
        return Err(Rejection::OverQuota(over));
    }
    let claim = state.claim(task.id);
    if claim.is_some_and(|claim| claim.node != node.name) {
        return Err(Rejection::Stale("room is kept for the task on another node"));
    }
    // Others were stopped so that it gets this, or what it would rather have.
    if claim.is_some_and(|claim| claim.terms.choice < placement.choice) {
        return Err(Rejection::Stale("room is kept for the task for an alternative that it would rather have"));
    }
    // What is kept for it is its own.
    let own = claim.map(|_| state.vacancy(&node, task.id, |_| false));
    let room = own.as_ref().map_or_else(|| state.room_on(&node), Vacancy::room);
    let room = if quorate_planted::is(Bug::CapacityUnchecked) { Room::empty(&node) } else { room };
    feasible(&node, room, spec).map_err(Rejection::Infeasible)?;
    let rules = census.rules(state, &run, task.id.step);
    census.admits(&rules, &node).map_err(Rejection::Infeasible)?;
    let want = GpuWant::of(spec);
    if !want.accepts(placement.gpus, want.allowed(&node), room.gpus) {
        return Err(Rejection::Stale("the devices are not what the task takes, or are not free"));
    }
    let token = if quorate_planted::is(Bug::TokenRepeats) {
        Token(overlay.revision().0 / 2 * 2)
    } else {
        Token(overlay.revision().0)
    };
    let earlier: Vec<Arc<Attempt>> = state.attempts_of(task.id).cloned().collect();
    let is_once = spec.on_node_loss == OnNodeLoss::AtMostOnce && !quorate_planted::is(Bug::AtMostOnceTwice);
    if is_once && !earlier.is_empty() {
        return Err(Rejection::Stale("an at_most_once task is started once"));
    }
    if earlier.iter().any(|attempt| attempt.token >= token) {
        return Err(Rejection::Stale("tokens rise from attempt to attempt"));
    }
    let mut losses = task.losses;
    for attempt in earlier.iter().filter(|attempt| !attempt.state.is_terminal()) {
        if attempt.state != AttemptState::Unknown {
            return Err(Rejection::Invariant(format!(
                "task {:?} is ready while attempt {} lives",
                task.id, attempt.id.number
            )));
        }
        // The newest token wins: from here on the old copy's word does not count.
        overlay.move_attempt(attempt, AttemptState::Lost, |_| {});
        losses = losses.saturating_add(1);
    }
    let id = AttemptId { task: task.id, number: task.attempts.saturating_add(1) };
    let attempt = Attempt {
        id,
        node: node.name.clone(),
        epoch: node.epoch,
        token,
        state: AttemptState::Assigned,
        stop: None,
        gone: false,
        resources: if quorate_planted::is(Bug::CountedByBestAlternative) { best } else { spec.resources },
        gpus: placement.gpus,
        choice: placement.choice,
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
        spared_until: overlay
            .state()
            .preemption()
            .map(|policy| policy.spared_until(overlay.served(), task.preemptions)),
        preempted: None,
        moved: None,
    };
    overlay.emit(Event::AttemptMoved { attempt: id, node: node.name.clone(), token, state: attempt.state, exit: None });
    overlay.put(Change::Attempt(Arc::new(attempt)));
    overlay.move_task(&task, TaskState::Placed, |task| {
        (task.attempts, task.choice) = (id.number, placement.choice);
        task.home = spec.on_region_loss.as_ref().map(|_| node.region.clone());
        if quorate_planted::is(Bug::LossBurnsTry) {
            task.tries = task.tries.saturating_add(losses - task.losses);
        }
        task.losses = losses;
    });
    census.note(&run, task.id.step, &node);
    sub_runs::begin(overlay, &run);
    Ok(token)
}
