//! Where tasks may and would rather run, and what nodes say of themselves for that.

use std::sync::Arc;

use quorate_state::{Dataset, Near, NodeCondition, Offer, Place, PoolName, Preference, Price, ReservationName, Trait};

use super::Found;
use super::company::{company_from_wire, company_to_wire};
use super::job::{labels_from_wire, labels_to_wire, names, spread_from_wire, spread_to_wire};
use crate::v1;

/// What a node says of itself; absent if that is nothing.
pub(crate) fn offer_to_wire(offer: &Offer) -> Option<v1::Offer> {
    (*offer != Offer::default()).then(|| v1::Offer {
        pool: if offer.pool.is_default() { String::new() } else { offer.pool.to_string() },
        taints: labels_to_wire(&offer.taints),
        price: offer.price.map(|price| price.0),
    })
}

/// The same, read; whether it is within the limits is not asked.
pub(crate) fn offer_from_wire(offer: Option<v1::Offer>, found: &mut Found) -> Option<Offer> {
    let v1::Offer { pool, taints, price } = offer.unwrap_or_default();
    let pool = if pool.is_empty() { Some(PoolName::default()) } else { found.parse(|| "offer.pool".into(), &pool) };
    let taints = labels_from_wire("offer.taints", taints, found);
    Some(Offer { pool: pool?, taints, price: price.map(Price) })
}

pub(super) fn place_to_wire(place: &Place) -> v1::Place {
    let mut wire = v1::Place {
        regions: place.regions.iter().map(ToString::to_string).collect(),
        clusters: place.clusters.iter().map(ToString::to_string).collect(),
        spread: spread_to_wire(place.spread).into(),
        labels: labels_to_wire(&place.labels),
        pools: place.pools.iter().map(ToString::to_string).collect(),
        tolerate: labels_to_wire(&place.tolerate),
        prefer: place.prefer.iter().map(preference_to_wire).collect(),
        cheap: place.cheap,
        near: place.near.data.iter().map(data_to_wire).collect(),
        near_weight: place.near.weight,
        r#where: place.condition.as_ref().map(ToString::to_string).unwrap_or_default(),
        reservation: place.reservation.as_ref().map(ToString::to_string).unwrap_or_default(),
        ..v1::Place::default()
    };
    company_to_wire(&place.company, &mut wire);
    wire
}

/// The place of a task of which a key stands at `at`.
pub(super) fn place_from_wire(at: &dyn Fn(&str) -> String, mut place: v1::Place, found: &mut Found) -> Option<Place> {
    let company = company_from_wire(at, &mut place, found);
    let regions = names(&|position| at(&format!("place.regions[{position}]")), &place.regions, found);
    let clusters = names(&|position| at(&format!("place.clusters[{position}]")), &place.clusters, found);
    let spread = found.number(|| at("place.spread"), place.spread).map(spread_from_wire);
    let labels = labels_from_wire(&at("place.labels"), place.labels, found);
    let pools = names(&|position| at(&format!("place.pools[{position}]")), &place.pools, found);
    let tolerate = labels_from_wire(&at("place.tolerate"), place.tolerate, found);
    // Every one is looked at before any wrong one ends it: all violations in one answer.
    let prefer: Vec<Option<Preference>> = place
        .prefer
        .into_iter()
        .enumerate()
        .map(|(position, preference)| {
            preference_from_wire(&at(&format!("place.prefer[{position}]")), preference, found)
        })
        .collect();
    let data: Vec<Option<Dataset>> = place
        .near
        .into_iter()
        .enumerate()
        .map(|(position, v1::Dataset { region, bytes })| {
            let region = found.parse(|| at(&format!("place.near[{position}].region")), &region)?;
            Some(Dataset { region, bytes })
        })
        .collect();
    let condition: Option<Option<NodeCondition>> = match place.r#where.as_str() {
        "" => Some(None),
        text => found.parse(|| at("place.where"), text).map(Some),
    };
    let reservation: Option<Option<ReservationName>> = match place.reservation.as_str() {
        "" => Some(None),
        name => found.parse(|| at("place.reservation"), name).map(Some),
    };
    let near = Near { data: data.into_iter().collect::<Option<_>>()?, weight: place.near_weight };
    Some(Place {
        regions: regions?,
        clusters: clusters?,
        labels,
        spread: spread?,
        pools: pools?,
        tolerate,
        prefer: prefer.into_iter().collect::<Option<_>>()?,
        cheap: place.cheap,
        near,
        company: company?,
        condition: condition?.map(Arc::new),
        reservation: reservation?,
    })
}

fn data_to_wire(data: &Dataset) -> v1::Dataset {
    v1::Dataset { region: data.region.to_string(), bytes: data.bytes }
}

fn preference_to_wire(preference: &Preference) -> v1::Preference {
    use v1::preference::Trait as Wire;
    let of = match &preference.of {
        Trait::Label { key, value } => Wire::Label(v1::Label { key: key.clone(), value: value.clone() }),
        Trait::Pool(pool) => Wire::Pool(pool.to_string()),
        Trait::Region(region) => Wire::Region(region.to_string()),
        Trait::Cluster(cluster) => Wire::Cluster(cluster.to_string()),
    };
    v1::Preference { r#trait: Some(of), weight: preference.weight }
}

fn preference_from_wire(field: &str, preference: v1::Preference, found: &mut Found) -> Option<Preference> {
    use v1::preference::Trait as Wire;
    let at = |key: &str| format!("{field}.{key}");
    let of = match preference.r#trait {
        Some(Wire::Label(v1::Label { key, value })) => Some(Trait::Label { key, value }),
        Some(Wire::Pool(pool)) => found.parse(|| at("pool"), &pool).map(Trait::Pool),
        Some(Wire::Region(region)) => found.parse(|| at("region"), &region).map(Trait::Region),
        Some(Wire::Cluster(cluster)) => found.parse(|| at("cluster"), &cluster).map(Trait::Cluster),
        None => {
            found.add(field.to_owned(), "names no label, pool, region or cluster");
            None
        }
    };
    Some(Preference { of: of?, weight: preference.weight })
}
