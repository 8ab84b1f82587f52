//! Attempts that are stopped for a gang: for all of its members together, or for none.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_planted::Bug;

use super::{check_victim, shares_taken, stop};
use crate::apply::gangs::{check_domain, of_step};
use crate::apply::overlay::Overlay;
use crate::{
    AttemptId, CLAIMS_MAX, Change, Choice, Claim, ClaimTerms, GANG_VICTIMS_MAX, GangPreempting, GangRoom, GpuHold,
    Infeasible, Node, NodeName, NodeStatus, Preemption, Rejection, Reply, Run, Stake, TaskId, TaskSpec, TaskState,
    VICTIMS_MAX,
};

/// What is to happen on one node.
struct Room {
    node: Arc<Node>,
    /// The first of the members that go there.
    first: TaskId,
    victims: Vec<AttemptId>,
    /// The devices of each member there.
    gpus: Vec<GpuHold>,
}

/// Stops attempts and keeps room for all members of a gang, or does nothing: everything is checked again on the state as it is, and
/// who is not needed any more is left alone.
pub(in crate::apply) fn preempt_for_gang(overlay: &mut Overlay, asked: &GangPreempting) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let state = overlay.state();
    let policy = state.preemption().ok_or(Rejection::Stale("nobody is preempted any more"))?;
    let (run, spec) = waiting(overlay, asked)?;
    check_limits(asked, spec.count, state.claims_count())?;
    let mut shared: BTreeSet<AttemptId> = BTreeSet::new();
    let (mut rooms, mut index) = (Vec::with_capacity(asked.nodes.len()), 0_u32);
    for room in &asked.nodes {
        let first = TaskId { run: asked.run, step: asked.step, index };
        rooms.push(room_on(overlay, &policy, (&run, &spec), (room, first), &mut shared)?);
        index = index.saturating_add(room.members);
    }
    let victims: BTreeSet<AttemptId> = rooms.iter().flat_map(|room| room.victims.iter().copied()).collect();
    if victims.is_empty() {
        return Err(Rejection::Stale("there is room for the gang without them"));
    }
    let resources = spec.taken_at_once(Choice::FIRST);
    let by = Stake { namespace: &run.spec.namespace, priority: run.priority(), resources };
    shared.retain(|victim| victims.contains(victim));
    let taken = shares_taken(overlay, &policy, by, &shared)?;
    let mut claims = Vec::new();
    for Room { node, first, victims, gpus } in rooms {
        for victim in victims {
            stop(overlay, first, run.priority(), taken.get(&victim).copied(), victim);
        }
        // Before that they are gone, or the node's lease is over, which ends what is kept for all of it.
        let until = overlay.served().plus(node.lease.server_ms.saturating_add(node.lease.kill_ms));
        for (index, gpus) in (first.index..).zip(gpus) {
            let terms = ClaimTerms { resources: spec.resources, gpus, choice: Choice::FIRST, until };
            let task = TaskId { index, ..first };
            claims.push(Claim { task, node: node.name.clone(), epoch: node.epoch, terms });
        }
    }
    let kept = if quorate_planted::is(Bug::GangRoomInPart) { 1 } else { claims.len() };
    claims.into_iter().take(kept).for_each(|claim| overlay.put(Change::Claim(Arc::new(claim))));
    Ok(Reply::Counted(u32::try_from(victims.len()).unwrap_or(u32::MAX)))
}

/// The run and the spec of a gang all of which waits for room, and might be placed whenever there is some.
fn waiting(overlay: &Overlay, asked: &GangPreempting) -> Result<(Arc<Run>, TaskSpec), Rejection> {
    let state = overlay.state();
    let run = state.run(asked.run).cloned().ok_or(Rejection::Stale("the run does not exist"))?;
    if run.is_ending(asked.step) || run.state.is_terminal() || run.paused.is_some() {
        return Err(Rejection::Stale("the run is ending, or is paused"));
    }
    let (spec, gang) = of_step(&run, asked.step).ok_or(Rejection::Stale("the task is not a gang"))?;
    if !spec.place.company.is_empty() {
        return Err(Rejection::Stale("the gang has rules about other tasks"));
    }
    if state.gang(asked.run, asked.step).map_or(0, |gang| gang.generation) != asked.generation {
        return Err(Rejection::Stale("the gang has moved"));
    }
    let ids = (0..spec.count).map(|index| TaskId { run: asked.run, step: asked.step, index });
    let is_ready = |id: TaskId| state.task(id).is_some_and(|task| task.state == TaskState::Ready);
    if !ids.clone().all(is_ready) {
        return Err(Rejection::Stale("not all of the gang waits for room"));
    }
    if state.claims_of_gang(asked.run, asked.step).next().is_some() {
        return Err(Rejection::Stale("room is kept for the gang already"));
    }
    if state.held(&run, spec, overlay.served()).is_some() {
        return Err(Rejection::Stale("the gang may not be placed yet"));
    }
    let each = asked.nodes.iter().flat_map(|room| (0..room.members).map(|_| &room.node));
    check_domain(overlay, gang, ids.clone().zip(each))?;
    let first = TaskId { run: asked.run, step: asked.step, index: 0 };
    match state.over_quota_beside(first, &run.spec.namespace, spec.taken_at_once(Choice::FIRST), &[]) {
        Some(over) => Err(Rejection::OverQuota(over)),
        None => Ok((run.clone(), spec.clone())),
    }
}

/// Each node once, with some of the members, and all of these; and no more of anything than may be.
fn check_limits(asked: &GangPreempting, count: u32, claims: usize) -> Result<(), Rejection> {
    let names: BTreeSet<&NodeName> = asked.nodes.iter().map(|room| &room.node).collect();
    let is_whole = asked.members() == count as usize && asked.nodes.iter().all(|room| room.members > 0);
    if !is_whole || names.len() != asked.nodes.len() {
        return Err(Rejection::Stale("room is made for a gang as a whole, on each node once"));
    }
    let advice = "stop fewer attempts for one gang";
    if asked.nodes.iter().any(|room| room.victims.len() > VICTIMS_MAX) {
        return Err(Rejection::LimitReached { limit: "VICTIMS_MAX", max: VICTIMS_MAX as u64, advice });
    }
    if asked.victims().count() > GANG_VICTIMS_MAX {
        return Err(Rejection::LimitReached { limit: "GANG_VICTIMS_MAX", max: GANG_VICTIMS_MAX as u64, advice });
    }
    if claims.saturating_add(count as usize) > CLAIMS_MAX {
        let advice = "wait until tasks for which room is kept are placed";
        return Err(Rejection::LimitReached { limit: "CLAIMS_MAX", max: CLAIMS_MAX as u64, advice });
    }
    Ok(())
}

/// Who goes on one node, and what the members get there; adds those to `shared` who go only if what namespaces have allows it.
fn room_on(
    overlay: &Overlay,
    policy: &Preemption,
    (run, spec): (&Run, &TaskSpec),
    (asked, first): (&GangRoom, TaskId),
    shared: &mut BTreeSet<AttemptId>,
) -> Result<Room, Rejection> {
    let state = overlay.state();
    let node = state.node(&asked.node).cloned().ok_or(Rejection::Stale("the node does not exist"))?;
    if node.epoch != asked.epoch || node.status != NodeStatus::Up || node.is_out() {
        return Err(Rejection::Stale("the node has a new lease, or takes no work"));
    }
    let home = state.task(first).and_then(|task| task.home.as_ref());
    if !state.bound(home, spec, overlay.served()).allows(&node.region) {
        return Err(Rejection::Infeasible(Infeasible::Region));
    }
    for victim in &asked.victims {
        if check_victim(overlay, policy, &asked.node, run, *victim)? {
            shared.insert(*victim);
        }
    }
    let with = |goes: &dyn Fn(AttemptId) -> bool| {
        let goes = |attempt: &crate::Attempt| state.is_leaving(attempt) || goes(attempt.id);
        state.vacancy_for_gang(&node, (first.run, first.step), goes).hold_all(&node, spec, asked.members)
    };
    // Something may have gone since, and then not all of them are needed: the last named are the most urgent.
    let mut victims = asked.victims.clone();
    for place in (0..victims.len()).rev().filter(|_| !quorate_planted::is(Bug::PreemptsForNothing)) {
        let others = || victims.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, victim)| *victim);
        if with(&|attempt| others().any(|other| other == attempt)).is_some() {
            victims.remove(place);
        }
    }
    let gpus = with(&|attempt| victims.contains(&attempt));
    let gpus = gpus.ok_or(Rejection::Stale("it would not fit when they are gone"))?;
    Ok(Room { node, first, victims, gpus })
}
