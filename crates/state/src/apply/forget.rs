//! A lost node that will not be back: what was on it is given up, and its name is free.

use std::sync::Arc;

use quorate_planted::Bug;

use super::overlay::Overlay;
use super::settle;
use crate::{Attempt, AttemptState, Change, Event, NodeName, Rejection, Reply};

/// Refused until nothing can run there that must not run twice: its lease has ended, and with it the time that
/// its agent may take to kill. Whoever comes back under this name is a stranger: it gets an epoch of its own, is
/// given no assignment of the old one, and ends what it has.
pub(super) fn node(overlay: &mut Overlay, name: &NodeName) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let node = overlay.state().node(name).cloned().ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
    let ended = overlay.state().ended_on(&node).ok_or_else(|| Rejection::NodeAlive(name.clone()))?;
    let remaining_ms = ended.0.saturating_sub(overlay.served().0);
    if remaining_ms > 0 && !quorate_planted::is(Bug::ForgetTooSoon) {
        return Err(Rejection::NodeMayRun { node: name.clone(), remaining_ms });
    }
    let held: Vec<Arc<Attempt>> = overlay.state().attempts_on(name).cloned().collect();
    for attempt in held {
        // The end of one may have asked others to stop.
        let Some(attempt) = overlay.state().attempt(attempt.id).cloned() else { continue };
        if attempt.state.is_terminal() {
            overlay.put_attempt(Attempt { gone: true, ..(*attempt).clone() });
            settle::lift_fence(overlay, attempt.id);
        } else {
            overlay.move_attempt(&attempt, AttemptState::Lost, |attempt| attempt.gone = true);
            settle::attempt_ended(overlay, attempt.id);
        }
    }
    overlay.put(Change::NodeGone(name.clone()));
    overlay.emit(Event::NodeForgotten { node: name.clone(), epoch: node.epoch });
    Ok(Reply::Done)
}
