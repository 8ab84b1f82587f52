//! The scheduler's explanations as the API says them.

use quorate_proto::convert::preemption::share_to_wire;
use quorate_proto::convert::run::pause_to_wire;
use quorate_proto::v1;
use quorate_proto::v1::wait_reason::Reason;
use quorate_scheduler::explain::{
    ExpectedStart, Explanation, FailedCheck, NearestMiss, NoNodeFits, PlannedStep, RoomClaimed, Victim,
};
use quorate_scheduler::placement::Candidate;
use quorate_state::Unreserved;

/// Why a task is not running.
pub(crate) fn wait_reason(explanation: &Explanation) -> v1::WaitReason {
    let reason = match explanation {
        Explanation::NotWaiting { .. } => Reason::NotWaiting(v1::NotWaiting {}),
        Explanation::Needs { tasks } => {
            Reason::Needs(v1::NeedsUnmet { tasks: tasks.iter().map(ToString::to_string).collect() })
        }
        Explanation::Fallback { tasks } => {
            Reason::Fallback(v1::NeedsUnmet { tasks: tasks.iter().map(ToString::to_string).collect() })
        }
        Explanation::Condition => Reason::Condition(v1::Condition {}),
        Explanation::AfterWork => Reason::AfterWork(v1::AfterWork {}),
        Explanation::InTurn => Reason::InTurn(v1::InTurn {}),
        Explanation::SubRunDue => Reason::SubRunDue(v1::SubRunDue {}),
        Explanation::RunsFull { max } => Reason::RunsFull(v1::RunsFull { max: *max }),
        Explanation::Backoff { remaining_ms } => Reason::Backoff(v1::Backoff { remaining_ms: *remaining_ms }),
        Explanation::Fence { node, remaining_ms } => {
            let node = node.as_ref().map(ToString::to_string).unwrap_or_default();
            Reason::Fence(v1::FenceWait { node, remaining_ms: *remaining_ms })
        }
        Explanation::Queued { position } => Reason::Queued(v1::Queued { position: *position }),
        Explanation::OverQuota(over) => Reason::OverQuota(v1::OverQuota {
            namespace: over.namespace.to_string(),
            resource: over.resource.to_string(),
            used: over.used,
            maximum: over.maximum,
            asked: over.asked,
        }),
        Explanation::RegionLost(lost) => Reason::RegionLost(v1::RegionLost {
            region: lost.region.to_string(),
            lost_ms: lost.lost_ms,
            remaining_ms: lost.remaining_ms,
        }),
        Explanation::NotReserved(why) => Reason::NotReserved(v1::NotReserved {
            reservation: why.name.to_string(),
            flaw: match why.why {
                Unreserved::Missing => v1::ReservationFlaw::Missing,
                Unreserved::NotIts => v1::ReservationFlaw::NotIts,
                Unreserved::Until(_) => v1::ReservationFlaw::NotBegun,
            }
            .into(),
            remaining_ms: why.remaining_ms,
        }),
        Explanation::NoNodeFits(why) => Reason::NoNodeFits(no_node_fits(why)),
        Explanation::NoAlternative(why) => Reason::NoAlternative(v1::NoAlternative {
            each: why.each.iter().map(wait_reason).collect(),
            expected: why.expected.as_ref().map(expected_start),
        }),
        Explanation::Gang(waits) => Reason::Gang(v1::GangWait {
            members: waits.members,
            ready: waits.ready,
            fits: waits.fits,
            domain: waits.domain.clone().unwrap_or_default(),
            nearest: waits.nearest.as_ref().map(no_node_fits),
            expected: waits.expected.as_ref().map(expected_start),
        }),
        Explanation::WouldDelay { expected } => {
            Reason::RoomKept(v1::RoomKept { expected: expected.as_ref().map(expected_start) })
        }
        Explanation::RoomClaimed(kept) => Reason::RoomClaimed(room_claimed(kept)),
        Explanation::Cancelling => Reason::Cancelling(v1::Cancelling {}),
        Explanation::Paused(pause) => Reason::Paused(pause_to_wire(pause)),
        Explanation::FitsNow { node } => Reason::FitsNow(v1::FitsNow { node: node.to_string() }),
        Explanation::Held => Reason::Held(v1::Held {}),
        Explanation::Quarantined { nodes } => {
            Reason::Quarantined(v1::Quarantined { nodes: nodes.iter().map(ToString::to_string).collect() })
        }
        Explanation::Unknown { node, remaining_ms } => {
            Reason::Unknown(v1::Unknown { node: node.to_string(), remaining_ms: *remaining_ms })
        }
    };
    v1::WaitReason { text: explanation.to_string(), reason: Some(reason) }
}

/// What placement says of one step of a job that is not submitted yet.
pub(crate) fn planned_task(step: PlannedStep) -> v1::PlannedTask {
    let reason = if step.examined {
        step.reason.as_ref().map(wait_reason)
    } else {
        Some(v1::WaitReason { text: "not examined: the job has too many shapes to look at".into(), reason: None })
    };
    v1::PlannedTask {
        task: step.task.to_string(),
        count: step.count,
        fits_empty: step.fits_empty,
        fits_now: step.fits_now,
        reason,
    }
}

/// A check that a node fails.
pub(crate) fn node_check(failed: &FailedCheck) -> v1::NodeCheck {
    v1::NodeCheck {
        check: failed.check.as_str().into(),
        wanted: failed.wanted.clone(),
        found: failed.found.clone(),
        missing_cpu_milli: failed.missing.cpu_milli,
        missing_memory_bytes: failed.missing.memory_bytes,
        missing_gpu_milli: failed.missing.gpu_milli,
    }
}

fn room_claimed(kept: &RoomClaimed) -> v1::RoomClaimed {
    let victims = kept.victims.iter().map(|Victim { attempt, priority, share }| v1::Victim {
        run_id: attempt.task.run.to_string(),
        step: attempt.task.step,
        index: attempt.task.index,
        number: attempt.number,
        priority: u32::from(*priority),
        share: share.as_ref().map(|share| v1::ShareTaken {
            namespace: share.namespace.to_string(),
            from: share.from.to_string(),
            ..share_to_wire(share.taken)
        }),
    });
    v1::RoomClaimed {
        node: kept.node.to_string(),
        others: kept.others,
        victims: victims.collect(),
        remaining_ms: kept.remaining_ms,
    }
}

fn no_node_fits(why: &NoNodeFits) -> v1::NoNodeFits {
    let checks = why.checks.iter().map(|(check, nodes)| v1::FailedCheck { check: check.as_str().into(), nodes });
    let (nearest, expected) = (why.nearest.as_ref().map(nearest_miss), why.expected.as_deref().map(expected_start));
    let bound_regions = why.bound.iter().map(ToString::to_string).collect();
    v1::NoNodeFits { checks: checks.collect(), nearest, never: why.never, expected, bound_regions }
}

/// A node that nearly fits.
pub(super) fn nearest_miss(nearest: &NearestMiss) -> v1::NearestMiss {
    v1::NearestMiss {
        node: nearest.node.to_string(),
        check: nearest.check.as_str().into(),
        missing_cpu_milli: nearest.missing.cpu_milli,
        missing_memory_bytes: nearest.missing.memory_bytes,
        missing_gpu_milli: nearest.missing.gpu_milli,
    }
}

/// A node that fits.
pub(super) fn candidate(candidate: &Candidate) -> v1::Candidate {
    let terms = candidate.terms.iter();
    let terms = terms.map(|term| v1::ScoreTerm { name: term.name.to_owned(), value_milli: term.value_milli });
    v1::Candidate { node: candidate.node.to_string(), terms: terms.collect() }
}

/// When a task begins at the latest.
pub(crate) fn expected_start(start: &ExpectedStart) -> v1::ExpectedStart {
    v1::ExpectedStart { node: start.node.to_string(), within_ms: start.within_ms, others: start.others }
}
