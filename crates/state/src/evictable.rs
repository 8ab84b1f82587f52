//! May this attempt be moved off its node now? One function, asked by the drain controller and again by `apply`.

use std::fmt;

use quorate_planted::Bug;

use crate::{Attempt, AttemptState, NodeStatus, OnNodeLoss, Served, State};

/// Why an attempt stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// Its node is not being drained.
    NotDraining,
    /// It has ended, or is about to; its agent has not confirmed that its processes are gone.
    Ending,
    /// Its node cannot be reached: what it runs is placed elsewhere as its promise says.
    NodeLost,
    /// It is started once: nobody can start it elsewhere.
    StartedOnce,
    /// It may end by itself until then.
    Until(Served),
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDraining => f.write_str("its node is not being drained"),
            Self::Ending => f.write_str("its agent has not confirmed its end"),
            Self::NodeLost => f.write_str("its node is lost"),
            Self::StartedOnce => f.write_str("it is at_most_once"),
            Self::Until(_) => f.write_str("it may end by itself for now"),
        }
    }
}

/// Checks whether `attempt` may be asked to stop at `served`, because its node is being drained.
pub fn evictable(state: &State, attempt: &Attempt, served: Served) -> Result<(), Stays> {
    let node = state.node(&attempt.node).filter(|node| node.status == NodeStatus::Up);
    let drain = node.ok_or(Stays::NodeLost)?.drain_at(served).ok_or(Stays::NotDraining)?;
    match attempt.state {
        AttemptState::Assigned | AttemptState::Starting | AttemptState::Running if attempt.stop.is_none() => {}
        AttemptState::Unknown => return Err(Stays::NodeLost),
        AttemptState::Assigned
        | AttemptState::Starting
        | AttemptState::Running
        | AttemptState::Stopping
        | AttemptState::Succeeded
        | AttemptState::Failed
        | AttemptState::Lost
        | AttemptState::Cancelled
        | AttemptState::Preempted
        | AttemptState::TimedOut => return Err(Stays::Ending),
    }
    let run = state.run(attempt.id.task.run);
    if run.is_none_or(|run| run.is_ending(attempt.id.task.step)) {
        // It is asked to stop for good.
        return Err(Stays::Ending);
    }
    let spec = run.and_then(|run| run.spec.tasks.get(attempt.id.task.step as usize));
    let moves_once = quorate_planted::is(Bug::DrainMovesOnce);
    if spec.is_none_or(|spec| spec.on_node_loss == OnNodeLoss::AtMostOnce && !moves_once) {
        return Err(Stays::StartedOnce);
    }
    let waits = drain.due > served && !quorate_planted::is(Bug::DrainSkipsWait);
    if waits { Err(Stays::Until(drain.due)) } else { Ok(()) }
}
