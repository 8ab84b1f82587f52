//! Sessions that pause and resume runs and change their priority, drawn apart from all else, in some seeds.

use serde::{Deserialize, Serialize};

use super::draw::SETTLED_MS;
use super::{Ask, Kind, OperationPlan, Scenario, SessionPlan, When};
use crate::seeded::Stream;

/// Seeds out of a hundred that have it.
const PERCENT: u64 = 40;
/// How many runs are controlled, each by a session of its own.
const RUNS: (u64, u64) = (2, 7);
/// From the submit of its job to the first that is said of a run.
const AFTER_SUBMIT_MS: (u64, u64) = (10, 4_000);
/// How long it stays so, until the next.
const STAYS_MS: (u64, u64) = (50, 9_000);
/// How many things are said of a run at most before the last, which is a resume.
const WORDS: (u64, u64) = (1, 5);

/// See [`super::Ask::Control`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Control {
    Pause,
    Resume,
    Priority(u8),
}

/// Adds the sessions.
pub(super) fn draw(dice: &mut Stream, scenario: &mut Scenario) {
    // A backup may know of the pause and not of the resume, and then nobody says it again.
    if !dice.chance(PERCENT) || scenario.kind == Kind::Restore {
        return;
    }
    let submits = scenario.sessions.iter().filter(|session| session.when == When::Always);
    let submits = submits.flat_map(|session| &session.steps).filter_map(|step| match &step.what {
        Ask::Submit(job) => Some((step.at_ms, job.name.clone())),
        _ => None,
    });
    let mut jobs: Vec<(u64, String)> = submits.collect();
    for number in 0..dice.within(RUNS.0, RUNS.1) {
        if jobs.is_empty() {
            return;
        }
        let (submitted_ms, job) = jobs.swap_remove(dice.position(jobs.len()));
        let mut at_ms = submitted_ms.max(SETTLED_MS) + dice.log_within(AFTER_SUBMIT_MS.0, AFTER_SUBMIT_MS.1);
        let mut steps = vec![];
        for _ in 0..dice.within(WORDS.0, WORDS.1) {
            let what = match dice.weighted(&[4, 2, 3]) {
                0 => Control::Pause,
                1 => Control::Resume,
                _ => Control::Priority(u8::try_from(dice.within(0, 101)).unwrap_or(100)),
            };
            steps.push(OperationPlan { at_ms, what: Ask::Control { job: job.clone(), what } });
            at_ms += dice.log_within(STAYS_MS.0, STAYS_MS.1);
        }
        steps.push(OperationPlan { at_ms, what: Ask::Control { job, what: Control::Resume } });
        let host = usize::from(number % 2 == 1);
        scenario.sessions.push(SessionPlan { host, when: When::Always, steps });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{check, draw::draw as expand};

    #[test]
    fn whatever_is_paused_is_resumed_in_the_end() {
        let mut having = 0;
        for seed in 0..100 {
            let scenario = expand(seed);
            check(&scenario).unwrap();
            let says = |step: &OperationPlan| match &step.what {
                Ask::Control { what, .. } => Some(*what),
                _ => None,
            };
            let sessions =
                scenario.sessions.iter().filter(|session| session.steps.iter().any(|step| says(step).is_some()));
            let lasts: Vec<_> = sessions.map(|session| session.steps.iter().filter_map(says).next_back()).collect();
            having += usize::from(!lasts.is_empty());
            assert!(lasts.iter().all(|last| *last == Some(Control::Resume)), "seed {seed}");
        }
        assert!((20..60).contains(&having), "{having} of 100");
    }
}
