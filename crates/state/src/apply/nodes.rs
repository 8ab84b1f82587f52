//! Leases: granted when an agent registers, ended when nobody renewed them. And who takes new work.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::{restored, settle};
use crate::{
    Admission, Around, Attempt, AttemptId, AttemptState, Change, Cluster, Epoch, Event, Feature, GPU_MILLI,
    GPUS_PER_NODE_MAX, Node, NodeName, NodeStatus, Offer, Principal, Registration, Rejection, Reply, Resources,
    StopReason, TaskState, Token, Withdrawal, labels_of,
};

/// Grants a lease to a machine that may be a node (`admission.rs`).
pub(super) fn register(
    overlay: &mut Overlay,
    arrival: &Registration,
    admission: Option<Arc<Admission>>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    match overlay.state().cluster(&arrival.cluster) {
        Some(cluster) if cluster.region != arrival.region => {
            return Err(Rejection::ClusterInOtherRegion {
                cluster: cluster.name.clone(),
                region: cluster.region.clone(),
                claimed: arrival.region.clone(),
            });
        }
        Some(_) => {}
        None => overlay.put(Change::Cluster(Arc::new(Cluster {
            name: arrival.cluster.clone(),
            region: arrival.region.clone(),
            created_at: overlay.now(),
        }))),
    }
    let before = overlay.state().node(&arrival.node).cloned();
    if let Some(before) = &before
        && before.uuid != arrival.uuid
        && (before.status == NodeStatus::Up || overlay.state().attempts_on(&arrival.node).next().is_some())
    {
        // What the other agent started cannot be proven gone by this one.
        return Err(Rejection::NodeNameTaken { node: arrival.node.clone(), holder: before.uuid });
    }
    if arrival.gpus.len() > GPUS_PER_NODE_MAX {
        return Err(Rejection::Invariant(format!(
            "node {} says that it has {} GPUs",
            arrival.node,
            arrival.gpus.len()
        )));
    }
    if let Some(flaw) = arrival.offer.violations().into_iter().next() {
        return Err(Rejection::Invariant(format!("node {}: {} {}", arrival.node, flaw.field, flaw.message)));
    }
    let epoch = Epoch(overlay.revision().0);
    if before.as_ref().is_some_and(|before| before.epoch == epoch) {
        return Err(Rejection::Stale("the node has registered in this very revision"));
    }
    overlay.put(Change::Node(Arc::new(Node {
        name: arrival.node.clone(),
        uuid: arrival.uuid,
        journal: arrival.journal,
        boot_id: arrival.boot_id.clone(),
        machine_id: arrival.machine_id.clone(),
        region: arrival.region.clone(),
        cluster: arrival.cluster.clone(),
        capacity: Resources { gpu_milli: arrival.gpus.len() as u64 * GPU_MILLI, ..arrival.capacity },
        gpus: arrival.gpus.clone(),
        labels: labels_of(&arrival.labels, admission.as_deref()),
        offer: Offer::shared(&arrival.offer),
        epoch,
        lease: settings.lease,
        status: NodeStatus::Up,
        cordoned: before.as_ref().is_some_and(|before| before.cordoned),
        withdrawal: before.as_ref().and_then(|before| before.withdrawal.clone()),
        around: Around::default(),
        registered_at: overlay.now(),
        admission,
    })));
    overlay.emit(Event::NodeRegistered { node: arrival.node.clone(), epoch });
    // First what only the agent knows: it may be what came after an attempt that it has forgotten.
    restored::adopt(overlay, arrival, epoch);
    if let Some(before) = before {
        reconcile(overlay, arrival, &before, epoch);
    }
    Ok(Reply::Registered { epoch, lease: settings.lease })
}

/// What runs there goes on. Asked for again, it changes nothing, so that a cordon leaves a drain alone; the node
/// takes work again when both end.
pub(super) fn cordon(
    overlay: &mut Overlay,
    by: &Principal,
    name: &NodeName,
    cordoned: bool,
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let node = overlay.state().node(name).cloned().ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
    if node.cordoned != cordoned {
        let keeps_who = cordoned && overlay.state().has_feature(Feature::NodeDrain);
        let (by, at) = (by.clone(), overlay.now());
        let withdrawal = keeps_who.then(|| Arc::new(Withdrawal { by, at, reason: "".into(), drain: None }));
        overlay.put(Change::Node(Arc::new(Node { cordoned, withdrawal, ..(*node).clone() })));
        overlay.emit(Event::NodeCordoned { node: name.clone(), cordoned });
    }
    Ok(Reply::Done)
}

/// Brings what the log knows of the node's attempts in line with what the agent says it has.
fn reconcile(overlay: &mut Overlay, arrival: &Registration, before: &Node, epoch: Epoch) {
    let is_same_agent = before.uuid == arrival.uuid && before.journal == arrival.journal;
    let claims: BTreeSet<(AttemptId, Token)> =
        arrival.attempts.iter().map(|claim| (claim.attempt, claim.token)).collect();
    let held: Vec<Arc<Attempt>> = overlay.state().attempts_on(&arrival.node).cloned().collect();
    for attempt in held {
        // The end of one may have asked others to stop.
        let Some(attempt) = overlay.state().attempt(attempt.id).cloned() else { continue };
        // Given up under an earlier lease, for another journal had it. Told to stop it, an agent remembers
        // that much, and claims it the next time: only a journal that has come back says anything.
        let given_up = attempt.epoch != before.epoch;
        let claimed = claims.contains(&(attempt.id, attempt.token)) && !(given_up && is_same_agent);
        // The same journal remembers every start: what it was told of and does not list is gone. Of what
        // another journal saw, it knows nothing, told or not.
        let proves = is_same_agent && !given_up;
        let untold = proves && attempt.token.0 > arrival.seen.0;
        if claimed || untold {
            keep(overlay, &attempt, epoch);
        } else if proves && attempt.state.is_terminal() {
            overlay.put_attempt(Attempt { gone: true, ..(*attempt).clone() });
            settle::lift_fence(overlay, attempt.id);
        } else if proves {
            let suspect = settle::may_be_to_blame(overlay, &attempt);
            overlay.move_attempt(&attempt, AttemptState::Lost, |attempt| {
                attempt.gone = true;
                attempt.suspect = suspect;
            });
            settle::attempt_ended(overlay, attempt.id);
        } else if !given_up {
            give_up(overlay, &attempt, before);
        }
    }
}

/// The attempt's agent came back with a new journal. Whoever could have told how it ends has forgotten
/// it: kept, it would be started again. It may run on for as long as its lease could last, and nothing
/// that this agent says of it counts.
fn give_up(overlay: &mut Overlay, attempt: &Attempt, before: &Node) {
    let until = match before.status {
        NodeStatus::Up => overlay.served().plus(before.lease.server_ms),
        NodeStatus::Lost { at } => at,
    };
    let until = until.plus(before.lease.kill_ms);
    if attempt.state.is_terminal() {
        overlay.put_attempt(Attempt { unknown_deadline: Some(until), ..attempt.clone() });
    } else {
        let suspect = settle::may_be_to_blame(overlay, attempt);
        overlay.move_attempt(attempt, AttemptState::Lost, |attempt| {
            attempt.unknown_deadline = Some(until);
            attempt.suspect = suspect;
        });
        settle::attempt_ended(overlay, attempt.id);
    }
    settle::fence_ends(overlay, attempt.id, until);
}

/// The node came back with the current token: the attempt is again what it was. What its task no
/// longer needs is asked to stop. Whatever made the node silent, it was not this attempt.
fn keep(overlay: &mut Overlay, attempt: &Attempt, epoch: Epoch) {
    let task = overlay.state().task(attempt.id.task).cloned();
    let is_unwanted = task.as_ref().is_none_or(|task| task.state.is_terminal());
    let stop = attempt.stop.or(is_unwanted.then_some(StopReason::Cancelled));
    if attempt.state != AttemptState::Unknown {
        overlay.put_attempt(Attempt { epoch, stop, suspect: false, unknown_deadline: None, ..attempt.clone() });
        settle::fence_holds(overlay, attempt.id);
        settle::lift_quarantine(overlay, attempt.id.task);
        return;
    }
    let (state, task_state) = match attempt.started_at {
        Some(_) => (AttemptState::Running, TaskState::Running),
        None => (AttemptState::Assigned, TaskState::Placed),
    };
    overlay.move_attempt(attempt, state, |attempt| {
        attempt.epoch = epoch;
        attempt.stop = stop;
        attempt.suspect = false;
        attempt.unknown_deadline = None;
    });
    if let Some(task) = task
        && task.newest_attempt() == Some(attempt.id)
        && !task.state.is_terminal()
        && task.state != task_state
    {
        overlay.move_task(&task, task_state, |_| {});
    }
}

pub(super) fn expire_leases(overlay: &mut Overlay, leases: &[(NodeName, Epoch)]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut expired = 0_u32;
    for (name, epoch) in leases {
        let node = overlay.state().node(name).cloned();
        let Some(node) = node.filter(|node| node.epoch == *epoch && node.status == NodeStatus::Up) else { continue };
        overlay
            .put(Change::Node(Arc::new(Node { status: NodeStatus::Lost { at: overlay.served() }, ..(*node).clone() })));
        overlay.emit(Event::NodeLost { node: name.clone(), epoch: *epoch });
        // The lease's terms already include the time that the agent needs to kill; one kill bound
        // more is for a clock at the edge of its drift.
        let kill_ms = if quorate_planted::is(Bug::ExpiryIgnoresDrift) { 0 } else { node.lease.kill_ms };
        let fence = overlay.served().plus(kill_ms);
        let unknown_until = unknown_until(overlay);
        let held: Vec<Arc<Attempt>> = overlay.state().attempts_on(name).cloned().collect();
        for attempt in quorate_planted::in_hash_order(Bug::HashOrderInApply, held, |attempt| attempt.id) {
            if attempt.state.is_terminal() {
                settle::fence_ends(overlay, attempt.id, fence);
            } else if attempt.state != AttemptState::Unknown {
                settle::attempt_unknown(overlay, attempt.id, fence, unknown_until);
            }
        }
        expired = expired.saturating_add(1);
    }
    Ok(Reply::Counted(expired))
}

fn unknown_until(overlay: &Overlay) -> crate::Served {
    let wait = overlay.state().settings().map_or(0, |settings| settings.unknown_ms_max);
    overlay.served().plus(wait)
}
