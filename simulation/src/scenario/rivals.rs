//! Jobs of several namespaces that want more than there is, drawn apart from all else: in some seeds those that have less than their
//! part take room from those that have more.

use super::draw::SETTLED_MS;
use super::{
    Ask, Class, Demands, JobPlan, Kind, OperationPlan, Preempts, Promise, RackPlan, Scenario, SessionPlan, TaskPlan,
    When,
};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 40;
/// The same of seeds without faults, where somebody has all there is for long.
const FAULT_FREE_PERCENT: u64 = 90;
/// What that one asks for: so many tasks, of so much, for so long.
const GREEDY: (u32, u64, u64) = (60, 1_000, 30_000);
/// Of these, those in which nobody is stopped for shares: they are served in fair order alone.
const QUIET_PERCENT: u64 = 15;
/// Jobs of each namespace, each with a session of its own.
const JOBS: (u64, u64) = (1, 4);
const ELEMENTS: (u64, u64) = (4, 24);
const CPU_MILLI: (u64, u64) = (300, 1_500);
const RUNS_MS: (u64, u64) = (1_000, 6_000);
const SHARE_GAP: (u64, u64) = (0, 30);
/// Out of a hundred: the weight of most is drawn, and some have a guarantee, in thousandths of cores.
const GUARANTEED_PERCENT: u64 = 30;
const GUARANTEED_MILLI: (u64, u64) = (1_000, 4_000);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 4_000;
/// What the names of their jobs begin with; the namespace comes next.
const PREFIX: &str = "rival-";

/// The namespaces, each with the one that it stands below.
const TREE: [(&str, Option<&str>); 4] =
    [("north", None), ("south", None), ("south.a", Some("south")), ("south.b", Some("south"))];

/// A namespace that wants its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) namespace: &'static str,
    pub(crate) parent: Option<&'static str>,
    pub(crate) weight: u32,
    pub(crate) guaranteed_milli: Option<u64>,
}

/// Which there are, for a seed.
pub(crate) fn rivals(seed: u64) -> [Rival; 4] {
    let mut dice = Stream::of(seed, "weights of rivals");
    TREE.map(|(namespace, parent)| {
        let weight = u32::try_from(dice.within(1, 6) * 50).unwrap_or(100);
        let guaranteed = dice.within(GUARANTEED_MILLI.0, GUARANTEED_MILLI.1);
        // What is guaranteed below another one would have to be guaranteed to that.
        let guaranteed_milli = (dice.chance(GUARANTEED_PERCENT) && parent.is_none()).then_some(guaranteed);
        Rival { namespace, parent, weight, guaranteed_milli }
    })
}

/// The namespace of a job, by its name; none: that of all others.
pub(crate) fn rival_of(job: &str) -> Option<&str> {
    let rest = job.strip_prefix(PREFIX)?;
    rest.rsplit_once('-').map(|(namespace, _)| namespace)
}

/// Adds them.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    let has_no_faults = scenario.kind == Kind::FaultFree;
    if !dice.chance(if has_no_faults { FAULT_FREE_PERCENT } else { PERCENT }) || !is_known {
        return;
    }
    let is_quiet = dice.chance(QUIET_PERCENT);
    let share_gap = u8::try_from(dice.within(SHARE_GAP.0, SHARE_GAP.1)).unwrap_or(10);
    let spare_ms = dice.log_within(1, 2_000);
    if !is_quiet {
        let nobody = Preempts { by_priority: false, gap: 10, spare_ms, times_max: 5, share_gap: None };
        let preempts = scenario.settings.preempts.unwrap_or(nobody);
        scenario.settings.preempts = Some(Preempts { share_gap: Some(share_gap), ..preempts });
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    if has_no_faults {
        let (count, cpu_milli, runs_ms) = GREEDY;
        let mut greedy = job(dice, "north", JOBS.1);
        greedy.priority = 50;
        for task in &mut greedy.tasks {
            (task.count, task.cpu_milli, task.runs_ms) = (count, cpu_milli, runs_ms);
            task.promise = Promise::AtLeastOnce;
        }
        shrink(&mut greedy, &scenario.racks);
        let steps = vec![OperationPlan { at_ms: SETTLED_MS + 500, what: Ask::Submit(greedy) }];
        scenario.sessions.push(SessionPlan { host: 0, when: When::Always, steps });
    }
    for (namespace, _) in TREE {
        for number in 0..dice.within(JOBS.0, JOBS.1) {
            let mut job = job(dice, namespace, number);
            shrink(&mut job, &scenario.racks);
            let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
            let steps = vec![OperationPlan { at_ms, what: Ask::Submit(job) }];
            scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
        }
    }
}

fn job(dice: &mut Stream, namespace: &str, number: u64) -> JobPlan {
    let task = TaskPlan {
        name: "t".to_owned(),
        count: u32::try_from(dice.within(ELEMENTS.0, ELEMENTS.1)).unwrap_or(1),
        cpu_milli: dice.within(CPU_MILLI.0, CPU_MILLI.1),
        memory_bytes: 1 << 20,
        promise: [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce][dice.weighted(&[6, 3, 1])],
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        ..TaskPlan::one()
    };
    JobPlan {
        name: format!("{PREFIX}{namespace}-{number}"),
        edition: 0,
        priority: *dice.pick(&[50, 50, 50, 40, 70]),
        cancel_on_failure: false,
        timeout_ms: None,
        args: None,
        result: vec![],
        tasks: vec![task],
    }
}

/// So that each of its tasks fits on any node with so much that has nothing on it, and on one at least.
fn shrink(job: &mut JobPlan, racks: &[RackPlan]) {
    let agents = || racks.iter().flat_map(|rack| &rack.agents);
    for task in &mut job.tasks {
        if !agents().all(|agent| task.demands.allow(&agent.ground)) {
            task.demands = Demands::everywhere();
        }
        task.cpu_milli = task.cpu_milli.min(agents().map(|agent| agent.cpu_milli).max().unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::job::spec_from_wire;
    use quorate_state::Settings;

    use super::*;
    use crate::hosts::spec;
    use crate::scenario::{AgentPlan, check, draw::draw as expand};

    #[test]
    fn some_seeds_have_namespaces_that_want_more_than_there_is() {
        let (mut having, mut shared) = (0, 0);
        for seed in 0..200 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            shared += u32::from(scenario.settings.preempts.is_some_and(|preempts| preempts.share_gap.is_some()));
            let before = having;
            for step in scenario.sessions.iter().flat_map(|session| &session.steps) {
                let Ask::Submit(job) = &step.what else { continue };
                let Some(namespace) = rival_of(&job.name) else { continue };
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                assert_eq!(valid.namespace.as_str(), namespace);
                let agents = || scenario.racks.iter().flat_map(|rack| &rack.agents);
                let takes = |task: &TaskPlan, agent: &AgentPlan| {
                    task.demands.allow(&agent.ground) && task.cpu_milli <= agent.cpu_milli
                };
                let fits = |task: &TaskPlan| agents().any(|agent| takes(task, agent));
                assert!(job.tasks.iter().all(fits), "seed {seed}: {job:?}");
                assert!(rivals(seed).iter().any(|rival| rival.namespace == namespace));
                having = before + 1;
            }
        }
        assert!((30..110).contains(&having) && (20..having).contains(&shared), "{having}, {shared} of 200");
    }
}
