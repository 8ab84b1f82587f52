//! Moving work off a node: the node takes nothing new, and what runs there is stopped and queued again.

use std::sync::Arc;

use quorate_planted::Bug;

use super::gangs;
use super::overlay::Overlay;
use crate::{
    Attempt, AttemptId, Change, Drain, DrainTime, Event, Node, NodeName, Principal, Rejection, Reply, Served,
    StopReason, Violation, Withdrawal, evictable,
};

/// From now on the node takes nothing; which attempts are stopped when is up to the drain controller.
pub(super) fn begin(
    overlay: &mut Overlay,
    by: &Principal,
    name: &NodeName,
    time: DrainTime,
    reason: &Arc<str>,
) -> Result<Reply, Rejection> {
    check(overlay, Some(time), reason)?;
    let node = overlay.state().node(name).cloned().ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
    let kept = node.own_drain().and_then(|before| before.ends).filter(|_| quorate_planted::is(Bug::DrainKeepsEnd));
    let drain = of(overlay, time);
    let drain = Drain { ends: drain.ends.or(kept), ..drain };
    let withdrawal = Withdrawal { by: by.clone(), at: overlay.now(), reason: reason.clone(), drain: Some(drain) };
    let withdrawal = Some(Arc::new(withdrawal));
    overlay.put(Change::Node(Arc::new(Node { cordoned: true, withdrawal, ..(*node).clone() })));
    if !node.cordoned {
        overlay.emit(Event::NodeCordoned { node: name.clone(), cordoned: true });
    }
    Ok(Reply::Done)
}

/// Refuses words that are too long, and a drain that would end before anything is moved.
pub(super) fn check(overlay: &Overlay, time: Option<DrainTime>, reason: &Arc<str>) -> Result<(), Rejection> {
    let settings = overlay.settings()?;
    let (bytes, bytes_max) = (reason.len() as u64, u64::from(settings.annotation_value_bytes_max));
    if bytes > bytes_max {
        let message = format!("has {bytes} bytes, annotation_value_bytes_max is {bytes_max}");
        return Err(Rejection::Invalid(vec![Violation { field: "reason".into(), message }]));
    }
    if let Some(DrainTime { wait_ms, for_ms: Some(for_ms) }) = time
        && for_ms <= wait_ms
    {
        let message = format!("is not longer than the {wait_ms} ms for which attempts may end by themselves");
        return Err(Rejection::Invalid(vec![Violation { field: "for_ms".into(), message }]));
    }
    Ok(())
}

/// A drain that begins now.
pub(super) fn of(overlay: &Overlay, DrainTime { wait_ms, for_ms }: DrainTime) -> Drain {
    let served = overlay.served();
    Drain { due: served.plus(wait_ms), ends: for_ms.map(|for_ms| served.plus(for_ms)) }
}

/// Nodes whose drain ends at these instants take work again, if those have passed. What was said since counts more:
/// a drain that ends at another instant, or not at all, goes on.
pub(super) fn end(overlay: &mut Overlay, drains: &[(NodeName, Served)]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut ended = 0_u32;
    for (name, ends) in drains {
        let Some(node) = overlay.state().node(name).cloned() else { continue };
        let is_its = node.own_drain().is_some_and(|drain| drain.ends == Some(*ends));
        if is_its && *ends <= overlay.served() {
            overlay.put(Change::Node(Arc::new(Node { cordoned: false, withdrawal: None, ..(*node).clone() })));
            overlay.emit(Event::NodeCordoned { node: name.clone(), cordoned: false });
            ended = ended.saturating_add(1);
        }
    }
    Ok(Reply::Counted(ended))
}

/// Asks attempts to stop. One that has ended, or whose node takes work again, is passed over.
pub(super) fn evict(overlay: &mut Overlay, attempts: &[AttemptId]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut stopped = 0_u32;
    for id in attempts {
        let Some(attempt) = overlay.state().attempt(*id).cloned() else { continue };
        if evictable(overlay.state(), &attempt, overlay.served()).is_ok() {
            overlay.put_attempt(Attempt { stop: Some(StopReason::Drained), ..(*attempt).clone() });
            gangs::break_up(overlay, *id);
            stopped = stopped.saturating_add(1);
        }
    }
    Ok(Reply::Counted(stopped))
}
