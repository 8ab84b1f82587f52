//! Features: enabled once, for good.

use super::overlay::Overlay;
use crate::{Change, Event, Feature, FeatureRow, Rejection, Reply};

/// Enables a feature. Whoever proposed it had asked every member in `term`, and who may become one is
/// decided by that term's leader alone: from another leader's hand the answers may be out of date.
pub(super) fn enable(overlay: &mut Overlay, feature: Feature, term: u64) -> Result<Reply, Rejection> {
    overlay.settings()?;
    if overlay.state().has_feature(feature) {
        return Ok(Reply::Counted(0));
    }
    if overlay.state().meta.term != term {
        return Err(Rejection::Stale("the members were asked in another term"));
    }
    overlay.put(Change::Feature(FeatureRow { feature, revision: overlay.revision(), at: overlay.now() }));
    overlay.emit(Event::FeatureEnabled { feature });
    Ok(Reply::Counted(1))
}

/// Refuses what a feature that is not enabled would allow.
pub(super) fn require(overlay: &Overlay, feature: Option<Feature>) -> Result<(), Rejection> {
    match feature.filter(|feature| !overlay.state().has_feature(*feature)) {
        Some(feature) => Err(Rejection::FeatureNotEnabled(feature)),
        None => Ok(()),
    }
}
