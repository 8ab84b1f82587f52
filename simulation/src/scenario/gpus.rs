//! Nodes with GPUs and jobs that take some of them, or a share of one: drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, Class, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 42;
/// Of their nodes, so many out of a hundred have GPUs.
const NODES_PERCENT: u64 = 65;
const MODELS: [&str; 2] = ["sim-large", "sim-small"];
const PER_NODE: (u64, u64) = (1, 5);
/// Jobs, each with a session of its own.
const JOBS: (u64, u64) = (3, 8);
const ELEMENTS: (u64, u64) = (1, 7);
const RUNS_MS: (u64, u64) = (50, 5_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// From the submit of a job to what is asked about it.
const AFTER_SUBMIT_MS: (u64, u64) = (10, 8_000);
/// Shares of a device are multiples of this.
const SHARE_MILLI: u64 = 50;
const WHOLE_MILLI: u64 = 1_000;

/// The GPUs of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gpus {
    pub(crate) count: u32,
    /// Of all of them; nothing when there are none.
    pub(crate) model: String,
}

/// What one element of a task takes of GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuPart {
    /// Of a device, in thousandths; a multiple of a thousand for whole ones.
    pub(crate) milli: u64,
    /// Models that will do; any, when none.
    pub(crate) models: Vec<String>,
}

impl Gpus {
    /// True of a node without any.
    pub(crate) fn is_none(&self) -> bool {
        self.count == 0
    }

    /// Thousandths of all of them.
    pub(crate) fn milli(&self) -> u64 {
        u64::from(self.count) * WHOLE_MILLI
    }

    /// The model of each of them.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        (0..self.count).map(|_| self.model.as_str())
    }
}

impl GpuPart {
    /// True of a task that takes nothing of a GPU.
    pub(crate) fn is_none(&self) -> bool {
        self.milli == 0
    }

    /// True when a node with these, and nothing on it, has enough of them.
    pub(crate) fn fits(&self, gpus: &Gpus) -> bool {
        self.is_none() || self.milli <= gpus.milli() && (self.models.is_empty() || self.models.contains(&gpus.model))
    }
}

/// Gives nodes GPUs, and adds jobs that take them.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let mut having = vec![];
    for agent in scenario.racks.iter_mut().flat_map(|rack| &mut rack.agents) {
        if having.is_empty() || dice.chance(NODES_PERCENT) {
            let model = (*dice.pick(&MODELS)).to_owned();
            agent.gpus = Gpus { count: small(dice, PER_NODE), model };
            having.push(agent.gpus.clone());
        }
    }
    if having.is_empty() {
        return;
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let job = job(dice, number, &having);
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let name = || job.name.clone();
        let is_resent = scenario.classes.contains(&Class::Duplicates);
        let asks = [
            (15, Ask::Cancel { job: name() }),
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

/// A job whose tasks all fit on a node that has nothing on it.
fn job(dice: &mut Stream, number: u64, having: &[Gpus]) -> JobPlan {
    let tasks = (0..dice.within(1, 3)).map(|step| {
        let name = format!("t{step}");
        let on = dice.pick(having).clone();
        let milli = match dice.weighted(&[5, 3, 2]) {
            0 => SHARE_MILLI * dice.within(1, WHOLE_MILLI / SHARE_MILLI),
            1 => WHOLE_MILLI,
            _ => WHOLE_MILLI * dice.within(1, u64::from(on.count) + 1),
        };
        let models = if dice.chance(40) { vec![on.model] } else { vec![] };
        let promise = *dice.pick(&[Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce]);
        let fails = u32::from(dice.chance(20) && promise != Promise::AtMostOnce);
        TaskPlan {
            name,
            needs: if step > 0 && dice.chance(40) { vec!["t0".to_owned()] } else { vec![] },
            count: small(dice, ELEMENTS),
            cpu_milli: 100 * dice.within(1, 4),
            memory_bytes: 1 << 20,
            promise,
            attempts: fails + 1,
            fails,
            runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
            stubborn: dice.chance(10),
            gpu: GpuPart { milli, models },
            ..TaskPlan::one()
        }
    });
    let tasks = tasks.collect();
    JobPlan {
        name: format!("gpus-{number}"),
        edition: 0,
        priority: u8::try_from(dice.within(30, 101)).unwrap_or(50),
        cancel_on_failure: dice.chance(20),
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks,
    }
}

fn small(dice: &mut Stream, (from, to): (u64, u64)) -> u32 {
    u32::try_from(dice.within(from, to)).unwrap_or(1)
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
    fn some_seeds_have_them_and_every_task_fits_somewhere() {
        let (mut having, mut seen) = (0, BTreeMap::new());
        for seed in 0..300 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let agents: Vec<_> = scenario.racks.iter().flat_map(|rack| &rack.agents).collect();
            let has_gpus = agents.iter().any(|agent| !agent.gpus.is_none());
            having += u32::from(has_gpus);
            assert!(!has_gpus || !scenario.classes.contains(&Class::Upgrade), "seed {seed}");
            for step in scenario.sessions.iter().flat_map(|session| &session.steps) {
                let Ask::Submit(job) = &step.what else { continue };
                if job.tasks.iter().all(|task| task.gpu.is_none()) {
                    continue;
                }
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                for task in &job.tasks {
                    let fits = agents.iter().any(|agent| {
                        task.gpu.fits(&agent.gpus)
                            && task.cpu_milli <= agent.cpu_milli
                            && task.memory_bytes <= agent.memory_bytes
                    });
                    assert!(fits, "seed {seed}: {task:?}");
                    let mut see = |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
                    see("a share", task.gpu.milli < WHOLE_MILLI);
                    see("one", task.gpu.milli == WHOLE_MILLI);
                    see("several", task.gpu.milli > WHOLE_MILLI);
                    see("of a model", !task.gpu.models.is_empty());
                }
            }
        }
        assert!((75..150).contains(&having), "{having} of 300");
        assert!(seen.values().all(|count| *count > 20), "{seen:?}");
    }
}
