//! What an operator does about nodes, drawn apart from all else: a seed's other faults and jobs are the same with it
//! and without.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{
    Ask, Class, FaultPlan, FaultWhat, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When,
};
use crate::seeded::Stream;

/// Seeds out of a hundred that have the class: of swarms, and of those with a single class.
const SWARM_PERCENT: u64 = 26;
const SINGLE_PERCENT: u64 = 10;
/// The last chore begins so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 4_000;
/// How long a node is out of service.
const OUT_MS: (u64, u64) = (1_000, 12_000);
/// How long what is on it may end by itself, where it may.
const WAIT_MS: (u64, u64) = (200, 3_000);
/// How many chores there are beside the first and the last.
const CHORES: (u64, u64) = (1, 6);
/// How long an agent is away while its label changes.
const RELABEL_MS: (u64, u64) = (100, 1_500);
/// Of the values of the label, each is that of half of the nodes in the beginning; no more nodes than this go over
/// from one to the other, so that some stay.
const POOLS: [&str; 2] = ["a", "b"];
const RELABELS_MAX: usize = 2;
/// Jobs that ask for one of them.
const POOL_JOBS: (u64, u64) = (2, 6);
const POOL_RUNS_MS: (u64, u64) = (100, 4_000);

/// What an operator does about a node. What lasts is taken back when the fault ends, at the latest at the heal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Chore {
    /// Nothing new is placed there.
    Cordon,
    /// What runs there is moved elsewhere, after so long.
    Drain { wait_ms: u64 },
    /// The same for so long; then the node takes work again by itself, unless something is said meanwhile.
    Maintain { wait_ms: u64, lasts_ms: u64, then: Then },
    /// Its agent is killed, or its machine is cut off from all replicas; once the lease is over, the node is given
    /// up. In the end it is back.
    Forget { cut: bool },
    /// Its agent is killed, and comes back with another label [`super::POOL`].
    Relabel { pool: String },
    /// Nothing new is placed in its region, or else in its cluster; with a drain, what runs there is moved elsewhere after so long,
    /// and for so long, if that is said.
    Scope { region: bool, drain: Option<(u64, Option<u64>)> },
    /// Once the faults have ended, what runs there is moved elsewhere, and when all of it is gone, the node takes
    /// work again.
    Empty,
}

/// What an operator says of a node that is drained for a time, before that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Then {
    /// Nothing: it ends by itself.
    Nothing,
    /// That it is drained, without an end.
    Drain,
    /// That it takes work again, and then that it does not.
    Cordon,
}

/// Adds the class, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let percent = match scenario.kind {
        Kind::FaultFree | Kind::Restore => 0,
        Kind::Single => SINGLE_PERCENT,
        Kind::Swarm => SWARM_PERCENT,
    };
    let is_single = scenario.kind == Kind::Single;
    // An older version knows nothing of most of this.
    let possible = !scenario.classes.contains(&Class::Upgrade);
    if !dice.chance(percent) || !possible || (is_single && scenario.classes.iter().any(|class| class.is_elsewhere())) {
        return;
    }
    if is_single {
        // In the place of the class that was drawn.
        scenario.classes.clear();
        scenario.faults.clear();
    }
    pools(dice, scenario);
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    let mut relabels = 0;
    for number in 0..=dice.within(CHORES.0, CHORES.1) {
        // The first is one that can be done whatever else happens.
        let chore = if number == 0 { Chore::Drain { wait_ms: 0 } } else { chore(dice, scenario, &mut relabels) };
        let for_ms = match &chore {
            Chore::Forget { .. } => forget_ms(dice, scenario),
            Chore::Relabel { .. } => dice.within(RELABEL_MS.0, RELABEL_MS.1),
            Chore::Cordon | Chore::Drain { .. } | Chore::Maintain { .. } | Chore::Scope { .. } | Chore::Empty => {
                dice.log_within(OUT_MS.0, OUT_MS.1)
            }
        };
        // A node is forgotten, and back, before the heal.
        let latest_ms = last_ms.min(scenario.heal_ms.saturating_sub(for_ms + 1)).max(SETTLED_MS + 2_000);
        let at_ms = dice.within(SETTLED_MS + 1_000, latest_ms);
        let for_ms = for_ms.min(scenario.heal_ms - at_ms - 1);
        add(dice, scenario, at_ms, for_ms, chore);
    }
    add(dice, scenario, last_ms, 0, Chore::Empty);
    scenario.faults.sort_by_key(|fault| fault.at_ms);
    scenario.classes.push(Class::Upkeep);
    scenario.classes.sort_unstable();
}

fn add(dice: &mut Stream, scenario: &mut Scenario, at_ms: u64, for_ms: u64, chore: Chore) {
    let rack = dice.position(scenario.racks.len());
    let agent = dice.position(scenario.racks[rack].agents.len());
    let what = FaultWhat::Upkeep { rack, agent, chore };
    scenario.faults.push(FaultPlan { at_ms, for_ms, class: Class::Upkeep, what });
}

fn chore(dice: &mut Stream, scenario: &Scenario, relabels: &mut usize) -> Chore {
    let wait_ms = if dice.chance(50) { 0 } else { dice.log_within(WAIT_MS.0, WAIT_MS.1) };
    match dice.weighted(&[2, 3, 4, 3, 2]) {
        0 => Chore::Cordon,
        1 => Chore::Drain { wait_ms },
        2 => Chore::Maintain {
            wait_ms,
            lasts_ms: wait_ms + dice.log_within(OUT_MS.0, OUT_MS.1),
            then: [Then::Nothing, Then::Drain, Then::Cordon][dice.weighted(&[2, 1, 1])],
        },
        // The simulated network cannot cut what it holds back.
        3 => Chore::Forget { cut: dice.chance(50) && !scenario.classes.contains(&Class::Hold) },
        _ if *relabels < RELABELS_MAX => {
            *relabels += 1;
            Chore::Relabel { pool: (*dice.pick(&POOLS)).to_owned() }
        }
        _ => Chore::Cordon,
    }
}

/// Until the lease of a silent node is over by everybody's clock, a leader has seen it, and an operator has asked.
fn forget_ms(dice: &mut Stream, scenario: &Scenario) -> u64 {
    let settings = &scenario.settings;
    settings.lease_server_ms + settings.lease_kill_ms + 2 * settings.election_ms.1 + dice.within(1_000, 6_000)
}

/// Every node is in a pool, and some jobs ask for one.
fn pools(dice: &mut Stream, scenario: &mut Scenario) {
    let agents = scenario.racks.iter_mut().flat_map(|rack| &mut rack.agents);
    for (number, agent) in agents.enumerate() {
        agent.pool = Some(POOLS[number % POOLS.len()].to_owned());
    }
    let jobs = 0..dice.within(POOL_JOBS.0, POOL_JOBS.1);
    let steps = jobs.map(|number| {
        let promise = [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce][dice.position(3)];
        let task = TaskPlan {
            promise,
            count: u32::try_from(dice.within(1, 8)).unwrap_or(1),
            pool: Some((*dice.pick(&POOLS)).to_owned()),
            runs_ms: dice.log_within(POOL_RUNS_MS.0, POOL_RUNS_MS.1),
            ..TaskPlan::one()
        };
        let tasks = vec![task];
        let job = JobPlan {
            edition: 0,
            result: vec![],
            name: format!("pool-{number}"),
            priority: 60,
            cancel_on_failure: false,
            timeout_ms: None,
            args: None,
            tasks,
        };
        OperationPlan { at_ms: dice.within(SETTLED_MS, scenario.heal_ms - LAST_BEFORE_HEAL_MS), what: Ask::Submit(job) }
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
    fn one_seed_in_five_has_it_and_no_fault_free_one() {
        let mut having = 0;
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            if scenario.classes.contains(&Class::Upkeep) {
                having += 1;
                assert_ne!(scenario.kind, Kind::FaultFree);
                let late =
                    |fault: &FaultPlan| fault.class == Class::Upkeep && fault.at_ms + fault.for_ms > scenario.heal_ms;
                assert!(!scenario.faults.iter().any(late), "seed {seed}");
            } else {
                assert!(scenario.racks.iter().flat_map(|rack| &rack.agents).all(|agent| agent.pool.is_none()));
            }
        }
        assert!((50..110).contains(&having), "{having} of 400");
    }
}
