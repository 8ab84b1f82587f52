//! Tasks with rules about other tasks: drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, Class, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 35;
/// Jobs, each with a session of its own.
const JOBS: (u64, u64) = (3, 9);
const ELEMENTS: (u64, u64) = (1, 6);
const RUNS_MS: (u64, u64) = (50, 2_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// The groups that there are.
const GROUPS: [&str; 2] = ["db", "web"];

/// What a task says of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompanyPlan {
    pub(crate) group: Option<String>,
    /// At most so many of its own in one.
    pub(crate) at_most: Vec<(Part, u32)>,
    /// Not in one with any of this group.
    pub(crate) apart: Vec<(String, Part)>,
    pub(crate) balance: Vec<Part>,
}

/// What divides the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    Node,
    Cluster,
    Region,
}

impl Part {
    /// As a client writes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Cluster => "cluster",
            Self::Region => "region",
        }
    }
}

impl CompanyPlan {
    /// True of a task that says nothing.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Adds jobs whose tasks look at others.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let job = job(dice, number);
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let steps = vec![OperationPlan { at_ms, what: Ask::Submit(job) }];
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
}

fn job(dice: &mut Stream, number: u64) -> JobPlan {
    let tasks = (0..dice.within(1, 3)).map(|step| TaskPlan {
        name: format!("t{step}"),
        count: u32::try_from(dice.within(ELEMENTS.0, ELEMENTS.1)).unwrap_or(1),
        cpu_milli: 100,
        memory_bytes: 1 << 20,
        promise: *dice.pick(&[Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce]),
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        company: company(dice),
        ..TaskPlan::one()
    });
    let tasks = tasks.collect();
    JobPlan {
        name: format!("company-{number}"),
        edition: 0,
        priority: u8::try_from(dice.within(30, 101)).unwrap_or(50),
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks,
    }
}

fn company(dice: &mut Stream) -> CompanyPlan {
    let part = |dice: &mut Stream| [Part::Node, Part::Cluster, Part::Region][dice.weighted(&[4, 2, 1])];
    let mut plan = CompanyPlan::default();
    if dice.chance(50) {
        plan.group = Some((*dice.pick(&GROUPS)).to_owned());
    }
    if dice.chance(55) {
        plan.at_most.push((part(dice), u32::try_from(dice.within(1, 3)).unwrap_or(1)));
    }
    if dice.chance(45) {
        plan.apart.push(((*dice.pick(&GROUPS)).to_owned(), part(dice)));
    }
    if dice.chance(25) {
        plan.balance.push(if dice.chance(50) { Part::Cluster } else { Part::Region });
    }
    plan
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
    fn some_seeds_have_tasks_that_look_at_others() {
        let (mut having, mut seen) = (0, BTreeMap::new());
        for seed in 0..300 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let jobs = scenario.sessions.iter().flat_map(|session| &session.steps);
            let jobs = jobs.filter_map(|step| if let Ask::Submit(job) = &step.what { Some(job) } else { None });
            let jobs: Vec<_> = jobs.filter(|job| job.name.starts_with("company-")).collect();
            having += u32::from(!jobs.is_empty());
            let mut see = |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
            for job in jobs {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                for CompanyPlan { group, at_most, apart, balance } in job.tasks.iter().map(|task| &task.company) {
                    see("is of a group", group.is_some());
                    see("is bounded", !at_most.is_empty());
                    see("stays apart", !apart.is_empty());
                    see("is alone of its group", apart.iter().any(|(from, _)| Some(from) == group.as_ref()));
                    see("is balanced", !balance.is_empty());
                }
            }
        }
        assert!((60..130).contains(&having), "{having} of 300");
        assert!(seen.values().all(|count| *count > 20), "{seen:?}");
    }
}
