//! Tasks that may take one of several things: drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, Class, GpuPart, Gpus, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 35;
/// Jobs, each with a session of its own.
const JOBS: (u64, u64) = (3, 9);
const ELEMENTS: (u64, u64) = (1, 6);
const RUNS_MS: (u64, u64) = (50, 4_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// What the last alternative takes, which every node has; those before it take more, or a GPU.
const LEAST_CPU_MILLI: u64 = 100;
const MEMORY_BYTES: u64 = 1 << 20;

/// What a task is content with in the place of what it would rather have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Other {
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    #[serde(default, skip_serializing_if = "GpuPart::is_none")]
    pub(crate) gpu: GpuPart,
}

/// Adds jobs whose tasks leave something to choose.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let gpus = scenario.racks.iter().flat_map(|rack| &rack.agents).map(|agent| agent.gpus.clone());
    let having: Vec<Gpus> = gpus.filter(|gpus| !gpus.is_none()).collect();
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let job = job(dice, number, &having);
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let steps = vec![OperationPlan { at_ms, what: Ask::Submit(job) }];
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
}

fn job(dice: &mut Stream, number: u64, having: &[Gpus]) -> JobPlan {
    let tasks = (0..dice.within(1, 3)).map(|step| {
        let (first, others) = alternatives(dice, having);
        TaskPlan {
            name: format!("t{step}"),
            count: u32::try_from(dice.within(ELEMENTS.0, ELEMENTS.1)).unwrap_or(1),
            cpu_milli: first.cpu_milli,
            memory_bytes: first.memory_bytes,
            gpu: first.gpu,
            others,
            promise: *dice.pick(&[Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce]),
            runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
            ..TaskPlan::one()
        }
    });
    let tasks = tasks.collect();
    JobPlan {
        name: format!("alternatives-{number}"),
        edition: 0,
        priority: u8::try_from(dice.within(30, 101)).unwrap_or(50),
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks,
    }
}

/// The best, and what else will do: none of them is one for which there is room wherever there is for a later one.
fn alternatives(dice: &mut Stream, having: &[Gpus]) -> (Other, Vec<Other>) {
    let with = |cpu_milli, gpu| Other { cpu_milli, memory_bytes: MEMORY_BYTES, gpu };
    let mut all = Vec::new();
    if !having.is_empty() && dice.chance(60) {
        let on = dice.pick(having).clone();
        let milli = if dice.chance(50) { 1_000 } else { 100 * dice.within(1, 10) };
        let models = if dice.chance(30) { vec![on.model] } else { vec![] };
        all.push(with(LEAST_CPU_MILLI, GpuPart { milli, models }));
    }
    // Many cores, fewer, and few.
    if all.is_empty() || dice.chance(50) {
        all.push(with(LEAST_CPU_MILLI * dice.within(5, 12), GpuPart::default()));
    }
    if dice.chance(40) {
        all.push(with(LEAST_CPU_MILLI * dice.within(2, 4), GpuPart::default()));
    }
    all.push(with(LEAST_CPU_MILLI, GpuPart::default()));
    let best = all.remove(0);
    (best, all)
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::job::spec_from_wire;
    use quorate_state::Settings;

    use super::*;
    use crate::hosts::spec;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn some_seeds_have_tasks_that_leave_something_to_choose() {
        let (mut having, mut with_gpus, mut by_count) = (0, 0, [0; 4]);
        for seed in 0..300 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let jobs = scenario.sessions.iter().flat_map(|session| &session.steps);
            let jobs = jobs.filter_map(|step| if let Ask::Submit(job) = &step.what { Some(job) } else { None });
            let jobs: Vec<_> = jobs.filter(|job| job.name.starts_with("alternatives-")).collect();
            having += u32::from(!jobs.is_empty());
            for job in jobs {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                for task in &job.tasks {
                    by_count[task.others.len()] += 1;
                    with_gpus += u32::from(!task.gpu.is_none());
                }
            }
        }
        assert!((60..130).contains(&having), "{having} of 300");
        assert!(with_gpus > 20 && by_count[0] == 0 && by_count[1..].iter().all(|count| *count > 20), "{by_count:?}");
    }
}
