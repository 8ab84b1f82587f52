//! Jobs that decide what of them runs and for what, go on where something failed, take back what they did, and come to an
//! end in any case; drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, Class, JobPlan, Kind, OperationPlan, Promise, Says, Scenario, SessionPlan, TaskPlan, When};
use crate::seeded::Stream;

/// What runs of such jobs can be told: a number.
pub(crate) const FLOW_PARAM: &str = "x";

/// Seeds out of a hundred that have such jobs, where every replica knows what is meant.
const PERCENT: u64 = 37;
const JOBS: (u64, u64) = (2, 5);
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
const RUNS_MS: (u64, u64) = (20, 1_200);
/// Elements of a task that are known from the start.
const ELEMENTS: (u64, u64) = (2, 6);
/// Numbers in results, and how many of them: as many elements has a task that is for each of them.
const NUMBERS: (u64, u64) = (0, 8);
/// Jobs out of a hundred that must not take longer than they say.
const TIMED_PERCENT: u64 = 10;
const TIMEOUT_MS: (u64, u64) = (800, 6_000);
/// Runs out of a hundred that are cancelled, and that are given up; and how long after their submit.
const CANCEL_PERCENT: u64 = 30;
const ABANDON_PERCENT: u64 = 14;
const AFTER_SUBMIT_MS: (u64, u64) = (50, 7_000);

/// What a task is in the flow of its job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlowPlan {
    #[serde(default)]
    pub(crate) part: Part,
    /// The condition under which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) when: Option<String>,
    /// What its elements are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fan: Option<Fan>,
    /// So many elements may fail.
    #[serde(default)]
    pub(crate) accept_failed: u32,
    /// Only these elements fail, a bit for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing: Option<u32>,
    /// What its command says besides, with references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) words: Option<String>,
}

/// See `quorate_state::Role`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    #[default]
    Work,
    Fallback {
        of: Vec<String>,
    },
    Undo {
        of: String,
    },
    Finally,
}

/// See `quorate_state::Each`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fan {
    Range { from: i64 },
    Result(String),
}

impl FlowPlan {
    /// True of a task that needs others, and no more.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The tasks that it is there for.
    pub(crate) fn stands_by(&self) -> &[String] {
        match &self.part {
            Part::Work | Part::Finally => &[],
            Part::Fallback { of } => of,
            Part::Undo { of } => std::slice::from_ref(of),
        }
    }

    /// There is no task of this name any more.
    pub(super) fn forget(&mut self, task: &str) {
        if let Part::Fallback { of } = &mut self.part {
            of.retain(|of| of != task);
            if of.is_empty() {
                self.part = Part::Work;
            }
        }
        let result = result_of(task);
        let is_named = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(&result));
        if is_named(&self.when) {
            self.when = None;
        }
        if matches!(&self.fan, Some(Fan::Result(reference)) if reference.contains(&result)) {
            (self.fan, self.words) = (None, None);
        }
        if is_named(&self.words) {
            self.words = None;
        }
    }
}

/// How expressions name what came out of a task.
pub(super) fn result_of(task: &str) -> String {
    format!("{task}.result")
}

/// Adds the jobs, each with a session of its own.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    let is_resent = scenario.classes.contains(&Class::Duplicates);
    for number in 0..dice.within(JOBS.0, JOBS.1) {
        let at_ms = dice.within(SETTLED_MS + 1_000, last_ms);
        let job = job(dice, format!("flow-{number}"));
        let steps = steps(dice, at_ms, job, is_resent);
        let host = usize::from(number % 2 == 1);
        scenario.sessions.push(SessionPlan { host, when: When::Always, steps });
    }
}

/// What is asked about a job, from its submit on.
fn steps(dice: &mut Stream, at_ms: u64, job: JobPlan, is_resent: bool) -> Vec<OperationPlan> {
    let name = || job.name.clone();
    let mut steps = vec![OperationPlan { at_ms, what: Ask::Submit(job.clone()) }];
    let mut later = |percent: u64, what: Ask| {
        if dice.chance(percent) {
            let at_ms = at_ms + dice.log_within(AFTER_SUBMIT_MS.0, AFTER_SUBMIT_MS.1);
            steps.push(OperationPlan { at_ms, what });
        }
    };
    later(CANCEL_PERCENT, Ask::Cancel { job: name() });
    later(ABANDON_PERCENT, Ask::Abandon { job: name() });
    later(50, Ask::Watch { job: name() });
    later(40, Ask::Get { job: name() });
    later(25, Ask::Tasks { job: name() });
    later(if is_resent { 40 } else { 0 }, Ask::Resubmit(job.clone()));
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn job(dice: &mut Stream, name: String) -> JobPlan {
    let mut tasks = match dice.weighted(&[3, 3, 3, 4]) {
        0 => choice(dice),
        1 => fan(dice),
        2 => fallbacks(dice),
        _ => saga(dice),
    };
    if dice.chance(60) {
        tasks.extend(lasts(dice));
    }
    let told = dice.chance(50).then(|| format!("{{\"{FLOW_PARAM}\":{}}}", dice.within(NUMBERS.0, NUMBERS.1)));
    JobPlan {
        edition: 0,
        result: vec![],
        name,
        priority: u8::try_from(dice.within(40, 101)).unwrap_or(50),
        cancel_on_failure: dice.chance(30),
        timeout_ms: dice.chance(TIMED_PERCENT).then(|| dice.log_within(TIMEOUT_MS.0, TIMEOUT_MS.1)),
        args: Some(told.unwrap_or_default()),
        tasks,
    }
}

/// What comes out of a task decides whether another runs.
fn choice(dice: &mut Stream) -> Vec<TaskPlan> {
    let a = task(dice, "a", &[]);
    let mut b = task(dice, "b", &["a"]);
    b.flow.when = Some(condition(dice, "a"));
    b.flow.words = dice.chance(60).then(|| words("a"));
    may_fail(dice, &mut b, 30);
    let mut c = task(dice, "c", &["a", "b"]);
    // Nothing comes out of what did not run: then there is no command.
    c.flow.words = dice.chance(30).then(|| "b=${b.result.n}".to_owned());
    let mut tasks = vec![a, b, c];
    if dice.chance(40) {
        tasks.push(fallback(dice, "f", &["b"]));
    }
    with_undos(dice, tasks, 50)
}

/// A task has as many elements as come out of another, or as it says, of which some may fail.
fn fan(dice: &mut Stream) -> Vec<TaskPlan> {
    let a = task(dice, "a", &[]);
    let mut b = task(dice, "b", &["a"]);
    b.runs_ms = b.runs_ms.min(RUNS_MS.1 / 2);
    match dice.weighted(&[4, 2, 2, 1]) {
        0 => b.flow.fan = Some(Fan::Result("${a.result.list}".into())),
        1 => b.flow.fan = Some(Fan::Result("${a.result.n}".into())),
        2 => {
            b.count = small(dice, ELEMENTS);
            b.flow.fan = Some(Fan::Range { from: i64::from(small(dice, NUMBERS)) - 4 });
        }
        _ => b.count = small(dice, ELEMENTS),
    }
    let element = if b.flow.fan.is_some() { "each=${each}" } else { "no each" };
    b.flow.words = dice.chance(80).then(|| format!("{element},index=${{index}},by=${{a.result.by}}"));
    if dice.chance(20) {
        b.flow.when = Some(condition(dice, "a"));
    }
    if dice.chance(60) {
        (b.fails, b.flow.failing) = (b.attempts, Some(small(dice, (1, 64))));
    }
    let is_open = matches!(b.flow.fan, Some(Fan::Result(_)));
    b.flow.accept_failed = small(dice, (0, 4)).min(if is_open { u32::MAX } else { b.count });
    let mut c = task(dice, "c", &["b"]);
    c.flow.words = dice.chance(50).then(|| "all=${b.result}".to_owned());
    let mut tasks = vec![a, b, c];
    if dice.chance(30) {
        tasks.push(fallback(dice, "f", &["b"]));
    }
    with_undos(dice, tasks, 40)
}

/// Tasks that fail, others that stand in for them, and one that stands in for such a one.
fn fallbacks(dice: &mut Stream) -> Vec<TaskPlan> {
    let (mut a, mut b) = (task(dice, "a", &[]), task(dice, "b", &[]));
    may_fail(dice, &mut a, 60);
    may_fail(dice, &mut b, 35);
    let stands_for: &[&str] = if dice.chance(50) { &["a", "b"] } else { &["a"] };
    let mut f = fallback(dice, "f", stands_for);
    may_fail(dice, &mut f, 45);
    let need = *dice.pick(stands_for);
    let mut c = task(dice, "c", &[need]);
    c.flow.words = dice.chance(60).then(|| words(need));
    let d = task(dice, "d", &["c"]);
    let mut tasks = vec![a, b, f, c, d];
    if dice.chance(60) {
        let mut g = fallback(dice, "g", &["f"]);
        may_fail(dice, &mut g, 30);
        tasks.push(g);
    }
    with_undos(dice, tasks, 35)
}

/// What was done is taken back when the last of it fails.
fn saga(dice: &mut Stream) -> Vec<TaskPlan> {
    let one = task(dice, "one", &[]);
    let mut two = task(dice, "two", &["one"]);
    if dice.chance(60) {
        two.count = small(dice, ELEMENTS);
        two.flow.fan = dice.chance(50).then_some(Fan::Range { from: 1 });
    }
    let three = task(dice, "three", &["one"]);
    let mut four = task(dice, "four", &["two", "three"]);
    may_fail(dice, &mut four, 75);
    with_undos(dice, vec![one, two, three, four], 80)
}

/// What comes at the end in any case.
fn lasts(dice: &mut Stream) -> Vec<TaskPlan> {
    let mut z = task(dice, "z", &[]);
    z.flow.part = Part::Finally;
    z.flow.words = dice.chance(40).then(|| "${run.outcome}".to_owned());
    z.flow.when = dice.chance(25).then(|| "run.outcome != 'succeeded'".to_owned());
    may_fail(dice, &mut z, 12);
    let mut tasks = vec![z];
    if dice.chance(35) {
        let mut y = task(dice, "y", &["z"]);
        y.flow.part = Part::Finally;
        tasks.push(y);
    }
    tasks
}

/// A small task that says what came out of it.
pub(super) fn task(dice: &mut Stream, name: &str, needs: &[&str]) -> TaskPlan {
    let promise = [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce][dice.weighted(&[4, 2, 1])];
    let attempts = if promise == Promise::AtMostOnce { 1 } else { small(dice, (1, 3)) };
    let is_said = dice.chance(88);
    let go = is_said.then(|| dice.chance(50));
    TaskPlan {
        name: name.into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        promise,
        attempts,
        fails: if dice.chance(30) { attempts - 1 } else { 0 },
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        stubborn: dice.chance(15),
        says: Some(Says::Values { go, n: small(dice, NUMBERS), many: small(dice, NUMBERS) }),
        ..TaskPlan::one()
    }
}

fn fallback(dice: &mut Stream, name: &str, of: &[&str]) -> TaskPlan {
    let mut task = task(dice, name, &[]);
    task.flow.part = Part::Fallback { of: of.iter().map(|of| (*of).to_owned()).collect() };
    task.flow.when = dice.chance(15).then(|| format!("params.{FLOW_PARAM} > 2"));
    task
}

/// Every try of it fails, so many times out of a hundred.
pub(super) fn may_fail(dice: &mut Stream, task: &mut TaskPlan, percent: u64) {
    if dice.chance(percent) {
        task.fails = task.attempts;
    }
}

/// So many of the tasks out of a hundred can be undone.
fn with_undos(dice: &mut Stream, mut tasks: Vec<TaskPlan>, percent: u64) -> Vec<TaskPlan> {
    for at in 0..tasks.len() {
        if !dice.chance(percent) {
            continue;
        }
        let TaskPlan { name, count, flow, .. } = &tasks[at];
        let element = match (&flow.fan, count) {
            (Some(_), _) => ",each=${each},index=${index}",
            (None, 2..) => ",index=${index}",
            (None, _) => "",
        };
        let words = format!("n=${{{name}.result.n}}{element}");
        let of = name.clone();
        let mut undo = task(dice, &format!("{of}-undo"), &[]);
        undo.flow.part = Part::Undo { of };
        undo.flow.words = dice.chance(60).then_some(words);
        may_fail(dice, &mut undo, 15);
        tasks.push(undo);
    }
    tasks
}

/// A condition over what came out of a task, or over what the run is told.
fn condition(dice: &mut Stream, of: &str) -> String {
    match dice.weighted(&[4, 3, 2, 2, 1]) {
        0 => format!("{of}.result.go"),
        1 => format!("{of}.result.n > 3"),
        2 => format!("size({of}.result.list) > 2"),
        3 => format!("has({of}.result.go) && {of}.result.go"),
        _ => format!("params.{FLOW_PARAM} > 2"),
    }
}

fn words(of: &str) -> String {
    format!("{FLOW_PARAM}=${{params.{FLOW_PARAM}}},n=${{{of}.result.n}},by=${{{of}.result.by}}")
}

pub(super) fn small(dice: &mut Stream, (from, to): (u64, u64)) -> u32 {
    u32::try_from(dice.within(from, to)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quorate_proto::convert::job::spec_from_wire;
    use quorate_state::Settings;

    use super::*;
    use crate::hosts::spec;
    use crate::scenario::{check, draw::draw as expand, sub_runs::is_of_family};

    fn jobs(scenario: &Scenario) -> Vec<&JobPlan> {
        let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
        let jobs = steps.filter_map(|step| match &step.what {
            // Gangs are told something as well, because they are submitted the same way.
            Ask::Submit(job) if job.tasks.iter().any(|task| task.gang.is_some()) => None,
            Ask::Submit(job) if job.args.is_some() && !is_of_family(&job.name) => Some(job),
            _ => None,
        });
        jobs.collect()
    }

    #[test]
    fn a_third_of_the_seeds_has_them_with_everything_there_is_and_all_are_valid() {
        let (mut having, mut seen) = (0, BTreeMap::new());
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let jobs = jobs(&scenario);
            having += usize::from(!jobs.is_empty());
            assert!(jobs.is_empty() || !scenario.classes.contains(&Class::Upgrade), "seed {seed}");
            for job in jobs {
                let valid = spec_from_wire(spec(job)).unwrap();
                assert!(valid.is_flow(), "seed {seed}");
                assert_eq!(valid.check(&Settings::default()), Ok(()), "seed {seed}: {job:?}");
                assert_eq!(quorate_flow::check(&valid), Ok(()), "seed {seed}: {job:?}");
                let args = quorate_flow::complete_args(&valid, job.args.as_deref().unwrap_or_default());
                assert!(args.is_ok(), "seed {seed}: {args:?}");
                for task in &job.tasks {
                    let part = match task.flow.part {
                        Part::Work => "work",
                        Part::Fallback { .. } => "fallback",
                        Part::Undo { .. } => "undo",
                        Part::Finally => "finally",
                    };
                    let fan = match task.flow.fan {
                        None => "one",
                        Some(Fan::Range { .. }) => "range",
                        Some(Fan::Result(_)) => "result",
                    };
                    let decided = if task.flow.when.is_some() { "when" } else { "always" };
                    for what in [part, fan, decided] {
                        *seen.entry(what).or_insert(0) += 1;
                    }
                }
            }
        }
        assert!((90..190).contains(&having), "{having} of 400");
        assert_eq!(seen.len(), 9, "{seen:?}");
        assert!(seen.values().all(|count| *count > 30), "{seen:?}");
    }

    #[test]
    fn what_goes_is_named_by_nobody_any_more() {
        let fallback = |of: &[&str]| Part::Fallback { of: of.iter().map(|of| (*of).to_owned()).collect() };
        let mut plan = FlowPlan {
            part: fallback(&["a", "b"]),
            when: Some("a.result.go".into()),
            fan: Some(Fan::Result("${b.result.list}".into())),
            words: Some("${b.result.n}".into()),
            ..FlowPlan::default()
        };
        plan.forget("a");
        assert_eq!((&plan.part, &plan.when), (&fallback(&["b"]), &None));
        assert!(plan.fan.is_some() && plan.words.is_some());
        plan.forget("b");
        assert!(plan.is_plain(), "{plan:?}");
    }
}
