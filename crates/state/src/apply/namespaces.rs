//! Namespaces: the tenants' key spaces, and the part of the cluster that each has.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::{
    Change, Event, Fairness, Feature, NAMESPACE_CHILDREN_MAX, NAMESPACES_DEEP_MAX, NAMESPACES_MAX, Namespace,
    NamespaceRow, Rejection, Reply, Resource, SAMPLES_AT_ONCE_MAX, Settings, Share, ShareChange, State, Violation,
};

pub(super) fn create(overlay: &mut Overlay, namespace: &Namespace) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = fresh(overlay, namespace)?;
    overlay.put(Change::Namespace(Arc::new(row)));
    overlay.emit(Event::NamespaceCreated { namespace: namespace.clone() });
    Ok(Reply::Done)
}

/// One that may be made.
fn fresh(overlay: &Overlay, namespace: &Namespace) -> Result<NamespaceRow, Rejection> {
    let state = overlay.state();
    if state.has_namespace(namespace) {
        return Err(Rejection::NamespaceExists(namespace.clone()));
    }
    if state.has_feature(Feature::FairShare) && state.namespaces.size() >= NAMESPACES_MAX {
        return Err(limit("NAMESPACES_MAX", NAMESPACES_MAX, "use one that there is"));
    }
    Ok(NamespaceRow::new(namespace.clone(), overlay.now()))
}

/// Changes the share of a namespace, or makes one with a share.
pub(super) fn set(
    overlay: &mut Overlay,
    namespace: &Namespace,
    is_new: bool,
    change: &ShareChange,
) -> Result<Reply, Rejection> {
    overlay.settings()?;
    let row = if is_new {
        fresh(overlay, namespace)?
    } else {
        let known = overlay.state().namespace(namespace);
        (**known.ok_or_else(|| Rejection::UnknownNamespace(namespace.clone()))?).clone()
    };
    let share = row.share.with(change);
    if share.parent != row.share.parent {
        check_parent(overlay.state(), namespace, &share)?;
    }
    let mut flaws = share.violations();
    flaws.extend(guarantee_flaws(overlay.state(), namespace, &share));
    if !flaws.is_empty() {
        return Err(Rejection::Invalid(flaws));
    }
    overlay.put(Change::Namespace(Arc::new(NamespaceRow { share, ..row })));
    if is_new {
        overlay.emit(Event::NamespaceCreated { namespace: namespace.clone() });
    }
    Ok(Reply::Done)
}

/// A namespace can come below another one if that is not below itself, and neither too deep nor too full.
fn check_parent(state: &State, namespace: &Namespace, share: &Share) -> Result<(), Rejection> {
    let Some(parent) = &share.parent else { return Ok(()) };
    if !state.has_namespace(parent) {
        return Err(Rejection::UnknownNamespace(parent.clone()));
    }
    if state.lineage(parent).any(|above| above.name == *namespace) || parent == namespace {
        let message = format!("{parent} is {namespace} itself, or stands below it: choose another parent");
        return Err(Rejection::Invalid(vec![Violation { field: "parent".into(), message }]));
    }
    if state.namespaces_below(parent).count() >= NAMESPACE_CHILDREN_MAX {
        return Err(limit("NAMESPACE_CHILDREN_MAX", NAMESPACE_CHILDREN_MAX, "choose another parent"));
    }
    if state.lineage(parent).count() + levels(state, namespace) > NAMESPACES_DEEP_MAX {
        return Err(limit("NAMESPACES_DEEP_MAX", NAMESPACES_DEEP_MAX, "choose a parent that stands higher"));
    }
    Ok(())
}

/// How many levels a namespace has with all below it.
fn levels(state: &State, namespace: &Namespace) -> usize {
    1 + state.namespaces_below(namespace).map(|child| levels(state, &child.name)).max().unwrap_or(0)
}

/// Where more is guaranteed to children than to their parent, if `namespace` gets this share.
fn guarantee_flaws(state: &State, namespace: &Namespace, share: &Share) -> Vec<Violation> {
    let mut flaws = Vec::new();
    for resource in Resource::ALL {
        let own = share.guaranteed.of(resource).unwrap_or(0);
        let mut complain = |whose: &Namespace, sum: u64, most: u64| {
            let (sum, most) = (resource.written(sum), resource.written(most));
            flaws.push(Violation {
                field: format!("guaranteed.{resource}"),
                message: format!(
                    "{sum} would be guaranteed to the children of {whose}, and {most} is to {whose} itself: guarantee more \
                     to it, or less to them"
                ),
            });
        };
        let sum_below = |of: &Namespace, without: &Namespace| {
            let others = state.namespaces_below(of).filter(|child| child.name != *without);
            others.filter_map(|child| child.share.guaranteed.of(resource)).fold(0, u64::saturating_add)
        };
        if let Some(parent) = share.parent.as_ref().and_then(|parent| state.namespace(parent)).filter(|_| own > 0) {
            let sum = own.saturating_add(sum_below(&parent.name, namespace));
            let most = parent.share.guaranteed.of(resource).unwrap_or(0);
            if sum > most {
                complain(&parent.name, sum, most);
            }
        }
        let below = sum_below(namespace, namespace);
        if below > own {
            complain(namespace, below, own);
        }
    }
    flaws
}

fn limit(limit: &'static str, max: usize, advice: &'static str) -> Rejection {
    Rejection::LimitReached { limit, max: max as u64, advice }
}

/// Says how namespaces are kept even.
pub(super) fn set_fairness(overlay: &mut Overlay, fairness: Fairness) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let flaws =
        fairness.limits().into_iter().filter(|(_, value, least, most)| *value > 0 && !(least..=most).contains(&value));
    let flaws: Vec<Violation> = flaws
        .map(|(name, value, least, most)| Violation {
            field: format!("fairness.{name}"),
            message: format!("is {value}, and must be zero, or from {least} to {most}"),
        })
        .collect();
    if !flaws.is_empty() {
        return Err(Rejection::Invalid(flaws));
    }
    overlay.put(Change::Settings(Arc::new(Settings { fairness: Some(fairness), ..(*settings).clone() })));
    Ok(Reply::Done)
}

/// Takes what namespaces hold into what they have held.
pub(super) fn sample(overlay: &mut Overlay, namespaces: &[Namespace]) -> Result<Reply, Rejection> {
    let settings = overlay.settings()?;
    let half_life_ms = settings.fairness.map_or(0, |fairness| fairness.half_life_ms);
    if namespaces.len() > SAMPLES_AT_ONCE_MAX {
        return Err(limit("SAMPLES_AT_ONCE_MAX", SAMPLES_AT_ONCE_MAX, "name fewer namespaces"));
    }
    let mut sampled = 0_u32;
    for name in namespaces {
        let Some(row) = overlay.state().namespace(name).cloned() else { continue };
        let past = row.past.sampled(overlay.state().held_by(name), overlay.served(), half_life_ms);
        if past != row.past {
            overlay.put(Change::Namespace(Arc::new(NamespaceRow { past, ..(*row).clone() })));
            sampled = sampled.saturating_add(1);
        }
    }
    Ok(Reply::Counted(sampled))
}
