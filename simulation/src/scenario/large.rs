//! Jobs with a step of so many elements that these get their rows in pieces, in a cluster that makes few at once; drawn apart
//! from all else, in some seeds.

use super::draw::SETTLED_MS;
use super::{Ask, Class, Fan, FlowPlan, JobPlan, Kind, OperationPlan, Part, Promise, Says, Scenario, SessionPlan};
use super::{TaskPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have them, where every replica knows what is meant.
const PERCENT: u64 = 20;
const JOBS: (u64, u64) = (1, 3);
/// Tasks of one step that stand in the queue at once.
const READY_AHEAD: (u64, u64) = (4, 40);
/// Elements of the step, in number or as a result has them.
const ELEMENTS: (u64, u64) = (60, 260);
const RUNS_MS: (u64, u64) = (10, 300);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 8_000;
/// Out of a hundred: what the step needs fails, some of its elements do, it can be undone, its run is cancelled.
const NEED_FAILS_PERCENT: u64 = 12;
const FAILING_PERCENT: u64 = 50;
const UNDO_PERCENT: u64 = 30;
const CANCEL_PERCENT: u64 = 45;
/// From the submit to the cancel.
const CANCEL_AFTER_MS: (u64, u64) = (300, 6_000);

/// Adds the jobs, each with a session of its own, and makes the bound smaller.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    scenario.settings.ready_ahead = Some(small(dice, READY_AHEAD));
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let at_ms = dice.within(SETTLED_MS, last_ms);
        let job = job(dice, format!("large-{number}"));
        let name = job.name.clone();
        let mut steps = vec![OperationPlan { at_ms, what: Ask::Submit(job) }];
        if dice.chance(CANCEL_PERCENT) {
            let at_ms = at_ms + dice.log_within(CANCEL_AFTER_MS.0, CANCEL_AFTER_MS.1);
            steps.push(OperationPlan { at_ms, what: Ask::Cancel { job: name.clone() } });
        }
        let tasks = OperationPlan { at_ms: at_ms + dice.within(100, 4_000), what: Ask::Tasks { job: name } };
        steps.push(tasks);
        steps.sort_by_key(|step| step.at_ms);
        let host = usize::from(number % 2 == 1);
        scenario.sessions.push(SessionPlan { host, when: When::Always, steps });
    }
}

/// A task, the large step that needs it, and one after that.
fn job(dice: &mut Stream, name: String) -> JobPlan {
    let elements = small(dice, ELEMENTS);
    let mut first = task(dice, "first", &[]);
    first.says = Some(Says::Values { go: Some(dice.chance(50)), n: elements, many: 0 });
    if dice.chance(NEED_FAILS_PERCENT) {
        first.fails = first.attempts;
    }
    let mut large = task(dice, "large", &["first"]);
    match dice.weighted(&[5, 3, 1]) {
        0 => large.count = elements,
        1 => large.flow.fan = Some(Fan::Result("${first.result.n}".into())),
        _ => (large.count, large.flow.when) = (elements, Some("first.result.go".into())),
    }
    if dice.chance(FAILING_PERCENT) {
        (large.fails, large.flow.failing) = (large.attempts, Some(1 << dice.within(0, 32)));
        large.flow.accept_failed = if dice.chance(40) { 30 } else { 0 };
    }
    let mut tasks = vec![first, large, task(dice, "last", &["large"])];
    if dice.chance(UNDO_PERCENT) {
        let flow = FlowPlan { part: Part::Undo { of: "large".into() }, ..FlowPlan::default() };
        tasks.push(TaskPlan { flow, ..task(dice, "large-undo", &[]) });
    }
    if dice.chance(UNDO_PERCENT) {
        let flow = FlowPlan { part: Part::Finally, ..FlowPlan::default() };
        tasks.push(TaskPlan { flow, ..task(dice, "at-last", &[]) });
    }
    let (cancel_on_failure, args) = (dice.chance(40), Some(String::new()));
    JobPlan { edition: 0, result: vec![], name, priority: 50, cancel_on_failure, timeout_ms: None, args, tasks }
}

fn task(dice: &mut Stream, name: &str, needs: &[&str]) -> TaskPlan {
    TaskPlan {
        name: name.into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        promise: if dice.chance(75) { Promise::AtLeastOnce } else { Promise::Fenced },
        cpu_milli: 100,
        attempts: small(dice, (1, 3)),
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        ..TaskPlan::one()
    }
}

fn small(dice: &mut Stream, (from, to): (u64, u64)) -> u32 {
    u32::try_from(dice.within(from, to)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use quorate_proto::convert::job::spec_from_wire;
    use quorate_state::Settings;

    use super::*;
    use crate::hosts::spec;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn a_part_of_the_seeds_has_steps_of_more_elements_than_stand_in_the_queue_at_once() {
        let mut having = 0;
        for seed in 0..200 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
            let large = steps.filter_map(|step| match &step.what {
                Ask::Submit(job) if job.name.starts_with("large-") => Some(job),
                _ => None,
            });
            let large: Vec<&JobPlan> = large.collect();
            assert_eq!(large.is_empty(), scenario.settings.ready_ahead.is_none(), "seed {seed}");
            having += usize::from(!large.is_empty());
            for job in large {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                assert_eq!(quorate_flow::check(&valid), Ok(()), "seed {seed}: {job:?}");
            }
        }
        assert!((20..60).contains(&having), "{having} of 200");
    }
}
