//! Nodes that do not take everything: pools, taints and prices, and jobs that say what they make of these. Drawn apart from all
//! else, in some seeds. What was drawn before goes everywhere then; the jobs that are added do not.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{
    AgentPlan, Ask, Class, JobPlan, Kind, OperationPlan, Promise, RackPlan, Scenario, SessionPlan, TaskPlan, When,
};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 35;
/// Of their nodes, so many out of a hundred have a taint, a pool of their own, a price.
const TAINTED_PERCENT: u64 = 40;
const POOLED_PERCENT: u64 = 30;
const PRICED_PERCENT: u64 = 60;
const PRICE: (u64, u64) = (0, 500_000);
/// The taint that nodes have, and the values it has.
pub(crate) const TAINT: &str = "spot";
const TAINTS: [&str; 2] = ["yes", "often"];
/// The pool beside the default one.
const POOL: &str = "other";
/// Jobs, each with a session of its own.
const JOBS: (u64, u64) = (3, 8);
const ELEMENTS: (u64, u64) = (1, 6);
const RUNS_MS: (u64, u64) = (50, 3_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;

/// What a node says of itself beside its size.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ground {
    /// What its taint [`TAINT`] says; without it, it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) taint: Option<String>,
    /// Its pool, if that is not the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price: Option<u64>,
}

/// What a task says of such nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demands {
    /// Pools that will do; none: the default one.
    pub(crate) pools: Vec<String>,
    /// The value of [`TAINT`] that it tolerates.
    pub(crate) tolerate: Option<String>,
    /// It would rather be in these pools, by weight.
    pub(crate) prefer: Vec<(String, i32)>,
    pub(crate) cheap: u32,
}

impl Ground {
    /// True of a node that says nothing.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl Demands {
    /// True of a task that says nothing.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// True when a task may go to a node of which this is so.
    pub(crate) fn allow(&self, ground: &Ground) -> bool {
        let pool = ground.pool.as_deref().unwrap_or("default");
        let is_asked_for = self.pools.iter().any(|asked| asked == pool) || (self.pools.is_empty() && pool == "default");
        let is_tolerated = |taint: &String| self.tolerate.as_ref().is_some_and(|said| said == "*" || said == taint);
        is_asked_for && ground.taint.iter().all(is_tolerated)
    }

    /// That of a task that may go to all nodes of a scenario. It says nothing where these say nothing.
    pub(crate) fn for_all(scenario: &Scenario) -> Self {
        let mut agents = scenario.racks.iter().flat_map(|rack| &rack.agents);
        if agents.all(|agent| Self::default().allow(&agent.ground)) { Self::default() } else { Self::everywhere() }
    }

    /// That of a task that may go to each of these nodes.
    pub(super) fn everywhere() -> Self {
        let pools = vec!["default".to_owned(), POOL.to_owned()];
        Self { pools, tolerate: Some("*".to_owned()), ..Self::default() }
    }
}

/// Gives nodes what they say of themselves, and adds jobs that look at it.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    for agent in scenario.racks.iter_mut().flat_map(|rack| &mut rack.agents) {
        agent.ground = Ground {
            taint: dice.chance(TAINTED_PERCENT).then(|| (*dice.pick(&TAINTS)).to_owned()),
            pool: dice.chance(POOLED_PERCENT).then(|| POOL.to_owned()),
            price: dice.chance(PRICED_PERCENT).then(|| dice.within(PRICE.0, PRICE.1)),
        };
    }
    for step in scenario.sessions.iter_mut().flat_map(|session| &mut session.steps) {
        let (Ask::Submit(job) | Ask::Resubmit(job)) = &mut step.what else { continue };
        job.tasks.iter_mut().filter(|task| task.sub.is_none()).for_each(|task| task.demands = Demands::everywhere());
    }
    let grounds: BTreeSet<Ground> =
        scenario.racks.iter().flat_map(|rack| &rack.agents).map(|agent| agent.ground.clone()).collect();
    let grounds: Vec<Ground> = grounds.into_iter().collect();
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let job = job(dice, number, &grounds);
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let steps = vec![OperationPlan { at_ms, what: Ask::Submit(job) }];
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
}

/// Lets tasks go to any node that were drawn since and say nothing of pools and taints, where no node that takes them is large enough.
/// Gangs see to it themselves.
pub(super) fn suit(scenario: &mut Scenario) {
    let Scenario { racks, sessions, .. } = scenario;
    let takes = |task: &TaskPlan| {
        let is_enough =
            |agent: &AgentPlan| task.cpu_milli <= agent.cpu_milli && task.memory_bytes <= agent.memory_bytes;
        let agents = || racks.iter().flat_map(|rack| rack.agents.iter().map(move |agent| (rack, agent)));
        let is_there = |rack: &RackPlan, agent: &AgentPlan| {
            (task.regions.is_empty() || task.regions.contains(&rack.region))
                && (task.clusters.is_empty() || task.clusters.contains(&agent.cluster))
                && (task.pool.is_none() || task.pool == agent.pool)
        };
        agents().any(|(rack, agent)| task.demands.allow(&agent.ground) && is_enough(agent) && is_there(rack, agent))
    };
    for step in sessions.iter_mut().flat_map(|session| &mut session.steps) {
        let (Ask::Submit(job) | Ask::Resubmit(job)) = &mut step.what else { continue };
        let plain =
            job.tasks.iter_mut().filter(|task| task.demands.is_plain() && task.sub.is_none() && task.gang.is_none());
        plain.filter(|task| !takes(task)).for_each(|task| task.demands = Demands::everywhere());
    }
}

/// A job each of whose tasks may go to some node.
fn job(dice: &mut Stream, number: u64, grounds: &[Ground]) -> JobPlan {
    let tasks = (0..dice.within(1, 3)).map(|step| {
        let promise = *dice.pick(&[Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce]);
        TaskPlan {
            name: format!("t{step}"),
            count: u32::try_from(dice.within(ELEMENTS.0, ELEMENTS.1)).unwrap_or(1),
            cpu_milli: 100 * dice.within(1, 4),
            memory_bytes: 1 << 20,
            promise,
            runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
            demands: demands(dice, grounds),
            ..TaskPlan::one()
        }
    });
    let tasks = tasks.collect();
    JobPlan {
        name: format!("ground-{number}"),
        edition: 0,
        priority: u8::try_from(dice.within(30, 101)).unwrap_or(50),
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks,
    }
}

/// What one says who looks at a node that there is.
fn demands(dice: &mut Stream, grounds: &[Ground]) -> Demands {
    let of = dice.pick(grounds).clone();
    let default = || "default".to_owned();
    let pool = of.pool.unwrap_or_else(default);
    let pools = match dice.weighted(&[3, 1]) {
        0 if pool == "default" => vec![],
        0 => vec![pool],
        _ => vec![default(), POOL.to_owned()],
    };
    let tolerate = if of.taint.is_some() && dice.chance(30) { Some("*".to_owned()) } else { of.taint };
    let prefer = match dice.weighted(&[3, 1, 1]) {
        0 => vec![],
        1 => vec![(POOL.to_owned(), 50)],
        _ => vec![(default(), 20), (POOL.to_owned(), -30)],
    };
    Demands { pools, tolerate, prefer, cheap: if dice.chance(40) { 10 } else { 0 } }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quorate_proto::convert::job::spec_from_wire;
    use quorate_state::Settings;

    use super::*;
    use crate::hosts::spec;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn some_seeds_have_them_and_every_task_may_go_somewhere() {
        let (mut having, mut seen) = (0, BTreeMap::new());
        for seed in 0..300 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let agents: Vec<_> = scenario.racks.iter().flat_map(|rack| &rack.agents).collect();
            let jobs = scenario.sessions.iter().flat_map(|session| &session.steps);
            let jobs = jobs.filter_map(|step| if let Ask::Submit(job) = &step.what { Some(job) } else { None });
            let jobs: Vec<_> = jobs.filter(|job| job.name.starts_with("ground-")).collect();
            if jobs.is_empty() {
                assert!(agents.iter().all(|agent| agent.ground.is_plain()), "seed {seed}");
                continue;
            }
            having += 1;
            let mut see = |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
            for job in jobs {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                for task in &job.tasks {
                    let may = |is: bool| agents.iter().any(|agent| task.demands.allow(&agent.ground) == is);
                    assert!(may(true), "seed {seed}: {task:?}");
                    see("kept from some", may(false));
                    see("says nothing", task.demands.is_plain());
                    see("tolerates", task.demands.tolerate.is_some());
                    see("asks for a pool", !task.demands.pools.is_empty());
                    see("would rather", !task.demands.prefer.is_empty());
                }
            }
        }
        assert!((60..130).contains(&having), "{having} of 300");
        assert!(seen.values().all(|count| *count > 20), "{seen:?}");
    }
}
