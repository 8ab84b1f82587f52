//! Nodes that do not take everything, and tasks that ask for them.

use std::sync::Arc;

use quorate_state::{Feature, Offer, OnNodeLoss, Place, Preference, Price, State, TaskSpec, Trait};

use crate::{name, task};

/// A task that may go to every node, and rather to some.
pub(super) fn choosy(text: &str, count: u32) -> TaskSpec {
    let place = Place {
        pools: vec![name("default"), name("other")],
        tolerate: [("spot".to_owned(), "*".to_owned())].into(),
        prefer: vec![Preference { of: Trait::Pool(name("other")), weight: -3 }],
        cheap: 1,
        ..Place::default()
    };
    TaskSpec { place, ..task(text, &[], count, 100, OnNodeLoss::AtLeastOnce) }
}

/// A task that may go to some nodes alone, by what they say and do not say.
pub(super) fn picky(text: &str, count: u32) -> TaskSpec {
    let condition = "!has(node.price) && (node.pool == 'default' || 'spot' in node.taints || node.price > 1)";
    let place = Place { condition: Some(Arc::new(name(condition))), ..Place::default() };
    TaskSpec { place, ..task(text, &[], count, 100, OnNodeLoss::AtLeastOnce) }
}

/// What a node says of itself, which changes as time goes by. The first one takes everything, so that all can end.
pub(super) fn offer(state: &State, node: usize) -> Arc<Offer> {
    if node == 0 || !state.has_feature(Feature::PlaceConstraints) {
        return Arc::default();
    }
    Arc::new(match (node as u64 + state.revision().0) % 4 {
        0 => Offer { pool: name("other"), ..Offer::default() },
        1 => Offer { taints: [("spot".to_owned(), "yes".to_owned())].into(), ..Offer::default() },
        2 => Offer { price: Some(Price(7)), ..Offer::default() },
        _ => Offer::default(),
    })
}
