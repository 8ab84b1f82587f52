//! Event rows as keys and values.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_state::{Epoch, Event, EventRow, JoinTokenId, Millis, Principal, Revision, RunId, Token};

use super::message;
use super::rebalance::end_from;
use super::reservation::moved_from;
use super::task::{attempt_state_from, state_from, state_to};
use crate::convert::preemption::{share_from_wire, share_to_wire};
use crate::convert::rebalance::end_to_wire;
use crate::convert::reservation::move_to_wire;
use crate::convert::run::{attempt_state_to_wire, exit_to_wire, run_state_from_wire, run_state_to_wire};
use crate::format::FormatError;
use crate::format::parts::{
    admission_from, admission_to, attempt_id_from, attempt_id_to, decided_from, decided_to, exit_from, feature_from,
    numbered, parsed, priority_from, required, scope_from, scope_to, task_id_from, task_id_to,
};
use crate::log::v1 as pb;
use crate::log::v1::event_row::Event as Wire;

/// The key of an event row: keys are in the order of (revision, sequence).
pub fn event_key(revision: Revision, sequence: u32) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_u64(revision.0);
    key.put_u32(sequence);
    key.freeze()
}

/// An event row as key and value.
pub fn encode_event(row: &EventRow) -> (Bytes, Bytes) {
    let value = pb::EventRow { at_ms: row.at.0, event: Some(event_to(&row.event)) };
    (event_key(row.revision, row.sequence), value.encode_to_vec().into())
}

/// The event row of a key and value.
///
/// # Errors
/// Anything in the row that this version does not know: it is encoded again and must give the same bytes.
pub fn decode_event(key: &[u8], value: &[u8]) -> Result<EventRow, FormatError> {
    let wrong = || FormatError::Key(key.to_vec());
    let (revision, sequence) = key.split_first_chunk::<8>().ok_or_else(wrong)?;
    let sequence: [u8; 4] = sequence.try_into().map_err(|_| wrong())?;
    let message: pb::EventRow = message("an event row", value)?;
    let row = EventRow {
        revision: Revision(u64::from_be_bytes(*revision)),
        sequence: u32::from_be_bytes(sequence),
        at: Millis(message.at_ms),
        event: event_from(required("event", message.event)?)?,
    };
    if encode_event(&row).1 == value { Ok(row) } else { Err(FormatError::Unfaithful("an event row")) }
}

/// False of the value of an event row that is certainly not about a run, without decoding it: whoever looks for
/// the history of one run passes over those of all others. True of all that are, and of a few that are not.
pub fn may_be_about(value: &[u8], run: RunId) -> bool {
    // As the messages have it: a fixed64, which is left out when it is zero.
    let wanted = run.0.to_le_bytes();
    run.0 == 0 || value.windows(wanted.len()).any(|bytes| bytes == wanted)
}

fn event_to(event: &Event) -> Wire {
    match event {
        Event::NamespaceCreated { namespace } => {
            Wire::NamespaceCreated(pb::NamespaceCreated { namespace: namespace.to_string() })
        }
        Event::RunSubmitted { run, namespace, job } => {
            Wire::RunSubmitted(pb::RunSubmitted { run: run.0, namespace: namespace.to_string(), job: job.to_string() })
        }
        Event::RunStarted { run } => Wire::RunStarted(pb::RunStarted { run: run.0 }),
        Event::RunCancelRequested { run } => Wire::RunCancelRequested(pb::RunCancelRequested { run: run.0 }),
        Event::RunAnnotated { run, key } => Wire::RunAnnotated(pb::RunAnnotated { run: run.0, key: key.to_string() }),
        Event::RunPaused { run, by } => Wire::RunPaused(pb::RunPaused { run: run.0, by: by.to_string() }),
        Event::RunResumed { run, by } => Wire::RunResumed(pb::RunResumed { run: run.0, by: by.to_string() }),
        Event::RunPrioritySet { run, priority, by } => {
            Wire::RunPrioritySet(pb::RunPrioritySet { run: run.0, priority: u32::from(*priority), by: by.to_string() })
        }
        Event::RunAbandoned { run } => Wire::RunAbandoned(pb::RunAbandoned { run: run.0 }),
        Event::StepDecided { run, step, decided, elements } => Wire::StepDecided(pb::StepDecided {
            run: run.0,
            step: *step,
            decided: Some(decided_to(decided)),
            elements: *elements,
        }),
        Event::RestEnded { run, step, first, count, state } => Wire::RestEnded(pb::RestEnded {
            run: run.0,
            step: *step,
            first: *first,
            count: *count,
            state: Some(state_to(state)),
        }),
        Event::RunEnded { run, state } => {
            Wire::RunEnded(pb::RunEnded { run: run.0, state: run_state_to_wire(*state).into() })
        }
        Event::TaskMoved { task, state } => {
            Wire::TaskMoved(pb::TaskMoved { task: Some(task_id_to(*task)), state: Some(state_to(state)) })
        }
        Event::AttemptMoved { attempt, node, token, state, exit } => Wire::AttemptMoved(pb::AttemptMoved {
            attempt: Some(attempt_id_to(*attempt)),
            node: node.to_string(),
            token: token.0,
            state: attempt_state_to_wire(*state).into(),
            exit: exit.map(exit_to_wire),
        }),
        Event::AttemptPreempted { attempt, node, by, priority, share } => {
            Wire::AttemptPreempted(pb::AttemptPreempted {
                attempt: Some(attempt_id_to(*attempt)),
                node: node.to_string(),
                by: Some(task_id_to(*by)),
                priority: u32::from(*priority),
                share: share.map(share_to_wire),
            })
        }
        Event::AttemptRebalanced { attempt, node, to, rebalance } => Wire::AttemptRebalanced(pb::AttemptRebalanced {
            attempt: Some(attempt_id_to(*attempt)),
            node: node.to_string(),
            to: to.to_string(),
            rebalance: *rebalance,
        }),
        Event::RebalanceStarted { rebalance, by } => {
            Wire::RebalanceStarted(pb::RebalanceStarted { rebalance: *rebalance, by: by.to_string() })
        }
        Event::ReservationMoved { reservation, to, by } => Wire::ReservationMoved(pb::ReservationMoved {
            reservation: reservation.to_string(),
            to: move_to_wire(*to).into(),
            by: by.to_string(),
        }),
        Event::RebalanceEnded { rebalance, why, by } => Wire::RebalanceEnded(pb::RebalanceEnded {
            rebalance: *rebalance,
            why: end_to_wire(*why).into(),
            by: by.to_string(),
        }),
        Event::NodeRegistered { node, epoch } => {
            Wire::NodeRegistered(pb::NodeRegistered { node: node.to_string(), epoch: epoch.0 })
        }
        Event::NodeLost { node, epoch } => Wire::NodeLost(pb::NodeLost { node: node.to_string(), epoch: epoch.0 }),
        Event::NodeCordoned { node, cordoned } => {
            Wire::NodeCordoned(pb::NodeCordoned { node: node.to_string(), cordoned: *cordoned })
        }
        Event::ScopeWithdrawn { scope, drains, by } => Wire::ScopeWithdrawn(pb::ScopeWithdrawn {
            scope: Some(scope_to(scope)),
            drains: *drains,
            by: by.to_string(),
        }),
        Event::ScopeRestored { scope, by } => {
            Wire::ScopeRestored(pb::ScopeRestored { scope: Some(scope_to(scope)), by: by.to_string() })
        }
        Event::NodeForgotten { node, epoch } => {
            Wire::NodeForgotten(pb::NodeForgotten { node: node.to_string(), epoch: epoch.0 })
        }
        Event::NodeAdmissionSet { admission, by } => Wire::NodeAdmissionSet(pb::NodeAdmissionSet {
            admission: admission_to(*admission).into(),
            by: by.to_string(),
        }),
        Event::JoinTokenCreated { token, by } => {
            Wire::JoinTokenCreated(pb::JoinTokenCreated { token: token.0, by: by.to_string() })
        }
        Event::JoinTokenUsed { token, node } => {
            Wire::JoinTokenUsed(pb::JoinTokenUsed { token: token.0, node: node.to_string() })
        }
        Event::JoinTokenRevoked { token, by } => {
            Wire::JoinTokenRevoked(pb::JoinTokenRevoked { token: token.0, by: by.to_string() })
        }
        Event::FeatureEnabled { feature } => Wire::FeatureEnabled(pb::FeatureEnabled { feature: feature.number() }),
    }
}

fn event_from(event: Wire) -> Result<Event, FormatError> {
    Ok(match event {
        Wire::NamespaceCreated(event) => Event::NamespaceCreated { namespace: parsed("namespace", &event.namespace)? },
        Wire::RunSubmitted(event) => Event::RunSubmitted {
            run: RunId(event.run),
            namespace: parsed("namespace", &event.namespace)?,
            job: parsed("job", &event.job)?,
        },
        Wire::RunStarted(event) => Event::RunStarted { run: RunId(event.run) },
        Wire::RunCancelRequested(event) => Event::RunCancelRequested { run: RunId(event.run) },
        Wire::RunAnnotated(event) => Event::RunAnnotated { run: RunId(event.run), key: parsed("key", &event.key)? },
        Wire::RunPaused(event) => Event::RunPaused { run: RunId(event.run), by: Principal(event.by.into()) },
        Wire::RunResumed(event) => Event::RunResumed { run: RunId(event.run), by: Principal(event.by.into()) },
        Wire::RunPrioritySet(event) => Event::RunPrioritySet {
            run: RunId(event.run),
            priority: priority_from(event.priority)?,
            by: Principal(event.by.into()),
        },
        Wire::RunAbandoned(event) => Event::RunAbandoned { run: RunId(event.run) },
        Wire::StepDecided(event) => Event::StepDecided {
            run: RunId(event.run),
            step: event.step,
            decided: decided_from("decided", required("decided", event.decided)?)?,
            elements: event.elements,
        },
        Wire::RestEnded(event) => Event::RestEnded {
            run: RunId(event.run),
            step: event.step,
            first: event.first,
            count: event.count,
            state: state_from(event.state)?,
        },
        Wire::RunEnded(event) => Event::RunEnded {
            run: RunId(event.run),
            state: required("run.state", run_state_from_wire(numbered("run.state", event.state)?))?,
        },
        Wire::TaskMoved(event) => {
            Event::TaskMoved { task: task_id_from("task", event.task)?, state: state_from(event.state)? }
        }
        Wire::AttemptMoved(event) => Event::AttemptMoved {
            attempt: attempt_id_from("attempt", event.attempt)?,
            node: parsed("node", &event.node)?,
            token: Token(event.token),
            state: attempt_state_from(event.state)?,
            exit: exit_from(event.exit)?,
        },
        Wire::AttemptPreempted(event) => Event::AttemptPreempted {
            attempt: attempt_id_from("attempt", event.attempt)?,
            node: parsed("node", &event.node)?,
            by: task_id_from("by", event.by)?,
            priority: priority_from(event.priority)?,
            share: event.share.as_ref().map(share_from_wire),
        },
        Wire::AttemptRebalanced(event) => Event::AttemptRebalanced {
            attempt: attempt_id_from("attempt", event.attempt)?,
            node: parsed("node", &event.node)?,
            to: parsed("to", &event.to)?,
            rebalance: event.rebalance,
        },
        Wire::RebalanceStarted(event) => {
            Event::RebalanceStarted { rebalance: event.rebalance, by: Principal(event.by.into()) }
        }
        Wire::ReservationMoved(event) => Event::ReservationMoved {
            reservation: parsed("reservation_moved.reservation", &event.reservation)?,
            to: moved_from(event.to)?,
            by: Principal(event.by.into()),
        },
        Wire::RebalanceEnded(event) => Event::RebalanceEnded {
            rebalance: event.rebalance,
            why: end_from(event.why)?,
            by: Principal(event.by.into()),
        },
        Wire::NodeRegistered(event) => {
            Event::NodeRegistered { node: parsed("node", &event.node)?, epoch: Epoch(event.epoch) }
        }
        Wire::NodeLost(event) => Event::NodeLost { node: parsed("node", &event.node)?, epoch: Epoch(event.epoch) },
        Wire::NodeCordoned(event) => {
            Event::NodeCordoned { node: parsed("node", &event.node)?, cordoned: event.cordoned }
        }
        Wire::ScopeWithdrawn(event) => Event::ScopeWithdrawn {
            scope: scope_from(event.scope)?,
            drains: event.drains,
            by: Principal(event.by.into()),
        },
        Wire::ScopeRestored(event) => {
            Event::ScopeRestored { scope: scope_from(event.scope)?, by: Principal(event.by.into()) }
        }
        Wire::NodeForgotten(event) => {
            Event::NodeForgotten { node: parsed("node", &event.node)?, epoch: Epoch(event.epoch) }
        }
        Wire::NodeAdmissionSet(event) => {
            Event::NodeAdmissionSet { admission: admission_from(event.admission)?, by: Principal(event.by.into()) }
        }
        Wire::JoinTokenCreated(event) => {
            Event::JoinTokenCreated { token: JoinTokenId(event.token), by: Principal(event.by.into()) }
        }
        Wire::JoinTokenUsed(event) => {
            Event::JoinTokenUsed { token: JoinTokenId(event.token), node: parsed("node", &event.node)? }
        }
        Wire::JoinTokenRevoked(event) => {
            Event::JoinTokenRevoked { token: JoinTokenId(event.token), by: Principal(event.by.into()) }
        }
        Wire::FeatureEnabled(event) => Event::FeatureEnabled { feature: feature_from(event.feature)? },
    })
}
