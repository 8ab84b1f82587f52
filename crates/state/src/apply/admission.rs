//! Join tokens: made, used and revoked; and who may register without one.

use std::sync::Arc;

use super::nodes;
use super::overlay::Overlay;
use crate::{
    Admission, Change, Digest, Event, JOIN_TOKENS_MAX, JOIN_TTL_MS_MAX, JOIN_USES_MAX, JoinTerms, JoinToken,
    JoinTokenId, NodeAdmission, Principal, Registration, Rejection, Reply, Settings, TokenFlaw, Violation,
};

/// A node that is known by its uuid comes back as it may; a new one is admitted first, where that takes a token.
pub(super) fn register(
    overlay: &mut Overlay,
    arrival: &Registration,
    token: Option<Digest>,
) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let known = overlay.state().node(&arrival.node).filter(|known| known.uuid == arrival.uuid);
    let admission = match (known, settings.node_admission) {
        (Some(known), _) => known.admission.clone(),
        (None, NodeAdmission::Open) => None,
        (None, NodeAdmission::Token) => Some(admit(overlay, arrival, token)?),
    };
    if let Some(why) = admission.as_ref().and_then(|admission| admission.terms.refuse(arrival)) {
        return Err(Rejection::JoinTokenRefused { node: arrival.node.clone(), why });
    }
    nodes::register(overlay, arrival, admission)
}

/// Uses the token up by one node. Whoever is refused for another reason after that gives it back, as items are undone
/// whole.
fn admit(overlay: &mut Overlay, arrival: &Registration, token: Option<Digest>) -> Result<Arc<Admission>, Rejection> {
    let digest = token.ok_or_else(|| Rejection::JoinTokenNeeded(arrival.node.clone()))?;
    let refused = |why| Rejection::JoinTokenRefused { node: arrival.node.clone(), why };
    let token = overlay.state().join_token(JoinTokenId::of(digest)).filter(|token| token.digest == digest).cloned();
    let token = token.ok_or_else(|| refused(TokenFlaw::Unknown))?;
    if token.expires_at <= overlay.served() {
        return Err(refused(TokenFlaw::Expired));
    }
    if token.uses >= token.uses_max {
        return Err(refused(TokenFlaw::UsedUp));
    }
    let id = token.id();
    overlay.put(Change::JoinToken(Arc::new(JoinToken { uses: token.uses.saturating_add(1), ..(*token).clone() })));
    overlay.emit(Event::JoinTokenUsed { token: id, node: arrival.node.clone() });
    Ok(Arc::new(Admission { token: id, at: overlay.now(), terms: token.terms.clone() }))
}

/// Nodes that are known stay what they are. Asked for again, it changes nothing.
pub(super) fn set(overlay: &mut Overlay, by: &Principal, admission: NodeAdmission) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    if settings.node_admission != admission {
        overlay.put(Change::Settings(Arc::new(Settings { node_admission: admission, ..(*settings).clone() })));
        overlay.emit(Event::NodeAdmissionSet { admission, by: by.clone() });
    }
    Ok(Reply::Done)
}

/// What a join token is to be.
pub(super) struct Wanted<'a> {
    pub(super) digest: Digest,
    pub(super) ttl_ms: u64,
    pub(super) uses_max: u32,
    pub(super) terms: &'a Arc<JoinTerms>,
}

/// Makes a token, and removes those that have expired.
pub(super) fn create(overlay: &mut Overlay, by: &Principal, wanted: &Wanted<'_>) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let Wanted { digest, ttl_ms, uses_max, terms } = *wanted;
    let mut violations = terms.violations();
    let mut complain = |field: &str, message: String| violations.push(Violation { field: field.into(), message });
    if !(1..=JOIN_TTL_MS_MAX).contains(&ttl_ms) {
        complain("ttl_ms", format!("{ttl_ms} is not between 1 and JOIN_TTL_MS_MAX ({JOIN_TTL_MS_MAX})"));
    }
    if !(1..=JOIN_USES_MAX).contains(&uses_max) {
        complain("uses_max", format!("{uses_max} is not between 1 and JOIN_USES_MAX ({JOIN_USES_MAX})"));
    }
    if !violations.is_empty() {
        return Err(Rejection::Invalid(violations));
    }
    let id = JoinTokenId::of(digest);
    if overlay.state().join_token(id).is_some() {
        return Err(Rejection::Stale("there is a join token of this secret: choose another secret"));
    }
    let served = overlay.served();
    let expired = overlay.state().join_tokens().filter(|token| token.expires_at <= served);
    for token in expired.map(|token| token.id()).collect::<Vec<_>>() {
        overlay.put(Change::JoinTokenGone(token));
    }
    if overlay.state().join_tokens().count() >= JOIN_TOKENS_MAX {
        return Err(Rejection::LimitReached {
            limit: "JOIN_TOKENS_MAX",
            max: JOIN_TOKENS_MAX as u64,
            advice: "revoke those that are not needed, with 'quorate node token revoke'",
        });
    }
    let (by, at, terms) = (by.clone(), overlay.now(), terms.clone());
    overlay.emit(Event::JoinTokenCreated { token: id, by: by.clone() });
    let token = JoinToken { digest, by, at, expires_at: served.plus(ttl_ms), uses: 0, uses_max, terms };
    overlay.put(Change::JoinToken(Arc::new(token)));
    Ok(Reply::Done)
}

/// The nodes that it has admitted stay.
pub(super) fn revoke(overlay: &mut Overlay, by: &Principal, token: JoinTokenId) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if overlay.state().join_token(token).is_none() {
        return Err(Rejection::UnknownJoinToken(token));
    }
    overlay.put(Change::JoinTokenGone(token));
    overlay.emit(Event::JoinTokenRevoked { token, by: by.clone() });
    Ok(Reply::Done)
}
