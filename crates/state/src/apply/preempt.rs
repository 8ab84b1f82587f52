//! Preemption: attempts are stopped for a task that waits, and their room is kept for it.

mod gangs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_planted::Bug;

pub(super) use gangs::preempt_for_gang;

use super::features::require;
use super::overlay::Overlay;
use crate::{
    AttemptId, CLAIMS_MAX, Change, Claim, ClaimTerms, Event, Feature, Infeasible, NodeName, NodeStatus, Parts,
    Preempted, Preempting, Preemption, Rejection, Reply, Run, Settings, ShareTaken, Stake, StopReason, TaskId,
    TaskSpec, TaskState, VICTIMS_MAX, Violation, preemptible,
};

/// Says who may be preempted by whom.
pub(super) fn set(overlay: &mut Overlay, policy: Preemption) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    require(overlay, Some(Feature::Preemption))?;
    let flaws = policy.limits().into_iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
    let flaws: Vec<Violation> = flaws
        .map(|(name, value, least, most)| Violation {
            field: format!("preemption.{name}"),
            message: format!("is {value}, and must be from {least} to {most}"),
        })
        .collect();
    if !flaws.is_empty() {
        return Err(Rejection::Invalid(flaws));
    }
    overlay.put(Change::Settings(Arc::new(Settings { preemption: Some(policy), ..(*settings).clone() })));
    Ok(Reply::Done)
}

/// Stops attempts and keeps their room for a task, or does nothing: everything is checked again on the state as it is, and who is
/// not needed any more is left alone.
pub(super) fn preempt(overlay: &mut Overlay, asked: &Preempting) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let state = overlay.state();
    let policy = state.preemption().ok_or(Rejection::Stale("nobody is preempted any more"))?;
    if asked.victims.len() > VICTIMS_MAX {
        let advice = "stop fewer attempts for one task";
        return Err(Rejection::LimitReached { limit: "VICTIMS_MAX", max: VICTIMS_MAX as u64, advice });
    }
    if state.claims_count() >= CLAIMS_MAX {
        let advice = "wait until tasks for which room is kept are placed";
        return Err(Rejection::LimitReached { limit: "CLAIMS_MAX", max: CLAIMS_MAX as u64, advice });
    }
    let (run, spec) = waiting(overlay, asked)?;
    let node = state.node(&asked.node).cloned().ok_or(Rejection::Stale("the node does not exist"))?;
    if node.epoch != asked.epoch || node.status != NodeStatus::Up || node.is_out() {
        return Err(Rejection::Stale("the node has a new lease, or takes no work"));
    }
    let home = state.task(asked.task).and_then(|task| task.home.as_ref());
    if !state.bound(home, &spec, overlay.served()).allows(&node.region) {
        return Err(Rejection::Infeasible(Infeasible::Region));
    }
    let mut shared: BTreeSet<AttemptId> = BTreeSet::new();
    for victim in &asked.victims {
        if check_victim(overlay, &policy, &asked.node, &run, *victim)? {
            shared.insert(*victim);
        }
    }
    let with = |goes: &dyn Fn(AttemptId) -> bool| {
        state.vacancy(&node, asked.task, |attempt| state.is_leaving(attempt) || goes(attempt.id)).hold(&node, &spec)
    };
    if with(&|attempt| asked.victims.contains(&attempt)).is_none() {
        return Err(Rejection::Stale("it would not fit when they are gone"));
    }
    // Something may have gone since, and then not all of them are needed: the last named are the most urgent.
    let mut victims = asked.victims.clone();
    for place in (0..victims.len()).rev().filter(|_| !quorate_planted::is(Bug::PreemptsForNothing)) {
        let others = || victims.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, victim)| *victim);
        if with(&|attempt| others().any(|other| other == attempt)).is_some() {
            victims.remove(place);
        }
    }
    let gpus = with(&|attempt| victims.contains(&attempt)).filter(|_| !victims.is_empty());
    let gpus = gpus.ok_or(Rejection::Stale("there is room for it without them"))?;
    let by = Stake { namespace: &run.spec.namespace, priority: run.priority(), resources: spec.resources };
    shared.retain(|victim| victims.contains(victim));
    let taken = shares_taken(overlay, &policy, by, &shared)?;
    // Before that they are gone, or the node's lease is over, which ends the claim.
    let until = overlay.served().plus(node.lease.server_ms.saturating_add(node.lease.kill_ms));
    for victim in &victims {
        stop(overlay, asked.task, run.priority(), taken.get(victim).copied(), *victim);
    }
    let terms = ClaimTerms { resources: spec.resources, gpus, choice: asked.choice, until };
    overlay.put(Change::Claim(Arc::new(Claim {
        task: asked.task,
        node: asked.node.clone(),
        epoch: asked.epoch,
        terms,
    })));
    Ok(Reply::Counted(u32::try_from(victims.len()).unwrap_or(u32::MAX)))
}

/// The run and the spec, by the alternative that is asked for, of a task that waits for room, and might be placed whenever there is some.
fn waiting(overlay: &Overlay, asked: &Preempting) -> Result<(Arc<Run>, TaskSpec), Rejection> {
    let state = overlay.state();
    let task = state.task(asked.task).ok_or(Rejection::Stale("the task does not exist"))?;
    if task.state != TaskState::Ready || task.generation != asked.generation {
        return Err(Rejection::Stale("the task has moved"));
    }
    if state.claim(asked.task).is_some() {
        return Err(Rejection::Stale("room is kept for the task already"));
    }
    let run = state.run(asked.task.run).cloned().ok_or(Rejection::Stale("the run does not exist"))?;
    if run.is_ending(task.id.step) || run.state.is_terminal() || run.paused.is_some() {
        return Err(Rejection::Stale("the run is ending, or is paused"));
    }
    let spec = run.spec.tasks.get(task.id.step as usize).filter(|spec| spec.sub_run.is_none());
    let spec = spec.ok_or(Rejection::Stale("the task is a run of another job, which no node holds"))?;
    let spec = spec.chosen(asked.choice).ok_or(Rejection::Stale("the task has no such alternative"))?.into_owned();
    if spec.gang.is_some() {
        return Err(Rejection::Stale("the task is a member of a gang, which is placed as a whole"));
    }
    if state.held(&run, &spec, overlay.served()).is_some() {
        return Err(Rejection::Stale("the task may not be placed yet"));
    }
    if let Some(why) = state.unreserved(&run, &spec) {
        return Err(Rejection::Stale(why.why()));
    }
    match state.over_quota_beside(asked.task, &run.spec.namespace, spec.resources, &[]) {
        Some(over) => Err(Rejection::OverQuota(over)),
        None => Ok((run, spec)),
    }
}

/// Whether an attempt may be stopped only if what namespaces have allows it.
fn check_victim(
    overlay: &Overlay,
    policy: &Preemption,
    node: &NodeName,
    run: &Run,
    victim: AttemptId,
) -> Result<bool, Rejection> {
    let state = overlay.state();
    let attempt = state.attempt(victim).filter(|attempt| attempt.node == *node && !attempt.gone);
    let attempt = attempt.ok_or(Rejection::Stale("an attempt to be stopped is not on the node"))?;
    let other = preemptible(state, attempt, overlay.served());
    let other = other.map_err(|_| Rejection::Stale("an attempt to be stopped is spared now"))?;
    match policy.is_above(run.priority(), other.priority()) {
        true => Ok(false),
        false if policy.may_share(run.priority(), other.priority()) => Ok(true),
        false => Err(Rejection::Stale("an attempt to be stopped is as urgent")),
    }
}

/// What decides of those that may be stopped for what namespaces have, if it allows that of all of them.
fn shares_taken(
    overlay: &Overlay,
    policy: &Preemption,
    by: Stake<'_>,
    victims: &BTreeSet<AttemptId>,
) -> Result<BTreeMap<AttemptId, ShareTaken>, Rejection> {
    if victims.is_empty() {
        return Ok(BTreeMap::new());
    }
    let state = overlay.state();
    let stake = |victim: &AttemptId| {
        let (attempt, run) = (state.attempt(*victim)?, state.run(victim.task.run)?);
        Some(Stake { namespace: &run.spec.namespace, priority: run.priority(), resources: attempt.resources })
    };
    let stakes: Vec<Stake<'_>> = victims.iter().filter_map(stake).collect();
    let taken = Parts::of(state).judge(by, &stakes, policy.share_gap);
    let taken = taken.map_err(|unfair| Rejection::Stale(unfair.why()))?;
    Ok(victims.iter().copied().zip(taken).collect())
}

fn stop(overlay: &mut Overlay, by: TaskId, priority: u8, share: Option<ShareTaken>, victim: AttemptId) {
    let Some(attempt) = overlay.state().attempt(victim).cloned() else { return };
    // Named twice, it is stopped once.
    if attempt.stop.is_some() {
        return;
    }
    let preempted = Preempted { by, priority, share };
    overlay.emit(Event::AttemptPreempted { attempt: victim, node: attempt.node.clone(), by, priority, share });
    overlay.put_attempt(crate::Attempt {
        stop: Some(StopReason::Preempted),
        preempted: Some(preempted),
        ..(*attempt).clone()
    });
}

/// Ends claims that have expired; passed over singly where that is not so.
pub(super) fn end_claims(overlay: &mut Overlay, tasks: &[TaskId]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut ended = 0_u32;
    for task in tasks {
        let is_over = |claim: &Claim| claim.terms.until <= overlay.served();
        if overlay.state().claim(*task).is_some_and(is_over) {
            overlay.put(Change::ClaimGone(*task));
            ended = ended.saturating_add(1);
        }
    }
    Ok(Reply::Counted(ended))
}
