//! Jobs whose tasks are gangs: drawn apart from all else, in some seeds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{
    AgentPlan, Ask, Class, JobPlan, Kind, OperationPlan, Promise, RackPlan, Scenario, SessionPlan, TaskPlan, When,
};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 45;
/// Jobs, each with a session of its own.
const JOBS: (u64, u64) = (2, 6);
const MEMBERS: (u64, u64) = (2, 7);
const CPU_MILLI: (u64, u64) = (1, 6);
const RUNS_MS: (u64, u64) = (50, 8_000);
/// All members have to run so long after they were placed, where that is asked for.
const START_MS: (u64, u64) = (500, 10_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// From the submit of a job to what is asked about it.
const AFTER_SUBMIT_MS: (u64, u64) = (10, 8_000);

/// What is asked of a task whose elements are a gang.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GangPlan {
    /// What its nodes have in common, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) within: Option<Together>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_ms: Option<u64>,
}

/// What the nodes of a gang have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Together {
    Cluster,
    Region,
    /// What their label [`super::POOL`] says.
    Pool,
}

impl GangPlan {
    /// True when so many equal tasks fit together on nodes that have nothing on them and take them.
    pub(crate) fn fits(&self, task: &TaskPlan, racks: &[RackPlan]) -> bool {
        let holds = |agent: &AgentPlan| {
            let by_memory = agent.memory_bytes.checked_div(task.memory_bytes).unwrap_or(u64::MAX);
            agent.cpu_milli.checked_div(task.cpu_milli).unwrap_or(u64::MAX).min(by_memory)
        };
        let mut domains: BTreeMap<&str, u64> = BTreeMap::new();
        let agents = racks.iter().flat_map(|rack| rack.agents.iter().map(move |agent| (rack, agent)));
        for (rack, agent) in agents.filter(|(_, agent)| task.demands.allow(&agent.ground)) {
            let domain = match self.within {
                None => Some(""),
                Some(Together::Cluster) => Some(&*agent.cluster),
                Some(Together::Region) => Some(&*rack.region),
                Some(Together::Pool) => agent.pool.as_deref(),
            };
            if let Some(domain) = domain {
                *domains.entry(domain).or_default() += holds(agent);
            }
        }
        domains.values().any(|holds| *holds >= u64::from(task.count))
    }
}

/// Adds jobs with gangs.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let Some(job) = job(dice, number, &scenario.racks) else { continue };
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let name = || job.name.clone();
        let is_resent = scenario.classes.contains(&Class::Duplicates);
        let asks = [
            (12, Ask::Cancel { job: name() }),
            (40, Ask::Attempts { job: name() }),
            (30, Ask::Watch { job: name() }),
            (if is_resent { 40 } else { 0 }, Ask::Resubmit(job.clone())),
        ];
        let mut steps = vec![OperationPlan { at_ms, what: Ask::Submit(job.clone()) }];
        for (percent, what) in asks {
            if dice.chance(percent) {
                let after_ms = dice.log_within(AFTER_SUBMIT_MS.0, AFTER_SUBMIT_MS.1);
                steps.push(OperationPlan { at_ms: at_ms + after_ms, what });
            }
        }
        steps.sort_by_key(|step| step.at_ms);
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
}

/// A gang that fits on nodes that have nothing on them, and sometimes something that waits for it; none: it does not.
fn job(dice: &mut Stream, number: u64, racks: &[RackPlan]) -> Option<JobPlan> {
    let within =
        [None, Some(Together::Cluster), Some(Together::Region), Some(Together::Pool)][dice.weighted(&[5, 3, 2, 2])];
    let gang = GangPlan { within, start_ms: dice.chance(40).then(|| dice.within(START_MS.0, START_MS.1)) };
    let fails = u32::try_from([0, 1, 2][dice.weighted(&[6, 3, 1])]).unwrap_or(0);
    let mut train = TaskPlan {
        name: "train".to_owned(),
        count: small(dice, MEMBERS),
        cpu_milli: 100 * dice.within(CPU_MILLI.0, CPU_MILLI.1),
        memory_bytes: 1 << 20,
        promise: *dice.pick(&[Promise::AtLeastOnce, Promise::Fenced]),
        attempts: fails + 1,
        fails,
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        stubborn: dice.chance(10),
        gang: Some(gang.clone()),
        ..TaskPlan::one()
    };
    // One of them fails, or all do.
    train.flow.failing = dice.chance(75).then(|| 1 << dice.within(0, u64::from(train.count)));
    while train.count > 1 && !gang.fits(&train, racks) {
        train.count -= 1;
    }
    if !gang.fits(&train, racks) {
        return None;
    }
    let after = TaskPlan {
        name: "after".to_owned(),
        needs: vec!["train".to_owned()],
        cpu_milli: 100,
        memory_bytes: 1 << 20,
        ..TaskPlan::one()
    };
    let has_after = dice.chance(40);
    Some(JobPlan {
        name: format!("gang-{number}"),
        edition: 0,
        priority: u8::try_from(dice.within(30, 101)).unwrap_or(50),
        cancel_on_failure: dice.chance(20),
        timeout_ms: None,
        // Whoever knows nothing of gangs must not take it without.
        args: Some("{}".to_owned()),
        result: vec![],
        tasks: if has_after { vec![train, after] } else { vec![train] },
    })
}

fn small(dice: &mut Stream, (from, to): (u64, u64)) -> u32 {
    u32::try_from(dice.within(from, to)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::job::spec_from_wire;
    use quorate_state::Settings;

    use super::*;
    use crate::hosts::spec;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn some_seeds_have_them_and_every_gang_fits_somewhere() {
        let (mut having, mut seen) = (0, BTreeMap::new());
        for seed in 0..300 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let mut has = false;
            for step in scenario.sessions.iter().flat_map(|session| &session.steps) {
                let Ask::Submit(job) = &step.what else { continue };
                let Some((task, gang)) = job.tasks.iter().find_map(|task| Some((task, task.gang.as_ref()?))) else {
                    continue;
                };
                has = true;
                assert_eq!(
                    spec_from_wire(spec(job)).unwrap().check(&Settings::default()),
                    Ok(()),
                    "seed {seed}: {job:?}"
                );
                assert!(gang.fits(task, &scenario.racks), "seed {seed}: {task:?}");
                let mut see = |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
                see("several members", task.count > 1);
                see("within a cluster", gang.within == Some(Together::Cluster));
                see("within a region", gang.within == Some(Together::Region));
                see("within a pool", gang.within == Some(Together::Pool));
                see("anywhere", gang.within.is_none());
                see("with a time to start", gang.start_ms.is_some());
                see("with a failure", task.fails > 0);
            }
            having += u32::from(has);
            assert!(!has || !scenario.classes.contains(&Class::Upgrade), "seed {seed}");
        }
        assert!((75..150).contains(&having), "{having} of 300");
        assert!(seen.values().all(|count| *count > 10), "{seen:?}");
    }
}
