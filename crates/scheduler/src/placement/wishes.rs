//! What a node is worth to a task by what the task says that it would rather have.
//!
//! A fixed set of terms, each of which is what a weight of the task makes of something that the node says of itself; what it does
//! not say is worth nothing. They are added, so that a node gains by each, whatever others there are; and nothing in them
//! depends on other nodes, so that one that comes or goes changes nothing about the rest.

use quorate_state::{DATASETS_MAX, Near, Node, PREFERENCES_MAX, Place, Price, RegionName, WEIGHT_OF_PREFERENCE_MAX};

use crate::Latencies;

/// Parts of one point of weight.
const PART: i64 = 64;
/// Prices differ by less than so many doublings.
const DOUBLINGS: i64 = 40;
/// Nothing is worth more than this, nor less than as much below zero.
const WORTH_MAX: i64 = WEIGHT_OF_PREFERENCE_MAX as i64 * PART * (PREFERENCES_MAX as i64 + DOUBLINGS + 1);

/// What a node is worth at most and at least are so many bits apart.
pub(super) const WISHES_BITS: u32 = 20;
const _: () = assert!(2 * WORTH_MAX < 1 << WISHES_BITS);

/// How far a node is from what `place` would rather have, within [`WISHES_BITS`]; the least is the best.
pub(super) fn wishes(node: &Node, place: &Place, latencies: &Latencies) -> u128 {
    let worth: i64 = parts(node, place, latencies).into_iter().sum();
    (WORTH_MAX - worth.clamp(-WORTH_MAX, WORTH_MAX)).unsigned_abs().into()
}

/// What a node is worth by its traits, by its price, and by where data lies, in thousandths of a point of weight.
pub(super) fn worths_milli(node: &Node, place: &Place, latencies: &Latencies) -> [i64; 3] {
    parts(node, place, latencies).map(|part| part * 1_000 / PART)
}

fn parts(node: &Node, place: &Place, latencies: &Latencies) -> [i64; 3] {
    let traits = place.prefer.iter().take(PREFERENCES_MAX).filter(|preference| preference.of.is_of(node));
    let preferred = traits.map(|preference| i64::from(preference.weight) * PART).sum();
    let price = i64::from(place.cheap) * node.offer.price.map_or(0, cheapness);
    [preferred, price, i64::from(place.near.weight) * nearness(&place.near, &node.region, latencies)]
}

/// How much of the data is how near to a region: each byte counts the same, the whole of it is [`PART`].
fn nearness(near: &Near, region: &RegionName, latencies: &Latencies) -> i64 {
    let datasets = || near.data.iter().take(DATASETS_MAX);
    let all: u128 = datasets().map(|data| u128::from(data.bytes)).sum();
    let parts = |data: &quorate_state::Dataset| latencies.nearness(&data.region, region, PART.unsigned_abs());
    let near: u128 = datasets().map(|data| u128::from(data.bytes) * u128::from(parts(data))).sum();
    i64::try_from(near.checked_div(all).unwrap_or(0)).unwrap_or(0)
}

/// How many times a price could be doubled before it is the highest that can be said, in parts of one: half the price is one more,
/// whatever the currency. Between powers of two it is a straight line, which keeps the order.
fn cheapness(price: Price) -> i64 {
    let units = price.0.saturating_add(1);
    let doublings = units.ilog2();
    let rest = units - (1 << doublings);
    let part = rest.saturating_mul(PART.unsigned_abs()) >> doublings;
    DOUBLINGS * PART - i64::from(doublings) * PART - i64::try_from(part).unwrap_or(PART)
}

#[cfg(test)]
mod tests {
    use quorate_state::PRICE_MAX;

    use super::*;

    #[test]
    fn half_the_price_is_worth_the_same_at_any_price() {
        for price in [10_000, 35_000, 1_000_000, PRICE_MAX.0] {
            let gain = cheapness(Price(price / 2)) - cheapness(Price(price));
            assert!((PART - 1..=PART + 1).contains(&gain), "{price}: {gain}");
        }
        assert!(cheapness(PRICE_MAX) > 0, "what says no price is behind all that do");
        assert_eq!(cheapness(Price(0)), DOUBLINGS * PART);
    }

    #[test]
    fn a_lower_price_is_never_worth_less() {
        let prices = (0..4_000).chain((4_000..PRICE_MAX.0).step_by(7_777_777));
        let worths: Vec<i64> = prices.map(|price| cheapness(Price(price))).collect();
        assert!(worths.is_sorted_by(|one, other| one >= other));
    }
}
