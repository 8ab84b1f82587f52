//! Moving work off a node: the node takes nothing new, and what runs there is stopped and queued again.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::{
    Attempt, AttemptId, Change, Drain, Event, Node, NodeName, Principal, Rejection, Reply, StopReason, Violation,
    Withdrawal, evictable,
};

/// From now on the node takes nothing; which attempts are stopped when is up to the drain controller.
pub(super) fn begin(
    overlay: &mut Overlay,
    by: &Principal,
    name: &NodeName,
    wait_ms: u64,
    reason: &Arc<str>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let (bytes, bytes_max) = (reason.len() as u64, u64::from(settings.annotation_value_bytes_max));
    if bytes > bytes_max {
        let message = format!("has {bytes} bytes, annotation_value_bytes_max is {bytes_max}");
        return Err(Rejection::Invalid(vec![Violation { field: "reason".into(), message }]));
    }
    let node = overlay.state().node(name).cloned().ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
    let drain = Drain { due: overlay.served().plus(wait_ms) };
    let withdrawal = Withdrawal { by: by.clone(), at: overlay.now(), reason: reason.clone(), drain: Some(drain) };
    let withdrawal = Some(Arc::new(withdrawal));
    overlay.put(Change::Node(Arc::new(Node { cordoned: true, withdrawal, ..(*node).clone() })));
    if !node.cordoned {
        overlay.emit(Event::NodeCordoned { node: name.clone(), cordoned: true });
    }
    Ok(Reply::Done)
}

/// Asks attempts to stop. One that has ended, or whose node takes work again, is passed over.
pub(super) fn evict(overlay: &mut Overlay, attempts: &[AttemptId]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut stopped = 0_u32;
    for id in attempts {
        let Some(attempt) = overlay.state().attempt(*id).cloned() else { continue };
        if evictable(overlay.state(), &attempt, overlay.served()).is_ok() {
            overlay.put_attempt(Attempt { stop: Some(StopReason::Drained), ..(*attempt).clone() });
            stopped = stopped.saturating_add(1);
        }
    }
    Ok(Reply::Counted(stopped))
}
