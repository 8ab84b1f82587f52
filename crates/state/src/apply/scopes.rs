//! Taking all nodes of a cluster or a region out of service at once, and back.
//!
//! It is a row of the cluster or region, beside those of its nodes: what was said of a node by itself stays what it is, and a node
//! that comes later finds it. Nothing has to be carried from node to node, so an entry is as small for a region as for a node.

use std::sync::Arc;

use quorate_planted::Bug;

use super::drain;
use super::overlay::Overlay;
use crate::{Change, DrainTime, Event, Node, Principal, Rejection, Reply, Scope, ScopeRow, Served, Withdrawal};

/// From now on no node of it takes anything. A cordon leaves alone what was said before.
pub(super) fn withdraw(
    overlay: &mut Overlay,
    by: &Principal,
    scope: &Scope,
    time: Option<DrainTime>,
    reason: &Arc<str>,
) -> Result<Reply, Rejection> {
    drain::check(overlay, time, reason)?;
    if !overlay.state().has_scope(scope) {
        return Err(Rejection::UnknownScope(scope.clone()));
    }
    if time.is_none() && overlay.state().scope(scope).is_some() {
        return Ok(Reply::Done);
    }
    let drain = time.map(|time| drain::of(overlay, time));
    let withdrawal = Arc::new(Withdrawal { by: by.clone(), at: overlay.now(), reason: reason.clone(), drain });
    overlay.put(Change::Scope(Arc::new(ScopeRow { scope: scope.clone(), withdrawal })));
    overlay.emit(Event::ScopeWithdrawn { scope: scope.clone(), drains: drain.is_some(), by: by.clone() });
    Ok(Reply::Done)
}

/// Its nodes take work again, but for those that were taken out of service by themselves.
pub(super) fn restore(overlay: &mut Overlay, by: &Principal, scope: &Scope) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if !overlay.state().has_scope(scope) {
        return Err(Rejection::UnknownScope(scope.clone()));
    }
    if overlay.state().scope(scope).is_some() {
        remove(overlay, by, scope);
    }
    Ok(Reply::Done)
}

/// Ends drains at the instants at which they end, if those have passed. What was said since counts more.
pub(super) fn end(overlay: &mut Overlay, by: &Principal, drains: &[(Scope, Served)]) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let mut ended = 0_u32;
    for (scope, ends) in drains {
        let drain = overlay.state().scope(scope).and_then(|row| row.withdrawal.drain);
        if drain.is_some_and(|drain| drain.ends == Some(*ends)) && *ends <= overlay.served() {
            remove(overlay, by, scope);
            ended = ended.saturating_add(1);
        }
    }
    Ok(Reply::Counted(ended))
}

fn remove(overlay: &mut Overlay, by: &Principal, scope: &Scope) {
    overlay.put(Change::ScopeGone(scope.clone()));
    overlay.emit(Event::ScopeRestored { scope: scope.clone(), by: by.clone() });
    if quorate_planted::is(Bug::UndrainFreesAll) {
        let nodes: Vec<Arc<Node>> = overlay.state().nodes().filter(|node| scope.holds(node)).cloned().collect();
        for node in nodes {
            if node.cordoned {
                overlay.emit(Event::NodeCordoned { node: node.name.clone(), cordoned: false });
            }
            overlay.put(Change::Node(Arc::new(Node { cordoned: false, withdrawal: None, ..(*node).clone() })));
        }
    }
}
