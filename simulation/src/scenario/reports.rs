//! Jobs whose tasks say by themselves what came out of them, what went wrong, or that they go on; drawn apart from all else: a seed's other
//! faults and jobs are the same with them and without.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, Class, JobPlan, Kind, OperationPlan, Promise, Scenario, SessionPlan, TaskPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have such jobs, where every replica knows what is said.
const PERCENT: u64 = 30;
/// The last one is submitted so long before the faults end.
const LAST_BEFORE_HEAL_MS: u64 = 3_000;
const JOBS: (u64, u64) = (2, 7);
const TASKS: (u64, u64) = (1, 7);
const RUNS_MS: (u64, u64) = (20, 12_000);
/// Tasks out of a hundred that wait only so long for their place.
const QUEUED_PERCENT: u64 = 25;
const QUEUED_MS: (u64, u64) = (50, 6_000);
/// Most results are small, some are as large as they may be, and some larger.
const RESULT_BYTES: (u64, u64) = (8, 400);
const RESULT_BYTES_EDGE: [u32; 3] = [8_191, 8_192, 8_193];
/// Jobs whose tasks must not be silent for long, and how long.
const SPEAKING_JOBS: (u64, u64) = (0, 4);
const SILENT_MS: (u64, u64) = (1_000, 3_000);
/// They say something after so many hundredths of that, and those that are to hang, no more after this.
const WORD_PERCENT: (u64, u64) = (10, 80);
const HANGS_MS: (u64, u64) = (0, 2_000);
const SPEAKS_MS: (u64, u64) = (500, 8_000);

/// What an attempt says of its end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Says {
    /// A result, in so many bytes.
    Result {
        /// Bytes.
        bytes: u32,
    },
    /// A few values that others in its job can ask for.
    Values {
        /// Whether to go on; without, that is not said.
        go: Option<bool>,
        /// A number.
        n: u32,
        /// A list of so many numbers, from that one on.
        many: u32,
    },
    /// An error type, if it fails.
    Error {
        /// Its job says that such an attempt is the last.
        never: bool,
    },
}

/// How often an attempt says something, where it must not be silent for too long. Those that are to fail fall silent
/// instead, and run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Speech {
    /// That is too long.
    pub(crate) silent_ms: u64,
    /// It says something every so often.
    pub(crate) every_ms: u64,
    /// One that is to fail says nothing after that.
    pub(crate) hangs_ms: u64,
}

/// Adds the jobs, in some seeds.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    let is_known = !scenario.classes.contains(&Class::Upgrade) && scenario.kind != Kind::Restore;
    if !dice.chance(PERCENT) || !is_known {
        return;
    }
    let last_ms = scenario.heal_ms - LAST_BEFORE_HEAL_MS;
    let jobs = dice.within(JOBS.0, JOBS.1);
    let speaking = dice.within(SPEAKING_JOBS.0, SPEAKING_JOBS.1);
    let mut submit = |name: String, task: &dyn Fn(&mut Stream) -> TaskPlan| {
        let job = JobPlan {
            edition: 0,
            result: vec![],
            name,
            priority: 70,
            cancel_on_failure: false,
            timeout_ms: None,
            args: None,
            tasks: vec![task(dice)],
        };
        OperationPlan { at_ms: dice.within(SETTLED_MS + 1_000, last_ms), what: Ask::Submit(job) }
    };
    let mut steps: Vec<OperationPlan> = (0..jobs).map(|number| submit(format!("report-{number}"), &task)).collect();
    steps.extend((0..speaking).map(|number| submit(format!("speak-{number}"), &speaking_task)));
    steps.sort_by_key(|step| step.at_ms);
    scenario.sessions.push(SessionPlan { host: 0, when: When::Always, steps });
}

fn task(dice: &mut Stream) -> TaskPlan {
    let promise = [Promise::AtLeastOnce, Promise::Fenced, Promise::AtMostOnce][dice.weighted(&[3, 2, 1])];
    let attempts = if promise == Promise::AtMostOnce { 1 } else { u32::try_from(dice.within(1, 4)).unwrap_or(1) };
    let bytes = u32::try_from(dice.within(RESULT_BYTES.0, RESULT_BYTES.1)).unwrap_or(8);
    let says = match dice.weighted(&[4, 1, 3]) {
        0 => Says::Result { bytes },
        1 => Says::Result { bytes: *dice.pick(&RESULT_BYTES_EDGE) },
        _ => Says::Error { never: dice.chance(50) },
    };
    TaskPlan {
        promise,
        count: u32::try_from(dice.within(TASKS.0, TASKS.1)).unwrap_or(1),
        attempts,
        fails: if dice.chance(50) { attempts - 1 } else { 0 },
        runs_ms: dice.log_within(RUNS_MS.0, RUNS_MS.1),
        says: Some(says),
        queued_ms: dice.chance(QUEUED_PERCENT).then(|| dice.log_within(QUEUED_MS.0, QUEUED_MS.1)),
        ..TaskPlan::one()
    }
}

/// It goes on as it should, or falls silent in its first tries.
fn speaking_task(dice: &mut Stream) -> TaskPlan {
    let attempts = u32::try_from(dice.within(1, 4)).unwrap_or(1);
    let silent_ms = dice.log_within(SILENT_MS.0, SILENT_MS.1);
    let every_ms = silent_ms * dice.within(WORD_PERCENT.0, WORD_PERCENT.1) / 100;
    let hangs_ms = dice.within(HANGS_MS.0, HANGS_MS.1);
    TaskPlan {
        promise: [Promise::AtLeastOnce, Promise::Fenced][dice.weighted(&[2, 1])],
        count: u32::try_from(dice.within(1, 4)).unwrap_or(1),
        attempts,
        fails: u32::try_from(dice.within(0, u64::from(attempts) + 1)).unwrap_or(0),
        runs_ms: dice.log_within(SPEAKS_MS.0, SPEAKS_MS.1),
        stubborn: dice.chance(20),
        speech: Some(Speech { silent_ms, every_ms, hangs_ms }),
        ..TaskPlan::one()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn a_part_of_the_seeds_has_them_and_no_older_version_does() {
        let mut having = 0;
        for seed in 0..400 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let steps = scenario.sessions.iter().flat_map(|session| &session.steps);
            let says = |step: &&OperationPlan| match &step.what {
                // What flow jobs find out is drawn elsewhere.
                Ask::Submit(job) => {
                    job.tasks.iter().any(|task| task.says.is_some_and(|says| !matches!(says, Says::Values { .. })))
                }
                _ => false,
            };
            if steps.filter(says).count() > 0 {
                having += 1;
                assert!(!scenario.classes.contains(&Class::Upgrade), "seed {seed}");
            }
        }
        assert!((60..160).contains(&having), "{having} of 400");
    }
}
