//! How far regions are from each other: what agents said last of the way to replicas, in the leader's memory alone.
//!
//! Nothing but the quality of placements rests on it. A few agents of each region are asked, when their sessions begin; what they said
//! holds until they, or who is asked in their stead, say something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_proto::v1;
use quorate_raft::{Member, Members};
use quorate_state::{NodeName, RegionName};

/// Agents of one region that are asked.
const ASKED_PER_REGION_MAX: usize = 3;
/// Landmarks of one agent, and what it may say.
pub(crate) const LANDMARKS_MAX: usize = 16;
/// Landmarks in one region, of those: the second is for when the first is down.
const LANDMARKS_PER_REGION_MAX: usize = 2;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Distances(Mutex<BTreeMap<RegionName, Region>>);

/// What is known of the way from a region.
#[derive(Debug, Default)]
struct Region {
    /// Who is asked, in a session that lasts.
    asked: BTreeSet<NodeName>,
    /// What was said last, by whom: of those that are asked, and of as many that were.
    said: BTreeMap<NodeName, BTreeMap<RegionName, u64>>,
}

impl Distances {
    /// What the agent of a node is to measure, whose session begins: nothing if there are enough in its region who do.
    pub(crate) fn ask(&self, node: &NodeName, region: &RegionName, members: &Members) -> Vec<v1::Landmark> {
        let landmarks = landmarks(region, members);
        if landmarks.is_empty() {
            return landmarks;
        }
        let mut regions = self.lock();
        let known = regions.entry(region.clone()).or_default();
        if known.asked.len() >= ASKED_PER_REGION_MAX && !known.asked.contains(node) {
            return Vec::new();
        }
        known.asked.insert(node.clone());
        landmarks
    }

    /// Takes what an agent that was asked says.
    pub(crate) fn take(&self, node: &NodeName, region: &RegionName, told: v1::Distances) {
        let mut regions = self.lock();
        let Some(Region { asked, said }) = regions.get_mut(region).filter(|known| known.asked.contains(node)) else {
            return;
        };
        // Who is not asked any more makes room for who is.
        while said.len() >= ASKED_PER_REGION_MAX && !said.contains_key(node) {
            let Some(gone) = said.keys().find(|name| !asked.contains(*name)).cloned() else { break };
            said.remove(&gone);
        }
        let told = told.distances.into_iter().take(LANDMARKS_MAX);
        let told = told.filter_map(|distance| Some((distance.region.parse().ok()?, distance.round_trip_us)));
        said.insert(node.clone(), told.collect());
    }

    /// The session of a node that may have been asked is over.
    pub(crate) fn left(&self, node: &NodeName, region: &RegionName) {
        if let Some(known) = self.lock().get_mut(region) {
            known.asked.remove(node);
        }
    }

    /// Round trips in microseconds, as often as they were said.
    pub(crate) fn all(&self) -> Vec<(RegionName, RegionName, u64)> {
        let regions = self.lock();
        let ways = regions.iter().flat_map(|(from, known)| {
            let said = known.said.values().flatten();
            said.map(|(to, micros)| (from.clone(), to.clone(), *micros))
        });
        ways.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RegionName, Region>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where agents of a region can measure the way to the others.
fn landmarks(region: &RegionName, members: &Members) -> Vec<v1::Landmark> {
    let mut by_region: BTreeMap<&RegionName, usize> = BTreeMap::new();
    let elsewhere = |member: &&Member| member.region != *region && !member.addresses.agent.is_empty();
    let wanted = members.replicas.iter().filter(elsewhere).filter(|member| {
        let count = by_region.entry(&member.region).or_default();
        *count += 1;
        *count <= LANDMARKS_PER_REGION_MAX
    });
    let landmark =
        |member: &Member| v1::Landmark { region: member.region.to_string(), address: member.addresses.agent.clone() };
    wanted.take(LANDMARKS_MAX).map(landmark).collect()
}

#[cfg(test)]
mod tests {
    use quorate_raft::Addresses;
    use quorate_scheduler::Latencies;
    use quorate_state::Uuid;

    use super::*;

    fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn members(regions: &[&str]) -> Members {
        let member = |(id, region): (u64, &&str)| Member {
            id,
            store: Uuid(id.into()),
            region: name(region),
            addresses: Addresses { agent: format!("{region}-{id}:7402"), ..Addresses::default() },
            voter: true,
            matched: None,
            silent: None,
        };
        Members { term: 1, leader: Some(1), replicas: (1..).zip(regions).map(member).collect() }
    }

    fn told(region: &str, micros: u64) -> v1::Distances {
        v1::Distances { distances: vec![v1::Distance { region: region.into(), round_trip_us: micros }] }
    }

    #[test]
    fn two_replicas_of_each_other_region_are_landmarks() {
        let known = Distances::default();
        let landmarks = known.ask(&name("n1"), &name("eu"), &members(&["us", "eu", "us", "ap", "us"]));
        let addresses: Vec<&str> = landmarks.iter().map(|landmark| &*landmark.address).collect();
        assert_eq!(addresses, ["us-1:7402", "us-3:7402", "ap-4:7402"]);
        assert_eq!(known.ask(&name("n1"), &name("eu"), &members(&["eu", "eu"])), []);
    }

    #[test]
    fn a_few_of_each_region_are_asked_and_others_in_their_stead_when_they_have_left() {
        let (known, members, eu) = (Distances::default(), members(&["eu", "us"]), name("eu"));
        let is_asked = |node: &str| !known.ask(&name(node), &eu, &members).is_empty();
        assert_eq!(["a", "b", "c", "d", "a"].map(is_asked), [true, true, true, false, true]);
        assert!(!known.ask(&name("e"), &name("sa"), &members).is_empty(), "each region has its own");
        let says = |node: &str, micros| known.take(&name(node), &eu, told("us", micros));
        let said = [("a", 90_000), ("b", 80_000), ("c", 85_000), ("d", 1)];
        said.into_iter().for_each(|(node, micros)| says(node, micros));
        let between = || Latencies::new(known.all()).iter().map(|(.., micros)| micros).collect::<Vec<_>>();
        assert_eq!(between(), [65_536], "who was not asked has no say");

        known.left(&name("b"), &eu);
        assert_eq!(between(), [65_536], "what was said holds");
        assert!(is_asked("d"));
        says("d", 120_000);
        assert_eq!(between(), [81_920], "until somebody says it in their stead");
        says("a", u64::MAX);
        assert_eq!(between(), [81_920]);
    }
}
