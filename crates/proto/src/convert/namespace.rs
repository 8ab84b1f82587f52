//! Namespaces: the part of the cluster that each has.

use quorate_state::{Amounts, Fairness, Share, ShareChange, Violation};

use super::Found;
use crate::v1;

/// A share, as sent.
pub fn share_to_wire(share: &Share) -> v1::Share {
    v1::Share {
        parent: share.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        weight: share.weight,
        guaranteed: amounts_to_wire(share.guaranteed),
        maximum: amounts_to_wire(share.maximum),
    }
}

/// A share that was sent.
///
/// # Errors
/// A parent with a name that none can have.
pub fn share_from_wire(share: v1::Share) -> Result<Share, Vec<Violation>> {
    let mut found = Found::default();
    let parent = (!share.parent.is_empty()).then(|| found.parse(|| "parent".into(), &share.parent)).flatten();
    found.finish(Some(Share {
        parent,
        weight: share.weight,
        guaranteed: amounts_from_wire(share.guaranteed),
        maximum: amounts_from_wire(share.maximum),
    }))
}

/// What is to be changed, as sent.
pub fn share_change_to_wire(change: &ShareChange) -> v1::ShareChange {
    let parent = change.parent.as_ref();
    let all = |amounts: Amounts| amounts_to_wire(amounts).unwrap_or_default();
    v1::ShareChange {
        parent: parent.map(|parent| parent.as_ref().map(ToString::to_string).unwrap_or_default()),
        weight: change.weight,
        guaranteed: change.guaranteed.map(all),
        maximum: change.maximum.map(all),
    }
}

/// What was sent to be changed. Whether it may be so is for `apply` to say.
///
/// # Errors
/// A parent with a name that none can have.
pub fn share_change_from_wire(change: v1::ShareChange) -> Result<ShareChange, Vec<Violation>> {
    let mut found = Found::default();
    let parent = match change.parent.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(parent) => Some(found.parse(|| "parent".into(), parent)),
    };
    found.finish(Some(ShareChange {
        parent,
        weight: change.weight,
        guaranteed: change.guaranteed.map(|amounts| amounts_from_wire(Some(amounts))),
        maximum: change.maximum.map(|amounts| amounts_from_wire(Some(amounts))),
    }))
}

/// How namespaces are kept even, as sent.
pub fn fairness_to_wire(fairness: Fairness) -> v1::Fairness {
    v1::Fairness { half_life_ms: fairness.half_life_ms, overdue_ms: fairness.overdue_ms }
}

/// The same that was sent.
pub fn fairness_from_wire(fairness: v1::Fairness) -> Fairness {
    Fairness { half_life_ms: fairness.half_life_ms, overdue_ms: fairness.overdue_ms }
}

/// Nothing is sent where nothing is said.
fn amounts_to_wire(amounts: Amounts) -> Option<v1::Amounts> {
    let Amounts { cpu_milli, memory_bytes, gpu_milli } = amounts;
    (amounts != Amounts::default()).then_some(v1::Amounts { cpu_milli, memory_bytes, gpu_milli })
}

fn amounts_from_wire(amounts: Option<v1::Amounts>) -> Amounts {
    let v1::Amounts { cpu_milli, memory_bytes, gpu_milli } = amounts.unwrap_or_default();
    Amounts { cpu_milli, memory_bytes, gpu_milli }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_and_what_is_taken_back_goes() {
        let nothing = v1::ShareChange::default();
        assert_eq!(share_change_from_wire(nothing), Ok(ShareChange::default()));
        let taken_back = ShareChange {
            parent: Some(None),
            weight: Some(3),
            guaranteed: Some(Amounts::default()),
            maximum: Some(Amounts { gpu_milli: Some(0), ..Amounts::default() }),
        };
        assert_eq!(share_change_from_wire(share_change_to_wire(&taken_back)), Ok(taken_back));
        let wrong = v1::ShareChange { parent: Some("a b".into()), ..v1::ShareChange::default() };
        assert!(share_change_from_wire(wrong).is_err());
    }
}
