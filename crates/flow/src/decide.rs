//! Whether a step runs, and how many elements it has.

use std::sync::Arc;

use quorate_state::{Decided, Run, State};
use quorate_values::{Condition, Flaw};

use crate::elements::elements;
use crate::facts::Facts;

/// Bytes of the words that say why a step fails, or that no run can be begun or concluded; the rest is cut off.
pub const DECISION_BYTES_MAX: usize = 1_024;

/// What is to be decided of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it runs.
    pub decided: Decided,
    /// How many elements it has, if that was open and it runs.
    pub elements: Option<u32>,
    /// What it cost to find out, in units of about twenty microseconds: at most some tens of milliseconds together, as the
    /// steps of a condition and the bytes of results are bounded.
    pub cost: u64,
}

/// Steps of a condition that make up a unit ([`Condition::evaluate_counting`]), and bytes of results.
const STEPS_PER_UNIT: u64 = 1_000;
pub(crate) const BYTES_PER_UNIT: u64 = 2_048;

/// What is to be decided of a step whose needs are met. The same for the same state, whoever asks.
pub fn decide(state: &State, run: &Run, step: u32) -> Decision {
    let mut cost = 1;
    let (decided, elements) = match try_decide(state, run, step, &mut cost) {
        Ok(decided) => decided,
        Err(flaw) => (fails(&flaw), None),
    };
    Decision { decided, elements, cost }
}

fn try_decide(state: &State, run: &Run, step: u32, cost: &mut u64) -> Result<(Decided, Option<u32>), Flaw> {
    let task = run.spec.tasks.get(step as usize).ok_or_else(|| Flaw::new("the job has no such task"))?;
    if let Some(when) = &task.when {
        let condition = Condition::parse(when)?;
        let facts = Facts::of(state, run, step, condition.references())?;
        *cost += facts.bytes as u64 / BYTES_PER_UNIT;
        let (is_met, steps) = condition.evaluate_counting(&facts.at(None, None));
        *cost += steps / STEPS_PER_UNIT;
        if !is_met.map_err(|flaw| of("when", &flaw))? {
            return Ok((Decided::PassOver, None));
        }
    }
    if !task.has_open_count() {
        return Ok((Decided::Run, None));
    }
    let Some(each) = elements(task)? else { return Ok((Decided::Run, None)) };
    let facts = Facts::of(state, run, step, each.reference())?;
    *cost += facts.bytes as u64 / BYTES_PER_UNIT;
    let most = state.settings().map_or(0, |settings| settings.tasks_per_run_max);
    match each.count(&facts.at(None, None), most).map_err(|flaw| of("each", &flaw))? {
        0 => Ok((Decided::PassOver, None)),
        count => Ok((Decided::Run, Some(count))),
    }
}

fn of(key: &str, flaw: &Flaw) -> Flaw {
    Flaw::new(format!("{key}: {flaw}"))
}

fn fails(flaw: &Flaw) -> Decided {
    Decided::Fail(words(flaw))
}

/// A flaw in as many words as are kept.
pub(crate) fn words(flaw: &Flaw) -> Arc<str> {
    let mut words = flaw.to_string();
    if words.len() > DECISION_BYTES_MAX {
        let end = (0..=DECISION_BYTES_MAX).rev().find(|end| words.is_char_boundary(*end)).unwrap_or(0);
        words.truncate(end);
    }
    words.into()
}
