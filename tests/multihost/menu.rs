//! Draws a schedule from a seed: rounds of about a minute, and in each of them every class of faults strikes,
//! in another order. Faults last longer than the time between two of them, so that they overlap.

use crate::draw::Draw;
use crate::hosts::{AGENTS, REGIONS, REPLICAS};
use crate::schedule::{Class, Strike, Target};

/// How long a round takes, about.
const ROUND_MS: u64 = 65_000;
/// Load alone, before the first strike.
const CALM_MS: u64 = 2_000;
/// A strike lasts between these, in milliseconds.
const SHORT_MS: (u64, u64) = (500, 8_000);
/// One that is to outlast the lease of a node, so that others take over what ran there.
const LONG_MS: (u64, u64) = (11_000, 16_000);
/// All processes of a kind are restarted within this time, or nearly.
const ROLLING_MS: (u64, u64) = (12_000, 20_000);
/// Leadership is passed on for so long.
const TRANSFER_MS: (u64, u64) = (14_000, 18_000);
/// A node is lost so long after that began: its last renewals then met leaders that came and went.
const MEANWHILE_MS: (u64, u64) = (1_500, 3_500);
/// A clock jumps by up to an hour, either way.
const JUMP_MS_MAX: u64 = 3_600_000;
/// Packets on a slow way are late by so much.
const LATE_MS: (u64, u64) = (50, 600);

/// What a round is made of.
#[derive(Clone, Copy)]
enum Dish {
    /// Of somebody: the leader, another replica, or for some classes a node or a region.
    Any(Class),
    /// Of an agent, for longer than its lease.
    Lease(Class),
    /// Of all of a kind, in turn.
    Rolling(Target),
    /// Leadership is passed on while a node is lost in this way.
    Transfer(Class),
}

/// One round. Which way a node is lost while leadership moves changes from round to round.
fn menu(round: usize) -> Vec<Dish> {
    const LOST: [Class; 4] = [Class::Mute, Class::Kill, Class::Deaf, Class::Pause];
    let one_way = [Class::Mute, Class::Deaf];
    vec![
        Dish::Any(Class::Kill),
        Dish::Any(Class::Pause),
        Dish::Any(Class::Cut),
        Dish::Any(Class::Mute),
        Dish::Any(Class::Deaf),
        Dish::Any(Class::Lone),
        Dish::Any(Class::Isolate),
        Dish::Any(Class::Slow),
        Dish::Any(Class::DiskFull),
        Dish::Any(Class::Clock),
        Dish::Any(Class::TaskKill),
        Dish::Any(Class::TaskPause),
        Dish::Any(Class::GroupKill),
        Dish::Any(Class::GroupPause),
        Dish::Lease(Class::Kill),
        Dish::Lease(Class::Pause),
        Dish::Lease(one_way[round % one_way.len()]),
        Dish::Lease(Class::AgentDiskFull),
        Dish::Rolling(if round % 3 == 2 { Target::Nodes } else { Target::Replicas }),
        Dish::Transfer(LOST[round % LOST.len()]),
    ]
}

/// The faults of a seed within so many seconds, in the order of their times.
pub(crate) fn draw(seed: u64, seconds: u64) -> Vec<Strike> {
    let mut draw = Draw::of(seed, "schedule");
    let time_ms = (seconds * 1_000).saturating_sub(CALM_MS);
    let rounds = usize::try_from(((time_ms + ROUND_MS / 2) / ROUND_MS).max(1)).unwrap_or(1);
    let dishes: Vec<Dish> = (0..rounds).flat_map(|round| draw.shuffled(menu(round))).collect();
    let slot = (time_ms / dishes.len() as u64).max(1);
    let mut schedule = Vec::new();
    for (position, dish) in dishes.into_iter().enumerate() {
        // Somewhere in its own slot, so that the times of many of them do not add up to more.
        let at_ms = CALM_MS + position as u64 * slot + draw.between(0, slot / 2 + 1);
        schedule.extend(dish.served(&mut draw, at_ms));
    }
    schedule.sort_by_key(|strike| strike.at_ms);
    schedule
}

impl Dish {
    fn served(self, draw: &mut Draw, at_ms: u64) -> Vec<Strike> {
        let mut within = |(low, high): (u64, u64)| draw.between(low, high);
        match self {
            Self::Any(class) => {
                let for_ms = within(SHORT_MS);
                vec![Strike { at_ms, for_ms, class, target: somebody(draw, class), by_ms: measure(draw, class) }]
            }
            Self::Lease(class) => {
                let for_ms = within(LONG_MS);
                vec![Strike { at_ms, for_ms, class, target: node(draw), by_ms: 0 }]
            }
            Self::Rolling(target) => {
                vec![Strike { at_ms, for_ms: within(ROLLING_MS), class: Class::Rolling, target, by_ms: 0 }]
            }
            Self::Transfer(class) => {
                let (for_ms, later_ms, lost_ms) = (within(TRANSFER_MS), within(MEANWHILE_MS), within(LONG_MS));
                let target = Target::Replicas;
                vec![
                    Strike { at_ms, for_ms, class: Class::Transfer, target, by_ms: 0 },
                    Strike { at_ms: at_ms + later_ms, for_ms: lost_ms, class, target: node(draw), by_ms: 0 },
                ]
            }
        }
    }
}

/// Whom it may strike.
fn somebody(draw: &mut Draw, class: Class) -> Target {
    match class {
        Class::Isolate | Class::Slow => Target::Region(number(draw, REGIONS.len()) - 1),
        Class::AgentDiskFull | Class::TaskKill | Class::TaskPause | Class::GroupKill | Class::GroupPause => node(draw),
        Class::Rolling | Class::Transfer => Target::Replicas,
        Class::Kill | Class::Pause | Class::Cut | Class::Mute | Class::Deaf | Class::Lone | Class::DiskFull
            if draw.percent(50) =>
        {
            Target::Leader
        }
        Class::Mute | Class::Deaf if draw.percent(30) => Target::Region(number(draw, REGIONS.len()) - 1),
        Class::Cut | Class::Clock if draw.percent(40) => node(draw),
        Class::Kill
        | Class::Pause
        | Class::Cut
        | Class::Mute
        | Class::Deaf
        | Class::Lone
        | Class::DiskFull
        | Class::Clock => Target::Replica(number(draw, REPLICAS)),
    }
}

/// By how much.
fn measure(draw: &mut Draw, class: Class) -> i64 {
    let size = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    match class {
        Class::Clock => {
            let by = size(draw.between(100, JUMP_MS_MAX));
            if draw.percent(50) { by } else { -by }
        }
        Class::Slow => size(draw.between(LATE_MS.0, LATE_MS.1)),
        Class::Kill
        | Class::Pause
        | Class::Cut
        | Class::Mute
        | Class::Deaf
        | Class::Lone
        | Class::Isolate
        | Class::DiskFull
        | Class::AgentDiskFull
        | Class::TaskKill
        | Class::TaskPause
        | Class::GroupKill
        | Class::GroupPause
        | Class::Rolling
        | Class::Transfer => 0,
    }
}

fn node(draw: &mut Draw) -> Target {
    Target::Node(number(draw, AGENTS))
}

/// One of 1 to `count`.
fn number(draw: &mut Draw, count: usize) -> usize {
    usize::try_from(draw.between(1, count as u64 + 1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{CLASSES, parse};

    #[test]
    fn a_seed_draws_the_same_faults_again_and_another_one_others() {
        assert_eq!(draw(7, 60), draw(7, 60));
        assert_ne!(draw(7, 60), draw(8, 60));
    }

    #[test]
    fn every_class_strikes_in_each_round_whatever_the_seed_and_only_where_it_can() {
        for seed in 0..100 {
            for (seconds, rounds) in [(20, 1), (60, 1), (300, 5), (3_600, 55)] {
                let schedule = draw(seed, seconds);
                for (class, word) in CLASSES {
                    let strikes = schedule.iter().filter(|strike| strike.class == class).count();
                    assert!(strikes >= rounds, "seed {seed}: {strikes} times {word} in {seconds} s");
                }
                assert!(schedule.is_sorted_by_key(|strike| strike.at_ms));
                assert!(schedule.iter().all(|strike| strike.class.strikes(strike.target)));
                let last = schedule.last().unwrap();
                assert!(last.at_ms <= seconds * 1_000 + CALM_MS + MEANWHILE_MS.1, "seed {seed}: {last}");
            }
        }
    }

    #[test]
    fn faults_overlap() {
        for seed in 0..100 {
            let schedule = draw(seed, 60);
            let beside = |one: &Strike| {
                let overlaps =
                    |other: &&Strike| other.at_ms < one.at_ms + one.for_ms && one.at_ms < other.at_ms + other.for_ms;
                schedule.iter().filter(overlaps).count() > 1
            };
            let overlapping = schedule.iter().filter(|one| beside(one)).count();
            assert!(overlapping * 2 >= schedule.len(), "seed {seed}: {overlapping} of {}", schedule.len());
        }
    }

    #[test]
    fn nodes_are_lost_for_longer_than_their_lease_in_every_way_also_while_leadership_moves() {
        let schedule = draw(1, 300);
        let lost = |class: Class| {
            let long = |strike: &&Strike| strike.class == class && strike.for_ms >= LONG_MS.0;
            schedule.iter().filter(long).any(|strike| matches!(strike.target, Target::Node(_)))
        };
        for class in [Class::Kill, Class::Pause, Class::Mute, Class::Deaf] {
            assert!(lost(class), "{class}");
        }
        let transfers = schedule.iter().filter(|strike| strike.class == Class::Transfer);
        for transfer in transfers {
            let meanwhile = |strike: &&Strike| {
                matches!(strike.target, Target::Node(_))
                    && strike.for_ms >= LONG_MS.0
                    && (transfer.at_ms..transfer.at_ms + transfer.for_ms).contains(&strike.at_ms)
            };
            assert!(schedule.iter().any(|strike| meanwhile(&strike)), "{transfer}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read() {
        for seed in 0..50 {
            let schedule = draw(seed, 60);
            let printed: Vec<String> = schedule.iter().map(ToString::to_string).collect();
            assert_eq!(parse(&printed.join("\n")).unwrap(), schedule);
        }
    }
}
