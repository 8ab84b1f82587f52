//! Jobs that must not take longer than they say, and tasks that nobody can place in time; drawn apart from all else, in
//! some seeds.

use super::draw::SETTLED_MS;
use super::{Ask, Class, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have such jobs, where every replica knows what is meant.
const PERCENT: u64 = 20;
const JOBS: (u64, u64) = (1, 5);
const TASKS: (u64, u64) = (1, 4);
/// They are submitted in so long after all is up: whoever goes on for too long must do so before the faults end, for then
/// all work is hastened.
const WINDOW_MS: (u64, u64) = (1_000, 7_000);
const TIMEOUT_MS: (u64, u64) = (200, 5_000);
/// Many run for about as long as they may, the others for much longer: with those it shows that nobody looks at the time.
const RUNS_MS: (u64, u64) = (100, 8_000);
const RUNS_FAR_TOO_LONG_MS: u64 = 60_000;
/// Tasks that no node has room for, and how long these wait.
const STUCK_PERCENT: u64 = 40;
const STUCK_CPU_MILLI: u64 = 1_000_000;
const QUEUED_MS: (u64, u64) = (200, 5_000);

/// Adds the jobs, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let within = |dice: &mut Stream| SETTLED_MS + dice.within(WINDOW_MS.0, WINDOW_MS.1);
    let mut steps = vec![];
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let name = format!("timed-{number}");
        let timeout_ms = Some(dice.log_within(TIMEOUT_MS.0, TIMEOUT_MS.1));
        let tasks = vec![timed(dice)];
        let job = JobPlan {
            edition: 0,
            result: vec![],
            name,
            priority: 70,
            cancel_on_failure: false,
            timeout_ms,
            args: None,
            tasks,
        };
        steps.push(OperationPlan { at_ms: within(dice), what: Ask::Submit(job) });
    }
    if dice.chance(STUCK_PERCENT) {
        let queued_ms = Some(dice.log_within(QUEUED_MS.0, QUEUED_MS.1));
        let tasks = vec![TaskPlan { cpu_milli: STUCK_CPU_MILLI, queued_ms, ..TaskPlan::one() }];
        let job = JobPlan {
            edition: 0,
            result: vec![],
            name: "stuck".into(),
            priority: 70,
            cancel_on_failure: false,
            timeout_ms: None,
            args: None,
            tasks,
        };
        steps.push(OperationPlan { at_ms: within(dice), what: Ask::Submit(job) });
    }
    steps.sort_by_key(|step| step.at_ms);
    scenario.sessions.push(SessionPlan { host: 1, when: When::Always, steps });
}

fn timed(dice: &mut Stream) -> TaskPlan {
    let runs_ms = if dice.chance(30) { RUNS_FAR_TOO_LONG_MS } else { dice.log_within(RUNS_MS.0, RUNS_MS.1) };
    TaskPlan {
        promise: [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce][dice.weighted(&[3, 2, 1])],
        count: u32::try_from(dice.within(TASKS.0, TASKS.1)).unwrap_or(1),
        attempts: 1,
        runs_ms,
        stubborn: dice.chance(20),
        ..TaskPlan::one()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand, sub_runs::is_of_family};

    #[test]
    fn a_part_of_the_seeds_has_them_and_no_older_version_does() {
        let mut having = 0;
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
            let is_timed = |step: &&OperationPlan| match &step.what {
                Ask::Submit(job) => job.timeout_ms.is_some() && !is_of_family(&job.name),
                _ => false,
            };
            if steps.filter(is_timed).count() > 0 {
                having += 1;
                assert!(!scenario.classes.contains(&Class::Upgrade), "seed {seed}");
            }
        }
        assert!((40..120).contains(&having), "{having} of 400");
    }
}
