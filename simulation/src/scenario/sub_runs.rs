//! Jobs that run other jobs: alone, for each of many, several deep, in the place of what failed, and themselves; of a version
//! that is named or of the newest; drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::flow::{may_fail, result_of, small, task};
use super::{
    Ask, Class, Control, FLOW_PARAM, Fan, JobPlan, Kind, OperationPlan, Part, Scenario, SessionPlan, TaskPlan, When,
};
use crate::seeded::Stream;

/// Seeds out of a hundred that have such jobs, where every replica knows what is meant.
const PERCENT: u64 = 38;
/// Families of jobs that run each other, each with a session of its own.
const FAMILIES: (u64, u64) = (1, 4);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
/// Numbers that runs are told.
const NUMBERS: (u64, u64) = (0, 8);
/// Elements of a task that are known from the start.
const ELEMENTS: (u64, u64) = (2, 5);
const TASK_TIMEOUT_MS: (u64, u64) = (300, 4_000);
const JOB_TIMEOUT_MS: (u64, u64) = (800, 8_000);
const BACKOFF_MS: (u64, u64) = (50, 600);
/// From the submit of a job that runs others to what is asked about it.
const AFTER_SUBMIT_MS: (u64, u64) = (50, 8_000);
/// Between a pause and its end.
const PAUSED_MS: (u64, u64) = (100, 4_000);
/// Seeds out of a hundred, of those that have such jobs, in which one of them is cancelled after the faults, whose part would
/// run longer than anything may that is to end.
const LONG_PERCENT: u64 = 60;
const LONG_RUNS_MS: u64 = 90_000;
const LONG_CANCEL_AFTER_HEAL_MS: u64 = 4_000;

/// See `quorate_state::SubRun`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubPlan {
    pub(crate) job: String,
    /// The newest, without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u32>,
    /// What it is told, by name, as JSON with references.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<(String, String)>,
}

/// There is no task of this name any more: what names its result goes.
pub(super) fn forget(values: &mut Vec<(String, String)>, task: &str) {
    values.retain(|(_, json)| !json.contains(&result_of(task)));
}

/// Adds the jobs.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    let is_resent = scenario.classes.contains(&Class::Duplicates);
    for number in 0..dice.within(FAMILIES.0, FAMILIES.1) {
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let family = Family::draw(dice, number);
        let steps = family.steps(dice, at_ms, is_resent);
        scenario.sessions.push(SessionPlan { host: usize::from(number % 2 == 1), when: When::Always, steps });
    }
    if dice.chance(LONG_PERCENT) {
        scenario.sessions.push(long(scenario.heal_ms));
    }
}

/// Jobs that run each other.
struct Family {
    /// In the order in which they are submitted, so that each is there when another names it.
    parts: Vec<JobPlan>,
    /// Another version of the first of them, which comes later.
    edition: Option<JobPlan>,
    whole: JobPlan,
}

impl Family {
    fn draw(dice: &mut Stream, number: u64) -> Self {
        let (leaf, mid, name) = (format!("part-{number}"), format!("middle-{number}"), format!("whole-{number}"));
        let mut parts = vec![part(dice, &leaf, 0)];
        let edition = dice.chance(45).then(|| part(dice, &leaf, 1));
        let tasks = match dice.weighted(&[4, 4, 4, 3, 2]) {
            0 => one(dice, &leaf),
            1 => fan(dice, &leaf),
            2 => {
                parts.push(middle(dice, &mid, &leaf));
                one(dice, &mid)
            }
            3 => stand(dice, &leaf),
            _ => itself(dice, &name),
        };
        let mut whole = job(dice, &name, tasks);
        whole.cancel_on_failure = dice.chance(25);
        whole.timeout_ms = dice.chance(15).then(|| dice.log_within(JOB_TIMEOUT_MS.0, JOB_TIMEOUT_MS.1));
        if dice.chance(35) {
            let mut last = sub(dice, "z", &[], &leaf, Some("1"));
            last.flow.part = Part::Finally;
            // Nobody begins another family with it.
            whole.tasks.extend((whole.tasks.iter().all(|task| !runs(task, &name))).then_some(last));
        }
        Self { parts, edition, whole }
    }

    /// What is asked about them, from the first submit on.
    fn steps(self, dice: &mut Stream, at_ms: u64, is_resent: bool) -> Vec<OperationPlan> {
        let Self { parts, edition, whole } = self;
        let part = || parts.first().map_or_else(String::new, |part| part.name.clone());
        let job = || whole.name.clone();
        let submits = parts.iter().chain([&whole]).map(|job| OperationPlan { at_ms, what: Ask::Submit(job.clone()) });
        let mut steps: Vec<OperationPlan> = submits.collect();
        let again = || Ask::Restart { job: job(), from: vec![], again_ms: None };
        let from_s = || Ask::Restart { job: job(), from: vec!["s".into()], again_ms: Some(700) };
        let mut asks: Vec<(u64, Ask)> = vec![
            (28, Ask::Cancel { job: job() }),
            (12, Ask::Abandon { job: job() }),
            (15, Ask::Cancel { job: part() }),
            (6, Ask::Abandon { job: part() }),
            (50, Ask::Watch { job: job() }),
            (30, Ask::Watch { job: part() }),
            (40, Ask::Get { job: job() }),
            (30, Ask::Get { job: part() }),
            (30, Ask::Tasks { job: job() }),
            (20, Ask::Attempts { job: part() }),
            (20, again()),
            (15, from_s()),
            (if is_resent { 40 } else { 0 }, Ask::Resubmit(whole.clone())),
        ];
        asks.extend(edition.map(|edition| (100, Ask::Submit(edition))));
        for (percent, what) in asks {
            if dice.chance(percent) {
                // Some of what follows a submit comes at once with it.
                let after_ms = if dice.chance(20) { 0 } else { dice.log_within(AFTER_SUBMIT_MS.0, AFTER_SUBMIT_MS.1) };
                steps.push(OperationPlan { at_ms: at_ms + after_ms, what });
            }
        }
        // The newest run of a job that runs itself is another one at any time: a pause would stay.
        if dice.chance(18) && !whole.tasks.iter().any(|task| runs(task, &whole.name)) {
            let from_ms = at_ms + dice.log_within(AFTER_SUBMIT_MS.0, AFTER_SUBMIT_MS.1);
            let to_ms = from_ms + dice.log_within(PAUSED_MS.0, PAUSED_MS.1);
            steps.retain(|step| !matches!(step.what, Ask::Restart { .. }));
            for (at_ms, what) in [(from_ms, Control::Pause), (to_ms, Control::Resume)] {
                steps.push(OperationPlan { at_ms, what: Ask::Control { job: job(), what } });
            }
        }
        steps.sort_by_key(|step| step.at_ms);
        steps
    }
}

fn runs(task: &TaskPlan, job: &str) -> bool {
    task.sub.as_ref().is_some_and(|sub| sub.job == job)
}

fn job(dice: &mut Stream, name: &str, tasks: Vec<TaskPlan>) -> JobPlan {
    let told = dice.chance(50).then(|| format!("{{\"{FLOW_PARAM}\":{}}}", dice.within(NUMBERS.0, NUMBERS.1)));
    JobPlan {
        name: name.into(),
        edition: 0,
        priority: u8::try_from(dice.within(40, 101)).unwrap_or(50),
        cancel_on_failure: false,
        timeout_ms: None,
        args: Some(told.unwrap_or_default()),
        result: vec![],
        tasks,
    }
}

/// What others run: a task that hears what its run is told, and perhaps one that runs by what came out of it.
fn part(dice: &mut Stream, name: &str, edition: u32) -> JobPlan {
    let mut a = task(dice, "a", &[]);
    a.flow.words = dice.chance(80).then(|| format!("{FLOW_PARAM}={}", param()));
    may_fail(dice, &mut a, 45);
    // A second try of the task that it is may succeed.
    a.by_run = a.fails > 0 && dice.chance(65);
    let mut tasks = vec![a];
    let result = match dice.weighted(&[6, 2, 2]) {
        0 => vec![("n".to_owned(), quoted("${a.result.n}")), (FLOW_PARAM.to_owned(), quoted(&param()))],
        // Nothing may have come out of it: then there is nothing to say, and the run has failed.
        1 => vec![("n".to_owned(), quoted("${b.result.n}"))],
        _ => vec![],
    };
    if dice.chance(35) || result.len() == 1 {
        let mut b = task(dice, "b", &["a"]);
        b.flow.when = dice.chance(60).then(|| format!("params.{FLOW_PARAM} > 3"));
        tasks.push(b);
    }
    if dice.chance(20) {
        let mut z = task(dice, "z", &[]);
        z.flow.part = Part::Finally;
        tasks.push(z);
    }
    JobPlan { edition, result, ..job(dice, name, tasks) }
}

/// One that runs another and is run by others.
fn middle(dice: &mut Stream, name: &str, part: &str) -> JobPlan {
    let s = sub(dice, "s", &[], part, Some(&param()));
    let t = task(dice, "t", &["s"]);
    let result = vec![("n".to_owned(), quoted(if dice.chance(60) { "${t.result.n}" } else { "${s.result.n}" }))];
    JobPlan { result, ..job(dice, name, vec![s, t]) }
}

/// A task is a run of another job, and what came out of that is told to a third.
fn one(dice: &mut Stream, part: &str) -> Vec<TaskPlan> {
    let a = task(dice, "a", &[]);
    let told = match dice.weighted(&[5, 3, 2, 2, 1]) {
        0 => Some("${a.result.n}".to_owned()),
        1 => Some(param()),
        2 => Some("7".to_owned()),
        3 => None,
        // That is no number: no run can be told so.
        _ => Some("${a.result.go}".to_owned()),
    };
    let s = sub(dice, "s", &["a"], part, told.as_deref());
    let mut c = task(dice, "c", &["s"]);
    c.flow.words = dice.chance(70).then(|| "n=${s.result.n}".to_owned());
    vec![a, s, c]
}

/// A run for each element of a list, of a range, or of as many as there are.
fn fan(dice: &mut Stream, part: &str) -> Vec<TaskPlan> {
    let a = task(dice, "a", &[]);
    let mut s = sub(dice, "s", &["a"], part, Some("${each}"));
    match dice.weighted(&[4, 2, 3, 2]) {
        0 => s.flow.fan = Some(Fan::Result("${a.result.list}".into())),
        1 => s.flow.fan = Some(Fan::Result("${a.result.n}".into())),
        2 => {
            s.count = small(dice, ELEMENTS);
            s.flow.fan = Some(Fan::Range { from: i64::from(small(dice, NUMBERS)) });
        }
        _ => {
            s.count = small(dice, ELEMENTS);
            if let Some(sub) = &mut s.sub {
                sub.args = vec![(FLOW_PARAM.to_owned(), quoted("${index}"))];
            }
        }
    }
    let is_open = matches!(s.flow.fan, Some(Fan::Result(_)));
    s.flow.accept_failed = small(dice, (0, 4)).min(if is_open { u32::MAX } else { s.count });
    let mut c = task(dice, "c", &["s"]);
    c.flow.words = dice.chance(60).then(|| "all=${s.result}".to_owned());
    vec![a, s, c]
}

/// A run stands in for another that failed, and what succeeded is undone when the last one fails.
fn stand(dice: &mut Stream, part: &str) -> Vec<TaskPlan> {
    let s = sub(dice, "s", &[], part, Some("1"));
    let mut f = sub(dice, "f", &[], part, Some("6"));
    f.flow.part = Part::Fallback { of: vec!["s".into()] };
    let mut d = task(dice, "d", &["s"]);
    d.flow.words = dice.chance(40).then(|| "n=${s.result.n}".to_owned());
    may_fail(dice, &mut d, 50);
    let mut undo = task(dice, "s-undo", &[]);
    undo.flow.part = Part::Undo { of: "s".into() };
    undo.flow.words = dice.chance(40).then(|| "n=${s.result.n}".to_owned());
    vec![s, f, d, undo]
}

/// A job that runs itself, until that would be too deep.
fn itself(dice: &mut Stream, name: &str) -> Vec<TaskPlan> {
    let mut a = task(dice, "a", &[]);
    a.runs_ms = a.runs_ms.min(200);
    let mut s = sub(dice, "s", &["a"], name, None);
    s.attempts = 1;
    s.flow.accept_failed = u32::from(dice.chance(60));
    vec![a, s]
}

/// A task that is a run of a job, which is told a number or what a reference comes to.
fn sub(dice: &mut Stream, name: &str, needs: &[&str], job: &str, told: Option<&str>) -> TaskPlan {
    let args = told.map(|told| {
        let json = if told.contains('$') { quoted(told) } else { told.to_owned() };
        (FLOW_PARAM.to_owned(), json)
    });
    let version = dice.chance(30).then_some(1);
    TaskPlan {
        name: name.into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        attempts: small(dice, (1, 4)),
        backoff_ms: dice.log_within(BACKOFF_MS.0, BACKOFF_MS.1),
        timeout_ms: dice.chance(15).then(|| dice.log_within(TASK_TIMEOUT_MS.0, TASK_TIMEOUT_MS.1)),
        sub: Some(SubPlan { job: job.into(), version, args: args.into_iter().collect() }),
        ..TaskPlan::one()
    }
}

/// After the heal: a run within a run is cancelled with it, which would go on for longer than it may.
fn long(heal_ms: u64) -> SessionPlan {
    let told = |number: u64| Some(format!("{{\"{FLOW_PARAM}\":{number}}}"));
    let plain = |name: &str, tasks: Vec<TaskPlan>| JobPlan {
        name: name.into(),
        edition: 0,
        priority: 100,
        cancel_on_failure: false,
        timeout_ms: None,
        args: told(0),
        result: vec![],
        tasks,
    };
    let mut only = TaskPlan { runs_ms: LONG_RUNS_MS, ..TaskPlan::one() };
    only.flow.when = Some(format!("params.{FLOW_PARAM} > 2"));
    let within = |job: &str, told: &str| {
        let args = vec![(FLOW_PARAM.to_owned(), told.to_owned())];
        TaskPlan { sub: Some(SubPlan { job: job.into(), version: None, args }), ..TaskPlan::one() }
    };
    // By itself it has nothing to do.
    let part = plain("long-part", vec![only]);
    let mut middle = plain("long-middle", vec![within("long-part", &quoted(&param()))]);
    middle.args = told(1);
    let whole = plain("long-whole", vec![within("long-middle", "5")]);
    let cancel = Ask::Cancel { job: whole.name.clone() };
    let submits = [part, middle, whole].map(|job| OperationPlan { at_ms: heal_ms, what: Ask::Submit(job) });
    let cancel = OperationPlan { at_ms: heal_ms + LONG_CANCEL_AFTER_HEAL_MS, what: cancel };
    SessionPlan { host: 0, when: When::Healed, steps: submits.into_iter().chain([cancel]).collect() }
}

fn param() -> String {
    format!("${{params.{FLOW_PARAM}}}")
}

/// JSON of a text.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// True of the names of the jobs that are drawn here, for tests of what else is drawn.
#[cfg(test)]
pub(super) fn is_of_family(job: &str) -> bool {
    ["part-", "middle-", "whole-", "long-"].iter().any(|start| job.starts_with(start))
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
    fn a_third_of_the_seeds_has_them_in_every_shape_and_all_are_valid() {
        let (mut having, mut seen) = (0, BTreeMap::new());
        for seed in 0..300 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
            let jobs: Vec<&JobPlan> = steps
                .filter_map(|step| match &step.what {
                    Ask::Submit(job) if job.name.starts_with("part") || job.tasks.iter().any(|it| it.sub.is_some()) => {
                        Some(job)
                    }
                    _ => None,
                })
                .collect();
            having += usize::from(!jobs.is_empty());
            assert!(jobs.is_empty() || !scenario.classes.contains(&Class::Upgrade), "seed {seed}");
            for job in jobs {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                assert_eq!(quorate_flow::check(&valid), Ok(()), "seed {seed}: {job:?}");
                let mut see = |what: &'static str, is: bool| *seen.entry(what).or_insert(0) += u32::from(is);
                see("edition", job.edition > 0);
                see("result", !job.result.is_empty());
                for task in job.tasks.iter().filter(|task| task.sub.is_some()) {
                    see("pinned", task.sub.as_ref().is_some_and(|sub| sub.version.is_some()));
                    see("itself", runs(task, &job.name));
                    see("fan", task.count > 1 || task.flow.fan.is_some());
                    see("fallback", matches!(task.flow.part, Part::Fallback { .. }));
                    see("finally", task.flow.part == Part::Finally);
                    see("timeout", task.timeout_ms.is_some());
                    see("retry", task.attempts > 1);
                }
            }
        }
        assert!((75..121).contains(&having), "{having} of 300");
        assert!(seen.len() == 9 && seen.values().all(|count| *count > 10), "{seen:?}");
    }

    #[test]
    fn what_names_a_task_that_goes_goes_with_it() {
        let mut values = vec![("n".to_owned(), quoted("${a.result.n}")), ("x".to_owned(), quoted("${params.x}"))];
        forget(&mut values, "a");
        assert_eq!(values, [("x".to_owned(), quoted("${params.x}"))]);
    }
}
