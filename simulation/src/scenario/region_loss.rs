//! Regions that lose all of their machines with agents at once, and jobs that say what becomes of them then; drawn apart from all else.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{
    Ask, Class, FaultPlan, FaultWhat, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When,
};
use crate::seeded::Stream;

/// Of a hundred swarms that have machines in several regions, so many have it.
const PERCENT: u64 = 40;
/// Jobs that say it.
const JOBS: (u64, u64) = (2, 6);
const RUNS_MS: (u64, u64) = (2_000, 15_000);
/// How long after the loss tasks stay, where they move.
const AFTER_MS: (u64, u64) = (300, 4_000);
/// It is lost within so many milliseconds of when it may be.
const EARLY_MS: u64 = 3_000;
/// It is back at most so long before the faults end.
const BACK_BEFORE_HEAL_MS: u64 = 4_000;
/// The last job is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 6_000;

/// See `quorate_state::OnRegionLoss`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RegionLoss {
    Stay,
    Move { after_ms: u64, spill: Vec<String> },
}

/// Adds it, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let mut regions: Vec<String> = scenario.racks.iter().map(|rack| rack.region.clone()).collect();
    regions.sort_unstable();
    regions.dedup();
    let is_possible = scenario.kind == Kind::Swarm && !scenario.classes.contains(&Class::Upgrade) && regions.len() > 1;
    if !is_possible || !dice.chance(PERCENT) {
        return;
    }
    let earliest_ms = SETTLED_MS + 2_000;
    let at_ms = dice.within(earliest_ms, earliest_ms + EARLY_MS);
    // Until the faults end, or all but: the brake lets go of the leases of a whole region late.
    let for_ms = scenario.heal_ms.saturating_sub(at_ms + 1 + dice.within(0, BACK_BEFORE_HEAL_MS));
    // Most often the smallest, which it lets go of sooner.
    let nodes = |region: &String| {
        let racks = scenario.racks.iter().filter(|rack| rack.region == *region);
        racks.map(|rack| rack.agents.len()).sum::<usize>()
    };
    let smallest = regions.iter().min_by_key(|region| nodes(region)).unwrap_or(&regions[0]);
    let lost = if dice.chance(70) { smallest } else { dice.pick(&regions) }.clone();
    for (rack, _) in scenario.racks.iter().enumerate().filter(|(_, rack)| rack.region == lost) {
        let what = FaultWhat::RackCrash { rack };
        scenario.faults.push(FaultPlan { at_ms, for_ms, class: Class::RackCrash, what });
    }
    scenario.faults.sort_by_key(|fault| fault.at_ms);
    if !scenario.classes.contains(&Class::RackCrash) {
        scenario.classes.push(Class::RackCrash);
        scenario.classes.sort_unstable();
    }
    let jobs = 0..dice.within(JOBS.0, JOBS.1);
    let last_ms = scenario.heal_ms.saturating_sub(LAST_BEFORE_HEAL_MS).max(earliest_ms);
    let steps = jobs.map(|number| {
        let others: Vec<String> = regions.iter().filter(|region| **region != lost).cloned().collect();
        let first = dice.position(others.len());
        let spill = if dice.chance(50) { vec![] } else { [&others[first..], &others[..first]].concat() };
        let moves = RegionLoss::Move { after_ms: dice.log_within(AFTER_MS.0, AFTER_MS.1), spill };
        let task = TaskPlan {
            region_loss: Some(if dice.chance(35) { RegionLoss::Stay } else { moves }),
            promise: [Promise::AtLeastOnce, Promise::Fenced][dice.position(2)],
            count: u32::try_from(dice.within(2, 8)).unwrap_or(2),
            attempts: 3,
            runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
            ..TaskPlan::one()
        };
        let job = JobPlan {
            edition: 0,
            result: vec![],
            name: format!("home-{number}"),
            priority: 60,
            cancel_on_failure: false,
            timeout_ms: None,
            args: None,
            tasks: vec![task],
        };
        // Most run by the time of the loss.
        let before_ms = at_ms.saturating_sub(dice.within(500, 3_000)).clamp(SETTLED_MS, last_ms);
        OperationPlan { at_ms: before_ms, what: Ask::Submit(job) }
    });
    let mut steps: Vec<OperationPlan> = steps.collect();
    steps.sort_by_key(|step| step.at_ms);
    scenario.sessions.push(SessionPlan { host: 0, when: When::Always, steps });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn some_swarms_lose_a_region_and_no_other_seed_does() {
        let mut having = 0;
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let says = |step: &OperationPlan| match &step.what {
                Ask::Submit(job) => job.tasks.iter().any(|task| task.region_loss.is_some()),
                _ => false,
            };
            if scenario.sessions.iter().flat_map(|session| &session.steps).any(says) {
                having += 1;
                assert!(matches!(scenario.kind, Kind::Swarm | Kind::Restore));
                let mut crashes = scenario.faults.iter().filter(|fault| fault.class == Class::RackCrash);
                assert!(crashes.all(|fault| fault.at_ms + fault.for_ms <= scenario.heal_ms), "{seed}");
            }
        }
        assert!((20..150).contains(&having), "{having} of 400");
    }
}
