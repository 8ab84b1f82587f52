//! Features: enabled once, for good.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::archive::RETENTION_FIRST;
use crate::namespace::FAIRNESS_FIRST;
use crate::preemption::PREEMPTION_FIRST;
use crate::settings::{RESULT_BYTES_FIRST, SUSPECT_NODES_FIRST, TASKS_PER_RUN_BEFORE, TASKS_PER_RUN_FIRST};
use crate::{Change, Event, Feature, FeatureRow, JobSpec, Preemption, Rejection, Reply, Settings};

/// Enables a feature. Whoever proposed it had asked every member in `term`, and who may become one is
/// decided by that term's leader alone: from another leader's hand the answers may be out of date.
pub(super) fn enable(overlay: &mut Overlay, feature: Feature, term: u64) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    if overlay.state().has_feature(feature) {
        return Ok(Reply::Counted(0));
    }
    if overlay.state().meta.term != term {
        return Err(Rejection::Stale("the members were asked in another term"));
    }
    overlay.put(Change::Feature(FeatureRow { feature, revision: overlay.revision(), at: overlay.now() }));
    let is_fresh = overlay.state().jobs.is_empty();
    if let Some(settings) = begun(feature, &settings, is_fresh) {
        overlay.put(Change::Settings(Arc::new(settings)));
    }
    overlay.emit(Event::FeatureEnabled { feature });
    Ok(Reply::Counted(1))
}

/// The limits with which a feature begins, where older versions know none; `is_fresh`: nobody has worked in this cluster yet.
fn begun(feature: Feature, settings: &Settings, is_fresh: bool) -> Option<Settings> {
    match feature {
        Feature::TaskOutcomes => Some(Settings {
            result_bytes_max: RESULT_BYTES_FIRST,
            suspect_nodes_max: SUSPECT_NODES_FIRST,
            ..settings.clone()
        }),
        // What an operator has chosen stays.
        Feature::TaskFlow if settings.tasks_per_run_max == TASKS_PER_RUN_BEFORE => {
            Some(Settings { tasks_per_run_max: TASKS_PER_RUN_FIRST, ..settings.clone() })
        }
        Feature::RunArchive if settings.retention.is_none() => {
            Some(Settings { retention: Some(RETENTION_FIRST), ..settings.clone() })
        }
        Feature::FairShare if settings.fairness.is_none() => {
            Some(Settings { fairness: Some(FAIRNESS_FIRST), ..settings.clone() })
        }
        // Where people work who do not expect it, it begins when somebody says so.
        Feature::Preemption if is_fresh && settings.preemption.is_none() => {
            Some(Settings { preemption: Some(PREEMPTION_FIRST), ..settings.clone() })
        }
        // It begins with what it adds to.
        Feature::FairPreemption => {
            let preemption = settings.preemption.filter(|preemption| is_fresh && preemption.by_priority)?;
            Some(Settings { preemption: Some(Preemption { by_share: true, ..preemption }), ..settings.clone() })
        }
        Feature::NodeCordon
        | Feature::NodeDrain
        | Feature::NodeForget
        | Feature::PlaceLabels
        | Feature::JoinTokens
        | Feature::NodeMaintenance
        | Feature::RunControl
        | Feature::TaskFlow
        | Feature::SubRuns
        | Feature::PayloadRefs
        | Feature::RunArchive
        | Feature::Gpus
        | Feature::FairShare
        | Feature::PlaceConstraints
        | Feature::Preemption
        | Feature::RegionPolicy
        | Feature::Gangs
        | Feature::RegionLoss
        | Feature::SpreadRules
        | Feature::Rebalance
        | Feature::DataLocality
        | Feature::Reservations
        | Feature::GangPreemption
        | Feature::PlaceWhere
        | Feature::ResourceAlternatives => None,
    }
}

/// Refuses what a feature that is not enabled would allow.
pub(super) fn require(overlay: &Overlay, feature: Option<Feature>) -> Result<(), Rejection> {
    match feature.filter(|feature| !overlay.state().has_feature(*feature)) {
        Some(feature) => Err(Rejection::FeatureNotEnabled(feature)),
        None => Ok(()),
    }
}

/// The features that a spec may need beside the youngest of those that came with constraints or after. Others were never asked for
/// more than one of them, and are not now: what the log has accepted stays accepted.
pub(super) fn require_older(overlay: &Overlay, spec: &JobSpec) -> Result<(), Rejection> {
    let says_where =
        spec.has_constraints() || spec.knows_regions() || spec.has_company() || spec.has_data() || spec.says_where();
    let is_younger = says_where || spec.asks_for_reservations() || spec.has_gangs() || spec.has_protected();
    let needs = |is_needed: bool, feature| (is_younger && is_needed).then_some(feature);
    require(overlay, needs(spec.asks_for_reservations(), Feature::Reservations))?;
    require(overlay, needs(spec.has_data(), Feature::DataLocality))?;
    require(overlay, needs(spec.says_where(), Feature::PlaceWhere))?;
    require(overlay, needs(spec.has_protected(), Feature::Preemption))?;
    require(overlay, needs(spec.has_company(), Feature::SpreadRules))?;
    require(overlay, needs(spec.knows_regions(), Feature::RegionLoss))?;
    require(overlay, needs(spec.has_gangs(), Feature::Gangs))?;
    require(overlay, needs(spec.has_constraints(), Feature::PlaceConstraints))?;
    require(overlay, needs(spec.has_gpus(), Feature::Gpus))?;
    require(overlay, needs(spec.has_sub_runs(), Feature::SubRuns))
}
