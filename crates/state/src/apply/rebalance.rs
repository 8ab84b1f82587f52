//! Rebalancing: its beginning and its end, and moves, each checked again on the state as it is.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use crate::{
    Attempt, CLAIMS_MAX, Change, Claim, ClaimTerms, Event, GpuWant, Infeasible, Loads, MOVES_AT_ONCE_MAX, Move, Moved,
    Moving, NodeStatus, Principal, Rebalance, RebalanceEnd, RebalanceOrder, RebalanceTerms, Rejection, Reply, Side,
    StopReason, Violation, feasible, movable,
};

/// Begins a rebalance, or ends the one that goes on.
pub(super) fn set(overlay: &mut Overlay, by: &Principal, order: &RebalanceOrder) -> Result<Reply, Rejection> {
    overlay.settings()?;
    match order {
        RebalanceOrder::Start(terms) => start(overlay, by, *terms),
        RebalanceOrder::Stop => {
            end(overlay, by, RebalanceEnd::Stopped);
            Ok(Reply::Done)
        }
    }
}

fn start(overlay: &mut Overlay, by: &Principal, terms: RebalanceTerms) -> Result<Reply, Rejection> {
    let flaws = terms.limits().into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
    let flaws: Vec<Violation> = flaws
        .map(|(name, value, least, most)| Violation {
            field: format!("terms.{name}"),
            message: format!("is {value}, and must be from {least} to {most}"),
        })
        .collect();
    if !flaws.is_empty() {
        return Err(Rejection::Invalid(flaws));
    }
    if overlay.state().rebalancing().is_some() {
        let advice = "one goes on: wait until it has ended, or stop it";
        return Err(Rejection::LimitReached { limit: "REBALANCES_MAX", max: 1, advice });
    }
    let number = overlay.state().rebalance().map_or(0, |last| last.number).saturating_add(1);
    let served = overlay.served();
    overlay.emit(Event::RebalanceStarted { rebalance: number, by: by.clone() });
    overlay.put(Change::Rebalance(Arc::new(Rebalance {
        number,
        terms,
        by: by.clone(),
        at: overlay.now(),
        began: served,
        ends: served.plus(terms.for_ms),
        begun: 0,
        arrived: 0,
        missed: 0,
        ended: None,
    })));
    Ok(Reply::Done)
}

/// Begins moves, and ends the rebalance if that is so. A move for which no reason is left is passed over.
pub(super) fn move_attempts(
    overlay: &mut Overlay,
    by: &Principal,
    number: u32,
    moves: &[Moving],
    ends: Option<RebalanceEnd>,
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if moves.len() > MOVES_AT_ONCE_MAX as usize {
        let advice = "begin fewer moves in one command";
        return Err(Rejection::LimitReached { limit: "MOVES_AT_ONCE_MAX", max: MOVES_AT_ONCE_MAX.into(), advice });
    }
    let over = |overlay: &Overlay| {
        let rebalance = overlay.state().rebalancing().filter(|rebalance| rebalance.number == number);
        let rebalance = rebalance.ok_or(Rejection::Stale("that rebalance has ended"))?;
        Ok(overlay.state().rebalance_over(rebalance, overlay.served()))
    };
    let mut begun = 0_u32;
    if over(overlay)?.is_none() {
        for moving in moves {
            begun = begun.saturating_add(u32::from(begin(overlay, moving).is_ok()));
        }
    }
    let Some(why) = ends else { return Ok(Reply::Counted(begun)) };
    let is_still = !overlay.state().moves().any(|row| row.rebalance == number);
    let ends = match why {
        RebalanceEnd::Done | RebalanceEnd::MovesSpent => is_still.then_some(why),
        // Another of these may have come before it.
        RebalanceEnd::TimeOver | RebalanceEnd::Draining | RebalanceEnd::NodeLost => over(overlay)?,
        // That the leader alone sees.
        RebalanceEnd::Silent => Some(why),
        RebalanceEnd::Stopped => None,
    };
    if let Some(why) = ends {
        end(overlay, by, why);
    }
    Ok(Reply::Counted(begun.saturating_add(u32::from(ends.is_some()))))
}

/// Nothing more is moved. What is on the move arrives.
fn end(overlay: &mut Overlay, by: &Principal, why: RebalanceEnd) {
    let Some(rebalance) = overlay.state().rebalancing().cloned() else { return };
    overlay.emit(Event::RebalanceEnded { rebalance: rebalance.number, why, by: by.clone() });
    let ended = Some((why, overlay.now()));
    overlay.put(Change::Rebalance(Arc::new(Rebalance { ended, ..rebalance })));
}

/// Asks an attempt to stop and keeps the room for its task where that is to go on. Everything is checked first.
fn begin(overlay: &mut Overlay, moving: &Moving) -> Result<(), Rejection> {
    let (state, served) = (overlay.state(), overlay.served());
    let rebalance = state.rebalancing().ok_or(Rejection::Stale("the rebalance has ended"))?;
    let terms = rebalance.terms;
    let is_spent = rebalance.begun >= terms.moves_max || state.moves_count() >= terms.at_once as usize;
    if is_spent && !quorate_planted::is(Bug::MovesCountedByLeader) {
        return Err(Rejection::Stale("the budget has no room for a move now"));
    }
    if state.claims_count() >= CLAIMS_MAX {
        return Err(Rejection::Stale("room is kept for as many tasks as can be"));
    }
    let task = moving.attempt.task;
    let attempt = state.attempt(moving.attempt).filter(|attempt| !attempt.gone);
    let attempt = attempt.cloned().ok_or(Rejection::Stale("the attempt is gone"))?;
    let run = movable(state, &attempt, Some(rebalance.number), served);
    let run = run.map_err(|_| Rejection::Stale("the attempt is not to be moved"))?;
    let spec = run.spec.tasks.get(task.step as usize).and_then(|spec| spec.chosen(attempt.choice));
    let spec = spec.ok_or(Rejection::Stale("the task has no spec"))?;
    let (moving_now, up) = state.step_moves(task.run, task.step);
    if moving_now >= terms.moving_max(up) {
        return Err(Rejection::Stale("other elements of its step are moved first"));
    }
    let from = state.node(&attempt.node).ok_or(Rejection::Stale("its node does not exist"))?;
    let to = state.node(&moving.to).ok_or(Rejection::Stale("the node does not exist"))?;
    if to.epoch != moving.epoch || to.status != NodeStatus::Up || to.is_out() || to.name == from.name {
        return Err(Rejection::Stale("the node has a new lease, or takes no work"));
    }
    let home = state.task(task).and_then(|task| task.home.as_ref());
    if !terms.reach.spans(from, to) || !state.bound(home, &spec, served).allows(&to.region) {
        return Err(Rejection::Infeasible(Infeasible::Region));
    }
    let loads = Loads::of(state);
    let side = |node| Side { node, load: loads.on(&node.name) };
    if terms.gain(&spec, &side(from), &side(to)).is_none() {
        return Err(Rejection::Stale("the move is not worth its while any more"));
    }
    let room = state.room_on(to);
    feasible(to, room, &spec).map_err(Rejection::Infeasible)?;
    let want = GpuWant::of(&spec);
    let gpus = want.choose(want.allowed(to), room.gpus).ok_or(Rejection::Stale("no devices are free for it"))?;
    // By then the attempt is gone, or the lease of its node is over.
    let until = served.plus(to.lease.server_ms.saturating_add(to.lease.kill_ms));
    let terms = ClaimTerms { resources: spec.resources, gpus, choice: attempt.choice, until };
    let (node, epoch) = (to.name.clone(), to.epoch);
    let claim = Claim { task, node, epoch, terms };
    let (number, began) = (rebalance.number, served);
    let counted = Rebalance { begun: rebalance.begun.saturating_add(1), ..rebalance.clone() };
    let (from, to) = (from.name.clone(), to.name.clone());
    overlay.put(Change::Rebalance(Arc::new(counted)));
    let row = Move { task, attempt: attempt.id.number, rebalance: number, from: from.clone(), to: to.clone(), began };
    overlay.put(Change::Move(Arc::new(row)));
    overlay.emit(Event::AttemptRebalanced { attempt: attempt.id, node: from, to: to.clone(), rebalance: number });
    overlay.put_attempt(Attempt {
        stop: Some(StopReason::Rebalanced),
        moved: Some(Moved { rebalance: number, to }),
        ..(*attempt).clone()
    });
    if !quorate_planted::is(Bug::MoveKeepsNoRoom) {
        overlay.put(Change::Claim(Arc::new(claim)));
    }
    Ok(())
}
