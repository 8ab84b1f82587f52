//! How long messages take between regions, as far as that was measured.

use std::collections::BTreeMap;

use quorate_state::RegionName;

/// What is as far away as this is half as near as what is at hand: about the round trip between two coasts of one continent.
const HALF_NEAR_US: u64 = 50_000;

/// Round trips are told in steps: of each doubling there are so many. What changes by less is no change for those who plan.
const STEPS_PER_DOUBLING: u64 = 4;

/// Round trips between regions, in steps that are coarse enough to stay the same while nothing changes. Losing them costs
/// quality alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(BTreeMap<(RegionName, RegionName), u64>);

impl Latencies {
    /// From round trips between two regions in microseconds; of the same two, whichever is named first, the shortest holds.
    pub fn new(round_trips: impl IntoIterator<Item = (RegionName, RegionName, u64)>) -> Self {
        let mut known = BTreeMap::new();
        for (one, other, micros) in round_trips.into_iter().filter(|(one, other, _)| one != other) {
            let pair = if one < other { (one, other) } else { (other, one) };
            let shortest = known.entry(pair).or_insert(u64::MAX);
            *shortest = in_steps(micros).min(*shortest);
        }
        Self(known)
    }

    /// All that is known, each two regions once, in microseconds.
    pub fn iter(&self) -> impl Iterator<Item = (&RegionName, &RegionName, u64)> {
        self.0.iter().map(|((one, other), micros)| (one, other, *micros))
    }

    /// How near `to` is to what lies in `from`, in parts of `whole`: all of it in the same region, half of that at
    /// 50 milliseconds, nothing where nobody knows.
    pub(crate) fn nearness(&self, from: &RegionName, to: &RegionName, whole: u64) -> u64 {
        if from == to {
            return whole;
        }
        let pair = if from < to { (from.clone(), to.clone()) } else { (to.clone(), from.clone()) };
        self.0.get(&pair).map_or(0, |micros| whole * HALF_NEAR_US / (HALF_NEAR_US.saturating_add(*micros)))
    }
}

/// The step at or below which a round trip is.
fn in_steps(micros: u64) -> u64 {
    let micros = micros.max(STEPS_PER_DOUBLING);
    let step = (1 << micros.ilog2()) / STEPS_PER_DOUBLING;
    micros / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> RegionName {
        name.parse().unwrap()
    }

    #[test]
    fn steps_are_at_most_a_quarter_apart_and_keep_the_order() {
        let steps: Vec<u64> = (4..2_000_000).map(in_steps).collect();
        assert!(steps.is_sorted());
        assert!(steps.iter().zip(4..).all(|(step, micros)| *step <= micros && micros < step + step.div_ceil(4).max(1)));
        assert_eq!((in_steps(0), in_steps(u64::MAX) > u64::MAX / 4 * 3), (4, true));
    }

    #[test]
    fn what_is_nearer_is_worth_more_and_what_is_not_known_nothing() {
        let pairs = [("eu", "us", 50_000), ("us", "eu", 90_000), ("ap", "eu", 250_000), ("eu", "eu", 3)];
        let known = Latencies::new(pairs.map(|(one, other, micros)| (region(one), region(other), micros)));
        let near = |from, to| known.nearness(&region(from), &region(to), 64);
        assert_eq!((near("eu", "eu"), near("ap", "us"), known.iter().count()), (64, 0, 2));
        assert_eq!((near("eu", "us"), near("us", "eu")), (32, 32));
        assert!((1..32).contains(&near("eu", "ap")));
    }
}
