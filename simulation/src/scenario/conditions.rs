//! Tasks that say in a condition what must hold of their nodes: drawn apart from all else, in some seeds. A condition is kept as what it means,
//! of which its text is made: who judges does not read that.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{
    AgentPlan, Ask, Class, Demands, JobPlan, Kind, OperationPlan, Promise, RackPlan, Scenario, SessionPlan, TaskPlan,
    When,
};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 25;
/// Of their nodes, so many out of a hundred have the label [`ZONE`].
const ZONED_PERCENT: u64 = 75;
/// Jobs, each with a session of its own.
const JOBS: (u64, u64) = (3, 8);
const ELEMENTS: (u64, u64) = (1, 6);
const RUNS_MS: (u64, u64) = (50, 3_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// So often one is drawn that holds for some node.
const TRIES: usize = 50;
/// The label that conditions look at, and what it says: three numbers, and something else.
pub(crate) const ZONE: &str = "zone";
const ZONES: [&str; 4] = ["1", "2", "3", "x"];
/// What nodes have at least: see where they are drawn.
const LEAST_CPU_MILLI: u64 = 1_000;

/// What must hold of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    /// Its zone is one of these.
    ZoneIn(Vec<String>),
    /// Its zone, as a number, is at least this.
    ZoneAtLeast(u64),
    /// It stands in this region.
    Region(String),
    /// It has so many thousandths of a core.
    CpuAtLeast(u64),
    Not(Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
    Both(Box<Condition>, Box<Condition>),
}

/// What a node says of itself, as far as conditions ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) zone: Option<&'a str>,
    pub(crate) region: &'a str,
    pub(crate) cpu_milli: u64,
}

impl<'a> Facts<'a> {
    fn of(rack: &'a RackPlan, agent: &'a AgentPlan) -> Self {
        Self { zone: agent.zone.as_deref(), region: &rack.region, cpu_milli: agent.cpu_milli }
    }
}

impl Condition {
    /// As a job says it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::ZoneIn(zones) => {
                let zones: Vec<String> = zones.iter().map(|zone| format!("\"{zone}\"")).collect();
                format!("node.labels.{ZONE} in [{}]", zones.join(", "))
            }
            Self::ZoneAtLeast(number) => format!("int(node.labels[\"{ZONE}\"]) >= {number}"),
            Self::Region(region) => format!("node.region == '{region}'"),
            Self::CpuAtLeast(milli) => format!("node.cpu_milli >= {milli}"),
            Self::Not(inner) => format!("!({})", inner.text()),
            Self::Either(one, other) => format!("({}) || ({})", one.text(), other.text()),
            Self::Both(one, other) => format!("({}) && ({})", one.text(), other.text()),
        }
    }

    /// Whether it holds for a node; none if that cannot be said, since something is missing that matters.
    pub(crate) fn holds(&self, node: Facts<'_>) -> Option<bool> {
        match self {
            Self::ZoneIn(zones) => node.zone.map(|zone| zones.iter().any(|one| one == zone)),
            Self::ZoneAtLeast(number) => {
                let place = ZONES.iter().take(3).position(|zone| node.zone == Some(zone))?;
                Some(place as u64 + 1 >= *number)
            }
            Self::Region(region) => Some(node.region == region),
            Self::CpuAtLeast(milli) => Some(node.cpu_milli >= *milli),
            Self::Not(inner) => inner.holds(node).map(|holds| !holds),
            Self::Either(one, other) => match (one.holds(node), other.holds(node)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                (None, _) | (_, None) => None,
            },
            Self::Both(one, other) => match (one.holds(node), other.holds(node)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                (None, _) | (_, None) => None,
            },
        }
    }

    /// True when a task may go to an agent by it.
    pub(crate) fn allows(&self, rack: &RackPlan, agent: &AgentPlan) -> bool {
        self.holds(Facts::of(rack, agent)) == Some(true)
    }

    /// The one of a scenario that is written like this.
    pub(crate) fn of<'a>(text: &str, scenario: &'a Scenario) -> Option<&'a Self> {
        let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
        let jobs = steps.filter_map(|step| match &step.what {
            Ask::Submit(job) | Ask::Resubmit(job) => Some(job),
            _ => None,
        });
        let mut conditions = jobs.flat_map(|job| &job.tasks).filter_map(|task| task.condition.as_ref());
        conditions.find(|condition| condition.text() == text)
    }
}

/// Gives nodes zones, and adds jobs that look at these and at more.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    for agent in scenario.racks.iter_mut().flat_map(|rack| &mut rack.agents) {
        agent.zone = dice.chance(ZONED_PERCENT).then(|| (*dice.pick(&ZONES)).to_owned());
    }
    let is_plain = scenario.racks.iter().flat_map(|rack| &rack.agents).all(|agent| agent.ground.is_plain());
    let demands = if is_plain { Demands::default() } else { Demands::everywhere() };
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let job = job(dice, number, &scenario.racks, &demands);
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let steps = vec![OperationPlan { at_ms, what: Ask::Submit(job) }];
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
}

fn job(dice: &mut Stream, number: u64, racks: &[RackPlan], demands: &Demands) -> JobPlan {
    let tasks = (0..dice.within(1, 3)).map(|step| TaskPlan {
        name: format!("t{step}"),
        count: u32::try_from(dice.within(ELEMENTS.0, ELEMENTS.1)).unwrap_or(1),
        cpu_milli: 100 * dice.within(1, 5),
        memory_bytes: 1 << 20,
        promise: *dice.pick(&[Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce]),
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        condition: Some(condition(dice, racks)),
        demands: demands.clone(),
        ..TaskPlan::one()
    });
    let tasks = tasks.collect();
    JobPlan {
        name: format!("where-{number}"),
        edition: 0,
        priority: u8::try_from(dice.within(30, 101)).unwrap_or(50),
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks,
    }
}

/// One that holds for some node.
fn condition(dice: &mut Stream, racks: &[RackPlan]) -> Condition {
    let agents: Vec<(&RackPlan, &AgentPlan)> =
        racks.iter().flat_map(|rack| rack.agents.iter().map(move |agent| (rack, agent))).collect();
    for _ in 0..TRIES {
        let drawn = any(dice, racks, 2);
        if agents.iter().any(|(rack, agent)| drawn.allows(rack, agent)) {
            return drawn;
        }
    }
    Condition::CpuAtLeast(LEAST_CPU_MILLI)
}

fn any(dice: &mut Stream, racks: &[RackPlan], depth: u32) -> Condition {
    let inner = |dice: &mut Stream| Box::new(any(dice, racks, depth - 1));
    let weights = if depth == 0 { [4, 3, 1, 2, 0, 0, 0] } else { [4, 3, 1, 2, 3, 3, 3] };
    match dice.weighted(&weights) {
        0 => {
            let first = dice.position(ZONES.len());
            let count = usize::try_from(dice.within(1, 3)).unwrap_or(1);
            Condition::ZoneIn(ZONES.iter().cycle().skip(first).take(count).map(|zone| (*zone).to_owned()).collect())
        }
        1 => Condition::ZoneAtLeast(dice.within(1, 4)),
        2 => Condition::Region(dice.pick(racks).region.clone()),
        3 => Condition::CpuAtLeast(500 * dice.within(2, 7)),
        4 => Condition::Not(inner(dice)),
        5 => Condition::Either(inner(dice), inner(dice)),
        _ => Condition::Both(inner(dice), inner(dice)),
    }
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
            let agents = scenario.racks.iter().flat_map(|rack| rack.agents.iter().map(move |agent| (rack, agent)));
            let agents: Vec<_> = agents.collect();
            let jobs = scenario.sessions.iter().flat_map(|session| &session.steps);
            let jobs = jobs.filter_map(|step| if let Ask::Submit(job) = &step.what { Some(job) } else { None });
            let jobs: Vec<_> = jobs.filter(|job| job.name.starts_with("where-")).collect();
            if jobs.is_empty() {
                assert!(agents.iter().all(|(_, agent)| agent.zone.is_none()), "seed {seed}");
                continue;
            }
            having += 1;
            let mut see = |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
            for job in jobs {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                for (task, spec) in job.tasks.iter().zip(&valid.tasks) {
                    let condition = task.condition.as_ref().unwrap();
                    assert_eq!(spec.place.condition.as_ref().unwrap().as_str(), condition.text());
                    assert_eq!(Condition::of(&condition.text(), &scenario), Some(condition));
                    let holds = |is| agents.iter().any(|(rack, agent)| condition.holds(Facts::of(rack, agent)) == is);
                    assert!(holds(Some(true)), "seed {seed}: {task:?}");
                    see("holds not everywhere", holds(Some(false)));
                    see("cannot be decided everywhere", holds(None));
                }
            }
        }
        assert!((40..110).contains(&having), "{having} of 300");
        assert!(seen.values().all(|count| *count > 20), "{seen:?}");
    }
}
