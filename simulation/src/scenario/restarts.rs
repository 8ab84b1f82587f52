//! Sessions that have runs tried a second time once they have ended, drawn apart from all else, in some seeds.

use std::collections::BTreeSet;

use super::draw::SETTLED_MS;
use super::{Ask, Class, JobPlan, Kind, OperationPlan, Part, Scenario, SessionPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 44;
/// How many jobs, each with a session of its own.
const JOBS: (u64, u64) = (2, 6);
/// Tries out of a hundred that are the third, or run a task again that may have succeeded, or are asked for twice.
const THIRD_PERCENT: u64 = 40;
const FROM_PERCENT: u64 = 45;
const TWICE_PERCENT: u64 = 60;
/// From the submit of a job, or from its second try, to when somebody looks whether its run has ended.
const AFTER_MS: (u64, u64) = (300, 8_000);
/// Nobody begins to look later than so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 1_000;
/// From the answer to the same request once more.
const AGAIN_MS: (u64, u64) = (1, 6_000);

/// Adds the sessions, and lets what fails in their jobs do so in every other run only.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let mut jobs = candidates(scenario);
    let mut chosen = BTreeSet::new();
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let weights: Vec<u64> = jobs.iter().map(|(_, _, weight)| *weight).collect();
        if weights.is_empty() {
            break;
        }
        let (submitted_ms, job, _) = jobs.swap_remove(dice.weighted(&weights));
        let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
        let mut at_ms = submitted_ms.max(SETTLED_MS);
        let mut steps = vec![];
        for _ in 0..=u64::from(dice.chance(THIRD_PERCENT)) {
            at_ms = (at_ms + dice.log_within(AFTER_MS.0, AFTER_MS.1)).min(last_ms);
            let named: Vec<&str> = work(&job).collect();
            let from = if dice.chance(FROM_PERCENT) { vec![(*dice.pick(&named)).to_owned()] } else { vec![] };
            let again_ms = dice.chance(TWICE_PERCENT).then(|| dice.log_within(AGAIN_MS.0, AGAIN_MS.1));
            steps.push(OperationPlan { at_ms, what: Ask::Restart { job: job.name.clone(), from, again_ms } });
        }
        chosen.insert(job.name);
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
    for step in scenario.sessions.iter_mut().flat_map(|session| &mut session.steps) {
        if let Ask::Submit(job) | Ask::Resubmit(job) = &mut step.what
            && chosen.contains(&job.name)
        {
            job.tasks.iter_mut().for_each(|task| task.by_run = task.fails > 0);
        }
    }
}

/// Jobs whose runs may be tried again, when they are submitted, and how much speaks for each: most for those that end
/// without success.
fn candidates(scenario: &Scenario) -> Vec<(u64, JobPlan, u64)> {
    let steps = || {
        let sessions = scenario.sessions.iter().filter(|session| session.when == When::Always);
        sessions.flat_map(|session| &session.steps)
    };
    // Pages of a list are those of one run, whichever is the newest.
    let paged: BTreeSet<&str> = steps()
        .filter_map(|step| match &step.what {
            Ask::Pages { of, .. } => of.job(),
            _ => None,
        })
        .collect();
    let ended: BTreeSet<&str> = steps()
        .filter_map(|step| match &step.what {
            Ask::Cancel { job } | Ask::Abandon { job } => Some(job.as_str()),
            _ => None,
        })
        .collect();
    let submits = steps().filter_map(|step| match &step.what {
        Ask::Submit(job) => Some((step.at_ms, job)),
        _ => None,
    });
    let fit = submits.filter(|(at_ms, job)| {
        let is_soon = at_ms + AFTER_MS.1 < scenario.heal_ms;
        let is_quiet = !job.tasks.iter().any(|task| task.poison || task.speech.is_some());
        is_soon && is_quiet && !paged.contains(job.name.as_str()) && work(job).next().is_some()
    });
    let weighed = fit.map(|(at_ms, job)| {
        let fails = job.tasks.iter().any(|task| task.fails >= task.attempts);
        let weight = 1 + 6 * u64::from(ended.contains(job.name.as_str())) + 6 * u64::from(fails);
        (at_ms, job.clone(), weight + 3 * u64::from(job.args.is_some()))
    });
    weighed.collect()
}

/// The tasks that can be named.
fn work(job: &JobPlan) -> impl Iterator<Item = &str> {
    let is_work = |part: &Part| matches!(part, Part::Work | Part::Fallback { .. });
    job.tasks.iter().filter(move |task| is_work(&task.flow.part)).map(|task| task.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand, sub_runs::is_of_family};

    #[test]
    fn runs_of_jobs_that_are_submitted_are_tried_again_by_tasks_that_they_have() {
        let (mut having, mut named, mut twice, mut flows) = (0, 0, 0, 0);
        for seed in 0..200 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let steps = || scenario.sessions.iter().flat_map(|session| &session.steps);
            let job_of = |name: &str| {
                steps().find_map(|step| match &step.what {
                    Ask::Submit(job) if job.name == name => Some(job),
                    _ => None,
                })
            };
            let mut has = false;
            for step in steps() {
                let Ask::Restart { job, from, again_ms } = &step.what else { continue };
                if is_of_family(job) {
                    continue;
                }
                let job = job_of(job).unwrap();
                assert!(from.iter().all(|name| work(job).any(|task| task == name)), "seed {seed}: {from:?}");
                assert!(job.tasks.iter().all(|task| task.by_run == (task.fails > 0)), "seed {seed}: {job:?}");
                assert!(step.at_ms < scenario.heal_ms, "seed {seed}");
                has = true;
                named += usize::from(!from.is_empty());
                twice += usize::from(again_ms.is_some());
                flows += usize::from(job.args.is_some());
            }
            assert!(!has || !scenario.classes.contains(&Class::Upgrade), "seed {seed}");
            having += usize::from(has);
        }
        assert!((50..110).contains(&having), "{having} of 200");
        assert!(named > 50 && twice > 50 && flows > 20, "{named}, {twice}, {flows}");
    }
}
